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

  prepare(document);
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
})();
