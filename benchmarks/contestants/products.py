"""How fast this machine multiplies large matrices, in float32 and in bfloat16. The floor of a step is computed from it.

The result is float32 in both: some processors multiply bfloat16 at full speed only if the sums stay as they are.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.problem import Params, Problem
from training.device import choose_device

DTYPES = ("float32", "bfloat16")
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
        for dtype in DTYPES:
            operands[dtype, shape] = [jax.device_put(jnp.asarray(x - 0.5, dtype), device) for x in pair]
    product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))

    def seconds(dtype: str, shape: tuple[int, int, int]) -> float:
        a, b = operands[dtype, shape]
        enough = max(1, round(TARGET_OPERATIONS / operations(shape)))
        repeats = MAX_REPEATS if device.platform == "gpu" else min(MAX_REPEATS, enough)
        began = time.perf_counter()
        for _ in range(repeats):
            result = product(a, b)
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / repeats

    return Contestant(
        step=lambda: {product_name(dtype, shape): seconds(dtype, shape) for dtype, shape in operands},
        forward=None,
        wait=lambda: None,
        compile_seconds=None,
        temp_bytes=None,
        device_peak=lambda: None,
        version=f"JAX {jax.__version__}",
        device=device.device_kind,
    )


def product_name(dtype: str, shape: tuple[int, int, int]) -> str:
    """As in `float32 2048x2048x2048`."""
    return f"{dtype} {'x'.join(map(str, shape))}"


def sizes(problem: Problem) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of the feed-forward's first product over the whole batch, and of a large square one."""
    side = SQUARE[problem.device]
    return [(problem.batch * problem.tokens, problem.d_model, problem.mlp_dim), (side, side, side)]


def operations(shape: tuple[int, int, int]) -> int:
    rows, inner, columns = shape
    return 2 * rows * inner * columns
