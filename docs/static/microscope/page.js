/* The rest of the page: pictures, what the model says, the first steps, keys, the address. */

(() => {
  "use strict";

  const get = (id) => document.getElementById(id);
  if (typeof DATA === "undefined") {
    get("missing").hidden = false;
    return;
  }

  const STARTS = [
    ["Which pixels matter?", "the gradient of every pixel", { t: "dimage", c: [9, 0] }],
    ["Where does it look?", "the class token's attention", { t: "block_1/weights", c: [1, 0, 10] }],
    ["What is dk made of?", "17 terms, each one a link", { t: "block_0/dk", c: [0, 7, 3] }],
    ["Is this gradient right?", "nudge a weight, watch the loss", { t: "block_0/qkv/W", c: [3, 5], tab: "nudge" }],
    ["What does a bug spoil?", "leave out a term of layer norm", { t: "dclass_x", c: [4], tab: "mistake", mistake: Vit.MISTAKES[0] }],
    ["What do residuals do?", "switch them off, see gradients", { t: "block_0/dx", c: [0, 3], img: 3, tab: "off", off: { residual: true } }],
  ];

  function paintPicture(canvas, pixels, side) {
    canvas.width = canvas.height = 16 * side;
    const pen = canvas.getContext("2d");
    pixels.forEach((grey, i) => { pen.fillStyle = `rgb(${grey},${grey},${grey})`, pen.fillRect((i % 16) * side, Math.floor(i / 16) * side, side, side); });
  }

  function buildPictures() {
    DATA.images.forEach((_, i) => {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      button.type = "button", button.dataset.img = i, button.title = DATA.classes[DATA.labels[i]];
      button.setAttribute("aria-label", `picture ${i + 1}, a ${DATA.classes[DATA.labels[i]]}`);
      paintPicture(canvas, DATA.pixels[i], 2);
      button.append(canvas);
      get("thumbs").append(button);
    });
    get("thumbs").addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) App.go({ img: Number(button.dataset.img), drawn: null });
    });
    get("drawn-label").innerHTML = DATA.classes.map((name, i) => `<option value="${i}">${name}</option>`).join("");
  }

  function buildStarts() {
    get("starts").innerHTML = STARTS.map(([title, note], i) => `<li><button type="button" data-start="${i}"><b>${title}</b><span>${note}</span></button></li>`).join("");
    get("starts").addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      const asked = STARTS[button.dataset.start][2], narrow = matchMedia("(max-width: 60rem)").matches;
      const { model, steps, drawn, label, img } = App.state; // a question is about the model that one has
      App.go({ ...App.START, model, steps, drawn, label, img, ...asked, ...("img" in asked ? { drawn: null } : {}) });
      if (asked.tab) get("experiments").scrollIntoView({ block: narrow ? "start" : "nearest" }); // what the question is about
      else if (narrow) document.querySelector(".tensor").scrollIntoView({ block: "start" });
    });
  }

  function renderSubject() {
    const { img, model, drawn, label } = App.state, { taken } = App.progress(), { p, loss } = App.table, answer = p.indexOf(Math.max(...p)), right = App.example().label;
    for (const button of get("thumbs").children) button.setAttribute("aria-pressed", !drawn && Number(button.dataset.img) === img);
    for (const button of document.querySelectorAll("[data-model]")) button.setAttribute("aria-pressed", button.dataset.model === model), (button.textContent = button.dataset.model + (button.dataset.model === model && taken ? ` + ${taken} step${taken > 1 ? "s" : ""}` : ""));
    get("draw-button").setAttribute("aria-pressed", Boolean(drawn));
    const told = App.hidden() && ["p", "log_p", "loss"].includes(App.state.t); // what is to be predicted stands here
    get("loss").closest(".loss").hidden = told;
    const wrong = answer !== right ? `, but it is a <b>${DATA.classes[right]}</b> (${percent(p[right])})` : ", and is right";
    get("verdict-line").innerHTML = told ? "What it says is hidden until you have predicted." : `<span>Says <b>${DATA.classes[answer]}</b> (${percent(p[answer])})${wrong}.</span><span class="bars" aria-hidden="true">${
      [...p].map((share, c) => `<i title="${DATA.classes[c]} ${percent(share)}" class="${c === right ? "right" : ""}"><i style="height:${(100 * share).toFixed(1)}%"></i></i>`).join("")}</span>`;
    get("loss").textContent = Words.number(loss[0]);
    get("drawn-label").value = label;
    for (const button of get("starts").querySelectorAll("button")) button.setAttribute("aria-pressed", isAsked(STARTS[button.dataset.start][2]));
  }

  /* Whether a question is still what is being looked at. Its cell may be another: one is told to click. */
  function isAsked({ c, ...asked }) {
    const { t, tab, mistake, off, img, drawn } = { ...App.START, ...asked }, now = App.state;
    return now.t === t && now.tab === tab && now.mistake === mistake && Vit.SWITCHES.every((name) => Boolean(now.off[name]) === Boolean(off[name]))
      && (!("img" in asked) || (now.img === img && now.drawn === drawn));
  }

  const percent = (share) => `${Math.round(100 * share)}%`;

  // Drawing

  const pad = get("pad");
  let canvasPixels = new Float64Array(256), brush = [8, 8]; // where the arrow keys have led: column, row

  function paintPad() {
    paintPicture(pad, Array.from(canvasPixels, (x) => Math.round(x / 17) * 17), 16);
    if (document.activeElement !== pad) return;
    const pen = pad.getContext("2d");
    pen.strokeStyle = "#ff9a2e", pen.lineWidth = 2, pen.strokeRect(brush[0] * 16 + 1, brush[1] * 16 + 1, 14, 14);
  }

  const strokeAt = ({ clientX, clientY }) => {
    const box = pad.getBoundingClientRect();
    stroke((clientX - box.left) / box.width * 16, (clientY - box.top) / box.height * 16);
  };

  function stroke(x, y) {
    for (let row = 0; row < 16; row++) for (let column = 0; column < 16; column++) {
      const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y), bright = 235 * Math.max(0, Math.min(1, 1.9 - distance));
      canvasPixels[row * 16 + column] = Math.max(canvasPixels[row * 16 + column], bright);
    }
    paintPad();
    useDrawing();
  }

  function useDrawing() {
    App.go({ drawn: Array.from(canvasPixels, (x) => Math.round(x / 17).toString(16)).join("") }, { replace: true });
  }

  function clearPad() {
    canvasPixels = new Float64Array(256).fill(85);
    paintPad();
    useDrawing();
  }

  get("draw-button").addEventListener("click", () => {
    const open = get("drawing").hidden;
    get("drawing").hidden = !open;
    if (open && !App.state.drawn) clearPad();
    else if (open) (canvasPixels = Float64Array.from(App.pixels())), paintPad();
  });
  pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId), strokeAt(event); });
  pad.addEventListener("pointermove", (event) => event.buttons && strokeAt(event));
  pad.addEventListener("keydown", (event) => {
    const by = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (by) brush = brush.map((place, axis) => Math.max(0, Math.min(15, place + by[axis]))), paintPad();
    else if (event.key === " ") stroke(brush[0] + 0.5, brush[1] + 0.5);
    else return;
    event.preventDefault(), event.stopPropagation();
  });
  for (const change of ["focus", "blur"]) pad.addEventListener(change, paintPad);
  get("pad-clear").addEventListener("click", clearPad);
  get("pad-close").addEventListener("click", () => { get("drawing").hidden = true; });
  get("drawn-label").addEventListener("input", ({ target }) => App.go({ label: Number(target.value) }));
  document.querySelectorAll("[data-model]").forEach((button) => button.addEventListener("click", () => App.go({ model: button.dataset.model })));

  // Keys

  get("keys-button").addEventListener("click", () => {
    get("keys").hidden = !get("keys").hidden;
    get("keys-button").setAttribute("aria-expanded", !get("keys").hidden);
  });

  // The address, to be handed on. A page that is opened as a file may not have navigator.clipboard.

  function toldCopied(done) {
    const button = get("copy-address");
    button.textContent = done ? "copied ✓" : "copy it above"; // from the line of the browser
    get("live").textContent = done ? "The address is copied." : "The browser does not let this page copy: take the address from its line.";
    setTimeout(() => { button.textContent = "copy address"; }, 2000);
  }

  function copyByHand() {
    const text = document.createElement("textarea"), focused = document.activeElement;
    text.value = location.href, text.className = "unseen";
    document.body.append(text), text.select();
    const done = document.execCommand("copy");
    text.remove(), focused?.focus();
    toldCopied(done);
  }

  get("copy-address").addEventListener("click", () => {
    App.writeAddress();
    if (navigator.clipboard) navigator.clipboard.writeText(location.href).then(() => toldCopied(true), copyByHand);
    else copyByHand();
  });

  App.step = (by) => { // to the next tensor of the forward pass, or the one before
    const { t } = App.state, { value, gradient } = App.pairOf(t), backward = t === gradient;
    let order = App.order(), at = order.indexOf(value || "");
    const block = /^block_(\d)/.exec(t);
    if (at < 0) at = order.indexOf(block ? `block_${block[1]}/x` : "image");
    let next = order[at + by];
    if (by > 0 && block && next === "final/x" && Number(block[1]) + 1 < Vit.S.blocks) next = `block_${Number(block[1]) + 1}/x`;
    if (by > 0 && !block && next && next.startsWith("block_")) next = "block_0/x";
    if (by < 0 && block && Number(block[1]) > 0 && next === "tokens") next = `block_${Number(block[1]) - 1}/ffn`;
    if (by < 0 && !block && next && next.startsWith("block_")) next = `block_${Vit.S.blocks - 1}/ffn`;
    if (!next) return;
    const pair = App.pairOf(next);
    App.go({ t: backward && pair.gradient ? pair.gradient : next });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const { value, gradient } = App.pairOf(App.state.t), shape = Vit.SHAPES[App.state.t];
    if (arrows) Maps.move(...arrows);
    else if (event.key === "j") App.step(1);
    else if (event.key === "k") App.step(-1);
    else if (event.key === "g" && value && gradient) App.go({ t: App.state.t === value ? gradient : value, c: App.state.c });
    else if (event.key === "h" && shape.length === 3) App.go({ c: [(App.state.c[0] + 1) % shape[0], ...App.state.c.slice(1)] });
    else if (/^[1-9]$/.test(event.key)) App.followTerm(Number(event.key) - 1);
    else if (event.key === "Backspace") App.writeAddress(), App.moves > 0 && (App.moves--, history.back());
    else return;
    event.preventDefault();
  });

  window.addEventListener("popstate", () => App.go(App.read(location.hash), { replace: true }));

  App.begin();
  buildPictures();
  buildStarts();
  App.renderers.push(renderSubject);
  const asked = location.hash;
  App.go({ ...App.read(asked) }, { replace: true });
  if (asked === "#selftest" || asked === "#tour") window.addEventListener("DOMContentLoaded", () => Selftest.begin(asked));
})();
