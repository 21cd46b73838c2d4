"""What does augmentation cost? Each transform alone and all together, compared with the training step.

    python -m benchmarks.augment [PRESET] [section.key=value ...] [--rounds N] [--device cpu|gpu]

All work on the same batch of noise and take turns in one process, in a new order each round, so that a machine whose
speed drifts is fair to all. The machine should be idle otherwise. Prints the median, fastest and slowest time in
milliseconds per batch, including normalization, and the median relative to the step without augmentation.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.arguments import parse, step_parser
from checks.compiled import random_batch, step_of
from common.command import run_command
from data.augment import Augmentation
from training.config import load_config
from training.device import choose_device, describe_device

FULL = Augmentation(
    flip=True, crop_padding=4, resized_crop=0.25, color_jitter=0.4, policy="trivial_augment", erasing=0.25, mixup=0.8,
    cutmix=1.0,
)  # fmt: skip
STEP = "the step, without"
WHOLE = "the step, with the full recipe"
INGREDIENTS = {
    "normalization alone": Augmentation(),
    "flip": Augmentation(flip=True),
    "crop_padding": Augmentation(crop_padding=4),
    "resized_crop": Augmentation(resized_crop=0.25),
    "color_jitter": Augmentation(color_jitter=0.4),
    "trivial_augment": Augmentation(policy="trivial_augment"),
    "rand_augment, 2 operations": Augmentation(policy="rand_augment", rand_augment_ops=2),
    "erasing": Augmentation(erasing=0.25),
    "mixup": Augmentation(mixup=0.8),
    "cutmix": Augmentation(cutmix=1.0),
    "full, trivial_augment": FULL,
    "full, rand_augment": replace(FULL, policy="rand_augment"),
}


def main(argv: Sequence[str]) -> int:
    parser = step_parser("augment", __doc__.splitlines()[0], rounds=15)
    args = parse(parser, argv)
    config = load_config(args.preset, args.overrides, args.config)
    device = choose_device(args.device)
    plain = replace(step_of(config, device.platform), augmentation=Augmentation())
    images, labels = map(jnp.asarray, random_batch(config))
    recipes = {**INGREDIENTS, f"as in {args.preset}": config.augment}

    key, state = jax.random.key(0), plain.init()
    runs: dict[str, Callable[[], Any]] = {}
    for name, recipe in recipes.items():
        runs[name] = partial(jax.jit(replace(plain, augmentation=recipe).augment), key, images, labels)
    for name, step in ((STEP, plain), (WHOLE, replace(plain, augmentation=FULL))):
        runs[name] = partial(jax.jit(step), state, images, labels)
    times = take_turns(runs, args.rounds)

    print(f"{args.preset}, batch {len(labels)}, {describe_device(device)}, JAX {jax.__version__}; {args.rounds} rounds")
    print(f"{'milliseconds a batch':32}{'median':>9}{'fastest':>9}{'slowest':>9}{'of a step':>11}")
    base = statistics.median(times[STEP])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        numbers = "".join(f"{1e3 * value:9.2f}" for value in (median, min(seconds), max(seconds)))
        print(f"{name:32}{numbers}{median / base:11.1%}")
    return 0


def take_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each timed run. One run of each goes before, untimed, to compile."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for _ in range(rounds + 1):
        for name in order.sample(list(runs), len(runs)):
            began = time.perf_counter()
            jax.block_until_ready(runs[name]())
            times[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in times.items()}


if __name__ == "__main__":
    sys.exit(run_command(main))
