/* What the page calls things: each tensor in plain words, the operations, and how numbers are written. */

const Words = (() => {
  "use strict";

  const TENSORS = {
    image: ["picture", "16 × 16 grey pixels, scaled to mean 0 and deviation 1."],
    patches: ["patches", "The picture in 16 squares: a row is a patch, a column one of its 16 pixels."],
    embedded: ["embedded patches", "Each patch as a token, a row of 12 numbers."],
    tokens: ["tokens", "The class token in row 0, then a token for each patch."],
    x: ["tokens", "What enters the block: a row for each token. Row 0 is the class token."],
    a: ["normed tokens", "The tokens after the first layer norm. Queries, keys and values are all made of them."],
    qkv: ["queries, keys, values", "Of all heads, side by side: 12 columns of queries, 12 of keys, 12 of values."],
    q: ["queries", "What each token looks for."],
    k: ["keys", "What each token can be found by."],
    v: ["values", "What each token gives to those that look at it."],
    scaled_q: ["scaled queries", "The queries divided by √K, so that scores do not grow with the width of a head."],
    scores: ["scores", "Row i, column j: how well the key of token j fits the query of token i."],
    weights: ["attention weights", "Row i: the shares in which token i mixes the values of all tokens. A row sums to 1."],
    mixed: ["mixed values", "What each token has gathered, head by head."],
    merged: ["merged heads", "The heads of a token side by side again."],
    att: ["output of the attention", "What the attention adds to each token."],
    h: ["tokens, after attention", "x + att."],
    b: ["normed tokens", "The tokens after the second layer norm."],
    expanded: ["hidden, before GELU", "24 numbers for each token."],
    hidden: ["hidden, after GELU", "Negative numbers are nearly gone."],
    ffn: ["output of the feed-forward", "What the feed-forward adds to each token."],
    class_x: ["class token", "Row 0 of the tokens: all that the classifier reads."],
    z: ["normed class token", "What the head turns into six scores."],
    logits: ["logits", "One score for each class; the highest is the answer."],
    log_p: ["log probabilities", "The logits, shifted so that their exponentials sum to 1."],
    p: ["probabilities", "One for each class, together 1."],
    target: ["target", "1 at the right class."],
    loss: ["loss", "−log of the probability that the right class got."],
    class_token: ["class token", "A parameter: the same row for every picture."],
    positions: ["positions", "A parameter: what tells a token where it is."],
    W: ["weights", "A parameter: column j makes output j."],
    gamma: ["gains", "A parameter of the layer norm."],
    b_: ["biases", "A parameter, added to each output."],
    beta: ["shifts", "A parameter of the layer norm."],
    mean: ["means", "The mean of each token's numbers."],
    centred: ["centred tokens", "The tokens less their means."],
    rstd: ["1 / deviations", "One over the standard deviation of each token's numbers."],
    xhat: ["normalized tokens", "Each token with mean 0 and deviation 1."],
    lse: ["log of the sum of exponentials", "What makes a row of probabilities sum to 1."],
    gate: ["gate of GELU", "Between 0 and 1: the share of each number that passes."],
    slope: ["slope of GELU", "How the output changes with the input."],
  };

  const GRADIENTS_ALONE = {
    s: ["weighted mean", "Of each row of dweights, the weights its own. The backward of softmax subtracts it."],
    mean_dxhat: ["mean of dxhat", "What comes back through the mean of each token."],
    mean_dxhat_xhat: ["mean of dxhat · xhat", "What comes back through the variance of each token."],
    dx_skip: ["gradient past the branch", "One of two that add to dx."],
    dx_branch: ["gradient through the branch", "One of two that add to dx."],
    dh_skip: ["gradient past the branch", "One of two that add to dh."],
    dh_branch: ["gradient through the branch", "One of two that add to dh."],
    da_q: ["gradient through the queries", "One of three that add to da."],
    da_k: ["gradient through the keys", "One of three that add to da."],
    da_v: ["gradient through the values", "One of three that add to da."],
  };

  const ALONE = "further on, only the class token is read"; // why rows of a gradient are zero

  const last = (name) => name.split("/").pop();

  /* [short name, sentence] of a value, or of a gradient that is the gradient of no tensor. */
  function of(name) {
    if (GRADIENTS_ALONE[last(name)]) return GRADIENTS_ALONE[last(name)];
    if (last(name) === "b" && Vit.PARAMETERS.includes(name)) return TENSORS.b_;
    if (name === "final/x") return ["tokens, after the last block", "Only row 0, the class token, is read."];
    return TENSORS[last(name)] || [last(name), ""];
  }

  const minus = (text) => text.replace("-", "−");

  /* Four digits or as many as are asked for, for the text; about two, for a cell of a heat map. */
  function number(x, digits = 4) {
    if (x === 0) return "0";
    if (!Number.isFinite(x)) return minus(String(x));
    const size = Math.abs(x);
    if (size < 1e-3 || size >= 1e5) {
      const [mantissa, power] = x.toExponential(2).split("e");
      return minus(mantissa) + "·10" + superscript(Number(power));
    }
    return minus(x.toPrecision(digits));
  }

  const ROUNDED = "0.0"; // in a heat map, what is not zero, but too small for its cell

  function short(x, narrow = false) {
    const size = Math.abs(x);
    if (size < (narrow ? 5e-3 : 5e-4)) return size === 0 ? "0" : ROUNDED;
    const decimals = size >= 9.95 ? 0 : size >= 0.995 ? 1 : size >= 0.0995 || narrow ? 2 : 3;
    return (x < 0 ? "−" : "") + size.toFixed(decimals).replace(/^0\./, ".");
  }

  function superscript(n) {
    return (n < 0 ? "⁻" : "") + [...String(Math.abs(n))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  }

  const cellName = (name, index) => (index.length ? `${last(name)}[${index.join(",")}]` : last(name));

  function place(name) { // where a tensor belongs, in words
    const parts = name.split("/");
    if (parts[0].startsWith("block_")) return `block ${parts[0].slice(6)}` + (parts.length > 2 ? `, ${parts[1].replace("_", " ")}` : "");
    return parts.length > 1 ? parts[0].replace("_", " ").replace("final", "after the blocks") : "";
  }

  return { of, number, short, superscript, cellName, place, last, ALONE, ROUNDED };
})();
