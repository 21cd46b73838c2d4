"""From the pure functions of a contestant on JAX to what a worker runs: compiled, on the device, with a batch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.problem import Problem
from training.device import choose_device


@dataclass(frozen=True)
class JaxProgram:
    """The pure functions of a contestant; `state` may be any tree."""

    state: Any
    step: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]  # state, images, labels -> state, loss
    logits: Callable[[Any, jax.Array], jax.Array]  # state, images -> (B, C)


def run_on_jax(problem: Problem, build: Callable[[str], JaxProgram]) -> Contestant:
    """Compile the step that `build(platform)` returns. The buffers of the old state are donated to the new one."""
    device = choose_device(problem.device)
    program = build(device.platform)
    images, labels = jax.device_put(problem.inputs(), device)
    # Each array is copied: two places of the state may share one, and no buffer can be donated twice.
    state = jax.tree.map(lambda leaf: jax.device_put(np.array(leaf), device), program.state)
    began = time.perf_counter()
    step = jax.jit(program.step, donate_argnums=0).lower(state, images, labels).compile()
    compile_seconds = time.perf_counter() - began
    analysis = step.memory_analysis()
    logits = jax.jit(program.logits)
    result: Any = None

    def run_step() -> jax.Array:
        nonlocal state, result
        state, result = step(state, images, labels)
        return result

    def run_forward() -> None:
        nonlocal result
        result = logits(state, images)

    def wait() -> None:
        jax.block_until_ready((state, result))

    def device_peak() -> int | None:
        return (device.memory_stats() or {}).get("peak_bytes_in_use")

    return Contestant(
        step=run_step,
        forward=run_forward,
        wait=wait,
        compile_seconds=compile_seconds,
        temp_bytes=int(analysis.temp_size_in_bytes) if analysis else None,
        device_peak=device_peak,
        version=f"JAX {jax.__version__}",
        device=device.device_kind,
    )
