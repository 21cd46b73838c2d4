"""The matrix products of a training step in float32 and in bfloat16, in the forms that they can take.

    python -m benchmarks.products [PRESET] [section.key=value ...] [--rounds N] [--device cpu|gpu]

A dense layer multiplies three times: `x W` forward, `dy W^T` and `x^T dy` backward. Each is timed as a program of its
own, for the rows of one microbatch, in GFLOP/s:

float32      as training computes by default
bfloat16     factors and result in bfloat16, as with model.dtype=bfloat16
to float32   factors in bfloat16, the result in float32
transposed   the same with W^T or x^T made beforehand, which is not timed, so that every product is a plain one

They take turns. The machine should be idle otherwise. What XLA does with a product depends on its release, on
XLA_FLAGS and on what it is compiled together with, so the step as a whole has the last word: `python -m
benchmarks.step --dtype bfloat16`.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.arguments import parse, step_parser
from benchmarks.augment import take_turns
from checks.compiled import step_of
from common.command import run_command
from model.layers.keep_tokens import KeepTokens
from training.config import Config, load_config
from training.device import choose_device, describe_device

REPEATS = 20  # products in one measurement
FORMS = ("float32", "bfloat16", "to float32", "transposed")


def main(argv: Sequence[str]) -> int:
    args = parse(step_parser("products", __doc__.splitlines()[0], rounds=9), argv)
    config = load_config(args.preset, args.overrides, args.config)
    device = choose_device(args.device)
    rows, runs = cases(config, device.platform)
    times = take_turns({name: run for name, (run, _) in runs.items()}, args.rounds)
    rates = {name: operations / statistics.median(times[name]) / 1e9 for name, (_, operations) in runs.items()}

    print(f"{args.preset}, {rows:,} rows, {describe_device(device)}, JAX {jax.__version__}; {args.rounds} rounds")
    print(f"{'GFLOP/s':32}" + "".join(f"{form:>12}" for form in FORMS))
    for product in dict.fromkeys(name.partition(": ")[0] for name in runs):
        found = [rates.get(f"{product}: {form}") for form in FORMS]
        print(f"{product:32}" + "".join(f"{'-' if rate is None else f'{rate:,.0f}':>12}" for rate in found))
    return 0


def cases(config: Config, platform: str) -> tuple[int, dict[str, tuple[Callable[[], Any], float]]]:
    """The rows of a microbatch, and for each product and form how to run it and its operations."""
    model, step = config.model, step_of(config, platform)
    images = config.train.batch_size // step.accumulate
    rows = images * KeepTokens(model.patch_dropout, int(model.class_token)).count(model.position_embedding.tokens)
    layers = {
        "queries, keys, values": (model.d_model, 3 * model.d_model),
        "attention output": (model.d_model, model.d_model),
        "feed-forward, first": (model.d_model, model.mlp_dim),
        "feed-forward, second": (model.mlp_dim, model.d_model),
    }
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    runs = {}
    for name, (d_in, d_out) in layers.items():
        x, dy, W = draw(rows, d_in), draw(rows, d_out), draw(d_in, d_out)
        for product, a, b in (("x W", x, W), ("dy W^T", dy, W.T), ("x^T dy", x.T, dy)):
            for form in FORMS[:-1] if product == "x W" else FORMS:
                run = timed(a, b, form, first=product == "x^T dy", second=product == "dy W^T")
                runs[f"{name}, {product}: {form}"] = run, REPEATS * 2.0 * rows * d_in * d_out
    return rows, runs


def timed(a: np.ndarray, b: np.ndarray, form: str, first: bool, second: bool) -> Callable[[], Any]:
    """REPEATS products of a and b. `first`, `second`: the factor that is stored transposed, where it is."""
    dtype = jnp.float32 if form == "float32" else jnp.bfloat16
    result = jnp.bfloat16 if form == "bfloat16" else jnp.float32
    first, second = (flag and form != "transposed" for flag in (first, second))

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a.T if first else a, b.T if second else b, preferred_element_type=result)

    stored = jnp.asarray(a.T if first else a, dtype), jnp.asarray(b.T if second else b, dtype)
    program = jax.jit(multiply)

    def run() -> Any:
        return [program(*stored) for _ in range(REPEATS)]

    return run


if __name__ == "__main__":
    sys.exit(run_command(main))
