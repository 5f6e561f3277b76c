/* New mail appears by itself: one request stays open, by which the server tells how the list looks.
   Nothing that is on the page moves for it: not what is read, not the place in the list, not the
   keyboard's focus. Without this script, a link loads the page again. */

"use strict";

(() => {
  const AGAIN_MS = 2000;
  const list = document.querySelector("[data-mails]");
  const status = document.querySelector("[data-news]");
  const hint = document.querySelector("[data-hint]");
  const look = document.querySelector("[data-look]");
  const title = document.title;
  let source = null;
  let timer = 0;
  let news = 0;

  const entriesOf = (place) => [...place.querySelectorAll("a.entry")];

  /* What must stay where it is: the entry with the focus, else the first that can be seen. */
  const anchor = () => {
    const top = Math.max(list.getBoundingClientRect().top, 0);
    const seen = (entry) => entry.getBoundingClientRect().bottom > top;
    const entries = entriesOf(list);
    return entries.includes(document.activeElement) ? document.activeElement : entries.find(seen);
  };

  /* On a wide screen the list scrolls by itself; on a narrow one with the page. */
  const scrollerOf = () =>
    getComputedStyle(list).overflowY === "auto" ? list : document.scrollingElement;

  /* Make a change above what is looked at, unless the reader looks at the very top. */
  const inPlace = (change) => {
    const scroller = scrollerOf();
    const kept = scroller.scrollTop > 0 ? anchor() : undefined;
    const before = kept?.getBoundingClientRect().top;
    change();
    if (kept?.isConnected) scroller.scrollTop += kept.getBoundingClientRect().top - before;
  };

  const say = (words) => {
    if (status.textContent !== words) status.textContent = words;
  };

  const show = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const found = new Map(entriesOf(page).map((entry) => [entry.dataset.id, entry]));
    const here = new Map(entriesOf(list).map((entry) => [entry.dataset.id, entry]));
    const added = [...found.values()].filter((entry) => !here.has(entry.dataset.id));
    inPlace(() => {
      for (const [id, entry] of here) {
        const now = found.get(id);
        if (now) entry.classList.toggle("unread", now.classList.contains("unread"));
        else entry.remove();
      }
      const notes = page.querySelectorAll(".entries > .nothing");
      list.querySelectorAll(".entries > .nothing").forEach((note) => note.remove());
      list.querySelector(".entries").prepend(
        ...[...notes, ...added].map((one) => document.importNode(one, true)),
      );
      const count = document.importNode(page.querySelector(".count"), true);
      list.querySelector(".count").replaceWith(count);
    });
    const { unread } = list.querySelector(".count").dataset;
    document.title = unread === "0" ? title : `(${unread}) ${title}`;
    if (hint) hint.hidden = found.size === 0;
    news += added.length;
    if (added.length) say(news === 1 ? "1 new email." : `${news} new emails.`);
  };

  const listen = () => {
    stop();
    source = new EventSource(list.dataset.events);
    source.onmessage = (event) => {
      if (status.dataset.lost) say("");
      delete status.dataset.lost;
      if (look) look.hidden = true;
      show(event.data);
    };
    source.onerror = () => {
      if (look) look.hidden = false;
      status.dataset.lost = "yes";
      say("No answer. Asking again…");
      /* A lost connection the browser opens again; what was refused, it leaves to us. */
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(listen, AGAIN_MS);
    };
  };

  const stop = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };

  /* Nobody sees a page in the background, and a browser opens few connections to one server. */
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", () => document.hidden || listen());
})();
