"""What sharing costs: the training step on 1, 2, 4 and 8 virtual devices of one machine, and a model of many.

    python -m benchmarks.devices [PRESET] [section.key=value ...] [--rounds N] [--link GB/S] [--latency US]

Virtual devices share the cores of one machine, so that the same batch takes the same computation on any number of them,
and what is added is the price of sharing: the all-reduce, starting a program on each device, the divided batch. Each
number of devices has a process of its own (JAX_NUM_CPU_DEVICES), and they take turns.

step          median seconds of a step, augmentation and update included, on the same batch
added         by how much that exceeds the step on one device
all-reduce    milliseconds of the all-reduce of the gradients alone
host          milliseconds in which Python and JAX start a step

The model says what real devices take, with the same batch on each (weak scaling) over a link that is given: the step
of one device, which is measured, and a ring all-reduce, 2 (n - 1) / n times the bytes of the gradients at --link
gigabytes a second, and 2 (n - 1) times --latency microseconds. The all-reduce begins when the backward pass has ended,
so nothing of it is hidden.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.arguments import parse, step_parser
from checks.compiled import random_batch, step_of
from common.command import run_command
from common.documents import parse_json
from common.errors import UserError
from training.config import Config, load_config
from training.device import choose_device, describe_device
from training.devices import choose_devices
from training.divided import AXIS

COUNTS = (1, 2, 4, 8)
MODELLED = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WARM = 2  # steps that are not timed
WORKER = "--as-worker"


def main(argv: Sequence[str]) -> int:
    parser = step_parser("devices", __doc__.splitlines()[0], rounds=9)
    parser.add_argument("--link", type=float, default=12.5, metavar="GB/S", help="of the model (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=20.0, metavar="US", help="of the model (default: %(default)s)")
    parser.add_argument(WORKER, action="store_true", help="answer the process that compares")
    args = parse(parser, argv)
    config = load_config(args.preset, args.overrides, args.config)
    if args.as_worker:
        return work(config)
    if args.device == "gpu":
        raise UserError("--device gpu: virtual devices are those of a CPU")
    if args.link <= 0 or args.latency < 0:
        raise UserError("--link must be above 0, and --latency not below")
    command = [sys.executable, "-m", "benchmarks.devices", *argv, WORKER]
    workers = {count: start(command, count) for count in COUNTS}
    try:
        about = {count: ask(worker) for count, worker in workers.items()}
        asked = [{count: ask(worker) for count, worker in workers.items()} for _ in range(args.rounds)]
    finally:
        for worker in workers.values():
            worker.kill()
    device = choose_device("cpu")
    print(
        f"{args.preset}, batch {config.train.batch_size}, {describe_device(device)}, JAX {jax.__version__}; "
        f"{args.rounds} rounds"
    )
    print(f"{'devices':>8}{'step':>10}{'added':>9}{'all-reduce':>12}{'host':>8}")
    medians = {
        count: {name: statistics.median(turn[count][name] for turn in asked) for name in asked[0][count]}
        for count in COUNTS
    }
    one = medians[1]["step"]
    for count, found in medians.items():
        print(
            f"{count:8}{found['step']:10.3f}{found['step'] / one - 1:9.1%}{1e3 * found['reduce']:12.2f}"
            f"{1e3 * found['host']:8.2f}"
        )
    size = about[1]["bytes"]
    print(f"\n{size / 1e6:.1f} MB of gradients, {args.link:g} GB/s, {args.latency:g} us: a model")
    print(f"{'devices':>8}{'step':>10}{'exchange ms':>13}{'efficiency':>12}")
    for count in MODELLED:
        exchange = exchanging(count, size, args.link, args.latency)
        print(f"{count:8}{one + exchange:10.3f}{1e3 * exchange:13.2f}{one / (one + exchange):12.1%}")
    return 0


def exchanging(devices: int, size: float, link: float, latency: float) -> float:
    """Seconds of a ring all-reduce of `size` bytes: reduce-scatter and all-gather, n - 1 steps of size / n each."""
    steps = 2 * (devices - 1)
    return steps * (size / devices / (link * 1e9) + latency * 1e-6)


def start(command: list[str], devices: int) -> subprocess.Popen[str]:
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).resolve().parent.parent
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=root, text=True, **pipes)  # type: ignore[call-overload]


def ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise UserError("a process that measures has ended; what it says stands above")
    found: dict[str, float] = parse_json(answer, dict[str, float], "a process that measures")
    return found


def work(config: Config) -> int:
    """Measure once for each line of the standard input, on all devices that there are."""
    device = choose_device("cpu")
    devices = choose_devices(replace(config.train, devices="all"), device, config.augment.mixes)
    step = devices.prepared(step_of(config, device.platform))
    images, labels = devices.divide(random_batch(config))
    state: Any = devices.put_state(step.init())
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    program = jax.jit(step, donate_argnums=0, out_shardings=(devices.places(state), devices.everywhere))
    vector = devices.divide(np.zeros((devices.count, size // 4), np.float32))
    reduce: Any = jax.jit(lambda rows: rows)
    if devices.mesh is not None:
        parts = jax.sharding.PartitionSpec(AXIS)
        reduce = jax.jit(
            jax.shard_map(lambda row: jax.lax.pmean(row, AXIS), mesh=devices.mesh, in_specs=parts, out_specs=parts)
        )
    for _ in range(WARM):
        state, metrics = program(state, images, labels)
        jax.block_until_ready((metrics, reduce(vector)))
    found = {"bytes": float(size)}
    for _ in sys.stdin:  # a line asks for the next numbers
        if not found:
            began = time.perf_counter()
            state, metrics = program(state, images, labels)
            started = time.perf_counter()
            jax.block_until_ready(metrics)
            ended = time.perf_counter()
            jax.block_until_ready(reduce(vector))
            found = {"step": ended - began, "host": started - began, "reduce": time.perf_counter() - ended}
        print(json.dumps(found), flush=True)
        found = {}
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
