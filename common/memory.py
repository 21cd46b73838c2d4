"""How much memory there is, and sizes as text."""

import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container; "max" where there is none
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def machine_memory() -> int | None:
    """The bytes of memory that this process may use; None: unknown."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(installed, int(LIMIT.read_text()))
    except (OSError, ValueError):
        return installed


def format_bytes(count: int) -> str:
    """A size as in `16.8 GB`."""
    unit = min((len(str(count)) - 1) // 3, len(UNITS) - 1)
    if count >= 1000 ** len(UNITS):
        return f"10^{len(str(count)) - 1 - 3 * unit} {UNITS[unit]}"
    return f"{count / 1000**unit:.3g} {UNITS[unit]}"
