"""The global generators of random numbers: whether something drew from them."""

import random
from typing import Any

import numpy as np


def generators() -> dict[str, Any]:
    """The states of the generators by the name of their module."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the generator that others draw from
    return {"np.random": (name, np.asarray(keys).tobytes(), *rest), "random": random.getstate()}


def drawn_from(before: dict[str, Any]) -> str:
    """The module of a generator that was drawn from since its state was `before`; "" if none was."""
    return next((name for name, state in generators().items() if state != before[name]), "")
