/* What makes the console smoother: each page works without it. */

"use strict";

(() => {
  /* Times in the reader's own zone, and what the server wrote where the mouse rests. */
  const zone = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short" });
  const tell = (place) => {
    for (const one of place.querySelectorAll("time[datetime]")) {
      const then = new Date(one.dateTime);
      if (!Number.isNaN(then.getTime())) one.textContent = zone.format(then);
    }
  };

  /* Copying needs a script, so only a script shows its button. */
  const offer = (place) => {
    for (const one of place.querySelectorAll("[data-copy]")) {
      one.hidden = !navigator.clipboard;
    }
  };

  const prepare = (place) => {
    tell(place);
    offer(place);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.lastChild.textContent = " Copied";
  });

  /* "/" goes to the search of a page. */
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    const search = document.querySelector("[data-search]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing || !search) {
      return;
    }
    event.preventDefault();
    search.focus();
    search.select();
  });

  /* The overview goes on by itself: each part is put in place of what it was, if it has changed.
     What is not live stays: an open table, the keyboard's focus, the place in the page. */
  const watch = (place) => {
    const AGAIN_MS = 30000;
    const status = document.querySelector("[data-news]");
    const said = document.querySelector("[data-said]");
    const verdict = () => place.querySelector(".verdict strong").textContent;
    let before = verdict();
    const clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
    let source = null;
    let timer = 0;

    const say = (words) => {
      status.textContent = words;
    };

    const look = (event) => {
      const page = new DOMParser().parseFromString(event.data, "text/html");
      for (const part of page.querySelectorAll("[data-live]")) {
        const here = place.querySelector(`[data-live="${part.dataset.live}"]`);
        if (here.outerHTML !== part.outerHTML && !here.contains(document.activeElement)) {
          here.replaceWith(document.importNode(part, true));
        }
      }
      say(`Live: as of ${clock.format(new Date())}.`);
      /* Who hears the page is told when it goes otherwise, and not every few seconds. */
      if (verdict() !== before) said.textContent = before = verdict();
    };

    const stop = () => {
      clearTimeout(timer);
      source?.close();
      source = null;
    };

    const listen = () => {
      stop();
      source = new EventSource(place.dataset.events);
      source.addEventListener("look", look);
      source.addEventListener("unknown", () => say("The database does not answer. Asking again…"));
      source.addEventListener("over", () => location.reload());
      source.onerror = () => {
        say("No answer. Asking again…");
        /* A lost connection the browser opens again; what was refused, it leaves to us. */
        if (source.readyState === EventSource.CLOSED) timer = setTimeout(listen, AGAIN_MS);
      };
    };

    /* Nobody sees a page in the background, and a browser opens few connections to one server. */
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
    addEventListener("pagehide", stop);
    addEventListener("pageshow", () => document.hidden || listen());
  };

  for (const place of document.querySelectorAll("[data-events]")) watch(place);
  /* A list that watches messages leave asks for nothing while nobody sees it. */
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches("[data-watches]")) event.preventDefault();
  });

  prepare(document);
  /* What had the focus may be gone with what it was in: what came instead has it then, so that Tab
     goes on from there. */
  document.addEventListener("htmx:afterSwap", (event) => {
    if (document.activeElement === document.body) event.target.focus({ preventScroll: true });
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
})();
