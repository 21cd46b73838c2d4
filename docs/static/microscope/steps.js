/* Steps of training. The state lists them as runs {rule, rate, on, n, mistake, off}: n steps by one rule at one rate, on
   all pictures or on one, and with the mistake and the switches of that time. So an address can ask for them, and they
   are taken again: the engine is deterministic. */

(() => {
  "use strict";

  const MOST = 1000, SLICE = 25, SHOW = 120; // steps in all; milliseconds of work at a time, and between two drawings
  const LARGEST = 1e3; // a parameter: far beyond what training finds, and small enough for every number to be finite
  const scratch = Vit.newTable();
  let adam, taken, working = 0, shown = 0;

  const count = (runs) => runs.reduce((n, run) => n + run.n, 0);
  const same = (a, b) => JSON.stringify({ ...a, n: 0 }) === JSON.stringify({ ...b, n: 0 });

  App.MOST_STEPS = MOST;
  App.rateFits = (rate) => rate > 0 && rate <= 100;
  App.progress = () => ({ taken, asked: count(App.state.steps), working: working !== 0 });

  App.restartSteps = () => {
    clearTimeout(working);
    adam = {}, taken = 0, working = 0;
    App.curve = [], App.lossNow = null, App.diverged = false; // the mean loss before each step, and after the last
  };

  /* Whether the runs `after` begin with all steps of `before`. */
  App.continues = (before, after) => before.every((run, i) =>
    after[i] && same(run, after[i]) && (after[i].n === run.n || (i === before.length - 1 && after[i].n > run.n)));

  /* Asks for n more steps; false if that is more than there may be. */
  App.addSteps = (run) => {
    const { steps } = App.state, last = steps.at(-1), n = Math.min(run.n, MOST - count(steps));
    if (n <= 0) return false;
    App.diverged = false;
    App.go({ steps: last && same(last, run) ? [...steps.slice(0, -1), { ...last, n: last.n + n }] : [...steps, { ...run, n }] }, { replace: true });
    return true;
  };

  const examplesOf = ({ on }) => (on === "all" ? App.examples : on.drawn ? [App.drawnExample(on.drawn, on.label)] : [App.examples[on.img]]);

  function runOf(step) { // the run that a step belongs to, and whether the step begins with other pictures
    let start = 0;
    for (const [i, run] of App.state.steps.entries()) {
      if (step < start + run.n) return [run, step === start && i > 0 && JSON.stringify(run.on) !== JSON.stringify(App.state.steps[i - 1].on)];
      start += run.n;
    }
    return [null, false];
  }

  function takeOne() {
    const [run, others] = runOf(taken);
    if (others) adam = {}, App.curve = [];
    const options = { mistake: run.mistake, off: run.off }, examples = examplesOf(run);
    const { loss, grads } = Vit.gradients(App.params, examples, options, scratch);
    const before = Object.fromEntries(Vit.PARAMETERS.map((name) => [name, App.params[name].slice()]));
    if (run.rule === "sgd") Vit.sgd(App.params, grads, run.rate);
    else Vit.adamw(App.params, grads, run.rate, adam);
    if (!Vit.PARAMETERS.every((name) => App.params[name].every((x) => Math.abs(x) < LARGEST))) App.params = before, App.diverged = true;
    else App.curve.push(loss), taken += 1;
  }

  /* Takes the steps that are asked for and not taken yet, in slices, so that the page stays alive; with Infinity, at once.
     Returns whether it has drawn the page. */
  App.takeSteps = (time = SLICE) => (taken === count(App.state.steps) || (working && time === SLICE) ? false : slice(time));

  function slice(time = SLICE) {
    const until = performance.now() + time, asked = count(App.state.steps);
    clearTimeout(working);
    working = 0;
    do takeOne(); while (taken < asked && !App.diverged && performance.now() < until);
    if (App.diverged) cut();
    const more = taken < count(App.state.steps);
    if (more) working = setTimeout(slice, 0);
    if (more && performance.now() - shown < SHOW) {
      App.showProgress();
      return false;
    }
    const [last] = runOf(taken - 1);
    App.lossNow = last && Vit.meanLoss(App.params, examplesOf(last), { mistake: null, off: last.off }, scratch);
    App.compute();
    App.render();
    shown = performance.now();
    return true;
  }

  function cut() { // the runs end where the numbers ended
    const kept = [];
    let left = taken;
    for (const run of App.state.steps) {
      const n = Math.min(run.n, left);
      if (n) kept.push({ ...run, n });
      left -= n;
    }
    App.state.steps = kept;
    App.noteAddress(false);
  }
})();
