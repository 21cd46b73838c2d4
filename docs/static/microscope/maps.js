/* The middle column: the tensor as heat maps, its value and its gradient, with a cell that is selected. */

const Maps = (() => {
  "use strict";

  const head = document.getElementById("tensor-head"), maps = document.getElementById("maps");
  const LABEL = 20; // pixels for the numbers of rows and columns
  const S16 = Vit.S.side;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  /* The colours of the page, read once. Blue below zero, orange above, and the paper's colour at zero: differences that
     colour-blind readers see. */
  let paper = null;
  function palette() {
    if (paper) return paper;
    const style = getComputedStyle(document.body), read = (name) => style.getPropertyValue(name);
    return (paper = {
      font: style.fontFamily, grey: read("--grey"), ink: read("--ink"), forward: read("--forward"), backward: read("--backward"),
      zero: dark.matches ? [29, 33, 39] : [255, 255, 255],
      low: dark.matches ? [88, 166, 255] : [23, 92, 163], high: dark.matches ? [255, 166, 77] : [214, 102, 8],
    });
  }

  function colour(x, limit) {
    const t = limit > 0 ? Math.max(-1, Math.min(1, x / limit)) : 0, strength = Math.abs(t) ** 0.8;
    const { zero, low, high } = palette(), end = t < 0 ? low : high;
    return zero.map((from, i) => Math.round(from + (end[i] - from) * strength));
  }

  const css = (rgb) => `rgb(${rgb.join(",")})`;
  const ink = (rgb) => (0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] > 140 ? "#1b1f24" : "#ffffff");
  const limitOf = (name) => Math.abs(App.largest(name).value);

  /* A tensor as rows and columns: (H, N, K) is shown one head at a time, a vector as one row. */
  function view(name) {
    const shape = Vit.SHAPES[name], data = App.table[name], { c } = App.state;
    const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape.slice(-2);
    const offset = shape.length === 3 ? c[0] * rows * columns : 0;
    const chosen = shape.length === 1 ? [0, c[0]] : c.slice(-2);
    const index = (row, column) => (shape.length === 1 ? [column] : shape.length === 3 ? [c[0], row, column] : [row, column]);
    return { name, shape, rows, columns, chosen, index, at: (row, column) => data[offset + row * columns + column], limit: limitOf(name) };
  }

  const secret = (name) => name === App.state.t && App.hidden(); // while a prediction is asked for

  function sizes(v, width) { // of a cell
    const side = Math.max(7, Math.min(46, Math.floor((width - LABEL) / v.columns)));
    const tall = Math.min(side, v.columns > 1 ? (v.rows > 20 ? 18 : v.columns > 12 ? 24 : 28) : 28);
    return { wide: v.columns === 1 ? 64 : side, high: v.name === "image" || v.name === "dimage" ? side : tall };
  }

  /* The whole map without what is selected, on a canvas of its own: it stays while one walks through the cells. */
  function background(canvas, v, { wide, high }, size, scale) {
    const key = [v.name, v.shape.length === 3 ? App.state.c[0] : "", App.version, wide, scale, dark.matches].join();
    if (canvas.key === key) return canvas.background;
    const made = (canvas.background ||= document.createElement("canvas")), colours = palette(), grey = v.name === "image";
    canvas.key = key;
    made.width = size[0] * scale, made.height = size[1] * scale;
    const pen = made.getContext("2d");
    pen.scale(scale, scale);
    pen.textAlign = "center", pen.textBaseline = "middle";
    pen.font = "10px " + colours.font;
    pen.fillStyle = colours.grey;
    const every = wide < 15 ? 4 : wide < 19 ? 2 : 1;
    for (let column = 0; column < v.columns; column += every) pen.fillText(column, LABEL + (column + 0.5) * wide, LABEL / 2);
    for (let row = 0; row < v.rows; row += high < 12 ? 2 : 1) pen.fillText(row, LABEL / 2, LABEL + (row + 0.5) * high);
    const numbers = wide >= 20 && high >= 14 && !grey, narrow = wide < 25, pixels = grey && App.pixels();
    made.least = null; // below it, a cell shows 0.0
    pen.font = `${wide >= 36 ? 10.5 : narrow ? 8.5 : 9.5}px ${colours.font}`;
    for (let row = 0; row < v.rows; row++) for (let column = 0; column < v.columns; column++) {
      const x = v.at(row, column), rgb = grey ? Array(3).fill(pixels[row * 16 + column]) : colour(x, v.limit);
      pen.fillStyle = css(rgb);
      pen.fillRect(LABEL + column * wide, LABEL + row * high, wide - (wide > 12 ? 1 : 0), high - (high > 12 ? 1 : 0));
      if (!numbers) continue;
      const text = Words.short(x, narrow);
      if (text === Words.ROUNDED) made.least = narrow ? 0.005 : 0.0005;
      pen.fillStyle = ink(rgb), pen.fillText(text, LABEL + (column + 0.5) * wide - 0.5, LABEL + (row + 0.5) * high);
    }
    if (v.columns === S16 && v.rows === S16 && Words.last(v.name).endsWith("image")) { // the edges of the patches
      pen.fillStyle = colours.ink;
      for (const line of [4, 8, 12]) pen.fillRect(LABEL + line * wide - 1, LABEL, 1, 16 * high), pen.fillRect(LABEL, LABEL + line * high - 1, 16 * wide, 1);
    }
    return made;
  }

  function paint(canvas, name) {
    const v = view(name), cell = sizes(v, canvas.room), { wide, high } = cell, scale = window.devicePixelRatio || 1;
    const size = [LABEL + v.columns * wide + 1, LABEL + v.rows * high + 1], colours = palette();
    if (canvas.width !== Math.floor(size[0] * scale) || canvas.height !== Math.floor(size[1] * scale)) {
      canvas.width = size[0] * scale, canvas.height = size[1] * scale;
      canvas.style.width = `${size[0]}px`, canvas.style.height = `${size[1]}px`;
    }
    Object.assign(canvas, { view: v, wide, high });
    const pen = canvas.getContext("2d"), below = background(canvas, v, cell, size, scale);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(below, 0, 0);
    pen.scale(scale, scale);
    const [row, column] = v.chosen, active = name === App.state.t, [left, top] = [LABEL + column * wide, LABEL + row * high];
    if (secret(name)) {
      pen.fillStyle = css(colours.zero), pen.fillRect(left, top, wide - 1, high - 1);
      pen.textAlign = "center", pen.textBaseline = "middle", pen.font = `10.5px ${colours.font}`;
      pen.fillStyle = colours.ink, pen.fillText("?", left + wide / 2 - 0.5, top + high / 2);
    }
    pen.lineWidth = active ? 2.5 : 1.25;
    pen.strokeStyle = active ? (Vit.isGradient(name) ? colours.backward : colours.forward) : colours.ink;
    pen.strokeRect(left - 0.5, top - 0.5, wide, high);
  }

  /* The picture in small: which patch a row of tokens belongs to, or what a row of weights looks at. */
  function picture() {
    const { value } = App.pairOf(App.state.t), name = value || App.state.t, shape = Vit.SHAPES[name], { c } = App.state;
    const base = Words.last(name), attention = base === "weights" || base === "scores";
    const row = base === "patches" || base === "embedded" ? c[0] + 1 : shape.at(-2) === Vit.S.N ? c.at(-2) : null;
    if (row === null && name !== "image") return null;
    const canvas = document.createElement("canvas"), side = 6;
    canvas.width = canvas.height = 16 * side;
    canvas.className = "where";
    const pen = canvas.getContext("2d"), pixels = App.pixels();
    pixels.forEach((grey, i) => { pen.fillStyle = `rgb(${grey},${grey},${grey})`, pen.fillRect((i % 16) * side, Math.floor(i / 16) * side, side, side); });
    const square = (patch) => [(patch % 4) * 4 * side, Math.floor(patch / 4) * 4 * side, 4 * side, 4 * side];
    let words = name === "image" ? "dimage, over the picture" : row === 0 ? "token 0 is the class token" : `token ${row}`;
    if (name === "image") {
      const { dimage } = App.table, limit = limitOf("dimage");
      for (let i = 0; i < dimage.length; i++) {
        const [red, green, blue] = dimage[i] < 0 ? [47, 140, 255] : [255, 140, 20];
        pen.fillStyle = `rgba(${red},${green},${blue},${limit > 0 ? (Math.abs(dimage[i]) / limit) ** 0.7 : 0})`;
        pen.fillRect((i % 16) * side, Math.floor(i / 16) * side, side, side);
      }
      pen.strokeStyle = "#ffffff", pen.lineWidth = 1.5, pen.strokeRect(c[1] * side, c[0] * side, side, side);
    }
    if (attention) {
      const weights = App.table[name.replace(/scores$/, "weights")], start = (c[0] * Vit.S.N + c[1]) * Vit.S.N;
      const most = Math.max(...weights.subarray(start + 1, start + Vit.S.N));
      for (let patch = 0; patch < 16; patch++) pen.fillStyle = `rgba(255,140,20,${0.85 * weights[start + 1 + patch] / most})`, pen.fillRect(...square(patch));
      words = `what ${row === 0 ? "the class token" : `token ${row}`} looks at`;
      if (c[2] > 0) pen.strokeStyle = "#ffffff", pen.lineWidth = 2, pen.strokeRect(...square(c[2] - 1));
    }
    if (row > 0) pen.strokeStyle = "#ff9a2e", pen.lineWidth = 3, pen.strokeRect(...square(row - 1));
    canvas.setAttribute("role", "img"), canvas.setAttribute("aria-label", words);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = words;
    figure.append(canvas, caption);
    return figure;
  }

  function renderHead() {
    const { t, c } = App.state, { value, gradient } = App.pairOf(t), [title, sentence] = Words.of(value || t), shape = Vit.SHAPES[t];
    const heads = shape.length === 3 ? `<div class="choice heads" role="group" aria-label="Head"><span>head</span>${
      [...Array(shape[0]).keys()].map((i) => `<button type="button" data-head="${i}" aria-pressed="${i === c[0]}">${i}</button>`).join("")}</div>` : "";
    const block = /^block_(\d)/.exec(t), blocks = block ? `<div class="choice blocks" role="group" aria-label="Block"><span>block</span>${
      [...Array(Vit.S.blocks).keys()].map((i) => `<button type="button" data-to-block="${i}" aria-pressed="${i === Number(block[1])}">${i}</button>`).join("")}</div>` : "";
    const focused = head.contains(document.activeElement) ? Object.entries(document.activeElement.dataset)[0] : null;
    head.innerHTML = `<div class="what"><h2 id="tensor-title">${[value, gradient].filter(Boolean).map((name) => `<span class="${Vit.isGradient(name) ? "b" : "f"} ${name === t ? "" : "other"}">${Words.last(name)}</span>`).join(" ")} <small>${title}${
      Words.place(t) ? `, ${Words.place(t)}` : ""}</small></h2><p>${sentence}${value && gradient ? ` <span class="b">${Words.last(gradient)}</span> says how the loss changes with each of these numbers.` : ""}</p>
      <div class="row"><button type="button" data-step="-1" title="previous tensor (k)">↑ back</button><button type="button" data-step="1" title="next tensor (j)">↓ on</button>${blocks}${heads}</div></div>`;
    if (focused) [...head.querySelectorAll("button")].find((button) => button.dataset[focused[0]] === focused[1])?.focus(); // it was made anew
    const small = picture();
    if (small) head.append(small);
  }

  function cellAt({ view: v, wide, high }, event) { // [row, column] under the pointer, or null
    const box = event.currentTarget.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - LABEL) / wide), row = Math.floor((event.clientY - box.top - LABEL) / high);
    return row >= 0 && column >= 0 && row < v.rows && column < v.columns ? [row, column] : null;
  }

  function renderMaps() {
    const { value, gradient } = App.pairOf(App.state.t), names = [value, gradient].filter(Boolean);
    const columns = Vit.SHAPES[names[0]].at(-1);
    const laid = "maps " + (names.length > 1 && (columns <= 12 || names[0] === "image") && Vit.SHAPES[names[0]].length !== 1 ? "beside" : "stacked") + (columns <= 4 || names[0] === "image" ? " narrow" : "");
    if (maps.className !== laid) maps.className = laid, maps.querySelectorAll("canvas").forEach((canvas) => { canvas.room = 0; });
    const key = names.join();
    if (maps.dataset.names !== key) {
      maps.dataset.names = key;
      maps.replaceChildren(...names.map((name) => {
        const part = document.createElement("div");
        part.className = "map";
        part.innerHTML = `<h3 class="${Vit.isGradient(name) ? "b" : "f"}"><code>${name}</code></h3><div class="hold"><canvas tabindex="0" role="application"></canvas></div>
          <div class="scale"></div><details><summary>as a table</summary><div class="numbers"></div></details>`;
        const canvas = part.querySelector("canvas");
        canvas.dataset.name = name;
        canvas.addEventListener("click", (event) => {
          const under = cellAt(canvas, event);
          if (under) App.go({ t: name, c: canvas.view.index(...under) });
        });
        canvas.addEventListener("pointermove", (event) => {
          const under = cellAt(canvas, event), { view: v } = canvas, words = under && `${Words.cellName(name, v.index(...under))} = ${
            secret(name) && String(under) === String(v.chosen) ? "?" : Words.number(v.at(...under))}`;
          if (canvas.title !== (words || "")) canvas.title = words || "";
        });
        canvas.addEventListener("focus", () => App.state.t !== name && App.go({ t: name, c: App.state.c }, { replace: true }));
        part.querySelector("details").addEventListener("toggle", renderTables);
        return part;
      }));
    }
    const canvases = [...maps.querySelectorAll("canvas")];
    for (const canvas of canvases) canvas.room ||= canvas.parentElement.clientWidth; // all of them before one is changed
    for (const canvas of canvases) {
      const { name } = canvas.dataset, { value, index: where } = App.largest(name), limit = Words.number(Math.abs(value));
      paint(canvas, name);
      const index = App.state.c, shown = secret(name) ? "hidden" : Words.number(App.table[name][Explain.flat(name, index)]);
      canvas.setAttribute("aria-label", `${name}, heat map. Arrow keys choose a cell. ${Words.cellName(name, index)} is ${shown}`);
      const part = canvas.closest(".map"), scale = part.querySelector(".scale"), about = name === "image" ? "<span>dark to bright</span>" : secret(name) ? "<span>hidden until you have predicted</span>" : value === 0 ? "<span>all 0</span>"
        : `<span>−${limit}</span><i></i><span>${limit}</span><button type="button" class="largest" data-largest="${name}">largest in absolute value: ${Words.cellName(name, where)}</button>${App.rowAlone(name) ? `<span>Rows from 1 on are 0: ${Words.ALONE}.</span>` : ""}${canvas.background.least ? `<span>${Words.ROUNDED}: less than ${canvas.background.least}, but not 0</span>` : ""}`;
      if (scale.about !== about) scale.about = about, scale.innerHTML = about;
      part.classList.toggle("wrong", App.spoiled().has(name));
    }
    renderTables();
  }

  function renderTables() {
    for (const part of maps.querySelectorAll(".map")) {
      if (!part.querySelector("details").open) continue;
      const v = view(part.querySelector("canvas").dataset.name), range = (n) => [...Array(n).keys()];
      part.querySelector(".numbers").innerHTML = `<table><caption class="unseen">${v.name}</caption><tr><th></th>${range(v.columns).map((j) => `<th scope="col">${j}</th>`).join("")}</tr>${
        range(v.rows).map((i) => `<tr><th scope="row">${i}</th>${range(v.columns).map((j) => `<td>${
          secret(v.name) && i === v.chosen[0] && j === v.chosen[1] ? "?" : Words.number(v.at(i, j))}</td>`).join("")}</tr>`).join("")}</table>`;
    }
  }

  /* Moves the selected cell within its heat map. */
  function move(rows, columns) {
    const v = view(App.state.t), [row, column] = v.chosen;
    const to = [Math.max(0, Math.min(v.rows - 1, row + rows)), Math.max(0, Math.min(v.columns - 1, column + columns))];
    App.go({ c: v.index(...to) }, { replace: true });
  }

  head.addEventListener("click", ({ target }) => {
    const { head: chosen, step, toBlock } = target.closest("button")?.dataset || {};
    if (toBlock) App.go({ t: App.state.t.replace(/^block_\d/, `block_${toBlock}`) });
    if (chosen !== undefined) App.go({ c: [Number(chosen), ...App.state.c.slice(1)] });
    if (step) App.step(Number(step));
  });

  maps.addEventListener("click", ({ target }) => {
    const { largest } = target.closest("button")?.dataset || {};
    if (largest) App.go({ t: largest, c: App.largest(largest).index });
  });

  function again() {
    for (const canvas of maps.querySelectorAll("canvas")) canvas.room = 0;
    paper = null;
    if (App.table) renderMaps();
  }

  App.renderers.push(renderHead, renderMaps);
  let width = 0;
  new ResizeObserver(() => width !== maps.clientWidth && ((width = maps.clientWidth), again())).observe(maps);
  dark.addEventListener("change", again);
  return { move };
})();
