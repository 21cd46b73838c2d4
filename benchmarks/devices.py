"""What sharing costs: the training step on 1, 2, 4 and 8 virtual devices of one machine, and a model of many.

    python -m benchmarks.devices [PRESET] [section.key=value ...] [--rounds N] [--link GB/S] [--latency US]

Virtual devices share the cores of one machine, so that the same batch takes the same computation on any number of them,
and what is added is the price of sharing: the all-reduce, starting a program on each device, the divided batch. The
numbers of devices take turns.

step          median seconds of a step, augmentation and update included, on the same batch
added         by how much that exceeds the step on one device
all-reduce    milliseconds of the all-reduce of the gradients alone

The model says what real devices take, with the same batch on each (weak scaling) over a link that is given: the step
of one device, which is measured, and a ring all-reduce, 2 (n - 1) / n times the bytes of the gradients at --link
gigabytes a second, and 2 (n - 1) times --latency microseconds. The all-reduce begins when the backward pass has ended,
so nothing of it is hidden.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.arguments import parse, step_parser
from benchmarks.augment import take_turns
from checks.compiled import random_batch, step_of
from common.command import run_command
from common.errors import UserError
from training.config import Config, load_config
from training.device import choose_device, describe_device
from training.devices import Devices, choose_devices
from training.divided import AXIS

COUNTS = (1, 2, 4, 8)
MODELLED = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main(argv: Sequence[str]) -> int:
    parser = step_parser("devices", __doc__.splitlines()[0], rounds=9)
    parser.add_argument("--link", type=float, default=12.5, metavar="GB/S", help="of the model (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=20.0, metavar="US", help="of the model (default: %(default)s)")
    args = parse(parser, argv)
    if args.device == "gpu":
        raise UserError("--device gpu: virtual devices are those of a CPU")
    if args.link <= 0 or args.latency < 0:
        raise UserError("--link must be above 0, and --latency not below")
    config = load_config(args.preset, args.overrides, args.config)
    jax.config.update("jax_num_cpu_devices", max(COUNTS))
    device = choose_device("cpu")
    steps, reductions, size = programs(config, device)
    step_times, reduction_times = take_turns(steps, args.rounds), take_turns(reductions, args.rounds)

    print(f"{args.preset}, batch {config.train.batch_size}, {describe_device(device)}, JAX {jax.__version__}")
    print(f"{'devices':>8}{'step':>10}{'added':>9}{'all-reduce':>12}   {args.rounds} rounds in turn")
    one = statistics.median(step_times["1"])
    for name in map(str, COUNTS):
        median, reduction = statistics.median(step_times[name]), statistics.median(reduction_times[name])
        print(f"{name:>8}{median:10.3f}{median / one - 1:9.1%}{1e3 * reduction:12.2f}")
    print(f"\n{size / 1e6:.1f} MB of gradients, {args.link:g} GB/s, {args.latency:g} us: a model")
    print(f"{'devices':>8}{'step':>10}{'exchange ms':>13}{'efficiency':>12}")
    for count in MODELLED:
        exchange = exchanging(count, size, args.link, args.latency)
        print(f"{count:8}{one + exchange:10.3f}{1e3 * exchange:13.2f}{one / (one + exchange):12.1%}")
    return 0


def exchanging(devices: int, size: float, link: float, latency: float) -> float:
    """Seconds of a ring all-reduce of `size` bytes: reduce-scatter and all-gather, n - 1 steps of size / n each."""
    return 2 * (devices - 1) * (size / devices / (link * 1e9) + latency * 1e-6)


Runs = dict[str, Callable[[], Any]]


def programs(config: Config, device: jax.Device) -> tuple[Runs, Runs, int]:
    """By the number of devices: one step, and the all-reduce alone. And the bytes of the gradients."""
    step, batch = step_of(config, device.platform), random_batch(config)
    start = step.init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(start.params))
    steps: Runs = {}
    reductions: Runs = {}
    for count in COUNTS:
        devices = choose_devices(replace(config.train, devices=count), device, config.augment.mixes)
        state, parts = devices.put_state(start), devices.divide(batch)
        places = devices.places(state), devices.everywhere
        program = jax.jit(devices.prepared(step), out_shardings=places)
        steps[str(count)] = partial(program, state, *parts)
        reductions[str(count)] = all_reduce(devices, size)
    return steps, reductions, size


def all_reduce(devices: Devices, size: int) -> Callable[[], Any]:
    """The mean of a vector of `size` bytes on each device."""
    rows = devices.divide(np.zeros((devices.count, size // 4), np.float32))
    if devices.mesh is None:
        return partial(jax.jit(jnp.copy), rows)
    parts = jax.sharding.PartitionSpec(AXIS)
    mean = jax.shard_map(lambda row: jax.lax.pmean(row, AXIS), mesh=devices.mesh, in_specs=parts, out_specs=parts)
    return partial(jax.jit(mean), rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
