/* The state in the address: #t=block_0/dk&c=0,2,1&img=1 is a cell of a tensor, with the first picture but one.

     t, c         the tensor, and the cell
     img          the picture; or drawn and label, a drawing of 256 greys of 16 kinds, two in a byte, as base64url
     model        untrained
     mistake      its number in Vit.MISTAKES
     off          what is switched off
     tab, h       the experiment, and the power of ten of the nudge
     steps        rule,rate,pictures,n,mistake,off for each run, with ; between them (steps.js). The pictures are `all`, a
                  number, or a label and a drawing with : between them; mistake and off may be missing. */

(() => {
  "use strict";

  const { state, START } = App;

  function pack(drawn) {
    const pairs = drawn.match(/../g).map((pair) => String.fromCharCode(parseInt(pair, 16)));
    return btoa(pairs.join("")).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  }

  function unpack(text) { // null for what is not a drawing
    if (!/^[\w-]{171}$/.test(text || "")) return null;
    return Array.from(App.bytes(text.replace(/-/g, "+").replace(/_/g, "/") + "="), (pair) => pair.toString(16).padStart(2, "0")).join("");
  }

  const switched = (off) => Vit.SWITCHES.filter((name) => off[name]);
  const switches = (text, separator) => Object.fromEntries((text || "").split(separator).filter((name) => Vit.SWITCHES.includes(name)).map((name) => [name, true]));
  const labelled = (text) => (/^\d$/.test(text || "") && Number(text) < Vit.S.C ? Number(text) : 0);

  const pictured = (text) => /^\d+$/.test(text || "") && Number(text) < App.examples.length;
  const mistaken = (text) => (/^\d+$/.test(text || "") && Vit.MISTAKES[text]) || null;

  function runText({ rule, rate, on, n, mistake, off }) {
    const pictures = on === "all" ? on : on.drawn ? `${on.label}:${pack(on.drawn)}` : on.img;
    return [rule, rate, pictures, n, mistake ? Vit.MISTAKES.indexOf(mistake) : "", switched(off).join("+")].join(",").replace(/,+$/, "");
  }

  function runOf(text, most) { // null for what is not a run
    const [rule, rate, pictures = "", n, mistake, off] = text.split(","), [label, drawing] = pictures.split(":"), drawn = unpack(drawing);
    const on = pictures === "all" ? pictures : drawn ? { drawn, label: labelled(label) } : pictured(pictures) ? { img: Number(pictures) } : null;
    if (!["sgd", "adamw"].includes(rule) || !App.rateFits(Number(rate)) || !on || !/^\d+$/.test(n || "") || !(Number(n) > 0)) return null;
    return { rule, rate: Number(rate), on, n: Math.min(Number(n), most), mistake: mistaken(mistake), off: switches(off, "+") };
  }

  function runsOf(text) {
    const runs = [];
    let left = App.MOST_STEPS;
    for (const part of text.split(";")) {
      const run = left > 0 ? runOf(part, left) : null;
      if (!run) break;
      runs.push(run);
      left -= run.n;
    }
    return runs;
  }

  function write() {
    const parts = [`t=${state.t}`, `c=${state.c.join(",")}`];
    if (state.drawn) parts.push(`drawn=${pack(state.drawn)}`, `label=${state.label}`);
    else parts.push(`img=${state.img}`);
    if (state.model !== START.model) parts.push(`model=${state.model}`);
    if (state.mistake) parts.push(`mistake=${Vit.MISTAKES.indexOf(state.mistake)}`);
    if (switched(state.off).length) parts.push(`off=${switched(state.off).join(",")}`);
    if (state.tab !== START.tab) parts.push(`tab=${state.tab}`);
    if (state.h !== START.h) parts.push(`h=${state.h}`);
    if (state.steps.length) parts.push(`steps=${state.steps.map(runText).join(";")}`);
    return parts.join("&");
  }

  App.read = (hash) => { // the state that an address asks for; what it does not understand is as at the start
    const asked = Object.fromEntries(hash.replace(/^#/, "").split("&").map((part) => part.split("=")));
    const wanted = { ...START, c: [...START.c] };
    if (Object.hasOwn(Vit.SHAPES, asked.t)) wanted.t = asked.t, wanted.c = App.nearest(asked.t, []);
    const index = (asked.c || "").split(",").map(Number);
    if (asked.c && App.fits(wanted.t, index)) wanted.c = index;
    if (pictured(asked.img)) wanted.img = Number(asked.img);
    wanted.drawn = unpack(asked.drawn);
    if (wanted.drawn) wanted.label = labelled(asked.label);
    if (asked.model === "untrained") wanted.model = "untrained";
    wanted.mistake = mistaken(asked.mistake);
    wanted.off = switches(asked.off, ",");
    if (asked.tab) wanted.tab = asked.tab;
    if (asked.h && Number(asked.h) >= -14 && Number(asked.h) <= 0) wanted.h = Number(asked.h);
    if (asked.steps) wanted.steps = runsOf(asked.steps);
    return wanted;
  };

  let writing = 0, pushing = false;
  App.noteAddress = (push) => {
    pushing ||= push;
    clearTimeout(writing);
    writing = setTimeout(App.writeAddress, 80); // browsers refuse to write it hundreds of times in a row
  };

  App.writeAddress = () => {
    const address = "#" + write();
    clearTimeout(writing);
    if (address !== location.hash) history[pushing ? "pushState" : "replaceState"](null, "", address), (App.moves += pushing ? 1 : 0);
    pushing = false;
  };
})();
