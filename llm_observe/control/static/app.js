// What every page does: theme button, phone menu, confirmation, copying, times, live changes.
(() => {
  "use strict";
  const $$ = (selector, root = document) => root.querySelectorAll(selector);

  // ---- announcements for screen readers
  const announcer = document.getElementById("announcer");
  const announce = (text) => { if (announcer) announcer.textContent = text; };
  window.llmObserveAnnounce = announce;

  // ---- theme
  const THEMES = { auto: "follows the system", light: "light", dark: "dark" };
  const showTheme = () => {
    const choice = document.documentElement.dataset.themeChoice;
    for (const button of $$("[data-theme-toggle]")) {
      button.title = `Colours: ${THEMES[choice]}`;
      button.setAttribute("aria-label", `Colours: ${THEMES[choice]}. Change`);
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-toggle]");
    if (!button) return;
    announce(`Colours: ${THEMES[window.llmObserveTheme.next()]}`);
    showTheme();
  });

  // ---- phone menu
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-menu-toggle]");
    if (!button) return;
    const menu = document.getElementById(button.getAttribute("aria-controls"));
    button.setAttribute("aria-expanded", String(menu.classList.toggle("show")));
  });
  document.addEventListener("keydown", (event) => {
    const button = document.querySelector('[data-menu-toggle][aria-expanded="true"]');
    if (event.key === "Escape" && button) { button.click(); button.focus(); }
  });

  // ---- confirmation: <form data-confirm="what will happen" data-confirm-button="Do it">
  const dialog = document.getElementById("confirm");
  let waiting = null;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const asked = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (!asked || form.dataset.confirmed) { delete form.dataset.confirmed; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    waiting = { form, submitter: event.submitter };
    dialog.querySelector("[data-confirm-text]").textContent = asked;
    dialog.querySelector("[value=yes]").textContent =
      event.submitter?.dataset.confirmButton ?? form.dataset.confirmButton ?? "Continue";
    dialog.returnValue = "";
    dialog.showModal();
  }, true);
  dialog?.addEventListener("close", () => {
    if (waiting && dialog.returnValue === "yes") {
      waiting.form.dataset.confirmed = "yes";
      waiting.form.requestSubmit(waiting.submitter);
    }
    waiting = null;
  });

  // ---- copy buttons: <button data-copy="#id of the text">
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.querySelector(button.dataset.copy).textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      button.classList.add("copied");
      announce("Copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
    } catch {
      announce("The browser did not allow copying; select the text instead");
    }
  });

  // ---- shortcut buttons: <button data-fill="#input" data-value="0.5">
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fill]");
    if (!button) return;
    const input = document.querySelector(button.dataset.fill);
    input.value = button.dataset.value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });

  // ---- rows to copy: <button data-add-row="#template" data-into="#list"> and [data-remove-row]
  document.addEventListener("click", (event) => {
    const add = event.target.closest("[data-add-row]");
    if (add) {
      const copy = document.querySelector(add.dataset.addRow).content.cloneNode(true);
      const first = copy.querySelector("input, select, textarea");
      document.querySelector(add.dataset.into).append(copy);
      first?.focus();
    }
    const remove = event.target.closest("[data-remove-row]");
    if (remove) {
      remove.closest("[data-row]").remove();
      document.querySelector(remove.dataset.removeRow)?.focus();
    }
  });

  // ---- filters: a select applies at once, and what is not filled in stays out of the address
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });

  document.addEventListener("formdata", (event) => {
    if (event.target.method !== "get") return;
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });

  // ---- times: relative text ages, the exact local time is the title
  const STEPS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [Infinity, 86400, "d"]];
  const relative = (seconds) => {
    if (seconds < 1) return "just now";
    const [, divisor, unit] = STEPS.find(([limit]) => seconds < limit);
    return `${Math.floor(seconds / divisor)} ${unit} ago`;
  };
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const age = (root = document) => {
    for (const element of $$("time[datetime]", root)) {
      const moment = new Date(element.dateTime);
      if ("relative" in element.dataset) element.textContent = relative((Date.now() - moment) / 1000);
      if (!element.dataset.local) {
        element.dataset.local = "yes";
        element.title = exact.format(moment);
        if ("exact" in element.dataset) element.textContent = exact.format(moment);
      }
    }
  };
  setInterval(age, 1000);

  // ---- countdowns: <time data-countdown datetime="a moment to come">
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const left = (seconds) => {
    let rest = Math.ceil(seconds);
    const words = [];
    for (const [unit, name] of UNITS) {
      const count = rest > 0 ? Math.floor(rest / unit) : 0;
      if (rest > 0) rest -= count * unit;
      if (count || words.length) words.push(`${count} ${name}`);
    }
    return words.length ? `${words.slice(0, 2).join(" ")} left` : "ends now";
  };
  setInterval(() => {
    for (const element of $$("time[data-countdown]")) {
      element.textContent = left((new Date(element.dateTime) - Date.now()) / 1000);
    }
  }, 1000);

  // ---- live changes: one stream per visible tab; elements listen for live:agents and so on
  // Of each topic the first change is told at once, then at most one per interval, and the last
  // one always: what listens must never end up with an older picture.
  const EVERY_MS = { agents: 250, settings: 250, traces: 1000, "traces-slow": 4000 };
  const TOPICS = ["agents", "settings", "traces"];
  const resting = new Map();
  let stream = null;
  const send = (topic, catchUp) =>
    document.body.dispatchEvent(new CustomEvent(`live:${topic}`, { detail: { catchUp } }));
  // A part that waits for an answer is replaced by it, and then knows nothing of what it was told
  // meanwhile: the answer may be older, so the part is told again when it stands.
  const missed = new Set();
  const asking = (topic) =>
    document.querySelector(`[data-live][hx-trigger*="live:${topic} "].htmx-request`) !== null;
  const hand = (topic) => {
    if (asking(topic)) { missed.add(topic); } else { missed.delete(topic); send(topic, false); }
  };
  document.addEventListener("htmx:afterRequest", () => {
    if (missed.size) setTimeout(() => { for (const topic of [...missed]) hand(topic); }, 50);
  });
  const tell = (topic) => {
    if (resting.has(topic)) { resting.set(topic, true); return; }
    resting.set(topic, false);
    setTimeout(() => {
      const again = resting.get(topic);
      resting.delete(topic);
      if (again) tell(topic);
    }, EVERY_MS[topic]);
    hand(topic);
  };
  const state = document.getElementById("live-state");
  const mark = (live) => {
    if (!state) return;
    state.dataset.live = live ? "yes" : "no";
    state.querySelector("[data-live-text]").textContent = live ? "Live" : "Reconnecting";
  };
  const open = () => {
    if (stream || !document.body.dataset.events) return;
    stream = new EventSource(document.body.dataset.events);
    // What changed between the page and the stream, or while the stream was broken, is caught up.
    stream.onopen = () => { mark(true); for (const topic of Object.keys(EVERY_MS)) send(topic, true); };
    stream.onerror = () => mark(false);
    for (const topic of TOPICS) stream.addEventListener(topic, () => tell(topic));
    stream.addEventListener("traces", () => tell("traces-slow"));
  };
  const close = () => { stream?.close(); stream = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); } else { open(); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });

  // ---- htmx: a live part must not be replaced while the user works in it
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.target;
    if (!part.matches("[data-live]")) return;
    const at = document.activeElement;
    const busy = part.contains(at) && at.matches("input, select, textarea, :focus-visible");
    if (busy || document.querySelector("dialog[open]")) {
      event.preventDefault();
      part.dispatchEvent(new CustomEvent("live-held", { bubbles: true }));
    }
  });
  // A form that is being asked about must be there when the answer comes.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (waiting && event.target.contains(waiting.form)) event.detail.shouldSwap = false;
  });
  // What the user had opened stays open.
  const opened = new Set();
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened.clear();
    for (const element of $$("details[id][open]", event.target)) opened.add(element.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    age();
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.assign("/login");
  });

  showTheme();
  age();
  if (!document.hidden) open();
})();
