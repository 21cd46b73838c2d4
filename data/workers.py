"""Run one function over many tasks in worker processes.

Why not `multiprocessing`: its `fork` is unsafe once JAX has started its threads, and its `spawn` and `forkserver`
import the caller's main script again in every worker, which for `train.py` means importing JAX to decode a JPEG.
Here a worker is a plain `python -c` that imports the one module it needs and answers tasks, a line of JSON each,
from its standard input. When the parent dies, however it dies, that input ends and the worker with it.

Measured, decoding 27,500 images of Tiny ImageNet on two cores from a script that had imported JAX: 1.8 s this way,
2.1 s with `spawn`, 2.2 s with `forkserver`, 2.8 s in one process, and 3.3 s with two threads, which spend their time
passing Python's global lock to and fro: a JPEG of 64x64 is decoded in less time than that takes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from common.errors import DataError

_BOOTSTRAP = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # Ctrl-C is the parent's to handle
    "sys.path.insert(0, sys.argv[1]); from data.workers import serve; serve(sys.argv[2])"
)


def run(
    function: str, tasks: Sequence[dict[str, Any]], workers: int, done: Callable[[int], object] = lambda index: None
) -> list[Any]:
    """Call `function` ("module:name", one dict in, JSON out) on every task; results come in the order of the tasks.

    `done(index)` is called in the calling thread after each task. With one worker, or one task, everything happens in
    this process. Raises what the function raised where that is DataError, RuntimeError with its traceback otherwise.
    """
    if min(workers, len(tasks)) <= 1:
        call = _resolve(function)
        results = []
        for index, task in enumerate(tasks):
            results.append(call(task))
            done(index)
        return results
    return _run_in_processes(function, tasks, min(workers, len(tasks)), done)


def _run_in_processes(
    function: str, tasks: Sequence[dict[str, Any]], workers: int, done: Callable[[int], object]
) -> list[Any]:
    results: list[Any] = [None] * len(tasks)
    answers: SimpleQueue[tuple[int, dict[str, Any]]] = SimpleQueue()
    pending = iter(enumerate(tasks))
    taking = threading.Lock()
    processes = [_start(function) for _ in range(workers)]
    threads = [threading.Thread(target=_feed, args=(p, pending, taking, answers), daemon=True) for p in processes]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            index, answer = answers.get()
            if "data_error" in answer:
                raise DataError(answer["data_error"])
            if "error" in answer:
                raise RuntimeError(f"A worker process failed:\n{answer['error']}")
            results[index] = answer["result"]
            done(index)
    finally:
        for process in processes:
            process.kill()  # at the end they are idle; after an error their work is of no use
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # an unsent line to a worker that is gone
                        pipe.close()
    return results


def _start(function: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-P", "-c", _BOOTSTRAP, root, function]  # -P: nothing in the current folder is imported
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")


def _feed(
    process: subprocess.Popen[str],
    pending: Iterator[tuple[int, dict[str, Any]]],
    taking: threading.Lock,
    answers: SimpleQueue[tuple[int, dict[str, Any]]],
) -> None:
    """Give one worker task after task until none is left; runs in a thread of the parent."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        with taking:
            index, task = next(pending, (-1, {}))
        if index < 0:
            return
        line = ""
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            pass  # the pipe broke: the worker died, as a line without an end also says
        if not line.endswith("\n"):
            code = process.wait()
            message = f"A worker process died (exit code {code}); if memory ran out, use fewer workers."
            answers.put((index, {"data_error": message}))
            return
        answers.put((index, json.loads(line)))


def serve(function: str) -> None:
    """The life of a worker: read tasks, answer them, end with the input."""
    answers, sys.stdout = sys.stdout, sys.stderr  # so that a stray print cannot garble the answers
    call = _resolve(function)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"result": call(json.loads(line))}
        except DataError as error:
            answer = {"data_error": str(error)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def _resolve(function: str) -> Callable[[dict[str, Any]], Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)
