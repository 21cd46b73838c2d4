/* Why a cell has the value that it has: its formula, and the sum with every term.

     Explain.cell(name, index, options)   {formula, tag, terms, after}
       terms   [{coefficient, factors: [{name, index, of}], dropped}]; the value is `after` of the sum of the terms, and
               a term is its coefficient times its factors. `of` is null or a function of FUNCTIONS, applied to the cell.
               A dropped term is one that a planted mistake has left out: it is shown, and does not count.
     Explain.value(table, term)           the value of a term;  Explain.total(table, explanation)  of the whole

   Knows the engine, and nothing of the page. A test adds up the terms of every cell of every tensor. */

const Explain = (() => {
  "use strict";

  const { S, GELU_C, GELU_A, EPS, MISTAKES } = Vit;
  const [MEAN, WEIGHTED_MEAN, SCALE, TRANSPOSE, RESIDUAL, SLOPE, CLASS_TOKEN, HEADS, PATCHES] = MISTAKES;
  const ROOT_K = Math.sqrt(S.K), range = (n) => [...Array(n).keys()];

  const FUNCTIONS = {
    exp: { show: (x) => `exp(${x})`, compute: Math.exp },
    log: { show: (x) => `log(${x})`, compute: Math.log },
    rsqrt: { show: (x) => `1/√(${x})`, compute: (x) => 1 / Math.sqrt(x) },
    sigmoid: { show: (x) => `1/(1 + exp(−(${x})))`, compute: (x) => 1 / (1 + Math.exp(-x)) },
    rest: { show: (x) => `(1 − ${x})`, compute: (x) => 1 - x },
  };

  const product = (coefficient, ...factors) => ({ coefficient, factors });
  const times = (...factors) => product(1, ...factors);
  const cell = (name, index, of = null) => ({ name, index, of });
  const row = (x, index) => (Vit.SHAPES[x].length > 1 ? [index[0]] : []); // the index without its last part
  const unused = { dropped: true };

  function out(formula, tag, terms, after = null) {
    return { formula, tag, terms, after };
  }

  const rowsRange = (name) => (Vit.SHAPES[name].length > 1 ? range(Vit.SHAPES[name][0]).map((r) => [r]) : [[]]);

  function patchOf([row, column]) { // the cell of (patch, pixel) that a pixel goes to
    const across = S.side / S.patch, p = S.patch;
    return [Math.floor(row / p) * across + Math.floor(column / p), (row % p) * p + (column % p)];
  }

  function pixelOf([r, m]) {
    const place = Vit.pixel(r, m);
    return [Math.floor(place / S.side), place % S.side];
  }

  const headsOf = ([r, column]) => [Math.floor(column / S.K), r, column % S.K]; // (N, D) -> (H, N, K)
  const merged = ([h, r, m]) => [r, h * S.K + m];

  function denseParts(op) {
    const { x, W, b, dy } = op.t, [I, J] = Vit.SHAPES[W];
    return {
      y: (i) => out("y[r,j] = Σᵢ x[r,i] · W[i,j] + b[j]", op.kind === "qkv" ? "MHA.1" : "DENSE.1", [
        ...range(I).map((k) => times(cell(x, [...row(x, i), k]), cell(W, [k, i.at(-1)]))), times(cell(b, [i.at(-1)]))]),
      dx: (i) => out("dx[r,i] = Σⱼ dy[r,j] · W[i,j]", "DENSE.2",
        range(J).map((j) => times(cell(dy, [...row(x, i), j]), cell(W, [i.at(-1), j])))),
      dW: ([i, j]) => out("dW[i,j] = Σᵣ x[r,i] · dy[r,j]", "DENSE.3",
        rowsRange(x).map((r) => times(cell(x, [...r, i]), cell(dy, [...r, j])))),
      db: ([j]) => out("db[j] = Σᵣ dy[r,j]", "DENSE.4", rowsRange(dy).map((r) => times(cell(dy, [...r, j])))),
    };
  }

  /* For each kind, a function of the operation and the options; it returns, for each role, a function of the index. */
  const KINDS = {
    cut: ({ t }, o) => ({
      patches: (i) => out("patches[r,m] = image[its pixel]", "PATCH.1", [times(cell(t.image, pixelOf(i)))]),
      dimage(i) {
        const [r, m] = patchOf(i);
        return o.mistake === PATCHES ? out("dimage[y,x] = dpatches[the patch of its mirror image, its place there]: rows for columns", "PATCH.3", [times(cell(t.dpatches, [Vit.mirrored(r), m]))])
          : out("dimage[y,x] = dpatches[its patch, its place there]", "PATCH.3", [times(cell(t.dpatches, [r, m]))]);
      },
    }),

    dense: denseParts,

    qkv(op) {
      const { x, W, dy } = op.t, parts = denseParts(op);
      ["q", "k", "v"].forEach((letter, third) => {
        parts["dx_" + letter] = ([r, i]) => out(`da_${letter}[r,i] = Σⱼ dqkv[r,j] · W[i,j], over the columns of ${letter}`, "MHA.10",
          range(S.D).map((j) => times(cell(dy, [r, third * S.D + j]), cell(W, [i, third * S.D + j]))));
      });
      parts.dx = (i) => out("da = da_q + da_k + da_v: a was used three times", "MHA.10",
        ["dx_q", "dx_k", "dx_v"].map((role) => times(cell(op.t[role], i))));
      return parts;
    },

    class_token: ({ t }) => ({
      y: ([r, i]) => (r ? out("tokens[r] = embedded[r − 1]", "POS.1", [times(cell(t.x, [r - 1, i]))])
        : out("tokens[0] = class_token", "POS.1", [times(cell(t.token, [i]))])),
      dx: ([r, i]) => out("dembedded[r] = dtokens[r + 1]", "POS.5", [times(cell(t.dy, [r + 1, i]))]),
      dtoken: ([i]) => out("dclass_token = dtokens[0]", "POS.4", [times(cell(t.dy, [0, i]))]),
    }),

    positions: ({ t }, o) => ({
      y: (i) => out("x = tokens + positions", "POS.2", [times(cell(t.x, i)), ...(o.off.positions ? [] : [times(cell(t.positions, i))])]),
      dx: (i) => out("dtokens = dx", "POS.2", [times(cell(t.dy, i))]),
      dpositions: (i) => out("dpositions = dx, of one image", "POS.3", o.off.positions ? [] : [times(cell(t.dy, i))]),
    }),

    fork: (op, o) => ({
      dx: (i) => out("dx = dx_skip + dx_branch: what was used twice gets two gradients", "RES.1", [
        { ...times(cell(op.t.dx_skip, i)), ...(o.mistake === RESIDUAL && op.branch === "ffn" ? unused : {}) }, times(cell(op.t.dx_branch, i))]),
    }),

    layer_norm(op, o) {
      const { x, gamma, beta, mean, centred, rstd, xhat, dy, dxhat, mean_dxhat, mean_dxhat_xhat } = op.t;
      const off = o.off.norm && op.in_block, D = S.D, r1 = (i) => [...row(x, i), 0], rk = (i, k) => [...row(x, i), k];
      const off_or = (terms) => (off ? [] : terms);
      return {
        mean: (i) => out("mean = Σᵢ x[r,i] / D", "LN.1", range(D).map((k) => product(1 / D, cell(x, rk(i, k))))),
        centred: (i) => out("centred = x − mean", "LN.1", [times(cell(x, i)), product(-1, cell(mean, r1(i)))]),
        rstd: (i) => out("rstd = 1/√(Σᵢ centred[r,i]² / D + ε)", "LN.1",
          [...range(D).map((k) => product(1 / D, cell(centred, rk(i, k)), cell(centred, rk(i, k)))), product(EPS)], "rsqrt"),
        xhat: (i) => (off ? out("xhat = x: the norm is switched off", "LN.1", [times(cell(x, i))])
          : out("xhat = (x − mean) · rstd", "LN.1", [times(cell(centred, i), cell(rstd, r1(i)))])),
        y: (i) => (off ? out("y = xhat: the norm is switched off", "LN.2", [times(cell(xhat, i))])
          : out("y = gamma · xhat + beta", "LN.2", [times(cell(gamma, [i.at(-1)]), cell(xhat, i)), times(cell(beta, [i.at(-1)]))])),
        dxhat: (i) => (off ? out("dxhat = dy: the norm is switched off", "LN.3", [times(cell(dy, i))])
          : out("dxhat = dy · gamma", "LN.3", [times(cell(dy, i), cell(gamma, [i.at(-1)]))])),
        mean_dxhat: (i) => out("mean(dxhat), over the token", "LN.4", off_or(range(D).map((k) => product(1 / D, cell(dxhat, rk(i, k)))))),
        mean_dxhat_xhat: (i) => out("mean(dxhat · xhat), over the token", "LN.4",
          off_or(range(D).map((k) => product(1 / D, cell(dxhat, rk(i, k)), cell(xhat, rk(i, k)))))),
        dx: (i) => (off ? out("dx = dy: the norm is switched off", "LN.4", [times(cell(dy, i))])
          : out("dx = rstd · (dxhat − mean(dxhat) − xhat · mean(dxhat · xhat))", "LN.4", [
            times(cell(rstd, r1(i)), cell(dxhat, i)),
            { ...product(-1, cell(rstd, r1(i)), cell(mean_dxhat, r1(i))), ...(o.mistake === MEAN ? unused : {}) },
            product(-1, cell(rstd, r1(i)), cell(xhat, i), cell(mean_dxhat_xhat, r1(i)))])),
        dgamma: ([i]) => out("dgamma[i] = Σᵣ dy[r,i] · xhat[r,i]", "LN.5",
          off_or(rowsRange(dy).map((r) => times(cell(dy, [...r, i]), cell(xhat, [...r, i]))))),
        dbeta: ([i]) => out("dbeta[i] = Σᵣ dy[r,i]", "LN.5", off_or(rowsRange(dy).map((r) => times(cell(dy, [...r, i]))))),
      };
    },

    split({ t }) {
      const third = { q: 0, k: 1, v: 2 }, letters = Object.keys(third), parts = {};
      for (const letter of letters) parts[letter] = ([h, r, m]) => out(`${letter}[h,r,m] = qkv[r, its column]`, "MHA.1",
        [times(cell(t.qkv, [r, third[letter] * S.D + h * S.K + m]))]);
      parts.dqkv = ([r, column]) => {
        const letter = letters[Math.floor(column / S.D)];
        return out(`dqkv[r,j] = d${letter}[its head, r, its place there]`, "MHA.10", [times(cell(t["d" + letter], headsOf([r, column % S.D])))]);
      };
      return parts;
    },

    scale: ({ t }, o) => ({
      scaled_q: (i) => out("scaled_q = q / √K", "MHA.2", [product(1 / ROOT_K, cell(t.q, i))]),
      dq: (i) => (o.mistake === SCALE ? out("dq = dscaled_q: the mistake leaves out 1/√K", "MHA.9", [times(cell(t.dscaled_q, i))])
        : out("dq = dscaled_q / √K", "MHA.9", [product(1 / ROOT_K, cell(t.dscaled_q, i))])),
    }),

    scores: ({ t }) => ({
      scores: ([h, i, j]) => out("scores[i,j] = Σₘ scaled_q[i,m] · k[j,m]", "MHA.2",
        range(S.K).map((m) => times(cell(t.scaled_q, [h, i, m]), cell(t.k, [h, j, m])))),
      dscaled_q: ([h, i, m]) => out("dscaled_q[i,m] = Σⱼ dscores[i,j] · k[j,m]", "MHA.9",
        range(S.N).map((j) => times(cell(t.dscores, [h, i, j]), cell(t.k, [h, j, m])))),
      dk: ([h, j, m]) => out("dk[j,m] = Σᵢ dscores[i,j] · scaled_q[i,m]", "MHA.9",
        range(S.N).map((i) => times(cell(t.dscores, [h, i, j]), cell(t.scaled_q, [h, i, m])))),
    }),

    softmax: ({ t }, o) => ({
      lse: ([h, i]) => out("lse[i] = log Σⱼ exp(scores[i,j])", "SM.1", range(S.N).map((j) => times(cell(t.scores, [h, i, j], "exp"))), "log"),
      weights: ([h, i, j]) => out("weights[i,j] = exp(scores[i,j]) / Σⱼ exp(scores[i,j]) = exp(scores[i,j] − lse[i])", "MHA.3",
        [times(cell(t.scores, [h, i, j])), product(-1, cell(t.lse, [h, i, 0]))], "exp"),
      s: ([h, i]) => out("s[i] = Σⱼ weights[i,j] · dweights[i,j]", "SM.2",
        range(S.N).map((j) => times(cell(t.weights, [h, i, j]), cell(t.dweights, [h, i, j])))),
      dscores: ([h, i, j]) => out("dscores[i,j] = weights[i,j] · (dweights[i,j] − s[i])", "MHA.8", [
        times(cell(t.weights, [h, i, j]), cell(t.dweights, [h, i, j])),
        { ...product(-1, cell(t.weights, [h, i, j]), cell(t.s, [h, i, 0])), ...(o.mistake === WEIGHTED_MEAN ? unused : {}) }]),
    }),

    mix: ({ t }, o) => ({
      mixed: ([h, i, m]) => out("mixed[i,m] = Σⱼ weights[i,j] · v[j,m]", "MHA.4",
        range(S.N).map((j) => times(cell(t.weights, [h, i, j]), cell(t.v, [h, j, m])))),
      dweights: ([h, i, j]) => out("dweights[i,j] = Σₘ dmixed[i,m] · v[j,m]", "MHA.7",
        range(S.K).map((m) => times(cell(t.dmixed, [h, i, m]), cell(t.v, [h, j, m])))),
      dv: ([h, j, m]) => (o.mistake === TRANSPOSE
        ? out("dv[j,m] = Σᵢ weights[j,i] · dmixed[i,m]: the mistake does not transpose the weights", "MHA.7",
          range(S.N).map((i) => times(cell(t.weights, [h, j, i]), cell(t.dmixed, [h, i, m]))))
        : out("dv[j,m] = Σᵢ weights[i,j] · dmixed[i,m]", "MHA.7",
          range(S.N).map((i) => times(cell(t.weights, [h, i, j]), cell(t.dmixed, [h, i, m]))))),
    }),

    merge: ({ t }, o) => ({
      merged: (i) => out("merged[r,c] = mixed[its head, r, its place there]", "MHA.5", [times(cell(t.mixed, headsOf(i)))]),
      dmixed(i) {
        const place = flat(t.dmixed, i);
        return o.mistake === HEADS ? out("dmixed = dmerged in another shape: the mistake moves no number", "MHA.6", [times(cell(t.dmerged, [Math.floor(place / S.D), place % S.D]))])
          : out("dmixed[h,r,m] = dmerged[r, its column]", "MHA.6", [times(cell(t.dmerged, merged(i)))]);
      },
    }),

    residual(op, o) {
      const { x, branch, dy } = op.t, skip = !o.off.residual, add = !(o.off.attention && op.branch === "att");
      const [yName, xName, branchName] = [op.t.y, x, branch].map((name) => name.split("/").pop());
      return {
        y: (i) => out(`${yName} = ${xName} + ${branchName}`, "RES.1", [...(skip ? [times(cell(x, i))] : []), ...(add ? [times(cell(branch, i))] : [])]),
        dx_skip: (i) => out(`what the forward adds, the backward copies: d${xName}_skip = d${yName}`, "RES.1", skip ? [times(cell(dy, i))] : []),
        dbranch: (i) => out(`what the forward adds, the backward copies: d${branchName} = d${yName}`, "RES.1", add ? [times(cell(dy, i))] : []),
      };
    },

    gelu({ t }, o) {
      const { x, gate, slope, dy } = t, c2 = 2 * GELU_C;
      return {
        gate: (i) => out("gate = (1 + tanh u) / 2 = 1/(1 + exp(−2u)),  2u = 2c (x + a x³)", "GELU.3",
          [product(c2, cell(x, i)), product(c2 * GELU_A, cell(x, i), cell(x, i), cell(x, i))], "sigmoid"),
        y: (i) => out("hidden = x · gate", "GELU.3", [times(cell(x, i), cell(gate, i))]),
        slope: (i) => out("slope = gate + x · gate · (1 − gate) · 2c (1 + 3 a x²)", "GELU.4", [
          times(cell(gate, i)), product(c2, cell(x, i), cell(gate, i), cell(gate, i, "rest")),
          product(3 * GELU_A * c2, cell(x, i), cell(x, i), cell(x, i), cell(gate, i), cell(gate, i, "rest"))]),
        dx: (i) => (o.mistake === SLOPE ? out("dexpanded = dhidden: the mistake leaves out the slope", "GELU.5", [times(cell(dy, i))])
          : out("dexpanded = dhidden · slope", "GELU.5", [times(cell(dy, i), cell(slope, i))])),
      };
    },

    pool: ({ t }, o) => ({
      y: ([i]) => out("class_x = x[0]: the class token alone", "POOL.1", [times(cell(t.x, [0, i]))]),
      dx: ([r, i]) => (r === 0 ? out("dx[0] = dclass_x", "POOL.1", [times(cell(t.dy, [i]))])
        : o.mistake === CLASS_TOKEN ? out("dx[r] = dclass_x: the mistake gives it to every token", "POOL.1", [times(cell(t.dy, [i]))])
          : out("dx[r] = 0: only the class token is read", "POOL.1", [])),
    }),

    cross_entropy: ({ t }) => ({
      lse: () => out("lse = log Σ exp(logits)", "CE.1", range(S.C).map((c) => times(cell(t.logits, [c], "exp"))), "log"),
      log_p: ([c]) => out("log_p[c] = logits[c] − lse", "CE.1", [times(cell(t.logits, [c])), product(-1, cell(t.lse, [0]))]),
      p: ([c]) => out("p[c] = exp(log_p[c])", "CE.1", [times(cell(t.log_p, [c]))], "exp"),
      loss: () => out("loss = −Σ target[c] · log_p[c]", "CE.3", range(S.C).map((c) => product(-1, cell(t.target, [c]), cell(t.log_p, [c])))),
      dlogits: ([c]) => out("dlogits[c] = p[c] − target[c]", "CE.4", [times(cell(t.p, [c])), product(-1, cell(t.target, [c]))]),
    }),
  };

  /* null for what nothing computes: the image, the target, the parameters. */
  function explain(name, index, options = Vit.RIGHT) {
    const made = Vit.PRODUCER[name];
    return made ? { ...KINDS[made.op.kind](made.op, options)[made.role](index), op: made.op } : null;
  }

  function flat(name, index) {
    return index.reduce((place, i, axis) => place * Vit.SHAPES[name][axis] + i, 0);
  }

  function factor(table, { name, index, of }) {
    const value = table[name][flat(name, index)];
    return of ? FUNCTIONS[of].compute(value) : value;
  }

  const value = (table, term) => term.factors.reduce((made, one) => made * factor(table, one), term.coefficient);

  function total(table, { terms, after }) {
    const sum = terms.reduce((made, term) => (term.dropped ? made : made + value(table, term)), 0);
    return after ? FUNCTIONS[after].compute(sum) : sum;
  }

  return { cell: explain, value, factor, total, flat, FUNCTIONS };
})();

if (typeof module !== "undefined") module.exports = Explain;
