/* What is being looked at, and all numbers that belong to it. address.js writes the state into the address and reads it
   there; steps.js takes the steps of training that it asks for. */

const App = (() => {
  "use strict";

  const START = { img: 5, model: "trained", t: "dimage", c: [9, 0], mistake: null, off: {}, tab: "nudge", h: -3, steps: [], drawn: null, label: 0, answered: "" };
  const state = { ...START, c: [...START.c] };
  const app = { START, state, params: null, table: null, right: null, examples: [], renderers: [], moves: 0, version: 0 };

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  function unpack(text) {
    const numbers = Float64Array.from(new Float32Array(bytes(text).buffer)), params = {};
    let start = 0;
    for (const name of Vit.PARAMETERS) {
      const size = Vit.SHAPES[name].reduce((a, b) => a * b, 1);
      params[name] = numbers.slice(start, start + size);
      start += size;
    }
    return params;
  }

  const normalized = (pixels) => Float64Array.from(pixels, (pixel) => (pixel / 255 - DATA.mean) / DATA.std);
  const greys = (drawn) => Uint8Array.from(drawn, (digit) => parseInt(digit, 16) * 17);

  app.pixels = () => (state.drawn ? greys(state.drawn) : DATA.pixels[state.img]);
  app.drawnExample = (drawn, label) => ({ image: normalized(greys(drawn)), label });
  app.example = () => (state.drawn ? app.drawnExample(state.drawn, state.label) : app.examples[state.img]);
  app.options = () => ({ mistake: state.mistake, off: state.off });
  app.altered = () => Vit.SWITCHES.some((name) => state.off[name]);

  app.reload = () => { // the parameters, as they were kept
    app.params = unpack(DATA[state.model]);
    app.restartSteps();
  };

  /* The tables are made once. What is made from them is kept until they are computed again. */
  const tables = {}, made = new Map();
  const table = (key) => (tables[key] ||= Vit.newTable());
  const once = (key, make) => (made.has(key) || made.set(key, make()), made.get(key));
  const run = (key, options) => Vit.backward(Vit.forward(app.params, app.example().image, app.example().label, options, table(key)), options);

  app.compute = () => {
    const options = app.options();
    app.version += 1, made.clear();
    app.table = run("shown", options);
    app.right = state.mistake ? run("right", { ...options, mistake: null }) : null;
  };

  /* All numbers with nothing switched off and no mistake. */
  app.whole = () => once("whole", () => run("whole", Vit.RIGHT));

  app.lossWith = (name, index, h) => Vit.nudgedLoss(app.table, name, index, h, app.options(), table("nudged"));

  /* The names of the gradients that the planted mistake has spoiled. */
  app.spoiled = () => once("spoiled", () => new Set(app.right
    ? Object.keys(app.table).filter((name) => app.table[name].some((value, i) => Math.abs(value - app.right[name][i]) > 1e-12)) : []));

  /* The place of the largest number of a tensor, whatever its sign, as {flat, index, value}. */
  app.largest = (name) => once(`largest ${name}`, () => {
    const data = app.table[name], shape = Vit.SHAPES[name];
    let flat = 0;
    for (let i = 1; i < data.length; i++) if (Math.abs(data[i]) > Math.abs(data[flat])) flat = i;
    return { flat, value: data[flat], index: shape.reduceRight(([rest, index], n) => [Math.floor(rest / n), [rest % n, ...index]], [flat, []])[1] };
  });

  /* Whether row 0, the class token's, is the only one that is not zero. */
  app.rowAlone = (name) => once(`alone ${name}`, () => {
    const [rows, columns] = Vit.SHAPES[name].slice(-2), any = (test) => app.table[name].some((x, i) => x !== 0 && test(Math.floor(i / columns) % rows));
    return Vit.isGradient(name) && rows === Vit.S.N && any((row) => row === 0) && !any((row) => row > 0);
  });

  app.valueOf = (name) => (Vit.isGradient(name) ? Object.keys(Vit.SHAPES).find((other) => Vit.gradientOf(other) === name && !Vit.isGradient(other)) || null : name);
  const values = {};
  app.pairOf = (name) => { // the value and the gradient that belong together; either can be null
    if (!(name in values)) {
      const value = app.valueOf(name), gradient = value && Vit.isGradient(Vit.gradientOf(value)) ? Vit.gradientOf(value) : Vit.isGradient(name) ? name : null;
      values[name] = { value, gradient };
    }
    return values[name];
  };

  app.fits = (name, index) => index.length === Vit.SHAPES[name].length && index.every((i, axis) => Number.isInteger(i) && i >= 0 && i < Vit.SHAPES[name][axis]);

  /* The cell of another tensor that is nearest to the one that was looked at. */
  app.nearest = (name, index) => {
    const shape = Vit.SHAPES[name], padded = [...Array(Math.max(0, shape.length - index.length)).fill(0), ...index].slice(-shape.length);
    return padded.map((i, axis) => Math.min(i, shape[axis] - 1));
  };

  /* Takes over a change of the state. Where it names a tensor and no cell, the cell stays if its number is not zero;
     else it is the one that is largest in absolute value. */
  app.go = (change, { replace = false } = {}) => {
    const before = { ...state };
    Object.assign(state, change);
    if (!app.fits(state.t, state.c)) state.c = app.nearest(state.t, state.c);
    if (state.model !== before.model && !change.steps) state.steps = [];
    const again = !app.table || state.model !== before.model || !app.continues(before.steps, state.steps);
    if (again) app.reload();
    if (again || ["img", "mistake", "off", "drawn", "label"].some((key) => state[key] !== before[key])) app.compute();
    if (change.t && !change.c && app.table[state.t][Explain.flat(state.t, state.c)] === 0) state.c = app.largest(state.t).index;
    app.noteAddress(!replace);
    if (!app.takeSteps()) app.render();
  };

  /* To what a link names: its tensor, and its cell, as text, if it names one. */
  app.follow = ({ t, c }) => app.go(c ? { t, c: c.split(",").map(Number) } : { t });

  /* Whether the number of the selected cell waits for a prediction. */
  app.hidden = () => state.tab === "predict" && state.answered !== app.here();
  app.here = () => `${state.t} ${state.c} ${state.img} ${state.model}`;

  app.render = () => app.renderers.forEach((render) => render());

  app.begin = () => {
    DATA.pixels = DATA.images.map(bytes);
    app.examples = DATA.pixels.map((pixels, i) => ({ image: normalized(pixels), label: DATA.labels[i] }));
  };

  app.bytes = bytes;
  return app;
})();
