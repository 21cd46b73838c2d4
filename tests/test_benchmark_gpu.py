"""python -m benchmarks.gpu: rehearsed on the CPU, and a part that fails leaves the results of the others."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from benchmarks.gpu import parts, readers
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.complex_step import difference
from benchmarks.gpu.part import FAILED, MISSING, OK, SKIPPED, TIMED_OUT, Part
from benchmarks.gpu.profile import kernels, summary
from benchmarks.gpu.runner import Session
from tests.conftest import Ended

Call = Callable[..., Ended]


def fake(name: str, code: str, limit: float = 20.0, **options: Any) -> Part:
    return Part("check", name, ("-c", code), limit, readers.last_line, **options)


GOOD = fake("good", "print('{{\"figure\": 7}}')")


def run(tmp_path: Path, *chosen: Part, seconds: float | None = None) -> dict[str, dict[str, Any]]:
    """The results of these parts, as they are in the file."""
    session = Session(tmp_path / "out", True, None, seconds)
    session.run(chosen)
    return {part["name"]: part for part in json.loads(session.json.read_text())["parts"]}


def test_a_part_that_fails_leaves_the_others(tmp_path: Path) -> None:
    """A crash, a signal, a missing package in three ways, a result that cannot be read: all others have theirs."""
    bad = [
        fake("crash", "print('{{\"before\": 1}}', flush=True); raise ValueError('the reason')"),
        fake("killed", "import os; os.kill(os.getpid(), 9)"),
        fake("unreadable", "print('no JSON')"),
        fake("silent", ""),
        fake("no object", "print([1, 2])"),
        fake("missing before", "", needs=("no_such_package",)),
        fake("missing inside", "import no_such_package"),
        fake("archives", "", needs_archives=True),
    ]
    results = run(tmp_path, *bad, GOOD)
    statuses = {name: result["status"] for name, result in results.items()}
    assert statuses == {
        "crash": FAILED, "killed": FAILED, "unreadable": FAILED, "silent": FAILED, "no object": FAILED,
        "missing before": MISSING,
        "missing inside": MISSING, "archives": MISSING, "good": OK,
    }  # fmt: skip
    assert results["good"]["values"] == {"figure": 7}
    assert results["crash"]["values"] == {"before": 1}  # what was measured before counts
    assert results["crash"]["why"] == "exit code 1: ValueError: the reason"
    assert results["killed"]["why"] == "killed by SIGKILL"
    assert results["missing inside"]["why"] == results["missing before"]["why"] == "no_such_package is not installed"
    page = (tmp_path / "out" / "results.md").read_text()
    assert "| crash | failed: exit code 1: ValueError: the reason |" in page
    assert "| figure | 7 |" in page
    assert "rehearsal" in page.partition("##")[0]


def test_a_part_out_of_time_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Its worker, which ignores SIGTERM, must not go on beside the next part."""
    ticks = tmp_path / "ticks"
    worker = (
        "import signal, time; signal.signal(15, signal.SIG_IGN)\n"
        f"while True: open({str(ticks)!r}, 'a').write('.'); time.sleep(0.05)"
    )
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {worker!r}]); time.sleep(60)"
    results = run(tmp_path, fake("slow", code, limit=3.0), GOOD)
    assert results["slow"]["status"] == TIMED_OUT
    assert results["slow"]["seconds"] < 15
    assert results["good"]["status"] == OK
    written = ticks.stat().st_size
    assert written > 0
    time.sleep(0.3)
    assert ticks.stat().st_size == written


def test_the_time_of_all_is_shared(tmp_path: Path) -> None:
    """Each is given its share; what one leaves goes to the next, up to its limit unless it stretches."""
    print_seconds = "print('{{\"seconds\": {seconds}}}')"
    chosen = [fake("short", print_seconds, 30.0), fake("long", print_seconds, 60.0, stretches=True)]
    results = run(tmp_path, *chosen, seconds=30.0)
    assert 9 < results["short"]["granted"] <= 10
    assert 25 < results["long"]["granted"] < 30
    assert results["long"]["values"]["seconds"] == int(0.8 * results["long"]["granted"])
    late = run(tmp_path, fake("capped", "print('{{}}')", 4.0), fake("short", "", 100.0), seconds=5.0)
    assert late["capped"]["status"] == SKIPPED  # 4 of 104 parts of 5 seconds
    assert late["short"]["granted"] <= 5


def test_variables_and_memory_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--from_outside")
    code = (
        "import json, os; names = 'XLA_FLAGS', 'XLA_PYTHON_CLIENT_PREALLOCATE', 'JAX_COMPILATION_CACHE_DIR'\n"
        "print(json.dumps({{name: os.environ[name] for name in names}}))"
    )
    part = replace(fake("variables", code), environment={"XLA_FLAGS": "--of_the_part"})
    values = run(tmp_path, part)["variables"]["values"]
    assert list(values.values()) == [
        "--from_outside --of_the_part", "false", str(tmp_path / "out" / "shared" / "compiled")
    ]  # fmt: skip


