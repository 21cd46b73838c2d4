"""What a worker asks of a contestant: `build(name, problem, params) -> Running`, in the module that the entry names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsFloat


@dataclass(frozen=True)
class Running:
    step: Callable[[], SupportsFloat | dict[str, float]]
    """One training step, finished when it returns. Its loss before the update; of the products, seconds of each."""

    forward: Callable[[], None] | None
    """Logits of the batch, finished when it returns."""

    compile_seconds: float | None  # None: nothing is compiled, or not before the first step
    temp_bytes: int | None  # what XLA's analysis says the step needs beyond its arguments and results
    device_peak: Callable[[], int | None]  # bytes of a GPU's memory at their highest
    version: str
    device: str
