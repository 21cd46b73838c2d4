"""Attention alone, at the sizes of a model: this project's plain products against cuDNN's fused kernel.

    python -m benchmarks.gpu.attention [--batch B] [--tokens N] [--heads H] [--width K] [--rounds R]

The opponents are differentiated by JAX, as whoever uses them would: `jax.nn.dot_product_attention`, once with XLA's own
products and once with `implementation="cudnn"`, which exists on a GPU in half precision and may refuse a number of
tokens. Prints one line of JSON: milliseconds of forward, and of forward and backward, and the error of the gradients.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from common.command import run_command
from model.layers.attention import ScaledDotProductAttention
from training.device import choose_device

REPEATS = 10  # calls that are timed together


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.attention", description=__doc__.splitlines()[0])
    for name, value in (("batch", 1024), ("tokens", 65), ("heads", 8), ("width", 32), ("rounds", 9)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    choose_device("auto")
    shape = (args.batch, args.heads, args.tokens, args.width)
    q, k, v, dmixed = (jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 4))
    exact = own(1)[1](*(x.astype(jnp.float32) for x in (q, k, v, dmixed)))
    report: dict[str, Any] = {"sizes": f"batch {shape[0]}, {shape[1]} heads, {shape[2]} tokens, head width {shape[3]}"}
    for name, (forward, both) in contestants().items():
        try:
            gradients = jax.jit(both)(q, k, v, dmixed)
            report[name] = {
                "forward ms": milliseconds(jax.jit(forward), (q, k, v), args.rounds),
                "forward and backward ms": milliseconds(jax.jit(both), (q, k, v, dmixed), args.rounds),
                "largest relative error of a gradient": error(gradients, exact),
            }
        except Exception as refused:  # a kernel that does not exist for these sizes or this device
            report[name] = {"note": f"{type(refused).__name__}: {str(refused).splitlines()[0][:200]}"}
    print(json.dumps(report))


def contestants() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Forward, and forward with the gradients of q, k and v, by name; all arrays (B, H, N, K)."""

    def opponent(implementation: Literal["xla", "cudnn"]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def forward(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # (B, N, H, K), its order
            return jax.nn.dot_product_attention(q, k, v, implementation=implementation).swapaxes(1, 2)

        def both(q: jax.Array, k: jax.Array, v: jax.Array, dmixed: jax.Array) -> Any:
            mixed, backward = jax.vjp(forward, q, k, v)
            return backward(dmixed.astype(mixed.dtype))

        return forward, both

    return {
        "plain products": own(1),
        "plain products, padded to a multiple of 8": own(8),
        "jax.nn, xla": opponent("xla"),
        "jax.nn, cudnn": opponent("cudnn"),
    }


def own(multiple: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """This project's attention, with the hand-derived backward."""
    attention = ScaledDotProductAttention(pad_to_multiple_of=multiple)

    def both(q: jax.Array, k: jax.Array, v: jax.Array, dmixed: jax.Array) -> Any:
        _, cache = attention.forward(q, k, v)
        return attention.backward(cache, dmixed)[:3]

    return lambda q, k, v: attention.forward(q, k, v)[0], both


def milliseconds(function: Callable[..., Any], arguments: tuple[jax.Array, ...], rounds: int) -> float:
    """The median time of a call, after a first one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(REPEATS):
            result = function(*arguments)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - began) / REPEATS)
    return 1e3 * statistics.median(times)


def error(gradients: Any, exact: Any) -> float:
    """The largest difference, relative to the largest entry of the exact gradient."""
    return max(
        float(jnp.abs(g.astype(jnp.float32) - e).max() / jnp.abs(e).max())
        for g, e in zip(gradients, exact, strict=True)
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
