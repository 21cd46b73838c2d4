"""Memory in pages of 2 MiB in place of 4 KiB, for a step that touches hundreds of MiB over and over.

A processor keeps the addresses of some thousand pages at hand; with small pages that is a few MiB, and part of a step's
time goes into looking up where its arrays are. On Linux, glibc asks for huge pages if `GLIBC_TUNABLES` says so, which
it reads once, as a process begins.
"""

import os
import sys
from pathlib import Path

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Begin this process anew with huge pages, where the kernel gives them to those who ask.

    Does nothing on another system, where the kernel gives them to all or to none, and where `GLIBC_TUNABLES` is set
    already, be it to nothing (`GLIBC_TUNABLES= python train.py`).
    """
    if sys.platform != "linux" or VARIABLE in os.environ:
        return
    try:
        asked_for = "[madvise]" in ENABLED.read_text()
    except OSError:
        return
    if asked_for:
        os.environ[VARIABLE] = TUNABLE
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
