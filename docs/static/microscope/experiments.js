/* What one can do to the model: predict a cell, nudge it (nudge.js), plant a mistake, switch a part off, take a step. */

(() => {
  "use strict";

  const place = document.getElementById("experiments");
  const TABS = { predict: "Predict first", nudge: "Nudge", mistake: "Plant a mistake", off: "Switch off", step: "Take a step" };
  const PLACES = ["layer norm", "softmax", "attention", "attention", "residual", "GELU", "pooling", "attention", "patches"]; // of Vit.MISTAKES
  const RATES = { sgd: "0.05", adamw: "0.003" };
  let built = null, rule = "adamw", on = "all";

  const say = (selector, html) => { const at = place.querySelector(selector); if (at && at.said !== html) at.said = html, at.innerHTML = html; };
  const capital = (mistake) => mistake[0].toUpperCase() + mistake.slice(1);
  const link = (name, label = name) => `<a class="t ${Vit.isGradient(name) ? "b" : "f"}" href="#" data-t="${name}">${label}</a>`;
  const links = (names) => names.map((name) => link(name)).join(", ") || "none";

  const BUILD = {
    predict: () => `<p>The number is hidden until you have said what it is. Its sum shows the terms.</p>
      <form id="predict-form" class="row"><label>Your prediction of <code id="predict-name"></code> <input id="prediction" inputmode="text" autocomplete="off" size="10"></label><button type="submit">check</button>
      <button type="button" id="predict-next">another cell</button></form><p id="predict-verdict" aria-live="polite"></p>`,
    nudge: Nudge.build,
    mistake: () => `<p>A mistake in the backward pass. The loss stays what it is; what goes wrong is marked with a ✗ in the model.</p>
      <div class="list" role="radiogroup" aria-label="Mistake">${[null, ...Vit.MISTAKES].map((mistake, i) => `<label><input type="radio" name="mistake" value="${i - 1}"><span>${mistake ? `${capital(mistake)} <small>${PLACES[i - 1]}</small>` : "None"}</span></label>`).join("")}</div><div id="mistake-count" aria-live="polite"></div>`,
    off: () => `<p>The parameters stay: the model has not learned to do without. Train it again under <i>Take a step</i>.</p>
      <div class="list">${Vit.SWITCHES.map((name) => `<label><input type="checkbox" name="off" value="${name}">${
        { attention: "Attention: its branch adds nothing", residual: "Residual connections: no way past a branch", norm: "Layer norms of the blocks", positions: "Positions" }[name]}</label>`).join("")}</div><p id="off-effect" aria-live="polite"></p><div id="off-sizes"></div>`,
    step: () => `<div class="row"><label>by <select id="rule"><option value="sgd">SGD</option><option value="adamw">AdamW</option></select></label>
      <label>rate <input id="rate" inputmode="decimal" size="6" value="${RATES[rule]}"></label><label>on <select id="on"><option value="all">all ${App.examples.length} pictures</option><option value="one">this picture</option></select></label></div>
      <div class="row"><button type="button" data-steps="1">1 step</button><button type="button" data-steps="10">10 steps</button><button type="button" data-steps="100">100 steps</button><button type="button" id="undo-steps">start over</button></div>
      <p id="steps-told" aria-live="polite"></p><div id="curve"></div>`,
  };

  const UPDATE = {
    predict() {
      say("#predict-name", Words.cellName(App.state.t, App.state.c));
      if (App.hidden()) say("#predict-verdict", "");
    },

    nudge: Nudge.update,

    mistake() {
      const chosen = Vit.MISTAKES.indexOf(App.state.mistake), spoiled = App.spoiled();
      for (const input of place.querySelectorAll("[name=mistake]")) input.checked = Number(input.value) === chosen;
      if (!App.state.mistake) return say("#mistake-count", "<p>All gradients are right.</p>");
      if (!spoiled.size) return say("#mistake-count", "<p>With what is switched off, this mistake changes nothing.</p>");
      const all = wayBack(), wrong = all.filter((name) => spoiled.has(name)), parameters = Vit.PARAMETERS.map(Vit.gradientOf), kept = all.filter((name) => !spoiled.has(name));
      const open = (kind) => (place.querySelector(`#mistake-count .${kind}`)?.open ? " open" : ""), list = (kind, title, names) => `<details class="${kind}"${open(kind)}><summary>${title}</summary><p tabindex="0">${links(names)}.</p></details>`;
      say("#mistake-count", `<p><b>${wrong.length}</b> of ${all.length} gradients are wrong, among them <b>${parameters.filter((name) => spoiled.has(name)).length}</b> of the ${parameters.length} of parameters. It begins with ${links(first(spoiled))}.</p>
        <p>Parameters whose gradients stay right: ${links(parameters.filter((name) => !spoiled.has(name)))}.</p>
        <p>All, in the order of the way back:</p><div class="lists">${list("bad", `✗ the ${wrong.length} that are wrong`, wrong)}${list("good", `✓ the ${kept.length} that stay right`, kept)}</div>`);
    },

    off() {
      for (const input of place.querySelectorAll("[name=off]")) input.checked = Boolean(App.state.off[input.value]);
      const altered = App.altered(), whole = App.whole(), loss = App.table.loss[0], size = (table, name) => Math.hypot(...table[name]);
      say("#off-effect", altered ? `Loss ${Words.number(App.table.loss[0])}; with everything on ${Words.number(whole.loss[0])}.${size(App.table, "dimage") === 0 ? " <b>dimage is zero</b>: nothing of the picture reaches the class token." : ""}` : "Everything is on.");
      const names = ["final/dx", ...Array.from({ length: Vit.S.blocks }, (_, i) => `block_${Vit.S.blocks - 1 - i}/dx`), "dimage"];
      if (Vit.isGradient(App.state.t) && !names.includes(App.state.t)) names.push(App.state.t);
      const columns = altered ? [[whole, "everything on", "grey"], [App.table, "now", "b"]] : [[whole, "everything on", "b"]];
      const ratio = (table, name) => size(table, name) / size(table, names[0]), most = Math.max(...names.flatMap((name) => columns.map(([table]) => ratio(table, name))));
      say("#off-sizes", `<table class="sizes"><caption>How large the gradient is on its way back (√ of the sum of squares), and relative to the gradient behind the blocks, final/dx (×)${altered ? `. The column × answers what the way back does to the gradient; the size itself also depends on the loss, which is ${loss > whole.loss[0] ? "larger" : "smaller"} now` : ""}.</caption>
        <tr><th></th>${columns.map(([, title]) => `<th scope="colgroup" colspan="2">${title}</th>`).join("")}<th class="legend">${columns.map(([, title, kind]) => `<span class="nowrap"><i class="key ${kind}"></i>${title}</span>`).join(" ")}</th></tr>${names.map((name) => `<tr><th scope="row">${link(name)}</th>${
          columns.map(([table]) => `<td>${Words.number(size(table, name), 3)}</td><td><b>${Words.number(ratio(table, name), 3)}</b> ×</td>`).join("")}<td class="rod" aria-hidden="true">${
          columns.map(([table, , kind]) => `<i class="${kind}" style="width:${(100 * ratio(table, name) / most).toFixed(1)}%"></i>`).join("")}</td></tr>`).join("")}</table>`);
    },

    step() {
      place.querySelector("#rule").value = rule, place.querySelector("#on").value = on;
      tellSteps();
      say("#curve", curve(App.lossNow === null ? [] : [...App.curve, App.lossNow]));
    },
  };

  /* Every gradient in the order in which the backward pass makes them. */
  function wayBack() {
    return [...Vit.OPERATIONS].reverse().flatMap((op) => Vit.LAYERS[op.kind].gradients.map((role) => op.t[role]));
  }

  /* Where the tensor that is shown stays right, the page goes to the first that does not. */
  function plant(mistake) {
    App.go({ mistake }, { replace: true });
    const { value, gradient } = App.pairOf(App.state.t), spoiled = App.spoiled();
    if (spoiled.size && ![value, gradient].some((name) => spoiled.has(name))) App.go({ t: wayBack().find((name) => spoiled.has(name)) });
  }

  function first(spoiled) { // spoiled gradients that no spoiled gradient explains: where the mistake was made
    return [...spoiled].filter((name) => {
      const middle = Vit.SHAPES[name].map((n) => Math.floor(n / 2));
      return ![middle, middle.map(() => 0)].some((index) => Explain.cell(name, index).terms.some((term) => term.factors.some((factor) => spoiled.has(factor.name))));
    });
  }

  function tellSteps() {
    const { taken, asked, working } = App.progress(), { curve: losses, lossNow } = App;
    const done = `${taken} step${taken === 1 ? "" : "s"}`;
    say("#steps-told", working ? `Step ${taken} of ${asked} …` : App.diverged ? `${done}. The next one would make a parameter larger than 1000: try a smaller rate.`
      : taken ? `${done}: mean loss ${Words.number(losses[0])} → <b>${Words.number(lossNow)}</b>${asked >= App.MOST_STEPS ? `. ${App.MOST_STEPS} steps are the most that there are here.` : ""}` : "Each parameter moves a little against its gradient.");
  }

  function curve(losses) {
    if (losses.length < 2) return "";
    const W = 520, H = 110, most = Math.max(...losses), x = (i) => 34 + i / (losses.length - 1) * (W - 44), y = (loss) => 8 + (1 - loss / most) * (H - 24);
    return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="Mean loss over ${losses.length - 1} steps, from ${Words.number(losses[0])} to ${Words.number(losses.at(-1))}">
      <line x1="34" x2="${W - 8}" y1="${y(0)}" y2="${y(0)}" class="rule"/><text x="30" y="${y(most) + 4}" text-anchor="end">${most.toPrecision(2)}</text><text x="30" y="${y(0) + 3}" text-anchor="end">0</text>
      <path class="forward" d="${losses.map((loss, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(loss).toFixed(1)}`).join("")}"/></svg>`;
  }

  function train(n) {
    const rate = Number(place.querySelector("#rate").value.trim().replace(",", ".")), { drawn, label, img, mistake, off } = App.state;
    if (!App.rateFits(rate)) return say("#steps-told", "The rate must be a number above 0, and at most 100.");
    const pictures = on === "all" ? on : drawn ? { drawn, label } : { img };
    if (!App.addSteps({ rule, rate, on: pictures, n, mistake, off: { ...off } })) tellSteps();
  }

  function render() {
    const chosen = Object.hasOwn(TABS, App.state.tab) ? App.state.tab : "nudge";
    if (!built) {
      place.innerHTML = `<div class="tabs" role="tablist" aria-label="Experiments">${Object.entries(TABS).map(([key, title]) => `<button type="button" role="tab" id="tab-${key}" aria-controls="panel" data-tab="${key}">${title}</button>`).join("")}</div><div id="panel" class="panel" role="tabpanel"></div>`;
    }
    if (built !== chosen) {
      const last = App.state.steps.at(-1);
      if (!built && last) rule = last.rule, on = last.on === "all" ? "all" : "one";
      built = chosen, say("#panel", BUILD[chosen]());
      place.querySelector(".tabs").scrollLeft = place.querySelector(`#tab-${chosen}`).offsetLeft - place.querySelector(".tabs").offsetLeft - 60; // where they do not all fit
      if (chosen === "step" && last?.rule === rule) place.querySelector("#rate").value = last.rate;
    }
    for (const button of place.querySelectorAll("[data-tab]")) button.setAttribute("aria-selected", button.dataset.tab === chosen), button.tabIndex = button.dataset.tab === chosen ? 0 : -1;
    place.querySelector("#panel").setAttribute("aria-labelledby", `tab-${chosen}`);
    const badge = { mistake: Boolean(App.state.mistake), off: App.altered(), step: App.state.steps.length > 0 };
    for (const key in badge) place.querySelector(`#tab-${key}`).classList.toggle("on", badge[key]);
    UPDATE[chosen]();
  }

  place.addEventListener("click", (event) => {
    const { target: at } = event, tab = at.closest("[data-tab]"), followed = at.closest("[data-t]"), steps = at.closest("[data-steps]");
    if (tab) App.go({ tab: tab.dataset.tab, answered: "" }, { replace: true });
    if (followed) event.preventDefault(), App.follow(followed.dataset);
    if (steps) train(Number(steps.dataset.steps));
    if (at.id === "undo-steps") App.go({ steps: [] }, { replace: true });
    if (at.id === "predict-next") {
      const { t } = App.state, shape = Vit.SHAPES[t];
      (place.querySelector("#prediction").value = "");
      App.go({ c: shape.map((n) => Math.floor(Math.random() * n)) });
    }
  });

  place.addEventListener("keydown", (event) => { // arrows between the tabs
    const tab = event.target.closest("[data-tab]"), by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tab || !by) return;
    event.preventDefault();
    event.stopPropagation();
    const keys = Object.keys(TABS), next = keys[(keys.indexOf(tab.dataset.tab) + by + keys.length) % keys.length];
    App.go({ tab: next, answered: "" }, { replace: true });
    place.querySelector(`#tab-${next}`).focus();
  });

  place.addEventListener("input", ({ target: at }) => {
    if (at.id === "nudge-slider") Nudge.slide(Number(at.value));
    if (at.name === "mistake") plant(Vit.MISTAKES[at.value] || null);
    if (at.name === "off") App.go({ off: { ...App.state.off, [at.value]: at.checked } }, { replace: true });
    if (at.id === "rule") rule = at.value, (place.querySelector("#rate").value = RATES[rule]);
    if (at.id === "on") on = at.value;
  });

  place.addEventListener("submit", (event) => {
    event.preventDefault();
    const written = place.querySelector("#prediction").value.trim(), said = Number(written.replace("−", "-").replace(",", ".")), { t, c } = App.state;
    const value = App.table[t][Explain.flat(t, c)];
    if (!written || Number.isNaN(said)) return say("#predict-verdict", "Write a number, such as −0.02.");
    const close = Math.abs(said - value) <= 0.05 * Math.abs(value) + 1e-9, sign = Math.sign(said) === Math.sign(value);
    App.go({ answered: App.here() }, { replace: true });
    say("#predict-verdict", `${close ? "<b>Right.</b>" : sign ? "The sign is right, the size is not." : "Not this time: look at the sign of each term."} It is ${Words.number(value)}.`);
  });

  App.showProgress = () => built === "step" && tellSteps();
  App.renderers.push(render);
})();
