"""The encoder's blocks one after another in the program, as they are, against one block in a loop (`lax.scan`).

    python -m benchmarks.gpu.scan [PRESET] [section.key=value ...] [--rounds N] [--device cpu|gpu]

The loop compiles one block in place of all, and XLA cannot move work across its turns; its caches are stacked. Both
are the hand-derived backward of equal blocks without dropout. Prints one line of JSON: compile time, milliseconds of
forward and backward, temporary memory, and how far the two gradients of the input are apart.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from common.command import run_command
from model.encoder import Encoder, EncoderBlock
from model.layer import Params
from training.arguments import CommandParser, add_config_option
from training.config import load_config
from training.device import CHOICES, choose_device


def main(argv: Sequence[str]) -> None:
    parser = CommandParser(prog="python -m benchmarks.gpu.scan", description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="baseline")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_config_option(parser)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    choose_device(args.device)
    config = load_config(args.preset, args.overrides, args.config)
    model = config.model
    encoder = replace(model.encoder, last=None, block=replace(model.encoder.block, drop_path=0.0))
    shape = (config.train.batch_size, model.position_embedding.tokens, model.d_model)
    dtype = jnp.dtype(model.dtype)
    x, dy = (jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0)))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), encoder.init(jax.random.key(1)))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[f"block_{i}"] for i in range(encoder.layers)))
    unrolled, dx = measured(lambda params, x, dy: one_by_one(encoder, params, x, dy), (params, x, dy), args.rounds)
    looped, dx_looped = measured(
        lambda params, x, dy: in_a_loop(encoder.block, params, x, dy), (stacked, x, dy), args.rounds
    )
    difference = float(jnp.abs(dx - dx_looped).max() / jnp.abs(dx).max())
    print(json.dumps({"unrolled": unrolled, "scan": {**looped, "relative difference": difference}}))


def one_by_one(encoder: Encoder, params: Params, x: jax.Array, dy: jax.Array) -> tuple[jax.Array, Params]:
    """The gradients of input and parameters, as the engine computes them."""
    _, cache = encoder.forward(params, x)
    return encoder.backward(params, cache, dy)


def in_a_loop(block: EncoderBlock, stacked: Params, x: jax.Array, dy: jax.Array) -> tuple[jax.Array, Params]:
    """The same for parameters whose first axis is the layer."""
    _, caches = jax.lax.scan(lambda x, params: block.forward(params, x), x, stacked)
    return jax.lax.scan(lambda dy, layer: block.backward(layer[0], layer[1], dy), dy, (stacked, caches), reverse=True)


def measured(function: Callable[..., Any], arguments: tuple[Any, ...], rounds: int) -> tuple[dict[str, Any], jax.Array]:
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    dx, _ = jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    analysis = compiled.memory_analysis()
    temporary = analysis.temp_size_in_bytes / 2**20 if analysis else None
    report = {"compile s": compile_seconds, "ms": 1e3 * statistics.median(times), "temporary MiB": temporary}
    return report, dx


if __name__ == "__main__":
    sys.exit(run_command(main))
