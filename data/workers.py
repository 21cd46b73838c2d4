"""Run one function on many tasks in worker processes.

Why not `multiprocessing`: its `fork` is unsafe once JAX has started its threads, and its `spawn` and `forkserver`
import the main script again in every worker, which for `train.py` means importing JAX in order to decode a JPEG. Here
a worker is a `python -c` that imports only the module it needs. It reads tasks from its standard input, one line of
JSON each, and writes the results to its standard output. When the parent dies, even by kill -9, the input ends and so
does the worker.

Decoding 27,500 images of Tiny ImageNet on two cores, from a script that had imported JAX, took 1.8 s this way, 2.1 s
with `spawn`, 2.2 s with `forkserver`, 2.8 s in one process and 3.3 s with two threads. Threads are slow here because
decoding a 64x64 JPEG takes less time than handing over Python's global lock.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from common.errors import DataError

_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from data.workers import serve; serve(sys.argv[2])"


def run(
    function: str, tasks: Sequence[dict[str, Any]], workers: int, done: Callable[[int], object] = lambda index: None
) -> list[Any]:
    """Call `function` on every task and return the results in the order of the tasks.

    function: "module:name"; it takes a dict and returns something that JSON can represent.
    workers: number of processes; with one worker, or one task, everything is done in this process.
    done: called with the index of each finished task, in the calling thread.

    Raises DataError if the function does; RuntimeError, with the worker's traceback, for any other exception.
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
    pending_lock = threading.Lock()
    processes = [_start(function) for _ in range(workers)]
    threads = [threading.Thread(target=_feed, args=(p, pending, pending_lock, answers), daemon=True) for p in processes]
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
            process.kill()  # idle at the end; after an error their results are not needed
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # a buffered line for a dead worker
                        pipe.close()
    return results


def _start(function: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, "-P", "-c", _BOOTSTRAP, root, function]  # -P: do not import from the current folder
    # A process group of its own: Ctrl-C reaches the parent alone, also before the worker can ignore it.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", process_group=0
    )


def _feed(
    process: subprocess.Popen[str],
    pending: Iterator[tuple[int, dict[str, Any]]],
    pending_lock: threading.Lock,
    answers: SimpleQueue[tuple[int, dict[str, Any]]],
) -> None:
    """Send tasks to one worker, one at a time, until none is left. Runs in a thread of the parent."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        with pending_lock:
            index, task = next(pending, (-1, {}))
        if index < 0:
            return
        line = ""
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            pass  # a broken pipe: the worker died. An incomplete line means the same
        if not line.endswith("\n"):
            code = process.wait()
            message = f"A worker process died (exit code {code}); if memory ran out, use fewer workers."
            answers.put((index, {"data_error": message}))
            return
        answers.put((index, json.loads(line)))


def serve(function: str) -> None:
    """The main loop of a worker: read a task, write its result, until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # a stray print must not mix with the results
    call = _resolve(function)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"result": call(json.loads(line))}
        except DataError as error:
            answer = {"data_error": str(error)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # the parent was ended, as by SIGTERM
            os._exit(0)  # without a second try to write at exit


def _resolve(function: str) -> Callable[[dict[str, Any]], Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)
