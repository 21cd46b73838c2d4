/* The experiment "Nudge": a value grows by h, the forward pass runs again, and the change of the loss over h stands beside
   the gradient. The plot shows for which h the two agree. */

const Nudge = (() => {
  "use strict";

  const POWERS = Array.from({ length: 15 }, (_, i) => i - 14), get = (id) => document.getElementById(id);
  const DIGITS = 17; // as many as two numbers of 64 bits need to differ where they differ
  let measured = null, waiting = 0, pending = null; // what the plot shows: it does not depend on the h of the slider

  const h = () => 10 ** App.state.h;
  const hText = (e) => (!Number.isInteger(e) ? Words.number(10 ** e, 3) : e > -4 ? String(Number((10 ** e).toPrecision(1))) : `10${Words.superscript(e)}`);

  function target() { // the value that is nudged
    const { value, gradient } = App.pairOf(App.state.t);
    return value && gradient ? value : null;
  }

  const build = () => `<p id="nudge-what"></p><div class="row"><label class="slider">h = <output id="nudge-h"></output><input id="nudge-slider" type="range" min="-14" max="0" step="0.25" aria-label="Size of the nudge, as a power of ten"></label></div>
    <div class="nudged"><table id="nudge-numbers"></table><div id="nudge-plot"></div></div><p id="nudge-words"></p>`;

  function update() {
    const name = target();
    get("nudge-slider").value = App.state.h;
    get("nudge-slider").setAttribute("aria-valuetext", `h = ${hText(App.state.h)}`);
    get("nudge-h").textContent = hText(App.state.h);
    if (!name) {
      get("nudge-what").textContent = "This tensor has no gradient of its own to compare with. Choose a value, a parameter or a pixel.";
      for (const id of ["nudge-numbers", "nudge-plot", "nudge-words"]) get(id).innerHTML = "";
      return;
    }
    const { c } = App.state, index = Explain.flat(name, c), loss = App.table.loss[0], gradient = App.table[Vit.gradientOf(name)][index];
    const at = (step) => App.lossWith(name, index, step), up = at(h()), found = (up - loss) / h(), central = (up - at(-h())) / (2 * h());
    const line = (title, value, more) => `<tr><th scope="row">${title}</th>${more ? `<td>${value}</td><td>${more}</td>` : `<td colspan="2">${value}</td>`}</tr>`;
    const off = (slope) => (slope === gradient ? "equal" : `off by ${Words.number(Math.abs(slope - gradient), 3)}`);
    get("nudge-what").innerHTML = `Add h to <a class="t f" href="#" data-t="${name}" data-c="${c.join(",")}">${Words.cellName(name, c)}</a>, run the forward pass again, and see how the loss changes.`;
    get("nudge-numbers").innerHTML = line("loss", loss.toPrecision(DIGITS)) + line("loss, nudged", apart(loss, up))
      + line('<i class="key forward"></i>change / h', `<b>${Words.number(found)}</b>`, off(found))
      + line('<i class="key central"></i>from both sides', `<b>${Words.number(central)}</b>`, off(central))
      + line(`<span class="b">${Words.cellName(Vit.gradientOf(name), c)}</span>`, `<b>${Words.number(gradient)}</b>`, "the gradient");
    const key = [App.version, name, index].join();
    if (measured?.key === key) return plot(found, central);
    clearTimeout(waiting);
    waiting = setTimeout(finish, 20); // after the answer
    pending = () => {
      if (!get("nudge-plot")) return;
      const ups = POWERS.map((e) => at(10 ** e)), downs = POWERS.map((e) => at(-(10 ** e))), error = (slope) => Math.abs(slope - gradient);
      measured = { key, gradient, forward: POWERS.map((e, i) => error((ups[i] - loss) / 10 ** e)), central: POWERS.map((e, i) => error((ups[i] - downs[i]) / (2 * 10 ** e))) };
      plot(found, central);
    };
  }

  function finish() {
    clearTimeout(waiting);
    pending?.(), pending = null;
  }

  /* The nudged loss, from the first digit that differs on in bold. */
  function apart(loss, up) {
    const [before, after] = [loss.toPrecision(DIGITS), up.toPrecision(DIGITS)], same = [...after].findIndex((digit, i) => digit !== before[i]);
    return same < 0 ? `${after} <small>the same</small>` : `${after.slice(0, same)}<b>${after.slice(same)}</b>`;
  }

  const sup = (n) => `<tspan dy="-4" font-size="8">${String(n).replace("-", "−")}</tspan>`;

  /* How far the measured slopes are from the gradient, over h: truncation to the right, rounding to the left. */
  function plot(found, central) {
    const W = 250, H = 160, left = 48, bottom = 38, x = (e) => left + (e + 14) / 14 * (W - left - 10);
    const y = (error) => 8 + (2 - Math.log10(Math.max(1e-14, Math.min(1e2, error)))) / 16 * (H - bottom - 8);
    const path = (errors) => errors.map((error, i) => `${i ? "L" : "M"}${x(POWERS[i]).toFixed(1)} ${y(error).toFixed(1)}`).join("");
    const { gradient, forward } = measured, least = (errors) => POWERS[errors.indexOf(Math.min(...errors))], best = least(forward), here = Math.abs(found - gradient);
    const grid = [0, -4, -8, -12].map((e) => `<text x="${left - 5}" y="${y(10 ** e) + 3}" text-anchor="end">10${sup(e)}</text><line x1="${left}" x2="${W - 10}" y1="${y(10 ** e)}" y2="${y(10 ** e)}" class="rule"/>`);
    const ticks = [[-12, "10" + sup(-12)], [-8, "10" + sup(-8)], [-4, "10" + sup(-4)], [-1, "0.1"]].map(([e, text]) => `<text x="${x(e)}" y="${H - 22}" text-anchor="middle">${text}</text>`);
    get("nudge-plot").innerHTML = `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="The difference from the gradient over h, both in powers of ten: smallest near h = ${hText(best)}, larger to the right by truncation and to the left by rounding">
      ${grid.join("")}${ticks.join("")}<path d="${path(measured.central)}" class="central"/><path d="${path(forward)}" class="forward"/>
      <circle cx="${x(App.state.h)}" cy="${y(Math.abs(central - gradient))}" r="3.5" class="central"/><circle cx="${x(App.state.h)}" cy="${y(here)}" r="4.5"/>
      <text x="11" y="${(H - bottom) / 2 + 8}" text-anchor="middle" transform="rotate(-90 11 ${(H - bottom) / 2 + 8})">error: |slope − gradient|</text>
      <text x="${left}" y="${H - 5}">← rounding</text><text x="${(left + W - 10) / 2}" y="${H - 5}" text-anchor="middle">h</text><text x="${W - 10}" y="${H - 5}" text-anchor="end">truncation →</text></svg>`;
    const nearest = `the measured slope (change / h) is nearest to the gradient at h = ${hText(best)} (from both sides, at ${hText(least(measured.central))})`;
    get("nudge-words").innerHTML = Math.max(...forward) === 0 ? "The loss does not depend on this number." : Math.abs(App.state.h - best) < 0.5 ? `Here ${nearest}: a larger h truncates more, a smaller one rounds more.`
      : App.state.h > best ? `At h = ${hText(App.state.h)} the slope is off by <b>${Words.number(here, 3)}</b>, by <b>truncation</b>: the loss bends within h. ${nearest[0].toUpperCase() + nearest.slice(1)}; below that, rounding takes over.`
        : `At h = ${hText(App.state.h)} the slope is off by <b>${Words.number(here, 3)}</b>, by <b>rounding</b>: of the loss's 16 digits few differ. ${nearest[0].toUpperCase() + nearest.slice(1)}.`;
  }

  function slide(exponent) {
    App.state.h = exponent;
    App.noteAddress(false);
    update();
  }

  return { build, update, finish, slide };
})();
