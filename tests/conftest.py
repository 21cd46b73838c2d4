"""Shared by all tests."""

from collections.abc import Iterator

import jax
import pytest

# Tests compile hundreds of small functions once each: the compiler's time is what they spend, not the program's.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision for one test; a file asks for it with `pytestmark = pytest.mark.usefixtures("float64")`."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
