/* Small figures that can be moved, for the chapters: <div class="piece" data-piece="softmax"></div>. They compute with
   the engine of the microscope. */

(() => {
  "use strict";

  const { softmax, softmaxBackward, normalize, normalizeBackward, adamw } = Vit.ROW;
  const say = (x, digits = 3) => (Math.abs(x) < 1e-12 ? "0" : Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4 ? x.toExponential(1) : x.toPrecision(digits)).replace(/-/g, "−");
  const sum = (x) => x.reduce((a, b) => a + b, 0);
  const dot = (x, y) => sum(x.map((value, i) => value * y[i]));

  /* Rows of numbers as bars about zero: [name, value, class]. */
  function bars(rows, limit) {
    return `<table class="bars">${rows.map(([name, value, kind]) => `<tr><th scope="row">${name}</th><td class="rod"><i class="${kind}" style="${
      value < 0 ? "right" : "left"}:50%;width:${Math.min(50, 50 * Math.abs(value) / limit).toFixed(1)}%"></i></td><td>${say(value)}</td></tr>`).join("")}</table>`;
  }

  function lines(paths, [x0, x1], [y0, y1], labels, about) { // paths: [points, class]
    const W = 460, H = 180, x = (v) => 40 + (v - x0) / (x1 - x0) * (W - 50), y = (v) => 8 + (1 - (Math.max(y0, Math.min(y1, v)) - y0) / (y1 - y0)) * (H - 34);
    return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="${about}">${labels.y.map(([at, text]) => `<line class="rule" x1="40" x2="${W - 10}" y1="${y(at)}" y2="${y(at)}"/><text x="35" y="${y(at) + 3}" text-anchor="end">${text}</text>`).join("")}${
      labels.x.map(([at, text]) => `<text x="${x(at)}" y="${H - 10}" text-anchor="${at === x1 ? "end" : at === x0 ? "start" : "middle"}">${text}</text>`).join("")}${
      paths.map(([points, kind]) => (points.length === 1 ? `<circle class="${kind}" r="4" cx="${x(points[0][0])}" cy="${y(points[0][1])}"/>`
        : `<path class="${kind}" d="${points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("")}"/>`)).join("")}</svg>`;
  }

  const slider = (name, least, most, value, step = 0.1) => ({ name, least, most, value, step });
  const powers = (n) => Array.from({ length: n }, (_, i) => i);

  const PIECES = {
    softmax: {
      title: "Move a score. The gradient that arrives is 1 at one of the shares.",
      sliders: [slider("s<sub>1</sub>", -4, 4, 2), slider("s<sub>2</sub>", -4, 4, 1), slider("s<sub>3</sub>", -4, 4, 0), slider("s<sub>4</sub>", -4, 4, -1), slider("dp = 1 at", 1, 4, 1, 1)],
      draw([a, b, c, d, which]) {
        const { p } = softmax([a, b, c, d]), dp = p.map((_, j) => Number(j === which - 1)), ds = softmaxBackward(p, dp);
        return `<div class="two"><div>${bars(p.map((x, j) => [`p<sub>${j + 1}</sub>`, x, "f"]), 1)}</div><div>${bars(ds.map((x, j) => [`ds<sub>${j + 1}</sub>`, x, "b"]), 0.3)}</div></div>
          <p>The shares sum to ${say(sum(p))}, the gradient to ${say(sum(ds))}. Let one share be nearly 1, and nothing comes back.</p>`;
      },
    },

    layer_norm: {
      title: "A token of three numbers, and the gradient that arrives.",
      sliders: [...[2, 0, -1].map((v, i) => slider(`x<sub>${i + 1}</sub>`, -3, 3, v)), ...[1, -0.6, 0.9].map((v, i) => slider(`dxhat<sub>${i + 1}</sub>`, -2, 2, v))],
      draw(values) {
        const { rstd, xhat } = normalize(values.slice(0, 3)), dxhat = values.slice(3), { dx, mean_dxhat, mean_dxhat_xhat } = normalizeBackward(rstd, xhat, dxhat);
        const column = (title, numbers, kind) => `<div><p>${title}</p>${bars(numbers.map((x, i) => [i + 1, x, kind]), 2)}</div>`;
        return `<div class="four">${column("dxhat", dxhat, "b")}${column("− mean", dxhat.map(() => -mean_dxhat), "grey")}${column("− along xhat", xhat.map((x) => -x * mean_dxhat_xhat), "grey")}${column("= dx / r", dx.map((x) => x / rstd), "b")}</div>
          <p>What is left sums to ${say(sum(dx))}, and its product with xhat is ${say(dot(dx, xhat))}: it is at right angles to both.</p>`;
      },
    },

    attention: {
      title: "Token 1 looks at two tokens; K = 1. The loss is what it mixes.",
      sliders: [slider("q<sub>1</sub>", -3, 3, 1), slider("k<sub>1</sub>", -3, 3, 1), slider("k<sub>2</sub>", -3, 3, -0.5), slider("v<sub>1</sub>", -2, 2, 0.5), slider("v<sub>2</sub>", -2, 2, 2)],
      draw([q, k1, k2, v1, v2]) {
        const scores = [q * k1, q * k2], { p } = softmax(scores), mixed = dot(p, [v1, v2]), dscores = softmaxBackward(p, [v1, v2]);
        const dq = dot(dscores, [k1, k2]), dk = dscores.map((d) => d * q);
        return `<div class="two"><div>${bars([["scores", scores[0], "f"], ["", scores[1], "f"], ["weights", p[0], "f"], ["", p[1], "f"], ["mixed", mixed, "f"]], 4)}</div>
          <div>${bars([["dq<sub>1</sub>", dq, "b"], ["dk<sub>1</sub>", dk[0], "b"], ["dk<sub>2</sub>", dk[1], "b"], ["dv<sub>1</sub>", p[0], "b"], ["dv<sub>2</sub>", p[1], "b"]], 2)}</div></div>
          <p>dk<sub>1</sub> + dk<sub>2</sub> = ${say(sum(dk))}: what one score wins, the other loses. With v<sub>1</sub> = v<sub>2</sub> there is nothing to win.</p>`;
      },
    },

    adamw: {
      title: "A factor c on the gradient of (w − 3)² / 2, from w = 0; 40 steps.",
      sliders: [slider("log<sub>10</sub> c", -3, 2, 0, 0.1), slider("rate", 0.02, 0.5, 0.2, 0.02)],
      draw([power, rate]) {
        const factor = 10 ** power, paths = { sgd: [[0, 0]], adamw: [[0, 0]] }, state = {};
        let [plain, adaptive] = [0, 0];
        for (let step = 1; step <= 40; step++) {
          plain -= rate * factor * (plain - 3);
          adaptive = adamw(adaptive, factor * (adaptive - 3), state, rate);
          paths.sgd.push([step, Math.max(-1e6, Math.min(1e6, plain))]), paths.adamw.push([step, adaptive]);
        }
        return `${lines([[paths.sgd, "grey"], [paths.adamw, "f"]], [0, 40], [-1, 7], { x: [[0, "0"], [20, "20"], [40, "40 steps"]], y: [[0, "0"], [3, "3"], [6, "6"]] }, "w over 40 steps, by SGD and by AdamW")}
          <p><i class="key grey"></i> SGD <i class="key f"></i> AdamW. After 40 steps: ${say(plain)} and ${say(adaptive)}. The factor ${say(factor)} does not show in AdamW: so neither does a mistake that is one.</p>`;
      },
    },

    step: {
      title: "The slope of exp at 1, from two values that lie h apart.",
      sliders: [slider("log<sub>10</sub> h", -16, 0, -8, 0.25)],
      draw([power]) {
        const error = (slope) => Math.log10(Math.max(1e-16, Math.abs(slope - Math.E))), f = Math.exp;
        const ahead = (h) => error((f(1 + h) - f(1)) / h), central = (h) => error((f(1 + h) - f(1 - h)) / (2 * h)), at = powers(65).map((i) => -16 + i / 4), h = 10 ** power;
        return `${lines([[at.map((e) => [e, ahead(10 ** e)]), "f"], [at.map((e) => [e, central(10 ** e)]), "orange"], [[[power, ahead(h)]], "f"], [[[power, central(h)]], "orange"]], [-16, 0], [-14, 1],
          { x: [[-16, "h = 1e−16"], [-8, "1e−8"], [0, "1"]], y: [[0, "1"], [-4, "1e−4"], [-8, "1e−8"], [-12, "1e−12"]] }, "The error of both differences over h: rounding on the left, truncation on the right")}
          <p><i class="key f"></i> (F(h) − F(0)) / h is off by ${say(10 ** ahead(h))}, <i class="key orange"></i> (F(h) − F(−h)) / 2h by ${say(10 ** central(h))}.</p>`;
      },
    },
  };

  for (const root of document.querySelectorAll(".piece")) {
    const { title, sliders, draw } = PIECES[root.dataset.piece];
    root.innerHTML = `<p class="title">${title}</p><div class="sliders">${sliders.map(({ name, least, most, value, step }) =>
      `<label><span>${name}</span><input type="range" min="${least}" max="${most}" step="${step}" value="${value}"><output></output></label>`).join("")}</div><div class="drawn"></div>`;
    const inputs = [...root.querySelectorAll("input")], update = () => {
      inputs.forEach((input) => { input.nextElementSibling.textContent = input.value.replace("-", "−"); });
      root.querySelector(".drawn").innerHTML = draw(inputs.map((input) => Number(input.value)));
    };
    root.addEventListener("input", update);
    update();
  }
})();
