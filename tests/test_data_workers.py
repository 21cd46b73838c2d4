"""The worker processes: results in order, errors that arrive, and no process that outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import DataError
from data import workers

REPOSITORY = Path(__file__).resolve().parent.parent


def tasks(count: int) -> list[dict[str, object]]:
    return [{"n": n} for n in range(count)]


def test_two_processes_share_the_work(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []
    results = workers.run("tests.worker_functions:square", tasks(40), 2, done.append)
    assert [result["square"] for result in results] == [n**2 for n in range(40)]
    assert sorted(done) == list(range(40))
    pids = {result["pid"] for result in results}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert capfd.readouterr().out == ""  # what a worker prints goes to stderr, not between the answers


def test_one_worker_is_this_process() -> None:
    results = workers.run("tests.worker_functions:square", tasks(3), 1)
    assert {result["pid"] for result in results} == {os.getpid()}
    assert workers.run("tests.worker_functions:square", [], 2) == []


def test_results_stand_in_the_order_of_the_tasks_not_of_their_ends(tmp_path: Path) -> None:
    ends: list[int] = []

    def ended(index: int) -> None:
        ends.append(index)
        (tmp_path / "another has ended").touch()

    chosen = [{**task, "folder": str(tmp_path)} for task in tasks(20)]
    assert workers.run("tests.worker_functions:slow_first", chosen, 2, ended) == list(range(20))
    assert ends[0] != 0


@pytest.mark.parametrize("count", [1, 2])
def test_bad_data_is_reported_as_such(count: int) -> None:
    with pytest.raises(DataError, match="image 3 is broken: \u00e9\udcff"):
        workers.run("tests.worker_functions:refuse", tasks(6), count)


def test_a_bug_in_a_worker_comes_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)worker_functions\.py.*ZeroDivisionError"):
        workers.run("tests.worker_functions:fail", tasks(4), 2)


def test_a_worker_that_is_killed_is_noticed() -> None:
    with pytest.raises(DataError, match=r"worker process died \(exit code -9\).*fewer workers"):
        workers.run("tests.worker_functions:die", tasks(4), 2)


def test_the_main_script_is_not_run_again(tmp_path: Path) -> None:
    """Neither its imports nor its statements, so that it needs no `if __name__ == "__main__"` either."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "print('main script')\n"
        "from data import workers\n"
        "tasks = [{'n': n} for n in range(9)]\n"
        "print(len(workers.run('tests.worker_functions:square', tasks, 2)))\n"
    )
    (tmp_path / "json.py").write_text("raise RuntimeError('a file of the current folder was imported')")
    command = [sys.executable, "-P", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "main script\n9\n"


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of their tasks, and without a word."""
    code = (
        "from data import workers\n"
        f"workers.run('tests.worker_functions:leave_pid', [{{'folder': {str(tmp_path)!r}}}] * 1000, 2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while len(pids := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < deadline, "the workers never started"
        time.sleep(0.02)
    parent.send_signal(number)
    assert parent.communicate(timeout=30) == (None, b"")
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.02)