def test_results_are_there_after_each_part(tmp_path: Path) -> None:
    """The second part reads what the first has left in the files of all."""
    file = tmp_path / "out" / "results.json"
    code = f"import json; print(json.dumps({{{{'before': len(json.load(open({str(file)!r}))['parts'])}}}}))"
    assert run(tmp_path, GOOD, fake("reader", code))["reader"]["values"] == {"before": 1}


@pytest.mark.parametrize("rehearse", [False, True])
def test_parts_are_well_formed(rehearse: bool) -> None:
    """Names are unique and can be folders; every place in a command is one that the runner fills in."""
    chosen = parts.parts(rehearse)
    assert len({part.name for part in chosen}) == len(chosen)
    places = dict.fromkeys(("out", "shared", "archives", "seconds", "minutes"), "1")
    for part in chosen:
        assert part.stage in parts.STAGES
        assert "/" not in part.name
        assert all("{" not in argument.format(**places) for argument in part.command)
        assert part.limit > part.start
    assert {part.stage for part in chosen} == set(parts.STAGES)


def test_kernels_of_a_trace_by_hand() -> None:
    """Only what runs on a stream of the GPU counts, and every kernel with all its calls."""
    events = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 5, "args": {"name": "Stream #13(compute)"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 6, "args": {"name": "XLA Ops"}},
        {"ph": "X", "name": "gemm_1", "pid": 1, "tid": 5, "ts": 0, "dur": 3000.0},
        {"ph": "X", "name": "gemm_1", "pid": 1, "tid": 5, "ts": 4000, "dur": 3000.0},
        {"ph": "X", "name": "loop_add_fusion", "pid": 1, "tid": 5, "ts": 3000, "dur": 2000.0},
        {"ph": "X", "name": "gemm_1", "pid": 1, "tid": 6, "ts": 0, "dur": 3000.0},
        {"ph": "X", "name": "python", "pid": 2, "tid": 1, "ts": 0, "dur": 9000.0},
    ]
    counted = kernels(events, "gpu")
    assert [event["name"] for event in counted] == ["gemm_1", "gemm_1", "loop_add_fusion"]
    counted.append({"ph": "X", "name": "gemm_1", "ts": 9000, "dur": 2000.0})
    report = summary(counted, steps=2)
    assert report["all"] == {"ms a step": 5.0, "share": 1.0, "calls a step": 2.0}
    assert report["products, all"] == report["gemm_1"] == {"ms a step": 4.0, "share": 0.8, "calls a step": 1.5}
    assert report["the device waits"] == {"ms a step": 1.0}


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--archives", "nowhere"], ["--only", "nothing"]], ids=str)
def test_bad_input_is_one_line(call: Call, tmp_path: Path, arguments: list[str]) -> None:
    ended = call(main, "--out", tmp_path / "out", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"error: {' '.join(arguments)}: ")
    assert not (tmp_path / "out").exists()


def rehearsed(call: Call, out: Path, stage: str, *only: str) -> dict[str, dict[str, Any]]:
    """What the chosen parts of a stage have measured, at tiny sizes."""
    ended = call(main, "--out", out, "--rehearse", "--stage", stage, *(f"--only={text}" for text in only))
    assert ended.code == 0, (ended.out, [path.read_text() for path in out.rglob("stderr.txt")])
    assert sys.executable not in (out / "results.md").read_text()
    return {part["name"]: part["values"] for part in json.loads((out / "results.json").read_text())["parts"]}


def test_rehearsal_of_the_checks(call: Call, tmp_path: Path) -> None:
    """The comparison of precisions, and the operations; the other parts are calls of gradcheck.py that have tests."""
    results = rehearsed(call, tmp_path / "out", "check", "precisions", "complex")
    assert 0 < results["precisions, float32 in full"]["all parameters"]["relative error, bfloat16"] < 0.1
    assert max(results["complex step by operation"].values()) < 1e-14


@pytest.mark.usefixtures("float64")
def test_an_operation_that_loses_the_imaginary_part_shows() -> None:
    """A product by Gauss's three multiplications: (a + b)(c + d) - ac - bd keeps nothing of a small b and d."""

    def gauss(xp: Any, z: Any) -> Any:
        a, b = z.real, z.imag
        return (a @ a - b @ b) + 1j * ((a + b) @ (a + b) - a @ a - b @ b) if xp is jnp else z @ z

    assert difference(lambda xp, z: z @ z, 8) < 1e-14
    assert difference(gauss, 8) > 0.5
