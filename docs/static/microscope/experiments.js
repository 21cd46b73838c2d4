/* What one can do to the model: predict a cell, nudge it, plant a mistake, switch a part off, take a step. */

(() => {
  "use strict";

  const place = document.getElementById("experiments");
  const TABS = { predict: "Predict first", nudge: "Nudge", mistake: "Plant a mistake", off: "Switch off", step: "Take a step" };
  let built = null, exponent = -3, rule = "adamw", on = "all", training = false, plotting = 0;

  const target = () => { // the value that is nudged
    const { value, gradient } = App.pairOf(App.state.t);
    return value && gradient ? value : null;
  };
  const say = (selector, html) => { const at = place.querySelector(selector); if (at) at.innerHTML = html; };
  const short = (mistake) => mistake[0].toUpperCase() + mistake.slice(1);

  const BUILD = {
    predict: () => `<p>The number is hidden until you have said what it is. Its terms are on the right.</p>
      <form id="predict-form" class="row"><label>Your prediction of <code id="predict-name"></code> <input id="prediction" inputmode="text" autocomplete="off" size="10"></label><button type="submit">check</button>
      <button type="button" id="predict-next">another cell</button></form><p id="predict-verdict" aria-live="polite"></p>`,
    nudge: () => `<p id="nudge-what"></p><div class="row"><label class="slider">h = <output id="nudge-h"></output><input id="nudge-slider" type="range" min="-14" max="0" step="0.25" aria-label="Size of the nudge, as a power of ten"></label></div>
      <div class="nudged"><table id="nudge-numbers"></table><div id="nudge-plot"></div></div>`,
    mistake: () => `<p>A mistake in the backward pass. The loss stays what it is; what goes wrong is marked with a ✗ in the model.</p>
      <div class="list" role="radiogroup" aria-label="Mistake">${[null, ...Vit.MISTAKES].map((mistake, i) => `<label><input type="radio" name="mistake" value="${i - 1}">${mistake ? short(mistake) : "None"}</label>`).join("")}</div><div id="mistake-count" aria-live="polite"></div>`,
    off: () => `<p>The parameters stay: the model has not learned to do without. Train it again under <i>Take a step</i>.</p>
      <div class="list">${Vit.SWITCHES.map((name) => `<label><input type="checkbox" name="off" value="${name}">${
        { attention: "Attention: its branch adds nothing", residual: "Residual connections: no way past a branch", norm: "Layer norms of the blocks", positions: "Positions" }[name]}</label>`).join("")}</div><p id="off-effect" aria-live="polite"></p>`,
    step: () => `<div class="row"><label>by <select id="rule"><option value="sgd">SGD</option><option value="adamw">AdamW</option></select></label>
      <label>rate <input id="rate" inputmode="decimal" size="6"></label><label>on <select id="on"><option value="all">all 12 pictures</option><option value="one">this picture</option></select></label></div>
      <div class="row"><button type="button" data-steps="1">1 step</button><button type="button" data-steps="100">100 steps</button><button type="button" id="undo-steps">start over</button></div>
      <p id="steps-told" aria-live="polite"></p><div id="curve"></div>`,
  };

  const UPDATE = {
    predict() {
      say("#predict-name", Words.cellName(App.state.t, App.state.c));
      if (App.hidden()) say("#predict-verdict", "");
    },

    nudge() {
      const name = target(), h = 10 ** exponent;
      place.querySelector("#nudge-slider").value = exponent;
      say("#nudge-h", exponent === 0 ? "1" : `10<sup>${String(exponent).replace("-", "−")}</sup>`);
      if (!name) return say("#nudge-what", "This tensor has no gradient of its own to compare with. Choose a value, a parameter or a pixel."), say("#nudge-numbers", ""), say("#nudge-plot", "");
      const { c } = App.state, index = Explain.flat(name, c), gradient = App.table[Vit.gradientOf(name)][index], loss = App.table.loss[0];
      const at = (step) => App.lossWith({ name, index, h: step });
      const found = (at(h) - loss) / h, error = Math.abs(found - gradient);
      say("#nudge-what", `Add h to <a class="t f" href="#" data-t="${name}" data-c="${c.join(",")}">${Words.cellName(name, c)}</a>, run the forward pass again, and see how the loss changes.`);
      const line = (title, value) => `<tr><th scope="row">${title}</th><td>${value}</td></tr>`;
      say("#nudge-numbers", line("loss, nudged", at(h).toFixed(12)) + line("loss", loss.toFixed(12)) + line("change / h", `<b>${Words.number(found)}</b>`)
        + line(`<span class="b">${Words.cellName(Vit.gradientOf(name), c)}</span>`, `<b>${Words.number(gradient)}</b>`) + line("difference", Words.number(error)));
      clearTimeout(plotting);
      plotting = setTimeout(() => say("#nudge-plot", plot(at, loss, gradient, found)), 20); // after the answer
    },

    mistake() {
      const chosen = Vit.MISTAKES.indexOf(App.state.mistake), spoiled = App.spoiled();
      for (const input of place.querySelectorAll("[name=mistake]")) input.checked = Number(input.value) === chosen;
      const all = Object.keys(Vit.SHAPES).filter(Vit.isGradient), parameters = Vit.PARAMETERS.map(Vit.gradientOf);
      say("#mistake-count", App.state.mistake ? `<p><b>${spoiled.size}</b> of ${all.length} gradients are wrong, among them <b>${parameters.filter((name) => spoiled.has(name)).length}</b> of the ${parameters.length} of parameters. First on the way back: ${
        first(spoiled).map((name) => `<a class="t b" href="#" data-t="${name}">${name}</a>`).join(", ")}.</p><p>Parameters whose gradients stay right: ${parameters.filter((name) => !spoiled.has(name)).map((name) => `<a class="t b" href="#" data-t="${name}">${name}</a>`).join(", ") || "none"}.</p>` : "<p>All gradients are right.</p>");
    },

    off() {
      for (const input of place.querySelectorAll("[name=off]")) input.checked = Boolean(App.state.off[input.value]);
      const { image, label } = App.example(), whole = Vit.forward(App.params, image, label).loss[0];
      const pixels = Math.max(...App.table.dimage.map(Math.abs));
      say("#off-effect", Object.values(App.state.off).some(Boolean) ? `Loss ${Words.number(App.table.loss[0])}; with everything on ${Words.number(whole)}.${pixels === 0 ? " <b>dimage is zero</b>: nothing of the picture reaches the class token." : ""}` : "Everything is on.");
    },

    step() {
      place.querySelector("#rule").value = rule, place.querySelector("#on").value = on;
      const rate = place.querySelector("#rate");
      if (!rate.value) rate.value = rule === "sgd" ? "0.05" : "0.003";
      say("#steps-told", App.steps ? `${App.steps} step${App.steps > 1 ? "s" : ""}: mean loss ${Words.number(App.curve[0])} → <b>${Words.number(App.curve.at(-1))}</b>` : "Each parameter moves a little against its gradient.");
      say("#curve", curve(App.curve));
    },
  };

  function first(spoiled) { // spoiled gradients that no spoiled gradient explains: where the mistake was made
    return [...spoiled].filter((name) => {
      const middle = Vit.SHAPES[name].map((n) => Math.floor(n / 2));
      return ![middle, middle.map(() => 0)].some((index) => Explain.cell(name, index).terms.some((term) => term.factors.some((factor) => spoiled.has(factor.name))));
    });
  }

  /* How far the measured slope is from the gradient, over h: truncation to the right, rounding to the left. */
  function plot(at, loss, gradient, found) {
    const W = 290, H = 150, left = 34, bottom = 24, x = (e) => left + (e + 14) / 14 * (W - left - 8);
    const y = (error) => 8 + (2 - Math.log10(Math.max(1e-14, Math.min(1e2, error)))) / 16 * (H - bottom - 8);
    const powers = Array.from({ length: 15 }, (_, i) => i - 14), up = powers.map((e) => at(10 ** e)), down = powers.map((e) => at(-(10 ** e)));
    const path = (slopes) => slopes.map((slope, i) => `${i ? "L" : "M"}${x(powers[i]).toFixed(1)} ${y(Math.abs(slope - gradient)).toFixed(1)}`).join("");
    const slope = powers.map((e, i) => (up[i] - loss) / 10 ** e), central = powers.map((e, i) => (up[i] - down[i]) / (2 * 10 ** e));
    return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="The difference between measured and computed, over h, both in powers of ten: smallest near h = 1e-8, larger to the right by truncation and to the left by rounding">
      ${[0, -4, -8, -12].map((e) => `<text x="${left - 5}" y="${y(10 ** e) + 3}" text-anchor="end">10${sup(e)}</text><line x1="${left}" x2="${W - 8}" y1="${y(10 ** e)}" y2="${y(10 ** e)}" class="rule"/><text x="${x(e)}" y="${H - 8}" text-anchor="middle">10${sup(e)}</text>`).join("")}
      <path d="${path(central)}" class="central"/><path d="${path(slope)}" class="forward"/><circle cx="${x(exponent)}" cy="${y(Math.abs(found - gradient))}" r="4"/>
      <text x="${left + 6}" y="${H - bottom - 4}">← rounding</text><text x="${W - 10}" y="${H - bottom - 4}" text-anchor="end">truncation →</text></svg>
      <p class="legend"><i class="forward"></i>(L(h) − L) / h <i class="central"></i>(L(h) − L(−h)) / 2h</p>`;
  }

  const sup = (n) => (n ? `<tspan dy="-3" font-size="8">${String(n).replace("-", "−")}</tspan>` : `<tspan dy="-3" font-size="8">0</tspan>`);

  function curve(losses) {
    if (losses.length < 2) return "";
    const W = 520, H = 110, most = Math.max(...losses), x = (i) => 34 + i / (losses.length - 1) * (W - 44), y = (loss) => 8 + (1 - loss / most) * (H - 24);
    return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="Mean loss over ${losses.length - 1} steps, from ${Words.number(losses[0])} to ${Words.number(losses.at(-1))}">
      <line x1="34" x2="${W - 8}" y1="${y(0)}" y2="${y(0)}" class="rule"/><text x="30" y="${y(most) + 4}" text-anchor="end">${most.toPrecision(2)}</text><text x="30" y="${y(0) + 3}" text-anchor="end">0</text>
      <path class="forward" d="${losses.map((loss, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(loss).toFixed(1)}`).join("")}"/></svg>`;
  }

  /* Steps in slices of 25 ms, so that the page stays alive. */
  function train(steps) {
    const rate = Number(place.querySelector("#rate").value.replace(",", ".")), examples = on === "all" ? App.examples : [App.example()];
    if (!(rate > 0)) return say("#steps-told", "The rate must be a number above 0.");
    const options = App.options();
    let left = steps;
    training = true;
    const slice = () => {
      const until = performance.now() + 25;
      do {
        const { loss, grads } = Vit.gradients(App.params, examples, options);
        if (!App.curve.length) App.curve.push(loss);
        if (rule === "sgd") Vit.sgd(App.params, grads, rate);
        else Vit.adamw(App.params, grads, rate, App.adam);
        App.steps += 1, left -= 1;
        App.curve.push(Vit.meanLoss(App.params, examples, options));
      } while (left > 0 && training && performance.now() < until);
      App.compute();
      App.render();
      if (left > 0 && training) requestAnimationFrame(slice);
      else training = false;
    };
    slice();
  }

  function render() {
    const { tab } = App.state, chosen = TABS[tab] ? tab : "nudge";
    if (!built) {
      place.innerHTML = `<div class="tabs" role="tablist" aria-label="Experiments">${Object.entries(TABS).map(([key, title]) => `<button type="button" role="tab" id="tab-${key}" aria-controls="panel" data-tab="${key}">${title}</button>`).join("")}</div><div id="panel" class="panel" role="tabpanel"></div>`;
    }
    if (built !== chosen) built = chosen, say("#panel", BUILD[chosen]());
    for (const button of place.querySelectorAll("[data-tab]")) button.setAttribute("aria-selected", button.dataset.tab === chosen), button.tabIndex = button.dataset.tab === chosen ? 0 : -1;
    place.querySelector("#panel").setAttribute("aria-labelledby", `tab-${chosen}`);
    const badge = { mistake: Boolean(App.state.mistake), off: Object.values(App.state.off).some(Boolean), step: App.steps > 0 };
    for (const key in badge) place.querySelector(`#tab-${key}`).classList.toggle("on", badge[key]);
    UPDATE[chosen]();
  }

  place.addEventListener("click", (event) => {
    const { target: at } = event, tab = at.closest("[data-tab]"), followed = at.closest("[data-t]"), steps = at.closest("[data-steps]");
    if (tab) App.go({ tab: tab.dataset.tab, answered: "" }, { replace: true });
    if (followed) event.preventDefault(), App.go({ t: followed.dataset.t, c: followed.dataset.c ? followed.dataset.c.split(",").map(Number) : App.state.c });
    if (steps && !training) train(Number(steps.dataset.steps));
    if (at.id === "undo-steps") training = false, App.reload(), App.compute(), App.render();
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
    if (at.id === "nudge-slider") exponent = Number(at.value), UPDATE.nudge();
    if (at.name === "mistake") App.go({ mistake: Vit.MISTAKES[at.value] || null }, { replace: true });
    if (at.name === "off") App.go({ off: { ...App.state.off, [at.value]: at.checked } }, { replace: true });
    if (at.id === "rule") rule = at.value, (place.querySelector("#rate").value = rule === "sgd" ? "0.05" : "0.003"), App.render();
    if (at.id === "on") on = at.value, (App.curve = []), (App.adam = {}), App.render();
  });

  place.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = Number(place.querySelector("#prediction").value.trim().replace("−", "-").replace(",", ".")), { t, c } = App.state;
    const value = App.table[t][Explain.flat(t, c)], written = place.querySelector("#prediction").value.trim();
    if (!written || Number.isNaN(said)) return say("#predict-verdict", "Write a number, such as −0.02.");
    const close = Math.abs(said - value) <= 0.05 * Math.abs(value) + 1e-9, sign = Math.sign(said) === Math.sign(value);
    App.go({ answered: App.here() }, { replace: true });
    say("#predict-verdict", `${close ? "<b>Right.</b>" : sign ? "The sign is right, the size is not." : "Not this time: look at the sign of each term."} It is ${Words.number(value)}.`);
  });

  App.renderers.push(render);
})();
