"""How many cores there are to use."""

import os


def available_cores() -> int:
    """The number of cores this process may use (not the number the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
