"""The compiled training step against the same layers run eagerly.

    python -m benchmarks.eager [PRESET] [section.key=value ...] [--rounds N] [--json FILE]

Three ways to run the same step (augmentation, forward, loss, backward, clipping, AdamW) on the same batch. They take
turns, so that a machine whose speed drifts is fair to all:

compiled     the step as `train.py` runs it: one function under `jax.jit`, with microbatches and donated buffers
eager        the same layers called from Python; each function of jax.numpy is a small compiled program
op by op     the same under `jax.disable_jit()`: every operation is dispatched separately

Prints the median, fastest and slowest time of each, and its ratio to the compiled one.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import jax

from benchmarks.arguments import parse, step_parser
from checks.compiled import random_batch, step_of
from common.command import run_command
from common.files import replace_text
from common.paths import named_path, require_writable
from training.config import Config, load_config
from training.device import choose_device, describe_device
from training.step import TrainState


def main(argv: Sequence[str]) -> int:
    parser = step_parser("eager", __doc__.splitlines()[0], rounds=7)
    parser.add_argument("--json", metavar="FILE", type=named_path)
    args = parse(parser, argv)
    if args.json:  # before the work, not after it
        require_writable("--json", args.json)
    config = load_config(args.preset, args.overrides, args.config)
    device = choose_device(args.device)
    times = measure(config, device.platform, args.rounds)

    print(f"{args.preset}, batch {config.train.batch_size}, {describe_device(device)}, JAX {jax.__version__}")
    print(f"seconds a step, {args.rounds} rounds in turn; ratio: compiled to this one")
    print(f"{'':10}{'median':>10}{'fastest':>10}{'slowest':>10}{'ratio':>8}")
    base = statistics.median(times["compiled"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:10}{median:10.3f}{min(seconds):10.3f}{max(seconds):10.3f}{base / median:8.2f}")
    if args.json:
        report = {"preset": args.preset, "device": describe_device(device), "jax": jax.__version__, "seconds": times}
        replace_text(args.json, json.dumps(report, indent=1) + "\n")
    return 0


def measure(config: Config, platform: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each timed step, by contestant. One step of each goes before, untimed, to warm up."""
    images, labels = random_batch(config)
    step = step_of(config, platform)
    whole = replace(step, accumulate=1)  # eagerly, microbatches would only mean more and smaller operations

    contestants: dict[str, tuple[Callable, Callable[[], AbstractContextManager]]] = {
        "compiled": (jax.jit(step, donate_argnums=0), nullcontext),
        "eager": (whole, nullcontext),
        "op by op": (whole, jax.disable_jit),
    }
    states: dict[str, TrainState] = {name: step.init() for name in contestants}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, (run, context) in contestants.items():
            with context():
                began = time.perf_counter()
                states[name], metrics = run(states[name], images, labels)
                jax.block_until_ready((states[name], metrics))
                times[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in times.items()}


if __name__ == "__main__":
    sys.exit(run_command(main))
