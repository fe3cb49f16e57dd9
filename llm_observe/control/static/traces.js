// The list of calls: marks the new ones, and announces them where inserting would disturb.
(() => {
  "use strict";
  const list = document.getElementById("calls");
  if (!list) return;
  const bar = document.getElementById("new-calls");
  const ids = () => new Set([...list.querySelectorAll("[data-trace]")].map((row) => row.dataset.trace));
  let known = ids();
  // When each new row was first seen: a row that is put in place again is new for a while still.
  const NEW_MS = 4000;
  const firstSeen = new Map();

  // Moments are typed and shown in the local zone, and stand in the address in UTC.
  const filters = document.getElementById("filters");
  const moments = filters.querySelectorAll("input[type=datetime-local]");
  for (const input of moments) {
    if (input.value) {
      const there = new Date(`${input.value}Z`);
      input.value = new Date(there - there.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
    }
  }
  for (const zone of filters.querySelectorAll("[data-zone]")) zone.textContent = "";
  filters.addEventListener("formdata", (event) => {
    for (const { name, value } of moments) {
      if (value) event.formData.set(name, `${new Date(value).toISOString().slice(0, 19)}Z`);
    }
  });

  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== list && !list.contains(event.target)) return;
    const rows = [...list.querySelectorAll("[data-trace]")];
    const fresh = rows.filter((row) => !known.has(row.dataset.trace));
    const now = Date.now();
    for (const row of fresh) firstSeen.set(row.dataset.trace, now);
    for (const [id, at] of firstSeen) if (now - at > NEW_MS) firstSeen.delete(id);
    for (const row of rows) row.classList.toggle("is-new", firstSeen.has(row.dataset.trace));
    if (fresh.length) {
      window.llmObserveAnnounce(fresh.length === 1 ? "1 new call" : `${fresh.length} new calls`);
    }
    known = ids();
    if (bar) bar.hidden = true;
  });
  // Held back because the user is in the list: say so instead.
  document.addEventListener("live-held", (event) => {
    if (event.target === list && bar) bar.hidden = false;
  });
  // Older pages are never moved under the reader.
  document.body.addEventListener("live:traces", (event) => {
    if (!event.detail.catchUp && list.dataset.page === "older" && bar) bar.hidden = false;
  });
  bar?.querySelector("button")?.addEventListener("click", () => {
    if (list.dataset.page === "older") { window.location.assign(bar.dataset.newest); return; }
    document.activeElement?.blur();
    bar.hidden = true;
    window.htmx.trigger(list, "refresh");
  });
})();
