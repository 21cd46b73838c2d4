/* What is at the other end of a tag's link, shown beside it while it is pointed at or has the focus: the formula and its
   chapter, or the lines of code. tag-previews.js, which the build writes, is loaded when the first is wanted. */

(() => {
  "use strict";

  const data = new URL("tag-previews.js", document.currentScript.src).href;
  const box = document.createElement("div");
  let loading = null, shown = null, timer = 0;
  box.id = "tag-preview";
  box.className = "tag-preview";
  box.setAttribute("role", "tooltip");
  box.hidden = true;

  function load() {
    loading ||= new Promise((done) => {
      const script = document.createElement("script");
      script.src = data;
      script.onload = done;
      document.head.append(script);
    });
    return loading;
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function fill(tag, toLine) {
    const about = TAG_PREVIEWS[tag];
    box.replaceChildren();
    if (!about) return false;
    if (!toLine) {
      box.append(element("p", "title", `${tag}, ${about.title}`));
      const formula = element("div", "shown-formula", "");
      formula.innerHTML = about.formula; // MathML of the book's own formulas
      box.append(formula);
    }
    for (const [where, code] of toLine ? about.lines : about.lines.slice(0, 1))
      box.append(element("p", "where", where), element("pre", "", code));
    return true;
  }

  function place(link) {
    const near = link.getBoundingClientRect(), edge = 8, width = document.documentElement.clientWidth;
    box.style.left = box.style.top = "0";
    const { width: wide, height: high } = box.getBoundingClientRect();
    const below = near.bottom + high + edge < innerHeight || near.top < high + edge;
    box.style.left = `${scrollX + Math.max(edge, Math.min(near.left, width - wide - edge))}px`;
    box.style.top = `${scrollY + (below ? near.bottom + 4 : near.top - high - 4)}px`;
  }

  function hide() {
    clearTimeout(timer);
    box.hidden = true;
    shown?.removeAttribute("aria-describedby");
    shown = null;
  }

  async function show(link) {
    clearTimeout(timer);
    if (shown === link) return;
    hide();
    shown = link;
    await load();
    const { hash, pathname } = new URL(link.href);
    const toLine = hash.startsWith("#line-") || pathname.endsWith("/formulas.html");
    const [, letters, number] = /^#(?:formula|line)-([A-Z]+)-(\d+)/.exec(hash) || [];
    if (shown !== link || !fill(`${letters}.${number}`, toLine)) return;
    box.hidden = false;
    place(link);
    link.setAttribute("aria-describedby", box.id);
  }

  const later = (action, wait) => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };
  const linkOf = (event) => event.target.closest?.("a.tag, mjx-container a[href]"); // or one in a formula

  document.addEventListener("pointerover", (event) => {
    const link = linkOf(event);
    if (event.pointerType === "touch") return; // a tap follows the link
    if (link) later(() => show(link), shown ? 0 : 120);
    else if (event.target.closest?.(".tag-preview")) clearTimeout(timer);
    else if (shown && document.activeElement !== shown) later(hide, 200);
  });
  document.addEventListener("focusin", (event) => (linkOf(event) ? show(linkOf(event)) : hide()));
  document.addEventListener("focusout", (event) => linkOf(event) && later(hide, 200));
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.body.append(box);

  /* Formulas grow when MathJax sets them, and what the address names would move away. */
  addEventListener("load", async () => {
    const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1))), before = scrollY;
    if (!there || !window.MathJax?.startup) return;
    await MathJax.startup.promise;
    if (Math.abs(scrollY - before) < 2) there.scrollIntoView();
  });
})();
