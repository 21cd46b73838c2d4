"""The studio without its pages: processes that outlive it, folders that it does not leave, what it reads of runs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks.cases import all_cases
from checks.commands.selection import is_selected
from checks.definitions import definition_results
from checks.mutants import load_mutants
from common.errors import UserError
from common.files import locked
from studio import __main__ as command
from studio import commands, guesses, jobs, lessons, lines, options, pictures, runs, workspace
from tests.conftest import Ended
from tests.tiny_runs import ROOT, STEPS_PER_EPOCH, TINY, assert_same_outcome
from training.config import OPTIONS
from training.new_folder import LOCK
from training.presets import preset_names
from training.run_folder import RUNS, RunFolder
from verify.check import check_case
from verify.measure import Plan
from verify.results import HEADER, case_lines

SLEEP = ["python", "-c", "import time; print('awake', flush=True); time.sleep(60)"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: an empty one. No job outlives the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "GLIBC_TUNABLES": "",
    }.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    for job in jobs.all_jobs():
        if job.is_running():
            os.kill(int((job.folder / jobs.PID).read_text()), signal.SIGKILL)


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def ended(job: jobs.Job) -> int | None:
    wait(lambda: not job.is_running() and job.exit_code() is not None)
    return job.exit_code()


# Jobs


def test_a_job_says_what_it_printed_and_how_it_ended() -> None:
    job = jobs.begin("try", ["python", "-c", "import sys; print('a\\r10%\\r20%\\nb'); sys.exit(3)"], "runs/x")
    assert ended(job) == 3
    assert job.output() == "20%\nb"
    assert jobs.find(job.folder.name) == job
    assert (job.about.kind, job.about.run) == ("try", "runs/x")


def test_a_job_outlives_the_studio_however_that_ends_and_is_found_and_stopped_by_the_next() -> None:
    script = (
        "import os, signal, time\nfrom studio import jobs\n"
        f"job = jobs.begin('try', {SLEEP!r})\n"
        "while 'awake' not in job.output(): time.sleep(0.02)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True)
    assert process.wait() == -signal.SIGKILL
    job = jobs.newest("try")
    assert job is not None
    assert job.is_running()
    job.stop()
    wait(lambda: not job.is_running())
    assert job.exit_code() is None  # nobody was there to note it
    assert "KeyboardInterrupt" in job.output()


def test_a_job_that_was_killed_does_not_run_and_its_id_is_not_signalled() -> None:
    job = jobs.begin("try", SLEEP)
    wait(lambda: "awake" in job.output())
    os.kill(int((job.folder / jobs.PID).read_text()), signal.SIGKILL)
    assert ended(job) == -signal.SIGKILL
    (job.folder / jobs.PID).write_text(str(os.getpid()))  # as if this process had got the id since
    job.stop()
    time.sleep(0.05)  # a signal would have raised KeyboardInterrupt here


def test_no_shell_reads_a_command() -> None:
    words = ["$(touch a)", "; touch b", "`touch c`", "*", "a b", "'"]
    job = jobs.begin("try", ["python", "-c", "import sys; print(sys.argv[1:])", *words])
    assert ended(job) == 0
    assert job.output() == str(words)
    assert {path.name for path in Path().iterdir()} == {"runs"}
    typed = f"printf '%s\\n' {job.shown.partition(' ')[2]}"
    assert subprocess.run(["sh", "-c", typed], capture_output=True, text=True).stdout.splitlines()[2:] == words


def test_what_is_damaged_is_no_job_and_old_jobs_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 2)
    running = jobs.begin("try", SLEEP)
    for _ in range(4):
        assert ended(jobs.begin("try", ["python", "-c", ""])) == 0
    assert len(jobs.all_jobs()) == 4  # one that runs, two, and the new one
    assert running.is_running()
    newest = jobs.newest("try")
    assert newest is not None
    (newest.folder / jobs.DESCRIPTION).write_text('{"kind": 3}')
    assert jobs.find(newest.folder.name) is None
    assert jobs.find("../../etc") is None


def test_a_run_of_the_studio_is_that_of_the_command(finished: Path, tiny: tuple[str, ...]) -> None:
    """To the bit; stopped on its way, and resumed."""
    preset, *overrides = tiny
    run = RUNS / "mine"
    job = jobs.begin("train", commands.train(preset, overrides, run), str(run))
    wait(lambda: (run / "steps.csv").exists())
    seen = runs.all_runs()
    assert [(r.name, r.state) for r in seen] == [("mine", runs.RUNNING)] or not job.is_running()
    runs.stop(seen[0])
    assert ended(job) in (130, 0, -signal.SIGINT), job.output()  # the last two: it had ended before it was asked to
    again = jobs.begin("train", commands.resume(run), str(run))
    assert ended(again) == 0, again.output()
    assert_same_outcome(run, finished)
    [seen_now] = runs.all_runs()
    assert (seen_now.state, seen_now.can_be_asked, seen_now.job) == (runs.FINISHED, True, again)
    length = runs.length_of(RunFolder(run))
    assert length == runs.Length(3 * STEPS_PER_EPOCH, 8, STEPS_PER_EPOCH)
    assert "done: best" in runs.log_of(seen_now)


# Runs


def test_a_run_that_is_beginning_or_could_not_begin_is_seen(tiny: tuple[str, ...]) -> None:
    beginning = jobs.begin("train", SLEEP, "runs/new")
    failed = jobs.begin("train", commands.train("demo", ["model.heads=7"], RUNS / "wrong"), "runs/wrong")
    assert ended(failed) == 2
    states = {run.name: run.state for run in runs.all_runs()}
    assert states == {"new": runs.PREPARING, "wrong": runs.FAILED}
    assert "heads" in runs.log_of(next(run for run in runs.all_runs() if run.name == "wrong"))
    assert not any(run.can_be_asked for run in runs.all_runs())
    runs.stop(next(run for run in runs.all_runs() if run.name == "new"))
    wait(lambda: not beginning.is_running())


def test_states_of_runs_that_were_begun_in_a_terminal(finished: Path) -> None:
    for name in ("done", "held", "half", "diverged", "damaged"):
        shutil.copytree(finished, RUNS / name)
    rows = (RUNS / "half" / "metrics.csv").read_text().splitlines(True)
    (RUNS / "half" / "metrics.csv").write_text("".join(rows[:-1]))
    RunFolder(RUNS / "diverged").note_divergence("the loss is nan", "x")
    (RUNS / "damaged" / "config.yml").write_text("preset: [")
    with locked(RUNS / "held" / LOCK, wait=False):
        seen = {run.name: run for run in runs.all_runs()}
    states = {name: run.state for name, run in seen.items()}
    assert states == {
        "done": runs.FINISHED, "held": runs.RUNNING, "half": runs.STOPPED, "diverged": runs.DIVERGED,
        "damaged": runs.FAILED,
    }  # fmt: skip
    assert "config.yml" in seen["damaged"].problem
    assert next(iter(seen)) == "held"  # what runs comes first
    assert runs.best_of(runs.rows_of(seen["done"])) is not None


# Folders


@pytest.mark.parametrize("text", ["/etc", "..", "a/../../b", "link", "loop", "~root/x", ""])
def test_the_studio_does_not_leave_its_folders(tmp_path: Path, text: str) -> None:
    (tmp_path / "inner").mkdir()
    os.chdir(tmp_path / "inner")
    Path("link").symlink_to(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(UserError):
        workspace.inside(text)


def test_folders_that_were_given_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("inner/datasets/pets/cat", "inner/datasets/pets/dog", "inner/datasets/.hidden/a", "other/x", "other/y",
                 "inner/datasets/tiny/a", "inner/datasets/tiny/b"):  # fmt: skip
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "inner/datasets/tiny/wnids.txt").touch()
    monkeypatch.chdir(tmp_path / "inner")
    assert workspace.inside("datasets/pets") == Path("datasets/pets")
    assert list(workspace.image_folders()) == [Path("datasets/pets")]
    with pytest.raises(UserError, match="python -m studio"):
        workspace.inside(tmp_path / "other" / "x")
    monkeypatch.setenv(workspace.GIVEN, str(tmp_path / "other"))
    assert workspace.inside(tmp_path / "other" / "x") == tmp_path / "other" / "x"
    assert list(workspace.image_folders()) == [Path("datasets/pets"), tmp_path / "other"]


@pytest.mark.parametrize(
    "name", ["", " ", "..", ".hidden", "-rf", "a/b", "a\\b", "a\0", "a\nb", "con", "x" * 101, "a:b", "end."]
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        workspace.plain_name(name)


@pytest.mark.parametrize("name", ["pets", "my photos", "Größe 2", "a.b", "a--b_c"])
def test_plain_names_are_kept(name: str) -> None:
    assert workspace.plain_name(f" {name} ") == name


# Options


@pytest.mark.parametrize("preset", ["demo", "mae_cpu", "tiny_imagenet"])
def test_every_option_is_a_field_and_its_value_can_be_written_back(preset: str) -> None:
    fields = options.fields_of(preset)
    assert [field.name for field in fields] == list(OPTIONS)
    assert all(field.help for field in fields)
    assert all(field.value in field.choices for field in fields if field.choices)
    given = {field.name: field.value for field in fields}
    assert options.overrides_of(preset, given) == []
    length = ("train.epochs", "train.steps", "train.minutes")  # only one of them is written
    written = [f"{name}={value}" for name, value in given.items() if name not in length]
    assert options.problem(preset, written) is None
    assert set(options.MATTER) <= set(OPTIONS)


def test_choices_are_the_values_that_there_are() -> None:
    fields = {field.name: field for field in options.fields_of("demo")}
    assert fields["augment.flip"].choices == ("true", "false")
    assert set(fields["train.freeze"].choices) == {"null", "backbone"}
    assert fields["optim.name"].choices == ("adamw", "muon")
    assert fields["train.epochs"].choices == ()
    changed = {"augment.flip": "false", "train.epochs": " 3 ", "optim.name": "adamw"}
    assert options.overrides_of("demo", changed) == ["augment.flip=false", "train.epochs=3"]
    assert "train.epochs" in (options.problem("demo", ["train.epochs=3.5"]) or "")


def test_each_preset_is_offered_for_its_data_and_described() -> None:
    names = ("shapes", "image_folder", "tiny_imagenet", "mnist", "fashion_mnist", "cifar10")
    offered = [preset for name in names for preset in options.presets_for(name)]
    assert sorted(offered) == sorted(preset_names())
    assert options.presets_for("tiny_imagenet")[0] == "tiny_imagenet_cpu"
    assert all("command:" in options.about(preset) for preset in preset_names())


# Gradients


def test_every_part_can_be_checked_and_has_a_chapter() -> None:
    cases = [(case.name, case.target) for case in all_cases(0)]
    cases += [(result.name, result.target) for result in definition_results(0)]
    for check in lessons.checks():
        assert any(is_selected(check.only, *case) for case in cases), check.only
        assert lessons.chapter_of(check.file) is not None
    assert {part.file for part in lessons.parts()} == {mutant.file for mutant in load_mutants()}


def test_every_mistake_can_be_planted_alone() -> None:
    names = [f"{mutant.file}: {mutant.mistake}" for mutant in load_mutants()]
    for part in lessons.parts():
        for mutant in lessons.mistakes_in(part.file):
            only = commands.plant(part.file, mutant.mistake, Path("x"))[4]
            assert next(name for name in names if is_selected(only, name)) == only
            assert lessons.patch_of(mutant).startswith("- ")


def test_a_chapter_is_readable_without_the_book() -> None:
    for chapter in sorted(lessons.BOOK.glob("*.md")):
        text = lessons.readable(chapter)
        assert not any(word in text for word in ("{cell}", "{literalinclude}", "{raw}", "](../", "<div")), chapter
    norm = lessons.readable(lessons.BOOK / "07-layer-norm.md")
    assert r"\hat x_i = (x_i - \mu)" in norm
    assert "model/layers/layer_norm.py" in norm
    assert lessons.title_of(lessons.BOOK / "07-layer-norm.md") == "Layer normalization"


def test_the_table_has_the_tensors_that_were_printed(float64: None) -> None:
    case = next(case for case in all_cases(0) if case.name == "layer_norm")
    result = check_case(case, 0, Plan())
    text = "\n".join(["device  cpu", "", HEADER, *case_lines(result), "", "1 case, 3 tensors: all pass. 1 s, seed 0"])
    rows = lines.read_lines(text)
    assert [(row.case, row.tensor, row.shape, row.verdict) for row in rows] == [
        ("layer_norm", "beta", "12", "pass"), ("layer_norm", "gamma", "12", "pass"),
        ("layer_norm", "x", "3 x 9 x 12", "pass"),
    ]  # fmt: skip
    assert all(float(row.exact) < 1e-12 for row in rows)
    wrong = text.replace("pass", "WRONG", 1)
    assert [row.verdict for row in lines.read_lines(wrong)].count("WRONG") == 1


# Guesses


def test_guesses_are_sorted_into_cells(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(
        "number,wnid,name,predicted_wnid,predicted,probability\n"
        '0,a,"cat, feline",b,dog,0.9\n1,a,"cat, feline",a,"cat, feline",0.4\n'
        '2,b,dog,c,cow,0.95\n3,a,"cat, feline",b,dog,0.99\n'
    )
    found = guesses.read_guesses(tmp_path / "g.csv")
    assert found.names == {"a": "cat", "b": "dog", "c": "cow"}
    assert [g.number for g in found.cell("a", "b")] == [3, 0]
    assert [g.number for g in found.mistakes()] == [3, 2, 0]
    assert found.taken_for("a") == [("a", 1), ("b", 2)]
    assert found.counts()[("a", "b")] == 2


# The command


def test_the_server_listens_on_this_machine_alone_and_sends_nothing() -> None:
    args = command.parse_arguments([])
    given = command.server_options(args)
    pairs = dict(zip(given[::2], given[1::2], strict=True))
    assert pairs["--server.address"] == "127.0.0.1"
    assert pairs["--browser.gatherUsageStats"] == "false"
    assert pairs["--server.maxUploadSize"] == "20"
    assert "--server.port" not in pairs
    assert [host for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "192.168.0.2", "::", "example.org")
            if command.is_loopback(host)] == ["127.0.0.1", "localhost", "::1"]  # fmt: skip


def test_the_command_says_what_is_missing_and_warns_of_others(
    call: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "streamlit" else object())
    assert call(command.main).err == "error: Streamlit is not installed: pip install -r requirements-studio.txt\n"
    monkeypatch.setattr(command, "find_spec", lambda name: object())
    assert "no such folder" in call(command.main, "nowhere").err
    begun: list[list[str]] = []
    monkeypatch.setattr(command.os, "execv", lambda path, words: begun.append(words))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONPATH", "")
    quiet = call(command.main)
    assert quiet.err == ""
    loud = call(command.main, "--host", "0.0.0.0", ".")
    assert loud.err.startswith("warning: --host 0.0.0.0: whoever reaches this machine")
    assert all(len(line) <= 100 for line in (loud.err + loud.out).splitlines() if "/" not in line)
    assert len(begun) == 2
    assert os.environ[command.GIVEN] == str(Path.cwd().resolve())


def test_names_that_are_written_twice_agree() -> None:
    assert command.GIVEN == workspace.GIVEN
    assert command.MOST_MEGABYTES * 2**20 == pictures.MOST_BYTES
    assert TINY[0] in preset_names()
