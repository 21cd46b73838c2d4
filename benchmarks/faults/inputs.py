"""Damaged files of runs, and options, read by the functions that the commands read them with. (Data: data_inputs.py)

Each kind is a function of a folder of its own: it prepares what is whole, and returns a function that damages it once,
by the random numbers that it is given, and reads it. That one raises `Fault` where a promise is broken. A `UserError`,
whose message is what a command prints, means that the input was refused; any other exception is a fault.
"""

import dataclasses
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.mutations import NUMBERS, ODD, TEXTS, damaged, mutated, npy, rewrite
from checks.exhaustive import State
from checks.exhaustive_case import Tally
from common.documents import read_json
from training import checkpoint, sweep
from training.classes import Classes, read_classes, write_classes
from training.config import from_yaml, load_config
from training.metrics import MetricsRow, append_row, read_rows
from training.presets import option_comments
from training.progress import Progress
from training.size import check_size
from training.step_log import StepLog, StepRow, cut_behind, last_until, read_steps

Attempt = Callable[[random.Random], None]

TREE = {"params": {"W": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}}
META = {"progress": dataclasses.asdict(Progress(7, 0.5, 12.0, 3.5, 3, 1e-3, 2.0, 0.25))}
CLASSES = Classes(("n0", "n1"), ("ant", "bee"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "abc")
ROW = MetricsRow(1, 6, 2.5, 2.4, 0.25, 0.75, 1e-3, 100.0, 1.0, 0.1)


class Fault(Exception):  # noqa: N818 - not an error of this program: it is counted
    """A promise that was broken."""


def hold(true: bool, promise: str) -> None:
    """Raise Fault unless it is true."""
    if not true:
        raise Fault(f"broken: {promise}")


def checkpoints(folder: Path) -> Attempt:
    """Bytes of the file: its checksums find any change."""
    path = folder / "last.npz"
    checkpoint.save(path, TREE, META)
    content = path.read_bytes()

    def attempt(rng: random.Random) -> None:
        path.write_bytes(rng.choice((mutated, damaged))(content, rng))
        tree, meta = checkpoint.restore(path, TREE)
        hold(meta == META, "an accepted checkpoint has the meta data that were saved")
        for name, array in TREE["params"].items():
            hold(np.array_equal(tree["params"][name], array), "an accepted checkpoint has the arrays that were saved")

    return attempt


def resealed_checkpoints(folder: Path) -> Attempt:
    """Members of the file, with checksums that are right."""
    path = folder / "last.npz"
    members = {
        "checkpoint.json": json.dumps({"format": 1, "meta": META}).encode(),
        "params/b.npy": npy((3,), "<f4", bytes(12)),
    }

    def attempt(rng: random.Random) -> None:
        checkpoint.save(path, TREE, META)
        name = rng.choice(sorted(members))
        rewrite(path, {name: mutated(members[name], rng)})
        tree, meta = checkpoint.restore(path, TREE)
        b = tree["params"]["b"]
        hold((b.shape, b.dtype) == ((3,), np.float32), "an accepted array has its shape and type")
        progress = Progress.from_meta(meta, path)
        hold(math.isfinite(progress.loss_sum) and 0 <= progress.step < 2**31, "accepted progress is possible")

    return attempt


def configurations(folder: Path) -> Attempt:
    """config.yml of a run."""
    content = load_config("demo").to_yaml().encode()

    def attempt(rng: random.Random) -> None:
        read = from_yaml(mutated(content, rng).decode(errors="replace"))
        hold(from_yaml(read.to_yaml()) == read, "an accepted configuration can be written and read back")

    return attempt


def presets(folder: Path) -> Attempt:
    """A file of presets of one's own."""
    path = folder / "mine.yml"
    content = b"mine:\n  extends: demo\n  model: {layers: 2, dropout: 0.1}\n  optim:\n    learning_rate: 1e-3\n"

    def attempt(rng: random.Random) -> None:
        path.write_bytes(mutated(content, rng))
        read = load_config("mine", [], path)
        hold(from_yaml(read.to_yaml()) == read, "an accepted preset can be written and read back")

    return attempt


def overrides(folder: Path) -> Attempt:
    """Options on the command line, with values of any kind."""
    names = [option.name for option in option_comments()]

    def attempt(rng: random.Random) -> None:
        chosen = []
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(names)
            if rng.random() < 0.1:
                name = mutated(name.encode(), rng).decode("latin-1")
            chosen.append(f"{name}={rng.choice((*NUMBERS, *ODD, *TEXTS, '0', '1', '7', '0.5', '2147483648', '1e-3'))}")
        read = load_config("demo", chosen)
        check_size(dataclasses.asdict(read.model), copies=4)
        hold(from_yaml(read.to_yaml()) == read, f"accepted options can be written and read back: {chosen}")

    return attempt


def classes(folder: Path) -> Attempt:
    """classes.json of a run."""
    path = folder / "classes.json"
    write_classes(path, CLASSES)
    content = path.read_bytes()

    def attempt(rng: random.Random) -> None:
        path.write_bytes(mutated(content, rng))
        read = read_classes(path)
        hold(all(map(math.isfinite, (*read.mean, *read.std))), "accepted statistics are numbers")
        write_classes(path, read)
        hold(read_classes(path) == read, "accepted classes can be written and read back")

    return attempt


def metrics(folder: Path) -> Attempt:
    """metrics.csv of a run."""
    path = folder / "metrics.csv"
    path.unlink(missing_ok=True)
    for epoch in range(1, 4):
        append_row(path, ROW._replace(epoch=epoch, step=6 * epoch))
    content = path.read_bytes()

    def attempt(rng: random.Random) -> None:
        path.write_bytes(mutated(content, rng))
        rows = read_rows(path)
        hold(all(row.step > 0 and math.isfinite(row.train_loss) for row in rows), "accepted rows are possible")
        hold([row.step for row in rows] == sorted({row.step for row in rows}), "accepted rows stand in order")

    return attempt


def steps(folder: Path) -> Attempt:
    """steps.csv of a run that is resumed after step 12."""
    path = folder / "steps.csv"
    path.unlink(missing_ok=True)
    with StepLog(path, every=1) as log:
        for step in range(1, 19):
            log.add(StepRow(step, 2.5, 0.25, 1e-3))
    content = path.read_bytes()

    def attempt(rng: random.Random) -> None:
        path.write_bytes(mutated(content, rng))
        cut_behind(path, last_until(path, 12)[0])
        found = [row.step for row, _ in read_steps(path)]
        hold(found == sorted({step for step in found if 0 < step <= 12}), "accepted rows stand in order")

    return attempt


def sweeps(folder: Path) -> Attempt:
    """sweep.yml of a sweep."""
    content = b"preset: demo\noverrides: [train.epochs=2]\nsweep:\n  train.seed: ['0']\n  optim.name: [adamw, muon]\n"

    def attempt(rng: random.Random) -> None:
        (folder / sweep.DESCRIPTION).write_bytes(mutated(content, rng))
        hold(len(sweep.Sweep.open(folder).runs()) > 0, "an accepted sweep has runs")

    return attempt


def check_states(folder: Path) -> Attempt:
    """The state of an exhaustive gradient check."""
    path = folder / "state.json"
    content = json.dumps(dataclasses.asdict(State("abc", 3, {"a": [Tally(3, 0, 1e-15), Tally()]}))).encode()

    def attempt(rng: random.Random) -> None:
        path.write_bytes(mutated(content, rng))
        state: State = read_json(path, State, finite=False)
        hold(all(0 <= t.wrong <= t.done for tallies in state.tallies.values() for t in tallies), "tallies are possible")

    return attempt


KINDS: dict[str, Callable[[Path], Attempt]] = {
    "checkpoint": checkpoints,
    "checkpoint, resealed": resealed_checkpoints,
    "config.yml": configurations,
    "presets": presets,
    "overrides": overrides,
    "classes.json": classes,
    "metrics.csv": metrics,
    "steps.csv": steps,
    "sweep.yml": sweeps,
    "state of a check": check_states,
}
