// Forms of the settings: the name of who changes is kept in this browser.
(() => {
  "use strict";
  const key = (name) => `llm-observe-${name}`;
  for (const input of document.querySelectorAll("[data-remember]")) {
    try {
      if (!input.value) input.value = localStorage.getItem(key(input.dataset.remember)) ?? "";
    } catch { /* a private window: not kept */ }
  }
  document.addEventListener("submit", (event) => {
    for (const input of event.target.querySelectorAll("input[data-remember]:not([type=hidden])")) {
      try { localStorage.setItem(key(input.dataset.remember), input.value); } catch { /* as above */ }
    }
  });
})();
