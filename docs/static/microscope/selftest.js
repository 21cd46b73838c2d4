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
      const loss = (step) => Vit.nudgedLoss(table, name, index, step, options, scratch);
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

    for (const [picture, spoils] of Object.entries(SELFTEST.mistakes)) for (const mistake of Vit.MISTAKES) {
      const subject = App.examples[picture], options = { mistake, off: {} };
      const right = Vit.backward(Vit.forward(kept, subject.image, subject.label)), wrong = Vit.backward(Vit.forward(kept, subject.image, subject.label, options), options);
      const here = Object.keys(SELFTEST.tensors[picture]).filter((name) => right[name].some((value, i) => Math.abs(value - wrong[name][i]) > CLOSE));
      const there = spoils[mistake] || [], odd = [...here.filter((name) => !there.includes(name)), ...there.filter((name) => !here.includes(name))];
      if (!here.length || odd.length) found.push(`${mistake}, picture ${picture}: here it spoils ${here.length} tensors, in Python ${there.length}; ${odd.slice(0, 3)}`);
    }
    return [found, `${tensors} tensors as in Python within ${compared.value.toExponential(1)}; ${NUDGES} nudges within ${nudged.value.toExponential(1)}; ${cells} sums within ${summed.value.toExponential(1)}; ${Vit.MISTAKES.length} mistakes spoil the same tensors in each picture`];
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

    const asked = () => [...document.querySelectorAll('[data-start][aria-pressed="true"]')].map((n) => n.dataset.start).join();
    App.go(App.read("#img=2&model=untrained&steps=sgd,0.05,2,3")), App.takeSteps(Infinity);
    for (const n of document.querySelectorAll("[data-start]")) {
      click(`[data-start="${n.dataset.start}"]`);
      tell(App.progress().taken !== 3 || App.state.model !== "untrained", `question ${n.dataset.start} drops the steps`);
      tell(asked() !== n.dataset.start, `of the questions, ${asked() || "none"} is marked, not ${n.dataset.start}`);
      App.go({ off: { norm: true } }), tell(asked(), `question ${asked()} is marked with something else switched off`);
    }
    App.go({ ...App.START });
    App.go({ ...App.START, t: "block_0/k", c: [1, 3, 2] });
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

    App.go({ ...App.START, t: "block_0/dk", c: [0, 7, 3] });
    for (const selector of ["#cell .terms a", '#cell [data-order="size"]', '#tensor-head [data-step="1"]', '#tensor-head [data-to-block="1"]', '#tensor-head [data-head="1"]', '#flow [data-block="0"]']) {
      query(selector).focus(), click(selector);
      tell(document.activeElement === document.body || !document.activeElement.isConnected, `the keyboard loses its place after ${selector}`);
      if (selector === "#cell .terms a") tell(!query("#cell").contains(document.activeElement), "the keyboard leaves the sum when a term is followed");
      App.go({ t: "block_0/dk", c: [0, 7, 3] });
    }

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
    const losses = () => [...document.querySelectorAll("#nudge-numbers tr")].slice(0, 2).map((line) => line.querySelector("td").textContent);
    Nudge.finish();
    tell(!query("#nudge-words").textContent || !query("#nudge-plot").textContent.includes("error"), "the axes of the plot have no names");
    slider.value = -12, slider.dispatchEvent(new Event("input", { bubbles: true }));
    tell(losses()[0] === losses()[1], "a nudge of 1e-12 does not show in the loss");
    App.lossWith = ((nudged) => (...all) => { App.lossWith = nudged; return App.table.loss[0]; })(App.lossWith), Nudge.update();
    tell(!losses()[1].includes("the same"), "it is not said that a nudge changes nothing");
    const heights = new Set([-14, -12.5, -9, -6, -3.25, 0].map((exponent) => (App.state.h = exponent, Nudge.update(), query("#panel").offsetHeight)));
    tell(heights.size > 1, `the experiment is ${[...heights]} high as the slider moves`);
    click("#tab-mistake");
    for (const input of [...document.querySelectorAll("[name=mistake]")].reverse()) {
      act(() => { input.checked = true, input.dispatchEvent(new Event("input", { bubbles: true })); }, `mistake ${input.value}`);
      const marked = document.querySelectorAll("#flow .wrong").length;
      tell((marked > 0) !== (input.value !== "-1"), `mistake ${input.value}: ${marked} tensors are marked`);
      if (input.value === "-1") continue;
      tell(!query("#maps .wrong"), `mistake ${input.value}: the page shows ${App.state.t}, which stays right`);
      const [wrong, right] = ["bad", "good"].map((kind) => document.querySelectorAll(`#mistake-count .lists > .${kind} .t`).length), gradients = Object.keys(Vit.PRODUCER).filter(Vit.isGradient).length;
      tell(!wrong || !right || wrong + right !== gradients, `mistake ${input.value}: ${wrong} wrong and ${right} right tensors are listed, of ${gradients}`);
    }
    App.go({ ...App.START, t: "dlogits", c: [0], tab: "mistake" });
    act(() => { const input = query('[name=mistake][value="0"]'); input.checked = true, input.dispatchEvent(new Event("input", { bubbles: true })); }, "a mistake");
    tell(App.state.t !== "dclass_x", `the first that a layer norm without its mean spoils is dclass_x, not ${App.state.t}`);
    App.go({ ...App.START }), click("#tab-off");
    for (const input of document.querySelectorAll("[name=off]")) for (const on of [true, false])
      act(() => { input.checked = on, input.dispatchEvent(new Event("input", { bubbles: true })); }, `switch ${input.value}`);
    click("#tab-predict");
    tell(!query("#cell output").textContent.includes("?"), "the number is not hidden from a prediction");
    for (const name of ["dlogits", "loss", "p", "log_p", "class_x", "block_1/dmixed", "block_1/hidden", "block_0/dx", "norm/rstd", "dimage"]) { // one term, or many
      App.go({ t: name, c: App.largest(name).index });
      const value = Words.number(App.table[name][Explain.flat(name, App.state.c)], 3), shown = ["#cell .number", "#cell .words", "#cell .total", "#maps .scale", "#loss"].map((at) => query(at)?.checkVisibility() ? query(at).textContent : "");
      if (Explain.cell(name, App.state.c).terms.length === 1) shown.push([...document.querySelectorAll("#cell .figures b")].map((at) => at.textContent).join());
      tell(shown.join(" ").includes(value), `${name}: ${value} is shown while it is to be predicted`);
      tell([...document.querySelectorAll("#maps .map")].some((map) => map.querySelector("canvas").dataset.name === name && map.querySelector(".largest")), `${name}: the largest is named while it is to be predicted`);
    }
    for (const [name, copied] of [["block_0/dx_skip", true], ["block_0/dx", false]]) App.go({ t: name, c: [0, 3] }), tell(query("#cell .words").textContent.includes("A copy") !== copied, `${name}: whether it is a copy`);
    query("#prediction").value = "1";
    act(() => query("#predict-form").requestSubmit(), "a prediction");
    tell(!query("#predict-verdict").textContent, "a prediction gets no verdict");
    click('[data-model="untrained"]'), click("#tab-step");
    const before = Vit.meanLoss(App.params, App.examples);
    query("#rule").value = "adamw", query("#rule").dispatchEvent(new Event("input", { bubbles: true }));
    click('[data-steps="1"]');
    tell(!(Vit.meanLoss(App.params, App.examples) < before), "a step does not lower the loss");
    click("#undo-steps"), click('[data-model="trained"]'), click('[data-img="2"]'), click("#draw-button"), click("#pad-clear");
    const blank = App.state.drawn;
    query("#pad").focus();
    for (const key of ["ArrowLeft", "ArrowUp", " "]) press(key, query("#pad"));
    tell(!blank || App.state.drawn === blank || App.state.drawn[7 * 16 + 7] !== "e", "the keyboard does not draw");
    click("#pad-close"), click('[data-img="5"]');

    // The address says it all: what is seen, and what was done to the parameters
    const params = () => JSON.stringify(Vit.PARAMETERS.map((name) => [...App.params[name]]));
    const again = (what) => { // what is seen from the address alone
      App.writeAddress();
      const address = location.hash, seen = [params(), App.table.loss[0], state(), JSON.stringify([App.state.mistake, App.state.off, App.state.img, App.state.h, App.state.drawn, App.state.label])].join("\n");
      App.go({ ...App.START }, { replace: true });
      App.go(App.read(address), { replace: true });
      App.takeSteps(Infinity);
      const restored = [params(), App.table.loss[0], state(), JSON.stringify([App.state.mistake, App.state.off, App.state.img, App.state.h, App.state.drawn, App.state.label])].join("\n");
      tell(restored !== seen, `${what}: the address ${address} gives something else`);
      App.writeAddress();
      tell(location.hash !== address, `${what}: the address ${address} becomes ${location.hash}`);
    };
    const choose = (selector, value) => { query(selector).value = value, query(selector).dispatchEvent(new Event("input", { bubbles: true })); };
    App.go({ t: "block_1/dv", c: [2, 7, 1], mistake: Vit.MISTAKES[3], off: { norm: true }, img: 4, h: -6.25 });
    again("a mistake and a switch");
    App.go({ ...App.START, t: "block_0/dk", c: [0, 7, 3], model: "untrained", tab: "step" });
    choose("#on", "all"), choose("#rule", "adamw");
    for (let n = 0; n < 3; n++) click('[data-steps="1"]');
    choose("#rule", "sgd"), choose("#rate", "0,02"), click('[data-steps="1"]');
    App.go({ off: { positions: true }, mistake: Vit.MISTAKES[1] }), choose("#on", "one"), click('[data-steps="1"]');
    App.go({ off: {}, mistake: null, drawn: "0123456789abcdef".repeat(16), label: 4 }), click('[data-steps="1"]'), click('[data-steps="1"]');
    tell(App.progress().taken !== 7 || App.state.steps.length !== 4, `${App.progress().taken} steps in ${App.state.steps.length} runs, not 7 in 4`);
    again("steps");
    App.go({ steps: [] });
    const undone = params();
    App.reload(), tell(undone !== params(), "to start over does not lead to the parameters that were kept");
    App.go(App.read("#tab=step&steps=adamw,0.003,all,200"));
    tell(!App.progress().working || App.progress().taken >= 200 || !query("#cell output").textContent, "200 steps hold the page up");
    App.go({ t: "block_1/dq" }), tell(App.state.t !== "block_1/dq" || !App.progress().working, "one cannot look round while steps are taken");
    App.go({ steps: [] }), tell(App.progress().working, "start over does not end the steps");
    App.go(App.read("#tab=step&steps=sgd,0.05,all,999999999")), tell(App.progress().asked !== App.MOST_STEPS, "an address can ask for any number of steps");
    for (const run of ["sgd,100,all,60", "sgd,100,all,60,,norm", "adamw,100,2,60,,residual+norm"]) {
      App.go(App.read(`#tab=step&steps=${run}`)), App.takeSteps(Infinity);
      tell(!App.diverged || App.progress().taken >= 60 || !Number.isFinite(App.table.loss[0]) || /NaN|Infinity|undefined/.test(query("main").innerHTML), `${run}: too large a rate is not noticed`);
    }
    for (const address of ["#t=constructor", "#t=loss&c=9", "#t=image&c=0.5,2", "#img=length", "#img=-1", "#mistake=length&off=constructor", "#tab=toString", "#h=x", "#h=-99", "#drawn=zz", "#steps=sgd,0,all,1",
      "#steps=adam,1,all,1", "#steps=sgd,1,99,1", "#steps=sgd,1,all,-3", "#steps=;,;", "#steps=sgd,1e999,all,2", "#=&&=#"]) {
      App.go(App.read(address), { replace: true });
      tell(!(App.table.loss[0] > 0) || App.state.steps.length || !query("#cell output").textContent, `${address} leads nowhere`);
    }
    App.go({ ...App.START, tab: "step" }), choose("#rule", "sgd"), choose("#on", "all"), choose("#rate", "0"), click('[data-steps="1"]');
    tell(App.state.steps.length || !query("#steps-told").textContent.includes("rate"), "a rate of 0 is taken");

    let copied = "";
    Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true });
    for (const may of [true, false]) {
      document.execCommand = () => ((copied = document.activeElement.value), may);
      App.go({ ...App.START, t: "block_1/dq", img: 3 }), click("#copy-address");
      tell(copied !== location.href || !copied.includes("t=block_1/dq") || query("#copy-address").textContent.includes("copied") !== may, `the address is ${may ? "not copied" : "said to be copied"}`);
    }
    delete navigator.clipboard, delete document.execCommand;
    App.go({ ...App.START, tab: "step" }), choose("#rate", "0.05"), click('[data-steps="10"]'), App.takeSteps(Infinity);
    tell(App.progress().taken !== 10, "10 steps are not taken");

    // How much is done for an action, whatever the machine: passes of the model, and numbers drawn
    const work = { passes: 0, drawn: 0 }, { forward, backward, nudgedLoss } = Vit, { fillText } = CanvasRenderingContext2D.prototype;
    Vit.forward = (...all) => (work.passes++, forward(...all)), Vit.backward = (...all) => (work.passes++, backward(...all)), Vit.nudgedLoss = (...all) => (work.passes++, nudgedLoss(...all));
    CanvasRenderingContext2D.prototype.fillText = function draw(...all) { work.drawn++, fillText.apply(this, all); };
    const cost = (words, passes, drawn, what) => {
      Object.assign(work, { passes: 0, drawn: 0 });
      what();
      tell(work.passes > passes || work.drawn > drawn, `${words}: ${work.passes} passes and ${work.drawn} numbers drawn, more than ${passes} and ${drawn}`);
    };
    App.go({ ...App.START, t: "block_0/weights", c: [0, 3, 3] });
    cost("an arrow", 2, 0, () => press("ArrowDown"));
    cost("a cell", 2, 0, () => App.go({ t: "block_0/weights", c: [0, 9, 9] }));
    cost("a tensor", 2, 1300, () => App.go({ t: "block_0/qkv" }));
    cost("the slider", 2, 0, () => choose("#nudge-slider", -5));
    cost("a picture", 4, 1300, () => click('[data-img="3"]'));
    click("#tab-mistake");
    cost("a mistake", 4, 1300, () => App.go({ mistake: Vit.MISTAKES[0] }));
    cost("a tensor, with a mistake", 0, 1300, () => App.go({ t: "block_0/dk" }));
    App.go({ mistake: null }), click("#tab-off");
    cost("a switch", 4, 1300, () => App.go({ off: { attention: true } }));
    App.go({ off: {} }), click("#tab-step"), choose("#rate", "0.05");
    cost("a step", 3 * App.examples.length + 2, 1300, () => click('[data-steps="1"]'));
    Object.assign(Vit, { forward, backward, nudgedLoss }), (CanvasRenderingContext2D.prototype.fillText = fillText);

    // Beside each map its numbers, and the way to the largest
    for (const name of ["image", "block_0/weights", "block_1/gelu/slope", "norm/mean", "loss"]) {
      App.go({ ...App.START, t: name, c: Vit.SHAPES[name].map(() => 0) });
      for (const part of document.querySelectorAll("#maps .map")) {
        const { name: shown } = part.querySelector("canvas").dataset, cells = Vit.SHAPES[shown].slice(-2).reduce((a, b) => a * b, 1);
        part.querySelector("details").open = true, part.querySelector("details").dispatchEvent(new Event("toggle"));
        tell(part.querySelectorAll(".numbers td").length !== cells, `${shown}: its table does not have ${cells} numbers`);
        const largest = part.querySelector(".largest");
        if (largest) largest.click(), tell(Math.abs(App.table[shown][Explain.flat(shown, App.state.c)]) !== Math.max(...App.table[shown].map(Math.abs)), `${shown}: ${largest.textContent} is not the largest`);
      }
    }
    App.go({ ...App.START });
    for (const [name, says] of [["block_1/dscores", true], ["block_1/dq", true], ["final/dx", true], ["block_1/dk", false], ["target", false]]) { // where the cell would be a zero
      App.go({ ...App.START }), App.follow({ t: name });
      tell(App.table[name][Explain.flat(name, App.state.c)] === 0, `${name} opens at a zero`);
      tell(query("#maps").textContent.includes(Words.ALONE) !== says, `${name}: it is ${says ? "not " : ""}said that only the class token is read`);
    }
    App.go({ t: "block_1/dscores", c: [0, 9, 0] });
    tell(App.state.c[1] !== 9 || !query("#cell .words").textContent.includes(Words.ALONE), "a zero of dscores is not explained");
    App.go({ t: "block_1/scores", c: [0, 9, 0] }), press("g");
    tell(App.state.c.join() !== "0,9,0", "g leads to another cell");
    App.go({ ...App.START, t: "block_0/dk", c: [0, 7, 3] }), App.follow({ t: "block_0/q" });
    tell(App.state.c.join() !== "0,7,3", "a cell that is not zero is not kept");
    App.go({ ...App.START });
    for (const [name, narrow] of [["block_0/dx", true], ["block_0/da", true], ["log_p", false]]) for (const x of App.table[name])
      tell(!Words.short(x, narrow) || (Words.short(x, narrow) === Words.ROUNDED && x === 0), `${name}: ${x} is an empty cell`);
    App.go({ ...App.START, t: "block_0/dx", c: [0, 3], img: 3 });
    tell(innerWidth > 600 && !query("#maps").textContent.includes(`${Words.ROUNDED}: less than`), "it is not said what 0.0 stands for");
    for (const name of Object.keys(Vit.PRODUCER)) {
      App.go({ t: name, c: Vit.SHAPES[name].map(() => 0) });
      const [code, formula] = ["pre", ".formula"].map((at) => query(`#cell .source ${at}`));
      tell(code.scrollWidth > code.clientWidth, `${name}: its lines are cut off`);
      tell(formula.scrollWidth > formula.clientWidth && (formula.tabIndex < 0 || formula.offsetHeight - formula.clientHeight < 6), `${name}: its formula is cut off, with no scroll bar`);
    }
    for (const name of ["dk", "scores", "dq"]) App.go({ t: `block_0/${name}` }), tell(!query("#cell .source .notation").textContent.includes("/√K"), `${name}: where 1/√K is, is not said`);
    App.go({ ...App.START });

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
