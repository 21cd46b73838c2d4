/* index.html#selftest compares the engine with selftest-data.js, the numbers of model/one_page.py, and differences with
   gradients, and adds up the terms of every cell. index.html#tour uses the page as a reader would, and looks for errors.
   Both write what they found below the page, in an element with the id `verdict`. */

const Selftest = (() => {
  "use strict";

  const CLOSE = 1e-12, NUDGES = 200, errors = [];
  window.addEventListener("error", ({ message, filename, lineno }) => errors.push(`${message}, ${filename}:${lineno}`));

  let seed = 7;
  const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
  const unflat = (k, shape) => shape.reduceRight(([rest, index], n) => [Math.floor(rest / n), [rest % n, ...index]], [k, []])[1];
  const worstOf = () => ({ value: 0, where: "nowhere", note(value, where) { if (!(value <= this.value)) (this.value = value), (this.where = where); } });
  const numbers = (text) => new Float64Array(App.bytes(text).buffer);

  function engine() {
    const found = [], compared = worstOf(), nudged = worstOf(), summed = worstOf(), kept = App.params;
    let tensors = 0, cells = 0;
    for (const [picture, expected] of Object.entries(SELFTEST.tensors)) {
      const { image, label } = App.examples[picture], table = Vit.backward(Vit.forward(kept, image, label));
      for (const [name, text] of Object.entries(expected)) {
        const values = numbers(text);
        if (table[name]?.length !== values.length) found.push(`${name}: not of the size of Python's`);
        else values.forEach((value, i) => compared.note(Math.abs(value - table[name][i]), `${name} of picture ${picture}`)), tensors++;
      }
    }
    if (!(compared.value <= CLOSE)) found.push(`${compared.where} differs from Python by ${compared.value}`);

    const { image, label } = App.examples[5], names = Object.keys(Vit.SHAPES).filter((name) => !Vit.isGradient(name) && Vit.isGradient(Vit.gradientOf(name)));
    const settings = [Vit.RIGHT, ...Vit.SWITCHES.map((name) => ({ off: { [name]: true } }))];
    const tables = settings.map((options) => Vit.backward(Vit.forward(kept, image, label, options), options)), scratch = Vit.newTable();
    for (let n = 0; n < NUDGES; n++) {
      const options = settings[n % settings.length], name = names[n % names.length];
      const table = tables[n % settings.length], index = Math.floor(random() * table[name].length);
      const loss = (step) => Vit.forward(kept, image, label, { ...options, nudge: { name, index, h: step } }, scratch).loss[0];
      const slope = (h) => (loss(h) - loss(-h)) / (2 * h), extrapolated = (4 * slope(1e-4) - slope(2e-4)) / 3; // DIFF.1, DIFF.2
      nudged.note(Math.abs(extrapolated - table[Vit.gradientOf(name)][index]), `${name}, number ${index}, ${JSON.stringify(options.off)}`);
    }
    if (!(nudged.value <= 1e-8)) found.push(`${nudged.where}: a difference is ${nudged.value} away from the gradient`);

    for (const options of [...settings, ...Vit.MISTAKES.map((mistake) => ({ mistake, off: {} }))]) {
      const table = Vit.backward(Vit.forward(kept, image, label, options), options), all = options === Vit.RIGHT;
      for (const name in Vit.PRODUCER) for (let i = all ? 0 : Math.floor(random() * 5); i < table[name].length; i += all ? 1 : 5) {
        const explained = Explain.total(table, Explain.cell(name, unflat(i, table[name].shape), options));
        summed.note(Math.abs(explained - table[name][i]), `${name}, number ${i}, ${options.mistake || JSON.stringify(options.off)}`), cells++;
      }
    }
    if (!(summed.value <= CLOSE)) found.push(`${summed.where}: its terms are ${summed.value} away from it`);

    const first = App.examples[Object.keys(SELFTEST.tensors)[0]], right = Vit.backward(Vit.forward(kept, first.image, first.label));
    for (const mistake of Vit.MISTAKES) {
      const options = { mistake, off: {} }, wrong = Vit.backward(Vit.forward(kept, first.image, first.label, options), options);
      const here = Object.keys(Object.values(SELFTEST.tensors)[0]).filter((name) => right[name].some((value, i) => Math.abs(value - wrong[name][i]) > CLOSE));
      const there = SELFTEST.mistakes[mistake] || [];
      const odd = [...here.filter((name) => !there.includes(name)), ...there.filter((name) => !here.includes(name))];
      if (!here.length || odd.length) found.push(`${mistake}: here it spoils ${here.length} tensors, in Python ${there.length}; ${odd.slice(0, 3)}`);
    }
    return [found, `${tensors} tensors as in Python within ${compared.value.toExponential(1)}; ${NUDGES} nudges within ${nudged.value.toExponential(1)}; ${cells} sums within ${summed.value.toExponential(1)}; ${Vit.MISTAKES.length} mistakes spoil the same tensors`];
  }

  function tour() {
    const found = [], slow = worstOf(), clicks = { n: 0 }, query = (selector) => document.querySelector(selector);
    const act = (what, where) => {
      const start = performance.now();
      what();
      slow.note(performance.now() - start, where), clicks.n++;
    };
    const click = (selector) => { const at = query(selector); if (at) act(() => at.click(), selector); else found.push(`nothing to click at ${selector}`); };
    const press = (key, at = document.body) => act(() => at.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })), `key ${key}`);
    const state = () => JSON.stringify([App.state.t, App.state.c]);
    const tell = (bad, words) => bad && found.push(words);

    // Every tensor of the model, from the column on the left: a sum that adds up, a formula and a line.
    const seen = new Set(), every = innerWidth < 600 ? 7 : 1; // on a phone, some of them
    for (const block of [0, 1]) {
      App.go({ t: `block_${block}/x` });
      for (const [i, name] of [...document.querySelectorAll("#flow [data-t]")].map((button) => button.dataset.t).entries()) {
        if (seen.has(name)) continue;
        seen.add(name);
        if (i % every) continue;
        App.state.c = Vit.SHAPES[name].map((n) => Math.floor(random() * n));
        click(`#flow [data-t="${name}"]`);
        const explanation = Explain.cell(name, App.state.c), value = App.table[name][Explain.flat(name, App.state.c)];
        tell(App.state.t !== name, `${name} was clicked, ${App.state.t} is shown`);
        tell(!document.querySelector("#cell output").textContent.includes(Words.number(value)), `${name}: its value is not shown`);
        if (!explanation) continue;
        tell(document.querySelectorAll("#cell .terms li").length !== explanation.terms.length, `${name}: not all terms are shown`);
        tell(!query("#cell .formula math") || !query("#cell .source pre code")?.textContent.trim(), `${name}: no formula, or no line, for ${explanation.tag}`);
      }
    }
    const rest = Object.keys(Vit.SHAPES).filter((name) => !seen.has(name));
    tell(rest.length, `not in the column: ${rest}`);

    // Walking: from a pixel's gradient to the probabilities, always along the largest term.
    click('[data-start="0"]');
    for (let steps = 0; App.state.t !== "dlogits" && steps < 60; steps++) {
      const { terms } = Explain.cell(App.state.t, App.state.c), sizes = terms.map((term) => Math.abs(Explain.value(App.table, term)));
      const onwards = document.querySelectorAll("#cell .terms li")[sizes.indexOf(Math.max(...sizes))]?.querySelector(".t.b");
      if (!onwards) break;
      act(() => onwards.click(), "a term");
    }
    tell(App.state.t !== "dlogits", `the walk from a pixel ended at ${App.state.t}`);

    for (const n of document.querySelectorAll("[data-start]")) click(`[data-start="${n.dataset.start}"]`);
    App.go({ mistake: null, t: "block_0/k", c: [1, 3, 2] });
    const here = state();
    for (const key of ["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"]) press(key);
    tell(state() !== here, "the arrow keys do not lead round");
    press("g"), tell(App.state.t !== "block_0/dk", "g does not lead to the gradient");
    press("h"), tell(App.state.c[0] !== 2, "h does not lead to the next head");
    press("1"), tell(App.state.t !== "block_0/dscores", "1 does not follow the first factor");
    App.go({ t: "image" });
    let passed = 0;
    while (App.state.t !== "loss" && passed < 80) press("j"), passed++;
    tell(App.state.t !== "loss", `j ends at ${App.state.t}`);
    while (App.state.t !== "image" && passed < 160) press("k"), passed++;
    tell(App.state.t !== "image", `k ends at ${App.state.t}`);
    const unreachable = [...document.querySelectorAll("button, a, input, select, .map canvas, summary")].filter((at) => at.tabIndex < 0 && at.getAttribute("role") !== "tab" && !at.closest("#flow .t"));
    tell(unreachable.length, `the keyboard does not reach ${unreachable.map((at) => at.outerHTML.slice(0, 60))}`);

    const chips = [...document.querySelectorAll("#flow .t")], reached = new Set();
    query("#flow .chosen").focus();
    for (const key of ["ArrowUp", "ArrowDown"]) for (const _ of chips) reached.add(document.activeElement), document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    reached.add(document.activeElement);
    tell(!chips.every((chip) => reached.has(chip)), "the arrow keys do not reach every tensor of the column");

    // Experiments
    App.go({ t: "block_0/qkv/W", c: [3, 5] });
    click("#tab-nudge");
    const slider = query("#nudge-slider");
    for (const exponent of [-1, -6, -13]) slider.value = exponent, act(() => slider.dispatchEvent(new Event("input", { bubbles: true })), "the slider");
    click("#tab-mistake");
    for (const input of [...document.querySelectorAll("[name=mistake]")].reverse()) {
      act(() => { input.checked = true, input.dispatchEvent(new Event("input", { bubbles: true })); }, `mistake ${input.value}`);
      const marked = document.querySelectorAll("#flow .wrong").length;
      tell((marked > 0) !== (input.value !== "-1"), `mistake ${input.value}: ${marked} tensors are marked`);
    }
    click("#tab-off");
    for (const input of document.querySelectorAll("[name=off]")) for (const on of [true, false])
      act(() => { input.checked = on, input.dispatchEvent(new Event("input", { bubbles: true })); }, `switch ${input.value}`);
    click("#tab-predict");
    tell(!query("#cell output").textContent.includes("?"), "the number is not hidden from a prediction");
    query("#prediction").value = "1";
    act(() => query("#predict-form").requestSubmit(), "a prediction");
    tell(!query("#predict-verdict").textContent, "a prediction gets no verdict");
    click('[data-model="untrained"]'), click("#tab-step");
    const before = Vit.meanLoss(App.params, App.examples);
    click('[data-steps="1"]');
    tell(!(Vit.meanLoss(App.params, App.examples) < before), "a step does not lower the loss");
    click("#undo-steps"), click('[data-model="trained"]'), click('[data-img="2"]'), click("#draw-button"), click("#pad-clear"), click("#pad-close"), click('[data-img="5"]');

    // The address says it all
    App.go({ t: "block_1/dv", c: [2, 7, 1], mistake: Vit.MISTAKES[3], off: { norm: true }, img: 4 });
    App.writeAddress();
    const told = App.read(location.hash);
    tell(JSON.stringify([told.t, told.c, told.mistake, told.off, told.img]) !== JSON.stringify([App.state.t, App.state.c, App.state.mistake, App.state.off, App.state.img]), `the address ${location.hash} says something else`);
    App.go({ t: "dimage", c: [6, 9], mistake: null, off: {}, img: 5, tab: "nudge" });

    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    tell(wide > 0, `the page is ${wide} pixels too wide`);
    const foreign = performance.getEntriesByType("resource").map(({ name }) => name).filter((name) => !name.startsWith("file:") && !name.startsWith(location.origin));
    tell(foreign.length, `from elsewhere: ${foreign}`);
    return [found, `${clicks.n} actions on ${seen.size} tensors, the slowest ${slow.value.toFixed(0)} ms (${slow.where})`];
  }

  function report(title, run) {
    const start = performance.now();
    let found, words;
    try {
      [found, words] = run();
    } catch (error) {
      [found, words] = [[String(error.stack || error)], ""];
    }
    found.push(...errors.map((message) => `an error: ${message}`));
    const verdict = document.createElement("pre");
    verdict.id = "verdict", verdict.className = "error";
    verdict.textContent = found.length ? `${title} FAILED\n${found.slice(0, 20).join("\n")}` : `${title} OK: ${words}; ${((performance.now() - start) / 1000).toFixed(1)} s`;
    document.body.append(verdict);
    document.documentElement.dataset.verdict = found.length ? "failed" : "ok";
  }

  function begin(asked) {
    if (asked === "#tour") return report("TOUR", tour);
    const script = document.createElement("script");
    script.src = "selftest-data.js";
    script.onload = () => report("SELFTEST", engine);
    script.onerror = () => report("SELFTEST", () => [["selftest-data.js is missing"], ""]);
    document.body.append(script);
  }

  return { begin };
})();
