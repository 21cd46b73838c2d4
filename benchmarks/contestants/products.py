"""How fast this machine multiplies large matrices. The floor of a step is computed from it."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.problem import Params, Problem
from training.device import choose_device

SQUARE = {"cpu": 2048, "gpu": 8192}  # large enough that starting a product takes no time beside it
TARGET_OPERATIONS = 3e10  # floating-point operations in one measurement
MAX_REPEATS = 64  # products in one measurement: each pending result takes memory


def build(name: str, problem: Problem, params: Params) -> Contestant:
    device = choose_device(problem.device)
    operands = {}
    for shape in sizes(problem):
        rows, inner, columns = shape
        rng = np.random.default_rng(0)
        pair = (rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32))
        operands[shape] = [jax.device_put(jnp.asarray(x - 0.5, problem.dtype), device) for x in pair]
    product = jax.jit(jnp.matmul)

    def seconds(shape: tuple[int, int, int]) -> float:
        a, b = operands[shape]
        enough = max(1, round(TARGET_OPERATIONS / operations(shape)))
        repeats = MAX_REPEATS if device.platform == "gpu" else min(MAX_REPEATS, enough)
        began = time.perf_counter()
        for _ in range(repeats):
            result = product(a, b)
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / repeats

    return Contestant(
        step=lambda: {"x".join(map(str, shape)): seconds(shape) for shape in operands},
        forward=None,
        wait=lambda: None,
        compile_seconds=None,
        temp_bytes=None,
        device_peak=lambda: None,
        version=f"JAX {jax.__version__}",
        device=device.device_kind,
    )


def sizes(problem: Problem) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of the feed-forward's first product over the whole batch, and of a large square one."""
    side = SQUARE[problem.device]
    return [(problem.batch * problem.tokens, problem.d_model, problem.mlp_dim), (side, side, side)]


def operations(shape: tuple[int, int, int]) -> int:
    rows, inner, columns = shape
    return 2 * rows * inner * columns
