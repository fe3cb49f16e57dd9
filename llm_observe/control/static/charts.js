// Charts: <div data-chart="latency" data-source="/traces/charts.json?…" data-refresh="live:traces">.
// Several charts with the same source share one request.
(() => {
  "use strict";
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (name) => {
    // ECharts does not read oklch(): let the browser turn any colour into red, green and blue.
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.fillStyle = style(name) || "#888";
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
    return `rgb(${red}, ${green}, ${blue})`;
  };
  const UNITS = {
    seconds: (value) => value == null ? "–" : value >= 1 ? `${+value.toFixed(2)} s` : `${Math.round(value * 1000)} ms`,
    count: (value) => value == null ? "–" : value.toLocaleString(undefined, { maximumFractionDigits: 1 }),
  };
  const COLOURS = {
    p50: "--tblr-blue", p95: "--tblr-orange", p99: "--tblr-red",
    input: "--tblr-azure", output: "--tblr-purple", calls: "--tblr-teal", errors: "--tblr-red", ttft: "--tblr-green",
  };
  const charts = new Map();

  const option = (data) => {
    const dark = document.documentElement.dataset.bsTheme === "dark";
    const muted = dark ? "#9aa7bb" : "#5d6b80";
    const line = dark ? "rgba(255,255,255,.09)" : "rgba(15,30,60,.09)";
    const say = UNITS[data.unit];
    return {
      animation: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
      animationDuration: 200,
      textStyle: { fontFamily: style("--tblr-font-sans-serif") || "sans-serif" },
      aria: { enabled: true, label: { description: data.summary } },
      grid: { left: 4, right: 12, top: 34, bottom: 4, containLabel: true },
      legend: { top: 0, left: 0, itemWidth: 12, itemHeight: 8, textStyle: { color: muted }, icon: "roundRect" },
      tooltip: {
        trigger: "axis", renderMode: "richText", confine: true, valueFormatter: say,
        backgroundColor: dark ? "#1b2638" : "#ffffff", borderColor: line,
        textStyle: { color: dark ? "#e6ebf3" : "#1d273b", fontSize: 12 },
      },
      xAxis: {
        type: "time", min: data.since, max: data.until, axisLine: { lineStyle: { color: line } },
        axisTick: { show: false }, axisLabel: { color: muted, hideOverlap: true }, splitLine: { show: false },
      },
      yAxis: {
        type: "value", min: 0, minInterval: data.unit === "count" ? 1 : undefined, splitNumber: 3,
        axisLabel: { color: muted, formatter: say }, splitLine: { lineStyle: { color: line } },
      },
      series: data.series.map((series) => ({
        name: series.label, data: series.points, color: colour(COLOURS[series.key] ?? "--tblr-blue"),
        type: data.kind, stack: data.stacked ? "all" : undefined, showSymbol: series.points.filter((point) => point[1] !== null).length < 40,
        symbolSize: 5, barMaxWidth: 18, lineStyle: { width: 2 }, connectNulls: false,
      })),
    };
  };

  const draw = (element, data) => {
    const empty = data.series.every((series) => series.points.every((point) => !point[1]));
    element.parentElement.querySelector("[data-chart-empty]").hidden = !empty;
    element.hidden = empty;
    if (empty) return;
    let chart = charts.get(element);
    if (!chart) {
      chart = window.echarts.init(element, null, { renderer: "canvas" });
      charts.set(element, chart);
    }
    element.dataset.ready = "yes";
    element.chartData = data;
    chart.resize();
    chart.setOption(option(data), { notMerge: true });
  };

  const loading = new Map();
  const load = async (elements) => {
    const bySource = new Map();
    for (const element of elements) {
      const source = element.dataset.source;
      bySource.set(source, [...(bySource.get(source) ?? []), element]);
    }
    for (const [source, group] of bySource) {
      if (loading.get(source)) continue;
      loading.set(source, true);
      try {
        const response = await fetch(source, { headers: { Accept: "application/json" } });
        if (!response.ok) throw new Error(`status ${response.status}`);
        const data = await response.json();
        for (const element of group) draw(element, data[element.dataset.chart]);
      } catch {
        for (const element of group) {
          const note = element.parentElement.querySelector("[data-chart-empty]");
          if (!charts.has(element)) { note.hidden = false; element.hidden = true; }
        }
      } finally {
        loading.set(source, false);
      }
    }
  };

  const all = () => [...document.querySelectorAll("[data-chart]")];
  let next = 0;
  document.body.addEventListener("live:traces", () => {
    if (next) return;
    next = setTimeout(() => { next = 0; load(all()); }, 2000);
  });
  document.addEventListener("theme-changed", () => {
    for (const [element, chart] of charts) chart.setOption(option(element.chartData), { notMerge: true });
  });
  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  load(all());
})();
