"""Types of numbers in the arguments of a command, for argparse."""

import argparse
from collections.abc import Callable

SEEDS = 2**32  # as many as JAX tells apart: it uses the lowest 32 bits alone


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not less than `least`."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return whole_number


def seed_number(text: str) -> int:
    """A seed of random numbers, from 0 to 4294967295."""
    value = int(text)
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(f"{value} is not from 0 to {SEEDS - 1}")
    return value
