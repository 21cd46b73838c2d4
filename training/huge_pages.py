"""Memory pages of 2 MiB instead of 4 KiB, for a training step that uses hundreds of MiB over and over.

A processor caches the addresses of a few thousand pages (its TLB). With small pages these cover only a few MiB, and
part of the time of a step goes into address translation. On Linux, glibc requests huge pages if `GLIBC_TUNABLES` says
so, which it reads once, when the process starts.
"""

import os
import sys
from pathlib import Path

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Restart this process with huge pages, if the kernel grants them on request (the mode "madvise").

    Does nothing on another system, if the kernel grants them always or never, or if `GLIBC_TUNABLES` is set already,
    even to an empty text (`GLIBC_TUNABLES= python train.py`).
    """
    if sys.platform != "linux" or VARIABLE in os.environ:
        return
    try:
        on_request = "[madvise]" in ENABLED.read_text()
    except OSError:
        return
    if on_request:
        os.environ[VARIABLE] = TUNABLE
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
