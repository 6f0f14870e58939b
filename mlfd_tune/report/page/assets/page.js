"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Theme: remembered by the page alone, for as long as it is open.
  const choices = all("[data-theme-choice]");
  for (const choice of choices) {
    choice.addEventListener("click", () => {
      const theme = choice.dataset.themeChoice;
      if (theme === "auto") delete root.dataset.theme;
      else root.dataset.theme = theme;
      for (const other of choices) other.setAttribute("aria-pressed", String(other === choice));
    });
  }

  // Sections fold; whoever goes to one finds it unfolded.
  const fold = (button, open) => {
    button.setAttribute("aria-expanded", String(open));
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  };
  for (const button of all(".fold")) {
    button.addEventListener("click", () => {
      fold(button, button.getAttribute("aria-expanded") !== "true");
    });
  }
  const unfold = (address) => {
    const target = address.length > 1 && document.getElementById(decodeURIComponent(address.slice(1)));
    const section = target && target.closest("section");
    if (section) fold(section.querySelector(".fold"), true);
  };
  for (const link of all('a[href^="#"]')) {
    link.addEventListener("click", () => unfold(link.getAttribute("href")));
  }
  window.addEventListener("hashchange", () => unfold(location.hash));
  unfold(location.hash);

  // The link of the section that is being read.
  const strip = document.querySelector(".sections");
  const links = all("a", strip);
  const sections = links.map((link) => document.getElementById(link.getAttribute("href").slice(1)));
  let current = null;
  const follow = () => {
    const line = Math.min(window.innerHeight / 3, 260);
    let reading = 0;
    sections.forEach((section, place) => {
      if (section.getBoundingClientRect().top <= line) reading = place;
    });
    const atEnd = window.innerHeight + window.scrollY >= root.scrollHeight - 2;
    const asked = sections.findIndex((section) => "#" + section.id === location.hash);
    const top = asked < 0 ? -2 : sections[asked].getBoundingClientRect().top;
    // Short sections stand above the line together, and the last ones may never reach it: then the
    // one that was asked for is the one that is read.
    if (top >= -1 && (top <= line || (atEnd && top < window.innerHeight))) reading = asked;
    else if (atEnd) reading = sections.length - 1;
    if (links[reading] === current) return;
    if (current) current.removeAttribute("aria-current");
    current = links[reading];
    current.setAttribute("aria-current", "true");
    const middle = current.offsetLeft + current.offsetWidth / 2 - strip.clientWidth / 2;
    if (strip.scrollWidth > strip.clientWidth) strip.scrollLeft = middle;
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; follow(); });
  };
  window.addEventListener("scroll", soon, { passive: true });
  window.addEventListener("resize", soon);
  // At the end of the page a link may lead to a section without anything scrolling.
  window.addEventListener("hashchange", soon);
  follow();

  // Tables sort by any column; cells without a value stay at the end.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
    const text = cell.textContent.trim();
    return text === "–" ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  for (const button of all(".sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = head.cellIndex;
      const body = head.closest("table").tBodies[0];
      const before = head.getAttribute("aria-sort");
      const numeric = head.classList.contains("number");
      const rising = before ? before === "descending" : !numeric;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return rising ? compare(a, b) : compare(b, a);
      });
      body.append(...rows.map(([, row]) => row));
    });
  }

  // What scrolls sideways can be reached and scrolled by keyboard.
  const reach = () => {
    for (const frame of all(".scroll, .table")) {
      if (frame.scrollWidth > frame.clientWidth + 1) frame.tabIndex = 0;
      else frame.removeAttribute("tabindex");
    }
  };
  window.addEventListener("resize", reach);
  reach();
})();
