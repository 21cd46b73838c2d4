/* The right column: the selected cell as a sum of terms, each a product of cells that can be followed. */

(() => {
  "use strict";

  const column = document.getElementById("cell");
  let order = "index";

  const link = ({ name, index }) =>
    `<a class="t ${Vit.isGradient(name) ? "b" : "f"}" href="#" data-t="${name}" data-c="${index.join(",")}" title="${name}">${Words.cellName(name, index)}</a>`;

  function factorText(factor) { // [names, numbers] of a factor
    const value = Words.number(App.table[factor.name][Explain.flat(factor.name, factor.index)], 3);
    const bracket = (text) => (text.startsWith("−") ? `(${text})` : text);
    return factor.of ? [Explain.FUNCTIONS[factor.of].show(link(factor)), Explain.FUNCTIONS[factor.of].show(value)] : [link(factor), bracket(value)];
  }

  function coefficientText(c) {
    return c === 1 ? "" : c === -1 ? "−" : `${Words.number(c, 3)} · `;
  }

  function termRow(term, limit, most, secret) { // secret: the term alone is the number that is to be predicted
    const parts = term.factors.map(factorText), value = Explain.value(App.table, term), sign = coefficientText(term.coefficient);
    const names = sign.trim() && !parts.length ? Words.number(term.coefficient, 3) : sign + parts.map(([name]) => name).join(" · ");
    const numbers = parts.length > 1 || Math.abs(term.coefficient) !== 1 ? sign + parts.map(([, number]) => number).join(" · ") : "";
    const width = limit > 0 && !secret ? 50 * Math.abs(value) / limit : 0;
    return `<li class="${term.dropped ? "dropped" : most ? "most" : ""}"><div class="names">${names}</div>
      <div class="bar" aria-hidden="true"><i class="${value < 0 ? "neg" : "pos"}" style="width:${width.toFixed(1)}%"></i></div>
      <div class="figures">${numbers ? `${numbers} = ` : ""}<b>${secret ? "?" : Words.number(value, 3)}</b></div>${term.dropped ? '<div class="note">left out by the mistake</div>' : ""}</li>`;
  }

  function inWords(name, value) {
    if (!Vit.isGradient(name)) return "";
    const { value: of } = App.pairOf(name);
    if (!of) return "A contribution to a gradient.";
    if (value === 0) return "If this number changed a little, the loss would not change" + (App.rowAlone(name) ? `: ${Words.ALONE}.` : ".");
    return `If ${Words.cellName(of, App.state.c)} grew a little, the loss would ${value > 0 ? "grow" : "fall"} by ${Words.number(Math.abs(value))} for each unit.`;
  }

  const isCopy = (explained) => explained && !explained.after && explained.terms.length === 1 && explained.terms[0].factors.length === 1 && Math.abs(explained.terms[0].coefficient) === 1 && !explained.terms[0].factors[0].of;

  /* Which term decides: the largest of those that have the sign of the sum. */
  function decisive(terms) {
    const values = terms.map((term) => (term.dropped ? 0 : Explain.value(App.table, term))), sum = values.reduce((a, b) => a + b, 0);
    const most = Math.max(...values.map((value) => value * Math.sign(sum)));
    return sum !== 0 && terms.length > 2 ? terms[values.findIndex((value) => value * Math.sign(sum) === most)] : null;
  }

  function mostly(term, terms) {
    const value = Explain.value(App.table, term), against = terms.filter((other) => !other.dropped && Explain.value(App.table, other) * value < 0).length;
    const [sign, other] = value < 0 ? ["negative", "positive"] : ["positive", "negative"];
    return `<p class="mostly">The largest ${sign} term: ${coefficientText(term.coefficient)}${term.factors.map((factor) => factorText(factor)[0]).join(" · ")} = <b>${Words.number(value, 3)}</b>. ${
      against ? `${against} of the ${terms.length} ${against === 1 ? "is" : "are"} ${other}.` : `None is ${other}.`}</p>`;
  }

  function sumText(explanation, value) {
    if (!explanation) return "";
    const { terms, after } = explanation, kept = terms.filter((term) => !term.dropped);
    const limit = terms.reduce((most, term) => Math.max(most, Math.abs(Explain.value(App.table, term))), 0);
    const sorted = order === "size" ? [...terms].sort((a, b) => Math.abs(Explain.value(App.table, b)) - Math.abs(Explain.value(App.table, a))) : terms;
    const sum = kept.reduce((made, term) => made + Explain.value(App.table, term), 0);
    const toggle = terms.length > 3 ? `<div class="choice small" role="group" aria-label="Order of the terms"><button type="button" data-order="index" aria-pressed="${order === "index"}">in order</button><button type="button" data-order="size" aria-pressed="${order === "size"}">by absolute value</button></div>` : "";
    const main = after || App.hidden() ? null : decisive(terms), words = main && main.factors.length ? mostly(main, terms) : "";
    if (!terms.length) return `<h3>The sum</h3><p>Nothing reaches this cell${App.hidden() ? "" : ": it is 0"}.</p>`;
    const secret = App.hidden() && !after && kept.filter((term) => Explain.value(App.table, term) !== 0).length < 2;
    const total = after ? `<b>${Explain.FUNCTIONS[after].show(Words.number(sum))}</b> = ` : "";
    return `<div class="sum-head"><h3>${terms.length === 1 ? "One term" : `The sum of ${terms.length} terms`}</h3>${toggle}</div>${words}<ol class="terms">${sorted.map((term) => termRow(term, limit, term === main, secret)).join("")}</ol>
      <p class="total">= ${total}<b>${App.hidden() ? "?" : Words.number(value)}</b></p>`;
  }

  /* Where the tensor is used next: a value further on, a gradient further back. */
  function users(name) {
    const results = (Vit.USERS[name] || []).map((op) => op.t[Vit.LAYERS[op.kind].values.at(-1)]).filter(Boolean);
    const readers = [...new Set(Vit.isGradient(name) ? readersOf(name) : results)];
    const links = readers.map((reader) => `<a class="t ${Vit.isGradient(reader) ? "b" : "f"}" href="#" data-t="${reader}">${Words.last(reader)}</a>`);
    return links.length ? `<p class="users">${Vit.isGradient(name) ? "It goes back into" : "It goes on into"} ${links.join(", ")}.</p>` : "";
  }

  const reading = {};
  function readersOf(name) { // gradients in whose sums this one stands
    if (!reading.made) {
      reading.made = {};
      for (const made in Vit.PRODUCER) if (Vit.isGradient(made)) {
        const middle = Vit.SHAPES[made].map((n) => Math.floor(n / 2));
        const first = Vit.SHAPES[made].map(() => 0);
        for (const index of [first, middle, Vit.SHAPES[made].map((n) => n - 1)])
          for (const term of Explain.cell(made, index).terms) for (const factor of term.factors)
            if (Vit.isGradient(factor.name)) (reading.made[factor.name] ||= new Set()).add(made);
      }
    }
    return [...(reading.made[name] || [])];
  }

  const DIVIDED = "scaled_q is q/√K: the code divides q by √K once, in the forward, and goes on calling it q."; // three notations of one thing
  const DIVIDED_BACK = "dq is dscaled_q/√K: the formula and the code take the sum and divide it in one line.";
  const NOTATION = { scaled_q: DIVIDED, scores: DIVIDED, dk: DIVIDED, dscaled_q: DIVIDED_BACK, dq: DIVIDED_BACK };

  function source(tag, name) {
    const about = DATA.tags[tag];
    if (!about) return "";
    const way = Vit.isGradient(name) ? "backward" : "forward", lines = about.lines[way] || Object.values(about.lines)[0];
    const chapter = `../../book/${about.page}.html#formula-${tag.replace(".", "-")}`;
    return `<div class="source"><h3>${tag} <span class="tag">chapter ${about.title}</span></h3><div class="formula ${about.long ? "long" : ""}" tabindex="0">${about.formula}</div>
      <p class="where">${DATA.python}, line ${lines.map(([number]) => number).join(", ")}</p><pre><code>${[...new Set(lines.map(([, code]) => code))].map(escape).join("\n")}</code></pre>${NOTATION[Words.last(name)] ? `<p class="notation">${NOTATION[Words.last(name)]}</p>` : ""}
      <p>Derived in <a href="${chapter}">the chapter</a>.${about.exercises ? ` Write it yourself: ${about.exercises.split(" ").slice(0, 2).map((exercise) => `<code>python -m exercises start ${exercise}</code>`).join(" or ")}.` : ""}</p></div>`;
  }

  const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

  function given(name) {
    if (name === "image") return "<p>A pixel: nothing computes it.</p>";
    if (name === "target") return "<p>Given: 1 at the right class, 0 elsewhere.</p>";
    return `<p>A parameter: nothing computes it, training has found it. Step down its gradient under <i>Take a step</i>.</p>`;
  }

  function render() {
    const { t, c } = App.state, predict = App.hidden(), value = App.table[t][Explain.flat(t, c)], explanation = Explain.cell(t, c, App.options());
    const { gradient, value: of } = App.pairOf(t), other = t === gradient ? of : gradient;
    const right = App.right ? App.right[t][Explain.flat(t, c)] : value;
    const mistaken = !predict && Math.abs(right - value) > 1e-12 ? `<p class="mistaken">Wrong: without the mistake it is <b>${Words.number(right)}</b>.</p>` : "";
    column.innerHTML = `<div class="number"><h2 id="cell-title" class="${Vit.isGradient(t) ? "b" : "f"}">${Words.cellName(t, c)}</h2><output>${predict ? "?" : Words.number(value)}</output></div>
      ${mistaken}<p class="words">${predict ? (isCopy(explanation) ? "A copy: follow its term, and predict it there." : "Predict it from the terms below.") : inWords(t, right)}${other ? ` <a class="t ${Vit.isGradient(other) ? "b" : "f"}" href="#" data-t="${other}" data-c="${c.join(",")}">its ${Vit.isGradient(other) ? "gradient" : "value"}</a>` : ""}</p>
      ${explanation ? `<p class="cell-formula"><code>${escape(explanation.formula)}</code></p>${sumText(explanation, value)}` : given(t)}${users(t)}${explanation ? source(explanation.tag, t) : ""}`;
    document.getElementById("live").textContent = predict ? "" : `${Words.cellName(t, c)} is ${Words.number(value)}`;
  }

  column.addEventListener("click", (event) => {
    const follow = event.target.closest("[data-t]"), toggled = event.target.closest("[data-order]");
    if (toggled) order = toggled.dataset.order, render(), column.querySelector(`[data-order="${order}"]`)?.focus();
    if (!follow) return;
    event.preventDefault();
    const focused = follow === document.activeElement;
    App.follow(follow.dataset);
    if (focused) (column.querySelector(".terms a") || column.querySelector("a"))?.focus({ preventScroll: true }); // the links were made anew
  });

  App.followTerm = (n) => column.querySelectorAll(".terms [data-t]")[n]?.click();
  App.renderers.push(render);
})();
