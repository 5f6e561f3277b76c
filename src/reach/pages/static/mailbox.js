/* New mail appears by itself. Nothing that is on the page moves for it: not what is read, not the
   place in the list, not the keyboard's focus. Without this script, a link loads the page again. */

"use strict";

(() => {
  const EVERY_MS = 2000;
  const list = document.querySelector("[data-mails]");
  const status = document.querySelector("[data-news]");
  const hint = document.querySelector("[data-hint]");
  let timer = 0;
  let news = 0;

  const entriesOf = (place) => [...place.querySelectorAll("a.entry")];
  /* Which mail an entry leads to. As it is written: the fetched page has no address of its own. */
  const nameOf = (entry) => entry.getAttribute("href");

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

  const show = (found) => {
    const here = new Set(entriesOf(list).map(nameOf));
    const there = new Set(found.map(nameOf));
    const added = found.filter((entry) => !here.has(nameOf(entry)));
    const gone = entriesOf(list).filter((entry) => !there.has(nameOf(entry)));
    if (found.length === 0 || (added.length === 0 && gone.length === 0)) return;
    inPlace(() => {
      list.querySelectorAll(":scope > :not(.entry)").forEach((note) => note.remove());
      gone.filter((entry) => !entry.hasAttribute("aria-current")).forEach((entry) => entry.remove());
      list.prepend(...added.map((entry) => document.importNode(entry, true)));
    });
    if (hint) hint.hidden = false;
    news += added.length;
    if (added.length) say(news === 1 ? "1 new email." : `${news} new emails.`);
  };

  const look = async () => {
    try {
      const answer = await fetch("/mailbox", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = page.querySelector("[data-mails]");
      if (!found) throw new Error("another page");
      if (status.dataset.away) say("");
      delete status.dataset.away;
      show(entriesOf(found));
    } catch {
      status.dataset.away = "yes";
      say("No answer. Asking again…");
    }
    again();
  };

  /* Nobody sees a page in the background. */
  const again = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, EVERY_MS);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? again() : look()));
  again();
})();
