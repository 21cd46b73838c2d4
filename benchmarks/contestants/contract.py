"""What a worker expects: `build(name, problem, params) -> Contestant`, in the module that the registry names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsFloat


@dataclass(frozen=True)
class Contestant:
    """A contestant that is built and ready to run."""

    step: Callable[[], SupportsFloat | dict[str, float]]
    """One training step, finished when it returns: its loss before the update. Matrix products return the seconds that
    each took, by size."""

    forward: Callable[[], None] | None
    """The logits of the batch, finished when it returns."""

    compile_seconds: float | None  # None: nothing is compiled, or not before the first step
    temp_bytes: int | None  # temporary memory of the compiled step according to XLA
    device_peak: Callable[[], int | None]  # peak memory of a GPU, in bytes
    version: str
    device: str
