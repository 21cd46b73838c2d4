"""What the worker processes of tests/test_data_workers.py are told to call."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from common.errors import DataError


def square(task: dict[str, Any]) -> dict[str, Any]:
    print("a stray line on standard output")
    return {"square": task["n"] ** 2, "pid": os.getpid()}


def slow_first(task: dict[str, Any]) -> int:
    """Task 0 ends after the caller has noted the end of another, however late the second worker starts."""
    another = Path(task["folder"], "another has ended")
    deadline = time.monotonic() + 30
    while task["n"] == 0 and not another.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return int(task["n"])


def refuse(task: dict[str, Any]) -> int:
    if task["n"] == 3:
        raise DataError("image 3 is broken: \u00e9\udcff")
    return int(task["n"])


def fail(task: dict[str, Any]) -> int:
    return 1 // int(task["n"])


def die(task: dict[str, Any]) -> None:
    if task["n"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def leave_pid(task: dict[str, Any]) -> None:
    Path(task["folder"], str(os.getpid())).touch()
    time.sleep(0.1)
