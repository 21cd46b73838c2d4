"""What is each optimization worth? The training step with one of them removed at a time.

    python -m benchmarks.ablation [PRESET] [section.key=value ...] [--rounds N] [--only TEXT] [--device cpu|gpu]

Variants of the same step on the same batch take turns in one process, in a new order each round, so that a machine
whose speed drifts is fair to all. There is no augmentation. Prints the median, fastest and slowest time of each, its
ratio to the unchanged step, and its temporary memory according to XLA.
"""

import contextlib
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax

from benchmarks.arguments import parse, step_parser
from checks.compiled import random_batch, step_of
from common.command import run_command
from common.text import counted
from data.augment import Augmentation
from model.encoder import Encoder
from model.layers.gelu import GELU, GELUCache
from model.layers.pooling import ClassTokenPooling
from model.vit import ViT
from training.config import load_config
from training.device import choose_device, describe_device
from training.objective import Classification
from training.step import TrainingStep

MIB = 1 << 20


class Variant(NamedTuple):
    """A change to the step, and a change to the code that is in force while the step is traced."""

    name: str
    change: Callable[[TrainingStep], TrainingStep] = lambda step: step
    code: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


@dataclass(frozen=True)
class WholeLastBlock(ViT):
    """All tokens go through the last block, although only the class token is used."""

    @property
    def encoder(self) -> Encoder:
        return replace(super().encoder, last=None)

    @property
    def pool(self) -> Any:
        return ClassTokenPooling(self.position_embedding.tokens)


def whole_last_block(step: TrainingStep) -> TrainingStep:
    objective = classification(step)
    values = {field.name: getattr(objective.model, field.name) for field in fields(objective.model)}
    return replace(step, objective=replace(objective, model=WholeLastBlock(**values)))


def classification(step: TrainingStep) -> Classification:
    assert isinstance(step.objective, Classification)
    return step.objective


def in_microbatches(step: TrainingStep, accumulate: int, concurrent: int) -> TrainingStep:
    return replace(step, accumulate=accumulate, concurrent_microbatches=concurrent)


@contextlib.contextmanager
def slope_recomputed() -> Iterator[None]:
    """GELU keeps its input, and computes its derivative in the backward pass."""
    forward = GELU.forward

    def keep_input(self: GELU, params: Any, x: jax.Array, key: Any = None) -> tuple[jax.Array, GELUCache]:
        return forward(self, params, x, key)[0], GELUCache(x)

    def find_slope(self: GELU, params: Any, cache: GELUCache, dy: jax.Array) -> tuple[jax.Array, Any]:
        return dy * forward(self, params, cache.slope)[1].slope, {}

    with mock.patch.object(GELU, "forward", keep_input), mock.patch.object(GELU, "backward", find_slope):
        yield


def variants(step: TrainingStep, batch: int) -> list[Variant]:
    found = [
        Variant("as it is"),
        Variant("last block whole", whole_last_block),
        Variant("GELU's slope recomputed", code=slope_recomputed),
    ]
    current = step.accumulate, step.concurrent_microbatches
    for size, concurrent in itertools.product((4, 8, 16, 32, batch), (1, 2)):
        accumulate = batch // size
        if batch % size == 0 and accumulate >= concurrent and (accumulate, concurrent) != current:
            name = f"microbatches of {size}" + (", two at once" if concurrent == 2 else "")
            found.append(Variant(name, partial(in_microbatches, accumulate=accumulate, concurrent=concurrent)))
    if classification(step).model.pooling == "mean":  # all tokens are used
        found = [variant for variant in found if variant.change is not whole_last_block]
    return found


def main(argv: Sequence[str]) -> int:
    parser = step_parser("ablation", __doc__.splitlines()[0], rounds=9)
    parser.add_argument("--only", default="", help="only variants whose name contains this, and the first")
    args = parse(parser, argv)
    config = load_config(args.preset, args.overrides, args.config)
    device = choose_device(args.device)
    step = replace(step_of(config, device.platform), augmentation=Augmentation())
    images, labels = random_batch(config)
    first, *others = variants(step, len(labels))
    chosen = [first, *(variant for variant in others if args.only in variant.name)]

    runs, states, memory = {}, {}, {}
    times: dict[str, list[float]] = {variant.name: [] for variant in chosen}
    for name, change, code in chosen:
        changed = change(step)
        states[name] = changed.init()
        with code():
            runs[name] = jax.jit(changed, donate_argnums=0).lower(states[name], images, labels).compile()
        analysis = runs[name].memory_analysis()
        memory[name] = analysis.temp_size_in_bytes / MIB if analysis else float("nan")
    order = random.Random(0)
    for _ in range(args.rounds + 1):
        for name in order.sample(list(runs), len(runs)):
            run = runs[name]
            began = time.perf_counter()
            states[name], metrics = run(states[name], images, labels)
            jax.block_until_ready((states[name], metrics))
            times[name].append(time.perf_counter() - began)

    rounds = counted(args.rounds, "round")
    print(f"{args.preset}, batch {len(labels)}, {describe_device(device)}, JAX {jax.__version__}; {rounds}")
    print(f"{'':36}{'median':>9}{'fastest':>9}{'slowest':>9}{'ratio':>8}{'temp MiB':>10}")
    base = statistics.median(times[first.name][1:])
    for name, seconds in times.items():
        timed = seconds[1:]
        median = statistics.median(timed)
        numbers = f"{median:9.3f}{min(timed):9.3f}{max(timed):9.3f}{median / base:8.2f}{memory[name]:10.0f}"
        print(f"{name:36}{numbers}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
