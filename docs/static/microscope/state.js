/* What is being looked at, and all numbers that belong to it. The address holds the state, so that it can be sent. */

const App = (() => {
  "use strict";

  const START = { img: 5, model: "trained", t: "dimage", c: [6, 9], mistake: null, off: {}, tab: "nudge", drawn: null, label: 0, answered: "" };
  const state = { ...START, c: [...START.c] };
  const app = { state, params: null, table: null, right: null, examples: [], steps: 0, curve: [], adam: {}, renderers: [], moves: 0 };

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

  app.pixels = () => (state.drawn ? Uint8Array.from(state.drawn, (digit) => parseInt(digit, 16) * 17) : DATA.pixels[state.img]);
  app.example = () => (state.drawn ? { image: normalized(app.pixels()), label: state.label } : app.examples[state.img]);
  app.options = () => ({ mistake: state.mistake, off: state.off, nudge: null });

  app.reload = () => { // the parameters, as they were kept
    app.params = unpack(DATA[state.model]);
    app.steps = 0, app.curve = [], app.adam = {};
  };

  app.compute = () => {
    const { image, label } = app.example(), options = app.options();
    app.table = Vit.backward(Vit.forward(app.params, image, label, options, app.table || Vit.newTable()), options);
    app.right = null;
    if (state.mistake) {
      const without = { ...options, mistake: null };
      app.right = Vit.backward(Vit.forward(app.params, image, label, without), without);
    }
  };

  const scratch = Vit.newTable();
  app.lossWith = (nudge) => Vit.forward(app.params, app.example().image, app.example().label, { ...app.options(), nudge }, scratch).loss[0];

  /* The names of the gradients that the planted mistake has spoiled. */
  app.spoiled = () => {
    if (!app.right) return new Set();
    return new Set(Object.keys(app.table).filter((name) => app.table[name].some((value, i) => Math.abs(value - app.right[name][i]) > 1e-12)));
  };

  app.valueOf = (name) => (Vit.isGradient(name) ? Object.keys(Vit.SHAPES).find((other) => Vit.gradientOf(other) === name && !Vit.isGradient(other)) || null : name);
  const values = {};
  app.pairOf = (name) => { // the value and the gradient that belong together; either can be null
    if (!(name in values)) {
      const value = app.valueOf(name), gradient = value && Vit.isGradient(Vit.gradientOf(value)) ? Vit.gradientOf(value) : Vit.isGradient(name) ? name : null;
      values[name] = { value, gradient };
    }
    return values[name];
  };

  const fits = (name, index) => index.length === Vit.SHAPES[name].length && index.every((i, axis) => i >= 0 && i < Vit.SHAPES[name][axis]);

  /* The cell of another tensor that is nearest to the one that was looked at. */
  app.nearest = (name, index) => {
    const shape = Vit.SHAPES[name], padded = [...Array(Math.max(0, shape.length - index.length)).fill(0), ...index].slice(-shape.length);
    return padded.map((i, axis) => Math.min(i, shape[axis] - 1));
  };

  app.go = (change, { replace = false, compute = true } = {}) => {
    const before = { ...state };
    Object.assign(state, change);
    if (!fits(state.t, state.c)) state.c = app.nearest(state.t, state.c);
    if (state.model !== before.model) app.reload();
    const needed = compute && ["img", "model", "mistake", "off", "drawn", "label"].some((key) => state[key] !== before[key]);
    if (needed || !app.table) app.compute();
    pushing ||= !replace;
    clearTimeout(writing);
    writing = setTimeout(app.writeAddress, 80); // browsers refuse to write it hundreds of times in a row
    app.render();
  };

  let writing = 0, pushing = false;
  app.writeAddress = () => {
    const address = "#" + write();
    clearTimeout(writing);
    if (address !== location.hash) history[pushing ? "pushState" : "replaceState"](null, "", address), (app.moves += pushing ? 1 : 0);
    pushing = false;
  };

  /* Whether the number of the selected cell waits for a prediction. */
  app.hidden = () => state.tab === "predict" && state.answered !== app.here();
  app.here = () => `${state.t} ${state.c} ${state.img} ${state.model}`;

  app.render = () => app.renderers.forEach((render) => render());

  function write() {
    const parts = [`t=${state.t}`, `c=${state.c.join(",")}`];
    if (state.drawn) parts.push(`drawn=${state.drawn}`, `label=${state.label}`);
    else parts.push(`img=${state.img}`);
    if (state.model !== "trained") parts.push(`model=${state.model}`);
    if (state.mistake) parts.push(`mistake=${Vit.MISTAKES.indexOf(state.mistake)}`);
    const off = Vit.SWITCHES.filter((name) => state.off[name]);
    if (off.length) parts.push(`off=${off.join(",")}`);
    if (state.tab !== START.tab) parts.push(`tab=${state.tab}`);
    return parts.join("&");
  }

  app.read = (hash) => { // the state that an address asks for; what it does not understand is as at the start
    const asked = Object.fromEntries(hash.replace(/^#/, "").split("&").map((part) => part.split("=")));
    const wanted = { ...START, c: [...START.c] };
    if (asked.t in Vit.SHAPES) wanted.t = asked.t, wanted.c = app.nearest(asked.t, []);
    const index = (asked.c || "").split(",").map(Number);
    if (asked.c && fits(wanted.t, index)) wanted.c = index;
    if (app.examples[asked.img]) wanted.img = Number(asked.img);
    if (/^[0-9a-f]{256}$/.test(asked.drawn || "")) wanted.drawn = asked.drawn, wanted.label = Math.min(Number(asked.label) || 0, Vit.S.C - 1);
    if (asked.model === "untrained") wanted.model = "untrained";
    wanted.mistake = Vit.MISTAKES[asked.mistake] || null;
    for (const name of (asked.off || "").split(",")) if (Vit.SWITCHES.includes(name)) wanted.off = { ...wanted.off, [name]: true };
    if (asked.tab) wanted.tab = asked.tab;
    return wanted;
  };

  app.begin = () => {
    DATA.pixels = DATA.images.map(bytes);
    app.examples = DATA.pixels.map((pixels, i) => ({ image: normalized(pixels), label: DATA.labels[i] }));
    app.reload();
  };

  app.bytes = bytes;
  return app;
})();
