"""What a worker expects: `build(name, problem, params) -> Contestant`, in the module that the registry names.

`params` are the parameters of the engine, under the names that the registry says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsFloat


@dataclass(frozen=True)
class Contestant:
    """A contestant that is built and ready to run."""

    step: Callable[[], SupportsFloat | dict[str, float]]
    """One training step: its loss before the update. It may still be computed when the call returns; `float` waits for
    it and for all steps before. Matrix products return the seconds that each took, by size."""

    forward: Callable[[], None] | None
    """The logits of the batch. They may still be computed when the call returns."""

    wait: Callable[[], None]
    """Returns when all that was started is computed."""

    compile_seconds: float | None  # None: nothing is compiled, or not before the first step
    temp_bytes: int | None  # temporary memory of the compiled step according to XLA
    device_peak: Callable[[], int | None]  # peak memory of a GPU, in bytes
    version: str
    device: str
