/* On the page of the search: below each result what its best section says, with a link to it, and those results first
   that say most. The text is in search-texts.js, since a page that is opened as a file may not fetch others. */

(() => {
  "use strict";

  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  const query = new URLSearchParams(location.search).get("q") || "";
  const tag = /[A-Z]{2,}\.\d+/.exec(query.toUpperCase())?.[0];

  /* For each word of the query a pattern: what begins with its stem, or with a synonym. A tag is one word. */
  function patterns() {
    if (tag in SEARCH_TEXTS.tags) return [new RegExp(`${escaped(tag)}(?!\\d)`, "gu")];
    const stemmer = new Stemmer();
    return splitQuery(query.toLowerCase()).filter((word) => word.length > 1 && !stopwords.has(word)).map((word) => {
      const row = SEARCH_TEXTS.synonyms.find((words) => words.includes(word)) || [];
      const starts = [...new Set([word, ...row].map((one) => stemmer.stemWord(one)))];
      return new RegExp(`(?<![\\p{L}\\p{N}])(?:${starts.map(escaped).join("|")})[\\p{L}\\p{N}]*`, "giu");
    });
  }

  const words = patterns();
  const count = (text, word) => (text.match(word) || []).length;

  /* How much a section says: how many of the words, and how often; in its title counts more, in code less. */
  function worth([, title, text, code]) {
    return (title === "Derivation" ? 1.2 : 1) * words.reduce((sum, word) => {
      const said = count(text, word) + 4 * count(title, word), hits = said + count(code, word) / 8;
      return sum + (hits ? (said ? 1 : 0.6) + Math.log2(1 + hits) / 8 : 0);
    }, 0);
  }

  function best(page) {
    return (SEARCH_TEXTS.pages[page] || []).map((section) => ({ section, worth: worth(section) }))
      .reduce((most, one) => (one.worth > most.worth ? one : most), { section: null, worth: 0 });
  }

  /* How much a page says: its best section, how much of its title is asked for, whether a tag is derived there; chapters first. */
  function worthOfPage(page) {
    const title = SEARCH_TEXTS.pages[page]?.[0]?.[1] || "", asked = words.filter((word) => count(title, word)).length;
    return best(page).worth + 2 * asked / Math.max(1, count(title, /\p{L}{3,}/gu)) + (SEARCH_TEXTS.tags[tag] === page ? 2 : 0) + (page.startsWith("book/") ? 1 : 0);
  }

  /* The part of a text with most of the words, and their places marked. */
  function excerpt(text) {
    const hits = words.flatMap((word, which) => [...text.matchAll(word)].map((hit) => ({ at: hit.index, length: hit[0].length, which })));
    hits.sort((a, b) => a.at - b.at);
    const near = (hit) => hits.filter(({ at }) => at >= hit.at && at < hit.at + 160);
    const kinds = (hit) => new Set(near(hit).map(({ which }) => which)).size + near(hit).length / 100;
    const centre = hits.reduce((most, hit) => (!most || kinds(hit) > kinds(most) ? hit : most), null);
    let from = Math.max(0, (centre ? centre.at : 0) - 80);
    if (from) from = text.indexOf(" ", from) + 1;
    let to = text.length > from + 260 ? text.lastIndexOf(" ", from + 260) : text.length;
    if (to <= from) to = from + 260;
    const made = document.createElement("p");
    made.className = "context";
    made.append(from ? "… " : "");
    let done = from;
    for (const { at, length } of hits.filter(({ at, length }) => at >= from && at + length <= to)) {
      if (at < done) continue;
      const mark = document.createElement("span");
      mark.className = "highlighted";
      mark.textContent = text.substr(at, length);
      made.append(text.slice(done, at), mark);
      done = at + length;
    }
    made.append(text.slice(done, to), to < text.length ? " …" : "");
    return made;
  }

  function pageOf(link) { // the name that Sphinx has for the page of a link
    const base = new URL(document.documentElement.dataset.content_root, location.href).pathname;
    return new URL(link.href).pathname.slice(base.length).replace(/\.html$/, "");
  }

  function complete(item) {
    const link = item.querySelector("a"), page = link && pageOf(link), anchor = link?.hash.slice(1);
    if (!page || item.querySelector(".context")) return;
    const named = anchor && SEARCH_TEXTS.pages[page]?.find(([id]) => id === anchor);
    const section = named || best(page).section || SEARCH_TEXTS.pages[page]?.[0];
    if (!section) return;
    const [id, title, text, code] = section;
    if (!named && section !== SEARCH_TEXTS.pages[page][0]) {
      link.hash = id;
      link.textContent += ` › ${title}`;
    }
    item.append(excerpt(!text || (words.some((word) => count(code, word)) && !words.some((word) => count(text, word))) ? code : text));
  }

  Scorer.score = ([page, , anchor, , score]) => {
    const named = anchor && SEARCH_TEXTS.pages[page]?.find(([id]) => `#${id}` === anchor);
    return score + 4 * (named ? worth(named) : worthOfPage(page));
  };
  const results = document.getElementById("search-results");
  new MutationObserver(() => results.querySelectorAll("ul.search > li").forEach(complete)).observe(results, { childList: true, subtree: true });
})();
