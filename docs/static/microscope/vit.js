/* The engine of the microscope: a small Vision Transformer, forward and backward, one image at a time, in float64.

   It computes what model/one_page.py computes, with every intermediate kept as a tensor that has a name. `dz` is the
   gradient of the loss with respect to `z`. Comments cite the formulas of the book by their tags. Nothing here knows
   of the page; tensors are Float64Arrays with a property `shape`.

     Vit.OPERATIONS          the model: records {kind, name, t, ...}, in the order of the forward pass
     Vit.forward(params, image, label, options)    a table {name: tensor}; its loss is table.loss[0]
     Vit.backward(table, options)                  puts every gradient into the table
     Vit.nudgedLoss(table, name, index, h, options)    the loss when one number of a tensor grows by h

   An operation's `t` says which tensor plays which role of its kind: LAYERS[kind] has a forward and a backward that
   are written in roles. Options: {mistake: name or null, off: {attention, residual, norm, positions}}.

   Sizes: n patches of P pixels, N = n + 1 tokens of width D, H heads of width K = D / H, M hidden, C classes. */

const Vit = (() => {
  "use strict";

  const S = { side: 16, patch: 4, n: 16, P: 16, N: 17, D: 12, H: 3, K: 4, M: 24, C: 6, blocks: 2 };
  const ACROSS = S.side / S.patch; // patches in a row of the image
  const EPS = 1e-6; // of every layer norm
  const GELU_C = Math.sqrt(2 / Math.PI), GELU_A = 0.044715;

  // The names are those of checks/mutants.yml, where they are mistakes of model/one_page.py. Two of that list are not
  // here, as they are about the mean over a batch: in a batch of one image, as here, they change nothing.
  const MISTAKES = [
    "the term through the mean is dropped",
    "the weighted mean is dropped",
    "1/sqrt(K) is left out of dq",
    "the weights are not transposed in dv",
    "the residual of the feed-forward is forgotten",
    "the slope of GELU is left out",
    "the gradient of the class token goes to every token",
    "the heads are not split in the backward as they were merged",
    "the patches are put back in the order of their columns",
  ];
  const [MEAN, WEIGHTED_MEAN, SCALE, TRANSPOSE, RESIDUAL, SLOPE, CLASS_TOKEN, HEADS, PATCHES] = MISTAKES;
  const SWITCHES = ["attention", "residual", "norm", "positions"];

  function tensor(shape) {
    const made = new Float64Array(shape.reduce((a, b) => a * b, 1));
    made.shape = shape;
    return made;
  }

  const rowsOf = (x) => (x.shape.length > 1 ? x.shape[0] : 1);
  const columnsOf = (x) => x.shape[x.shape.length - 1];

  /* Of one row, for the layers and for the small figures of the chapters. */
  const ROW = {
    softmax(scores) { // SM.1
      let max = -Infinity, total = 0;
      for (let j = 0; j < scores.length; j++) if (scores[j] > max) max = scores[j];
      const p = scores.slice(); // first exp(score - max), then their shares
      for (let j = 0; j < p.length; j++) total += p[j] = Math.exp(scores[j] - max);
      for (let j = 0; j < p.length; j++) p[j] /= total;
      return { p, lse: max + Math.log(total) };
    },
    softmaxBackward(p, dp, s = p.reduce((sum, x, j) => sum + x * dp[j], 0)) { // SM.2
      return p.map((x, j) => x * (dp[j] - s));
    },
    normalize(x) { // LN.1
      const centred = x.slice(), xhat = x.slice(), D = x.length;
      let mean = 0, variance = 0;
      for (let i = 0; i < D; i++) mean += x[i] / D;
      for (let i = 0; i < D; i++) centred[i] -= mean, variance += centred[i] * centred[i] / D;
      const rstd = 1 / Math.sqrt(variance + EPS);
      for (let i = 0; i < D; i++) xhat[i] = centred[i] * rstd;
      return { mean, centred, rstd, xhat };
    },
    normalizeBackward(rstd, xhat, dxhat) { // LN.4, and the two means in it
      const mean_dxhat = dxhat.reduce((a, b) => a + b, 0) / xhat.length;
      const mean_dxhat_xhat = dxhat.reduce((sum, d, i) => sum + d * xhat[i], 0) / xhat.length;
      return { mean_dxhat, mean_dxhat_xhat, dx: dxhat.map((d, i) => rstd * (d - mean_dxhat - xhat[i] * mean_dxhat_xhat)) };
    },
    adamw(theta, g, state, rate, { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0 } = {}) { // of one number
      state.t = (state.t || 0) + 1;
      state.m = beta1 * (state.m || 0) + (1 - beta1) * g; // ADAMW.1
      state.v = beta2 * (state.v || 0) + (1 - beta2) * g * g; // ADAMW.2
      const mhat = state.m / (1 - beta1 ** state.t), vhat = state.v / (1 - beta2 ** state.t); // ADAMW.3
      return theta - rate * (mhat / (Math.sqrt(vhat) + eps) + decay * theta); // ADAMW.4
    },
  };

  /* One entry per kind of layer. `values`: the roles that its forward fills, the result last; `gradients`: those that
     its backward fills. A value and its gradient have the same shape. */
  const LAYERS = {
    cut: {
      values: ["patches"], gradients: ["dimage"],
      forward({ image, patches }) { // PATCH.1
        for (let r = 0; r < S.n; r++) for (let m = 0; m < S.P; m++) patches[r * S.P + m] = image[pixel(r, m)];
      },
      backward({ dpatches, dimage }, o) { // PATCH.3
        for (let r = 0; r < S.n; r++) for (let m = 0; m < S.P; m++) {
          dimage[pixel(o.mistake === PATCHES ? mirrored(r) : r, m)] = dpatches[r * S.P + m];
        }
      },
    },

    dense: {
      values: ["y"], gradients: ["dx", "dW", "db"],
      forward({ x, W, b, y }) { // DENSE.1
        const rows = rowsOf(x), [I, J] = W.shape;
        for (let r = 0; r < rows; r++) for (let j = 0; j < J; j++) {
          let sum = b[j];
          for (let i = 0; i < I; i++) sum += x[r * I + i] * W[i * J + j];
          y[r * J + j] = sum;
        }
      },
      backward({ x, W, dy, dx, dW, db }) {
        const rows = rowsOf(x), [I, J] = W.shape;
        dx.fill(0), dW.fill(0), db.fill(0);
        for (let r = 0; r < rows; r++) for (let j = 0; j < J; j++) {
          const d = dy[r * J + j];
          for (let i = 0; i < I; i++) {
            dx[r * I + i] += d * W[i * J + j]; // DENSE.2
            dW[i * J + j] += x[r * I + i] * d; // DENSE.3
          }
          db[j] += d; // DENSE.4
        }
      },
    },

    /* The dense layer before the heads. Its input goes into q, k and v, so three gradients come back and add. */
    qkv: {
      values: ["y"], gradients: ["dx_q", "dx_k", "dx_v", "dx", "dW", "db"],
      forward(t) { LAYERS.dense.forward(t); }, // MHA.1
      backward({ x, W, dy, dx_q, dx_k, dx_v, dx, dW, db }) { // MHA.10
        LAYERS.dense.backward({ x, W, dy, dx, dW, db });
        const J = 3 * S.D;
        [dx_q, dx_k, dx_v].forEach((part, third) => {
          for (let r = 0; r < S.N; r++) for (let i = 0; i < S.D; i++) {
            let sum = 0;
            for (let j = third * S.D; j < (third + 1) * S.D; j++) sum += dy[r * J + j] * W[i * J + j];
            part[r * S.D + i] = sum;
          }
        });
        for (let i = 0; i < dx.length; i++) dx[i] = dx_q[i] + dx_k[i] + dx_v[i];
      },
    },

    class_token: {
      values: ["y"], gradients: ["dx", "dtoken"],
      forward({ x, token, y }) { // POS.1
        y.set(token, 0);
        y.set(x, S.D);
      },
      backward({ dy, dx, dtoken }) {
        dtoken.set(dy.subarray(0, S.D)); // POS.4, of one image
        dx.set(dy.subarray(S.D)); // POS.5
      },
    },

    positions: {
      values: ["y"], gradients: ["dx", "dpositions"],
      forward({ x, positions, y }, o) { // POS.2
        for (let i = 0; i < y.length; i++) y[i] = x[i] + (o.off.positions ? 0 : positions[i]);
      },
      backward({ dy, dx, dpositions }, o) {
        dx.set(dy);
        dpositions.fill(0);
        if (!o.off.positions) dpositions.set(dy); // POS.3, of one image
      },
    },

    /* x goes on to the branch and past it. The forward copies nothing; on the way back, two gradients add. */
    fork: {
      values: [], gradients: ["dx"],
      forward() {},
      backward({ dx_skip, dx_branch, dx }, o, op) { // RES.1
        const forgotten = o.mistake === RESIDUAL && op.branch === "ffn";
        for (let i = 0; i < dx.length; i++) dx[i] = forgotten ? dx_branch[i] : dx_skip[i] + dx_branch[i];
      },
    },

    layer_norm: {
      values: ["mean", "centred", "rstd", "xhat", "y"],
      gradients: ["dxhat", "mean_dxhat", "mean_dxhat_xhat", "dx", "dgamma", "dbeta"],
      forward({ x, gamma, beta, mean, centred, rstd, xhat, y }, o, op) {
        const rows = rowsOf(x), D = columnsOf(x), off = o.off.norm && op.in_block;
        for (let r = 0; r < rows; r++) {
          const made = ROW.normalize(x.subarray(r * D, (r + 1) * D));
          mean[r] = made.mean, rstd[r] = made.rstd, centred.set(made.centred, r * D);
          for (let i = 0; i < D; i++) {
            xhat[r * D + i] = off ? x[r * D + i] : centred[r * D + i] * rstd[r]; // LN.1
            y[r * D + i] = off ? xhat[r * D + i] : gamma[i] * xhat[r * D + i] + beta[i]; // LN.2
          }
        }
      },
      backward({ gamma, rstd, xhat, dy, dxhat, mean_dxhat, mean_dxhat_xhat, dx, dgamma, dbeta }, o, op) {
        const rows = rowsOf(dy), D = columnsOf(dy);
        dgamma.fill(0), dbeta.fill(0), mean_dxhat.fill(0), mean_dxhat_xhat.fill(0);
        if (o.off.norm && op.in_block) return dxhat.set(dy), dx.set(dy);
        for (let r = 0; r < rows; r++) {
          for (let i = 0; i < D; i++) {
            const k = r * D + i;
            dxhat[k] = dy[k] * gamma[i]; // LN.3
            mean_dxhat[r] += dxhat[k] / D;
            mean_dxhat_xhat[r] += dxhat[k] * xhat[k] / D;
            dgamma[i] += dy[k] * xhat[k], dbeta[i] += dy[k]; // LN.5
          }
          const through_mean = o.mistake === MEAN ? 0 : mean_dxhat[r];
          for (let k = r * D; k < (r + 1) * D; k++)
            dx[k] = rstd[r] * (dxhat[k] - through_mean - xhat[k] * mean_dxhat_xhat[r]); // LN.4
        }
      },
    },

    /* Columns of qkv are ordered as (3, H, K); q, k and v are (H, N, K). */
    split: {
      values: ["q", "k", "v"], gradients: ["dqkv"],
      forward({ qkv, q, k, v }) { // MHA.1
        [q, k, v].forEach((part, third) => eachOfHeads((place, r, column) => {
          part[place] = qkv[r * 3 * S.D + third * S.D + column];
        }));
      },
      backward({ dq, dk, dv, dqkv }) { // MHA.10
        [dq, dk, dv].forEach((part, third) => eachOfHeads((place, r, column) => {
          dqkv[r * 3 * S.D + third * S.D + column] = part[place];
        }));
      },
    },

    scale: {
      values: ["scaled_q"], gradients: ["dq"],
      forward({ q, scaled_q }) { // MHA.2
        for (let i = 0; i < q.length; i++) scaled_q[i] = q[i] / Math.sqrt(S.K);
      },
      backward({ dscaled_q, dq }, o) { // MHA.9
        for (let i = 0; i < dq.length; i++) dq[i] = o.mistake === SCALE ? dscaled_q[i] : dscaled_q[i] / Math.sqrt(S.K);
      },
    },

    scores: {
      values: ["scores"], gradients: ["dscaled_q", "dk"],
      forward({ scaled_q, k, scores }) { // MHA.2
        eachPair((h, i, j, pair) => {
          let sum = 0;
          for (let m = 0; m < S.K; m++) sum += scaled_q[at(h, i, m)] * k[at(h, j, m)];
          scores[pair] = sum;
        });
      },
      backward({ scaled_q, k, dscores, dscaled_q, dk }) { // MHA.9
        dscaled_q.fill(0), dk.fill(0);
        eachPair((h, i, j, pair) => {
          for (let m = 0; m < S.K; m++) {
            dscaled_q[at(h, i, m)] += dscores[pair] * k[at(h, j, m)];
            dk[at(h, j, m)] += dscores[pair] * scaled_q[at(h, i, m)]; // the sum is over the rows of dscores: it is transposed
          }
        });
      },
    },

    softmax: {
      values: ["lse", "weights"], gradients: ["s", "dscores"],
      forward({ scores, lse, weights }) { // SM.1, MHA.3
        for (let r = 0; r < S.H * S.N; r++) {
          const made = ROW.softmax(scores.subarray(r * S.N, (r + 1) * S.N));
          lse[r] = made.lse; // not needed, but it makes a short formula of a weight: exp(score - lse)
          weights.set(made.p, r * S.N);
        }
      },
      backward({ weights, dweights, s, dscores }, o) { // SM.2, MHA.8
        s.fill(0);
        for (let r = 0; r < S.H * S.N; r++) {
          for (let k = r * S.N; k < (r + 1) * S.N; k++) s[r] += weights[k] * dweights[k];
          const mean = o.mistake === WEIGHTED_MEAN ? 0 : s[r];
          for (let k = r * S.N; k < (r + 1) * S.N; k++) dscores[k] = weights[k] * (dweights[k] - mean);
        }
      },
    },

    mix: {
      values: ["mixed"], gradients: ["dweights", "dv"],
      forward({ weights, v, mixed }) { // MHA.4
        mixed.fill(0);
        eachPair((h, i, j, pair) => {
          for (let m = 0; m < S.K; m++) mixed[at(h, i, m)] += weights[pair] * v[at(h, j, m)];
        });
      },
      backward({ weights, v, dmixed, dweights, dv }, o) { // MHA.7
        dv.fill(0);
        eachPair((h, i, j, pair) => {
          const weight = weights[o.mistake === TRANSPOSE ? (h * S.N + j) * S.N + i : pair];
          let sum = 0;
          for (let m = 0; m < S.K; m++) {
            sum += dmixed[at(h, i, m)] * v[at(h, j, m)];
            dv[at(h, j, m)] += weight * dmixed[at(h, i, m)];
          }
          dweights[pair] = sum;
        });
      },
    },

    merge: {
      values: ["merged"], gradients: ["dmixed"],
      forward({ mixed, merged }) { // MHA.5
        eachOfHeads((place, r, column) => { merged[r * S.D + column] = mixed[place]; });
      },
      backward({ dmerged, dmixed }, o) { // MHA.6
        if (o.mistake === HEADS) dmixed.set(dmerged); // in another shape, but not moved
        else eachOfHeads((place, r, column) => { dmixed[place] = dmerged[r * S.D + column]; });
      },
    },

    residual: {
      values: ["y"], gradients: ["dx_skip", "dbranch"],
      forward({ x, branch, y }, o, op) { // RES.1
        const [skip, add] = uses(o, op);
        for (let i = 0; i < y.length; i++) y[i] = (skip ? x[i] : 0) + (add ? branch[i] : 0);
      },
      backward({ dy, dx_skip, dbranch }, o, op) { // what the forward adds, the backward copies
        const [skip, add] = uses(o, op);
        for (let i = 0; i < dy.length; i++) dx_skip[i] = skip ? dy[i] : 0, dbranch[i] = add ? dy[i] : 0;
      },
    },

    gelu: {
      values: ["gate", "slope", "y"], gradients: ["dx"],
      forward({ x, gate, slope, y }) {
        for (let i = 0; i < x.length; i++) {
          const a = x[i], u = GELU_C * (a + GELU_A * a * a * a), s = 1 / (1 + Math.exp(-2 * u)); // s = (1 + tanh u) / 2
          gate[i] = s;
          y[i] = a * s; // GELU.3
          slope[i] = s + 2 * a * s * (1 - s) * GELU_C * (1 + 3 * GELU_A * a * a); // GELU.4
        }
      },
      backward({ slope, dy, dx }, o) { // GELU.5
        for (let i = 0; i < dx.length; i++) dx[i] = dy[i] * (o.mistake === SLOPE ? 1 : slope[i]);
      },
    },

    pool: {
      values: ["y"], gradients: ["dx"],
      forward({ x, y }) { y.set(x.subarray(0, S.D)); }, // POOL.1: the class token alone
      backward({ dy, dx }, o) { // POOL.1
        dx.fill(0);
        for (let r = 0; r < (o.mistake === CLASS_TOKEN ? S.N : 1); r++) dx.set(dy, r * S.D);
      },
    },

    cross_entropy: {
      values: ["lse", "log_p", "p", "loss"], gradients: ["dlogits"],
      forward({ logits, target, lse, log_p, p, loss }) {
        const max = Math.max(...logits), total = logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0);
        lse[0] = max + Math.log(total);
        loss[0] = 0;
        for (let c = 0; c < S.C; c++) {
          log_p[c] = logits[c] - max - Math.log(total); // CE.1
          p[c] = Math.exp(log_p[c]);
          loss[0] -= target[c] * log_p[c]; // CE.3
        }
      },
      backward({ p, target, dlogits }) {
        for (let c = 0; c < S.C; c++) dlogits[c] = p[c] - target[c]; // CE.4, of one image
      },
    },
  };

  function pixel(r, m) { // the place in the image of pixel m of patch r
    const row = Math.floor(r / ACROSS) * S.patch + Math.floor(m / S.patch), column = (r % ACROSS) * S.patch + (m % S.patch);
    return row * S.side + column;
  }

  const mirrored = (r) => (r % ACROSS) * ACROSS + Math.floor(r / ACROSS); // the patch whose row is the column of patch r

  const at = (h, i, m) => (h * S.N + i) * S.K + m;

  function eachOfHeads(visit) { // (place in (H, N, K), row and column in (N, D))
    for (let h = 0; h < S.H; h++) for (let r = 0; r < S.N; r++) for (let m = 0; m < S.K; m++) visit(at(h, r, m), r, h * S.K + m);
  }

  function eachPair(visit) { // (head, token i, token j, place in (H, N, N))
    for (let h = 0, pair = 0; h < S.H; h++) for (let i = 0; i < S.N; i++) for (let j = 0; j < S.N; j++, pair++) visit(h, i, j, pair);
  }

  const uses = (o, op) => [!o.off.residual, !(o.off.attention && op.branch === "att")]; // the skip, the branch

  // The model, as a list of operations.

  const OPERATIONS = [], SHAPES = {}, PARAMETERS = [], PRODUCER = {}, USERS = {};

  /* Adds an operation. `inputs` and `made` are roles with the names and, for what is made, the shapes of tensors. */
  function operation(kind, name, inputs, made, parameters = {}, more = {}) {
    const t = { ...inputs };
    for (const [role, [tensorName, shape]] of Object.entries(made)) t[role] = tensorName, SHAPES[tensorName] = shape;
    for (const [role, [tensorName, shape]] of Object.entries(parameters)) {
      t[role] = tensorName, SHAPES[tensorName] = SHAPES[gradientOf(tensorName)] = shape, t["d" + role] = gradientOf(tensorName);
      PARAMETERS.push(tensorName);
    }
    const op = { kind, name, t, ...more, index: OPERATIONS.length };
    op.inputs = [...Object.values(inputs), ...Object.values(parameters).map(([tensorName]) => tensorName)];
    OPERATIONS.push(op);
    return op;
  }

  const gradientOf = (name) => name.replace(/[^/]*$/, (last) => "d" + last);

  function build() {
    const { n, P, N, D, H, K, M, C, side } = S;
    SHAPES.image = [side, side], SHAPES.target = [C];
    const dense = (name, x, y, rows, I, J, kind = "dense") =>
      operation(kind, name, { x }, { y: [y, rows ? [rows, J] : [J]] }, { W: [`${name}/W`, [I, J]], b: [`${name}/b`, [J]] });
    const norm = (name, x, y, rows, in_block) => {
      const rowed = (shape) => (rows ? [rows, ...shape] : shape);
      const made = { mean: rowed([1]), centred: rowed([D]), rstd: rowed([1]), xhat: rowed([D]), dxhat: rowed([D]), mean_dxhat: rowed([1]), mean_dxhat_xhat: rowed([1]) };
      const named = Object.fromEntries(Object.entries(made).map(([role, shape]) => [role, [`${name}/${role}`, shape]]));
      operation("layer_norm", name, { x }, { ...named, y: [y, rowed([D])] }, { gamma: [`${name}/gamma`, [D]], beta: [`${name}/beta`, [D]] }, { in_block });
    };

    operation("cut", "cut into patches", { image: "image" }, { patches: ["patches", [n, P]] });
    dense("patch_embedding", "patches", "embedded", n, P, D);
    operation("class_token", "prepend the class token", { x: "embedded" }, { y: ["tokens", [N, D]] }, { token: ["class_token", [D]] });
    operation("positions", "add the positions", { x: "tokens" }, { y: ["block_0/x", [N, D]] }, { positions: ["positions", [N, D]] });
    for (let i = 0; i < S.blocks; i++) {
      const b = (name) => `block_${i}/${name}`, after = i + 1 < S.blocks ? `block_${i + 1}/x` : "final/x";
      operation("fork", b("x is used twice"), { x: b("x") }, { dx_skip: [b("dx_skip"), [N, D]], dx_branch: [b("dx_branch"), [N, D]] }, {}, { branch: "att" });
      norm(b("norm_1"), b("x"), b("a"), N, true);
      dense(b("qkv"), b("a"), b("qkv"), N, D, 3 * D, "qkv");
      operation("split", b("split into heads"), { qkv: b("qkv") }, { q: [b("q"), [H, N, K]], k: [b("k"), [H, N, K]], v: [b("v"), [H, N, K]] });
      operation("scale", b("divide by √K"), { q: b("q") }, { scaled_q: [b("scaled_q"), [H, N, K]] });
      operation("scores", b("scores"), { scaled_q: b("scaled_q"), k: b("k") }, { scores: [b("scores"), [H, N, N]] });
      operation("softmax", b("softmax"), { scores: b("scores") }, { lse: [b("softmax/lse"), [H, N, 1]], weights: [b("weights"), [H, N, N]], s: [b("softmax/s"), [H, N, 1]] });
      operation("mix", b("weighted sum"), { weights: b("weights"), v: b("v") }, { mixed: [b("mixed"), [H, N, K]] });
      operation("merge", b("merge heads"), { mixed: b("mixed") }, { merged: [b("merged"), [N, D]] });
      dense(b("out"), b("merged"), b("att"), N, D, D);
      operation("residual", b("add"), { x: b("x"), branch: b("att") }, { y: [b("h"), [N, D]] }, {}, { branch: "att" });
      operation("fork", b("h is used twice"), { x: b("h") }, { dx_skip: [b("dh_skip"), [N, D]], dx_branch: [b("dh_branch"), [N, D]] }, {}, { branch: "ffn" });
      norm(b("norm_2"), b("h"), b("b"), N, true);
      dense(b("expand"), b("b"), b("expanded"), N, D, M);
      operation("gelu", b("gelu"), { x: b("expanded") }, { gate: [b("gelu/gate"), [N, M]], slope: [b("gelu/slope"), [N, M]], y: [b("hidden"), [N, M]] });
      dense(b("project"), b("hidden"), b("ffn"), N, M, D);
      operation("residual", b("add again"), { x: b("h"), branch: b("ffn") }, { y: [after, [N, D]] }, {}, { branch: "ffn" });
    }
    operation("pool", "pool", { x: "final/x" }, { y: ["class_x", [D]] });
    norm("norm", "class_x", "z", 0, false);
    dense("head", "z", "logits", 0, D, C);
    operation("cross_entropy", "cross entropy", { logits: "logits", target: "target" }, { lse: ["cross_entropy/lse", [1]], log_p: ["log_p", [C]], p: ["p", [C]], loss: ["loss", [1]] });

    for (const op of OPERATIONS) nameGradients(op);
    for (const op of OPERATIONS) {
      for (const role of LAYERS[op.kind].values) PRODUCER[op.t[role]] = { op, role };
      for (const role of LAYERS[op.kind].gradients) PRODUCER[op.t[role]] = { op, role };
      for (const input of op.inputs) (USERS[input] ||= []).push(op);
    }
  }

  /* Roles of gradients that `operation` was not told: dz is the gradient of z. Where a value goes to two places, each
     contribution has a name of its own, and `fork` adds them. */
  function nameGradients(op) {
    const { t } = op, b = op.name.split("/")[0] + "/";
    const own = new Set(LAYERS[op.kind].values.filter((role) => ["y", "q", "k", "v", "scaled_q", "scores", "weights", "mixed", "merged", "patches"].includes(role)));
    const inputs = ["image", "x", "qkv", "q", "k", "v", "scaled_q", "scores", "weights", "mixed", "logits"];
    for (const role of [...own, ...inputs]) if (t[role]) t["d" + role] ||= gradientOf(t[role]);
    if (op.kind === "layer_norm" && op.in_block) t.dx = gradientOf(t.x) + "_branch";
    if (op.kind === "residual") t.dx_skip = gradientOf(t.x) + "_skip", t.dbranch = gradientOf(t.branch), delete t.dx;
    if (op.kind === "qkv") for (const part of ["q", "k", "v"]) t["dx_" + part] = `${b}da_${part}`;
    for (const role of LAYERS[op.kind].gradients) SHAPES[t[role]] ||= SHAPES[t[role.startsWith("dx_") ? "x" : role.slice(1)]];
  }

  const isGradient = (name) => name in SHAPES && gradientsSet.has(name);
  build();
  const gradientsSet = new Set(OPERATIONS.flatMap((op) => LAYERS[op.kind].gradients.map((role) => op.t[role])));
  const VALUES = Object.keys(SHAPES).filter((name) => !isGradient(name));

  const RIGHT = { mistake: null, off: {} };

  /* The tensors of an operation by their roles. They are looked up once for each table, as they stay the same arrays. */
  const resolved = new WeakMap();
  function resolve(op, table) {
    if (!resolved.has(table)) {
      resolved.set(table, OPERATIONS.map(({ t }) => Object.fromEntries(Object.entries(t).map(([role, name]) => [role, table[name]]))));
    }
    return resolved.get(table)[op.index];
  }

  /* The table of all tensors, the forward values computed. `image` has 256 numbers, `label` is an integer. */
  function forward(params, image, label, options = RIGHT, table = newTable()) {
    for (const name of PARAMETERS) table[name].set(params[name]);
    table.image.set(image);
    table.target.fill(0), (table.target[label] = 1);
    for (const op of OPERATIONS) LAYERS[op.kind].forward(resolve(op, table), options, op);
    return table;
  }

  /* The loss when number `index` of a tensor grows by h. `table` comes from `forward` with the same options, and stays as
     it is; in `scratch`, only what comes after that tensor is computed. */
  function nudgedLoss(table, name, index, h, options = RIGHT, scratch = newTable()) {
    for (const value of VALUES) scratch[value].set(table[value]);
    scratch[name][index] += h;
    const maker = PRODUCER[name]?.op;
    if (maker) continueAfter(maker, name, scratch, options);
    for (let place = maker ? maker.index + 1 : USERS[name][0].index; place < OPERATIONS.length; place++) {
      const op = OPERATIONS[place];
      LAYERS[op.kind].forward(resolve(op, scratch), options, op);
    }
    return scratch.loss[0];
  }

  /* A layer norm makes several tensors at once. Where xhat is nudged, what follows it in the same layer must follow. */
  function continueAfter(op, name, table, options) {
    if (op.kind !== "layer_norm" || name !== op.t.xhat) return;
    const { gamma, beta, xhat, y } = resolve(op, table), D = columnsOf(y), off = options.off.norm && op.in_block;
    for (let k = 0; k < y.length; k++) y[k] = off ? xhat[k] : gamma[k % D] * xhat[k] + beta[k % D];
  }

  function backward(table, options = RIGHT) {
    for (const op of [...OPERATIONS].reverse()) LAYERS[op.kind].backward(resolve(op, table), options, op);
    return table;
  }

  function newTable() {
    const table = {};
    for (const name in SHAPES) table[name] = tensor(SHAPES[name]);
    return table;
  }

  /* The mean loss of some examples {image, label}, and the mean gradient of each parameter. */
  function gradients(params, examples, options = RIGHT, table = newTable()) {
    const grads = Object.fromEntries(PARAMETERS.map((name) => [name, tensor(SHAPES[name])]));
    let loss = 0;
    for (const { image, label } of examples) {
      backward(forward(params, image, label, options, table), options);
      loss += table.loss[0] / examples.length;
      for (const name of PARAMETERS) {
        const from = table[gradientOf(name)], sum = grads[name];
        for (let i = 0; i < from.length; i++) sum[i] += from[i] / examples.length;
      }
    }
    return { loss, grads };
  }

  const meanLoss = (params, examples, options = RIGHT, table = newTable()) =>
    examples.reduce((sum, { image, label }) => sum + forward(params, image, label, options, table).loss[0], 0) / examples.length;

  function sgd(params, grads, rate) {
    for (const name of PARAMETERS) for (let i = 0; i < grads[name].length; i++) params[name][i] -= rate * grads[name][i];
  }

  /* One step of AdamW; `state` is {} before the first. Matrices W decay, as in optim/adamw.py. */
  function adamw(params, grads, rate, state, { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.01 } = {}) {
    for (const name of PARAMETERS) {
      const states = (state[name] ||= Array.from(grads[name], () => ({}))), decays = name.endsWith("/W") ? decay : 0;
      grads[name].forEach((g, i) => { params[name][i] = ROW.adamw(params[name][i], g, states[i], rate, { beta1, beta2, eps, decay: decays }); });
    }
  }

  return {
    S, EPS, GELU_C, GELU_A, MISTAKES, SWITCHES, RIGHT, LAYERS, OPERATIONS, SHAPES, PARAMETERS, PRODUCER, USERS,
    ROW, forward, backward, nudgedLoss, gradients, meanLoss, sgd, adamw, newTable, gradientOf, isGradient, pixel, mirrored,
  };
})();

if (typeof module !== "undefined") module.exports = Vit; // in Node
