/* The left column: the operations in order, with the tensors between them. Values run down, gradients up. */

(() => {
  "use strict";

  const flow = document.getElementById("flow");
  const block = () => (App.state.t.startsWith("block_") ? Number(App.state.t[6]) : shown);
  let shown = 1, drawn = null, scrolling = 0;

  const chip = (name, label = Words.last(name)) =>
    `<button type="button" class="t ${Vit.isGradient(name) ? "b" : "f"}" data-t="${name}" title="${name}: ${Words.of(App.pairOf(name).value || name)[0]}">${label}</button>`;

  function pair(name) { // a parameter, or something inside a layer, with its gradient
    const gradient = Vit.gradientOf(name);
    return `<span class="pair">${chip(name)}${Vit.isGradient(gradient) ? chip(gradient) : ""}</span>`;
  }

  function edge(name) { // between two operations: the value on its way down, its shape, the gradient on its way up
    const { value, gradient } = App.pairOf(name), shape = Vit.SHAPES[name].join("×");
    return `<div class="edge">${chip(value)}<span class="shape"><i class="f">↓</i>${shape}<i class="b">${gradient ? "↑" : ""}</i></span>${gradient ? chip(gradient) : "<span></span>"}</div>`;
  }

  function box(title, tags, inside = "") {
    return `<div class="op"><div class="op-title"><span>${title}</span><span class="tags">${tags}</span></div>${inside ? `<div class="chips">${inside}</div>` : ""}</div>`;
  }

  const pairs = (prefix, ...names) => names.map((name) => pair(`${prefix}/${name}`)).join("");

  function normBox(prefix) {
    return box("Layer norm", "LN.1–5", pairs(prefix, "gamma", "beta") + `<span class="inner">${["mean", "centred", "rstd"].map((name) => chip(`${prefix}/${name}`)).join("")}${
      pairs(prefix, "xhat")}${["mean_dxhat", "mean_dxhat_xhat"].map((name) => chip(`${prefix}/${name}`)).join("")}</span>`);
  }

  function branch(b, x, y, out, inside) {
    return `<div class="fork"><span class="dot f"></span><span class="note">${x} goes two ways</span>${
      `<span class="sum b" aria-hidden="true">+</span><span class="chips">${chip(`${b}/d${x}_skip`)}${chip(`${b}/d${x}_branch`)}</span>`}</div>
      <div class="branch">${inside}</div>
      <div class="join"><span class="sum f" aria-hidden="true">+</span><span class="note">${y} = ${x} + ${out}</span><span class="dot b"></span></div>`;
  }

  function blockRows(i) {
    const b = `block_${i}`, e = (name) => edge(`${b}/${name}`);
    const attention = normBox(`${b}/norm_1`) + e("a")
      + box("qkv projection", "MHA.1, 10", pairs(`${b}/qkv`, "W", "b") + `<span class="inner"><span class="pair"><span class="dot f" aria-hidden="true"></span><span class="grey">a goes three ways</span></span> <span class="pair"><span class="sum b small" aria-hidden="true">+</span>${["da_q", "da_k", "da_v"].map((name) => chip(`${b}/${name}`)).join("")}</span></span>`)
      + e("qkv") + box("Split into heads", "MHA.1, 10") + e("q") + e("k") + e("v")
      + box("Scale: q / √K", "MHA.2, 9") + e("scaled_q") + box("Scores: scaled_q · kᵀ", "MHA.2, 9") + e("scores")
      + box("Softmax, by rows", "MHA.3, 8", `<span class="inner">${chip(`${b}/softmax/lse`)}${chip(`${b}/softmax/s`)}</span>`)
      + e("weights") + box("Mix: weights · v", "MHA.4, 7") + e("mixed") + box("Merge heads", "MHA.5, 6") + e("merged")
      + box("Dense", "MHA.5, 6", pairs(`${b}/out`, "W", "b")) + e("att");
    const feed = normBox(`${b}/norm_2`) + e("b") + box("Dense: 12 → 24", "DENSE.1–4", pairs(`${b}/expand`, "W", "b")) + e("expanded")
      + box("GELU", "GELU.3–5", `<span class="inner">${chip(`${b}/gelu/gate`)}${chip(`${b}/gelu/slope`)}</span>`) + e("hidden")
      + box("Dense: 24 → 12", "DENSE.1–4", pairs(`${b}/project`, "W", "b")) + e("ffn");
    return e("x") + `<h4>Attention <span class="tags">RES.1</span></h4>` + branch(b, "x", "h", "att", attention)
      + e("h") + `<h4>Feed-forward <span class="tags">RES.1</span></h4>` + branch(b, "h", i + 1 < Vit.S.blocks ? "next x" : "x", "ffn", feed);
  }

  const html = (text) => Object.assign(document.createElement("template"), { innerHTML: text }).content.firstElementChild;
  const blocks = Array.from({ length: Vit.S.blocks }, (_, i) => html(`<div class="block"><div class="block-head"><h3>Encoder block</h3><div class="choice" role="group" aria-label="Block">${
    [...Array(Vit.S.blocks).keys()].map((other) => `<button type="button" data-block="${other}" aria-pressed="${other === i}">${other}</button>`).join("")}</div></div>${blockRows(i)}</div>`));

  function build() {
    flow.innerHTML = edge("image") + box("Cut into patches", "PATCH.1, 3") + edge("patches")
      + box("Dense: patch → token", "PATCH.2", pairs("patch_embedding", "W", "b")) + edge("embedded")
      + box("Prepend the class token", "POS.1, 4, 5", pair("class_token")) + edge("tokens")
      + box("Add the positions", "POS.2, 3", pair("positions")) + '<div class="block"></div>'
      + edge("final/x") + box("Pool: the class token alone", "POOL.1") + edge("class_x") + normBox("norm") + edge("z")
      + box("Head", "DENSE.1–4", pairs("head", "W", "b")) + edge("logits")
      + box("Cross entropy", "CE.1–4", `<span class="inner">${["cross_entropy/lse", "log_p", "p", "target"].map((name) => chip(name)).join("")}</span>`)
      + edge("loss");
  }

  function draw() {
    if (drawn === null) build();
    const focused = document.activeElement?.dataset.block;
    shown = block();
    drawn = shown;
    flow.querySelector(".block").replaceWith(blocks[shown]);
    if (focused) flow.querySelector(`[data-block="${shown}"]`).focus();
  }

  /* Tensors in the order in which they stand here: what j and k walk through. */
  App.order = () => [...flow.querySelectorAll(".edge .t.f")].map((button) => button.dataset.t);

  function render() {
    if (drawn === null || block() !== drawn) draw();
    const spoiled = App.spoiled();
    for (const button of flow.querySelectorAll(".t")) {
      const name = button.dataset.t, chosen = name === App.state.t;
      button.classList.toggle("chosen", chosen);
      if (button.tabIndex !== (chosen ? 0 : -1)) button.tabIndex = chosen ? 0 : -1; // one stop for Tab; arrows lead to the others
      if (chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      button.classList.toggle("wrong", spoiled.has(name));
    }
    if (!flow.querySelector(".chosen")) flow.querySelector(".t").tabIndex = 0;
    cancelAnimationFrame(scrolling);
    scrolling = requestAnimationFrame(follow);
  }

  function follow() { // within the column, not the page
    const chosen = flow.querySelector(".chosen");
    if (!chosen) return;
    const top = chosen.getBoundingClientRect().top - flow.getBoundingClientRect().top;
    if (top < 30 || top > flow.clientHeight - 50) flow.scrollTop += top - flow.clientHeight / 2;
  }

  flow.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.t) App.go({ t: button.dataset.t });
    if (button.dataset.block) {
      const name = App.state.t.startsWith("block_") ? App.state.t.replace(/^block_\d/, `block_${button.dataset.block}`) : `block_${button.dataset.block}/x`;
      App.go({ t: name });
    }
  });

  flow.addEventListener("keydown", (event) => {
    const all = [...flow.querySelectorAll(".t")], at = all.indexOf(document.activeElement), by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (at < 0 || !by) return;
    event.preventDefault(), event.stopPropagation();
    all[Math.max(0, Math.min(all.length - 1, at + by))].focus();
  });

  App.renderers.push(render);
})();
