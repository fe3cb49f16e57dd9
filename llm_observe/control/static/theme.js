// Loaded before the first paint, so that a dark page never flashes white.
// No choice kept: the system decides, also when it changes its mind while the page is open.
(() => {
  "use strict";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try { return localStorage.getItem("llm-observe-theme"); } catch { return null; }
  };
  const apply = () => {
    const choice = kept() || "auto";
    const theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    root.dataset.bsTheme = theme;
    root.dataset.themeChoice = choice;
    root.style.colorScheme = theme;
    document.dispatchEvent(new CustomEvent("theme-changed", { detail: theme }));
  };
  window.llmObserveTheme = {
    next() {
      const order = ["auto", "light", "dark"];
      const following = order[(order.indexOf(kept() || "auto") + 1) % order.length];
      try { localStorage.setItem("llm-observe-theme", following); } catch { /* a private window: not kept */ }
      apply();
      return following;
    },
  };
  system.addEventListener("change", apply);
  apply();
})();
