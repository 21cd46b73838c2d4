"""`python gradcheck.py PRESET --exhaustive`: every coordinate of every parameter, until done or stopped."""

import hashlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from checks.commands.invocation import Invocation
from checks.commands.options import parse_budget
from checks.exhaustive import ExhaustiveCheck
from checks.full_size import Point, full_size_layer_cases, stage_cases
from checks.mutants import ROOT
from common.errors import UserError
from common.files import replace_text
from common.interrupt import StopRequest, leaving_at_once
from common.paths import require_writable
from common.progress import format_seconds
from common.text import counted
from training.run_folder import RUNS
from verify.results import WRONG

SAVE_SECONDS = 30.0


def run(call: Invocation) -> int:
    state = call.args.state or default_state(call)
    kept = f"{state} stays as it is" if state.exists() else "there is nothing to save"
    # On a CPU a call keeps one core busy. An accelerator is filled by one call; a second hides the work of the host.
    devices = chosen_devices(call.args.devices)
    # On a CPU a call keeps one core busy. An accelerator is filled by one call; a second hides the work of the host.
    workers = max(len(devices), os.cpu_count() or 1) if jax.default_backend() == "cpu" else 2 * len(devices)
    with leaving_at_once(f"interrupted before the first coordinate: {kept}"):
        check = _prepare(call, state, (os.cpu_count() or 1) if jax.default_backend() == "cpu" else len(devices))
    stopped = _run_until_stopped(call, check, state, workers, devices)
    results = check.results()
    coverage = call.report.coverage = check.coverage()
    if results:
        call.print_each(results)
    code = call.conclude(results)
    print(f"covered {coverage.share}, chosen at random")
    if check.finished:
        if call.hosts.leads:
            state.unlink(missing_ok=True)
        return code
    print(f"go on with the same command: {state}")
    return 128 + stopped if stopped is not None and call.report.verdict != WRONG else code


def _prepare(call: Invocation, state: Path, together: int) -> ExhaustiveCheck:
    """Build and compile the cases, resume from the saved state, and say how much there is to do."""
    args, point = call.args, call.point
    assert point is not None
    if point.config and point.config.autoencoder:
        raise UserError(
            f"--exhaustive: {point.config.preset} is a masked autoencoder, of which a sample is checked: leave "
            "--exhaustive out; every coordinate of a small one is among the checks of `python gradcheck.py`"
        )
    cases = call.selected([*full_size_layer_cases(point), *stage_cases(point)])
    if not cases:
        raise call.no_such_case()
    check = ExhaustiveCheck(cases, args.seed, fingerprint(call, point))
    call.hosts.require_same({"the check": check.fingerprint[:12]})
    resumed = call.hosts.leads and check.resume(state)
    if call.hosts.count > 1:
        check.take_over(call.hosts.from_first(check.state().encode()).decode())
    if resumed:
        print(f"going on from {state}: {check.done:,} of {counted(check.coordinates, 'coordinate')} checked")
    passes = counted(check.passes, "forward pass", "forward passes")
    print(f"{counted(check.coordinates, 'coordinate')}, of each layer by itself and end to end: {passes}")
    seconds = check.estimate(together) * (1 - check.done / check.coordinates) / call.hosts.count
    budget = "" if args.budget is None else f"; --budget {args.budget}, the start included"
    where = "on this device" if len(chosen_devices(args.devices)) * call.hosts.count == 1 else "on these devices"
    print(f"about {format_seconds(seconds)} {where}{budget}", flush=True)
    return check


def chosen_devices(wanted: str) -> list[jax.Device]:
    """As many devices of this process as `--devices` says. Raises UserError if there are not so many."""
    here = jax.local_devices()
    count = len(here) if wanted == "all" else int(wanted)
    if count > len(here):
        raise UserError(
            f"--devices {count}: JAX finds {counted(len(here), f'{here[0].platform} device')} here; choose at most "
            f"{len(here)}"
        )
    return here[:count]


def _run_until_stopped(
    call: Invocation, check: ExhaustiveCheck, state: Path, workers: int, devices: list[jax.Device]
) -> int | None:
    """Check until done, out of time or stopped by a signal, which is returned. The state is saved now and then."""
    limit = float("inf") if call.args.budget is None else parse_budget(call.args.budget)
    if call.seconds > limit:
        print("the start took all of the budget: only the least is checked, a chunk of coordinates")
    sys.stdout.flush()
    first, saved = check.position, time.perf_counter()
    with StopRequest("what has begun is computed, and the state is saved") as stop:
        with tqdm(total=check.coordinates, initial=check.done, unit=" coordinates", disable=None) as bar:

            def over() -> bool:
                return stop.signal is not None or (call.seconds > limit and check.position > first)

            def show(count: int) -> None:
                nonlocal saved
                bar.update(count)
                bar.set_postfix_str(f"{check.wrong} wrong", refresh=False)
                if time.perf_counter() - saved > SAVE_SECONDS and call.hosts.leads:
                    replace_text(state, check.state())
                    saved = time.perf_counter()

            check.run(over, show, workers, devices, call.hosts)
        if not check.finished and call.hosts.leads:
            replace_text(state, check.state())
    # Another process may have been asked.
    return stop.signal or (signal.SIGTERM if call.hosts.any(stop.signal is not None) else None)


def default_state(call: Invocation) -> Path:
    """Where the state is saved without --state: in the folder of the runs, which is made if need be."""
    args = call.args
    RUNS.mkdir(parents=True, exist_ok=True)
    preset = next((argument for argument in args.arguments if "=" not in argument), "")
    model = Path(args.checkpoint).resolve().name if args.checkpoint else preset
    if args.checkpoint and Path(args.checkpoint).is_file():  # RUN/last.npz
        model = "-".join((Path(args.checkpoint).resolve().parent.name, Path(args.checkpoint).stem))
    words = [model, *re.findall(r"\w+", args.only.casefold())]
    path = RUNS / f"gradcheck-{'-'.join(words)[:150]}-seed{args.seed}.json"
    require_writable("--state", path)
    return path


def fingerprint(call: Invocation, point: Point) -> str:
    """A hash of everything that an exhaustive check depends on: the point, the seed, and the source of the model."""
    args = call.args
    digest = hashlib.sha256(repr((point.model, point.loss, args.seed, args.batch, args.only.casefold())).encode())
    for array in (*point.params.values(), point.images, point.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    for file in sorted((ROOT / "model").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
