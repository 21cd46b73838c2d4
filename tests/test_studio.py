"""The studio without its pages: processes that outlive it, folders that it does not leave, what it reads of runs."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from checks.cases import all_cases
from checks.commands.selection import is_selected
from checks.definitions import definition_results
from checks.mutants import load_mutants
from common.errors import UserError
from common.files import locked
from data.registry import SOURCES
from studio import __main__ as command
from studio import commands, curves, guesses, jobs, lessons, lines, options, runs, workspace
from tests.conftest import Ended
from tests.tiny_runs import ROOT, STEPS_PER_EPOCH, assert_same_outcome
from training import checkpoint
from training.config import OPTIONS
from training.new_folder import LOCK
from training.presets import preset_names
from training.run_folder import RUNS, RunFolder
from verify.check import check_case
from verify.measure import Plan
from verify.results import HEADER, case_lines

SLEEP = ["python", "-c", "import time; print('awake', flush=True); time.sleep(60)"]


pytestmark = pytest.mark.usefixtures("studio_folder")


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


def test_a_job_that_was_killed_does_not_run_and_its_id_is_not_signalled() -> None:
    job = jobs.begin("try", SLEEP)
    wait(lambda: "awake" in job.output())
    os.kill(int((job.folder / jobs.PID).read_text().split()[0]), signal.SIGKILL)
    assert ended(job) == -signal.SIGKILL
    (job.folder / jobs.CODE).unlink()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        written = (job.folder / jobs.PID).read_text().split()
        (job.folder / jobs.PID).write_text(f"{stranger.pid} {written[1]}\n")  # as if it had got the id since
        with open(job.folder / jobs.OUTPUT, "rb") as left:  # and a worker of the old one were still there
            fcntl.flock(left, fcntl.LOCK_EX)
            assert job.is_running()
            assert not job.stop()
        time.sleep(0.05)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


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
    """To the bit."""
    preset, *overrides = tiny
    run = RUNS / "mine"
    job = jobs.begin("train", commands.train(preset, overrides, run), str(run))
    assert ended(job) == 0, job.output()
    assert_same_outcome(run, finished)
    [seen_now] = runs.all_runs()
    assert (seen_now.state, seen_now.can_be_asked, seen_now.job) == (runs.FINISHED, True, job)
    length = runs.length_of(RunFolder(run))
    assert length == runs.Length(3 * STEPS_PER_EPOCH, 8, STEPS_PER_EPOCH)
    assert "done: best" in runs.log_of(seen_now)


def test_a_run_that_is_stopped_twice_loses_nothing_and_goes_on(tiny: tuple[str, ...]) -> None:
    """As by a double click, or from two pages."""
    preset, *overrides = tiny
    run = RUNS / "long"
    changed = [*overrides, "train.epochs=3000", "train.checkpoint_every=null", "train.evaluate_every=3000"]
    job = jobs.begin("train", commands.train(preset, changed, run), str(run))
    wait(lambda: (run / "steps.csv").exists())
    [seen] = runs.all_runs()
    assert seen.state == runs.RUNNING
    assert runs.holder_of(run / LOCK) == int((job.folder / jobs.PID).read_text().split()[0])
    assert runs.stop(seen)
    runs.stop(seen)
    assert ended(job) == 128 + signal.SIGTERM, job.output()
    assert not runs.stop(seen)
    [stopped] = runs.all_runs()
    assert stopped.state == runs.STOPPED
    assert runs.holder_of(run / LOCK) is None
    _, meta = checkpoint.load(RunFolder(run).last)
    assert meta["progress"]["step"] == curves.course_of(run).last_step


# Runs


def test_looking_at_a_run_takes_no_lock_and_writes_nothing(finished: Path) -> None:
    run = Path(shutil.copytree(finished, RUNS / "there"))
    (run / LOCK).write_text("123\n")
    (run / LOCK).chmod(0o444)
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    with open(run / LOCK, "rb") as reader:  # another studio that looks at the same time
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert [seen.state for seen in runs.all_runs()] == [runs.FINISHED]
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_options_of_twenty_runs_are_read_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        shutil.copytree(finished, RUNS / str(number))
    read: list[Path] = []
    real = RunFolder.read_config

    def counted(run: RunFolder, *arguments: object) -> object:
        read.append(run.path)
        return real(run, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "read_config", counted)
    for _ in range(3):
        assert len(runs.all_runs()) == 20
    counts = Counter(path.name for path in read)
    assert set(counts.values()) == {2}  # for the list, and to know whether it is finished
    with open(RUNS / "3" / "metrics.csv", "a") as file:
        file.write("")
    os.utime(RUNS / "3" / "metrics.csv")
    read.clear()
    runs.all_runs()
    assert {path.name for path in read} == {"3"}


def test_a_run_that_was_removed_is_gone_and_one_that_could_not_begin_stays(tiny: tuple[str, ...]) -> None:
    preset, *overrides = tiny
    job = jobs.begin("train", commands.train(preset, [*overrides, "train.epochs=1"], RUNS / "a"), "runs/a")
    wrong = jobs.begin("train", commands.train("demo", ["model.heads=7"], RUNS / "b"), "runs/b")
    assert (ended(job), ended(wrong)) == (0, 2)
    (job.folder / jobs.CODE).unlink()  # no studio was there when it ended
    assert {run.name for run in runs.all_runs()} == {"a", "b"}
    shutil.rmtree(RUNS / "a")
    assert {run.name for run in runs.all_runs()} == {"b"}


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


def test_links_in_a_folder_of_pictures_do_not_lead_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("inner/datasets/pets/cat", "inner/datasets/pets/dog", "outside/frog", "outside/toad"):
        (tmp_path / path).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inner")
    pets = Path("datasets/pets")
    (pets / "kitten").symlink_to("cat")
    assert workspace.link_out(pets) is None
    (pets / "frog").symlink_to(tmp_path / "outside" / "frog")
    assert workspace.link_out(pets) == pets / "frog"
    Path("datasets/away").symlink_to(tmp_path / "outside")
    assert list(workspace.image_folders()) == [pets]


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
    offered = [preset for name in SOURCES for preset in options.presets_for(name)]
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
            assert [name for name in names if is_selected(only, name)] == [only]
            assert lessons.patch_of(mutant).startswith("- ")


def test_a_chapter_is_readable_without_the_book() -> None:
    for chapter in sorted(lessons.BOOK.glob("*.md")):
        text = lessons.readable(chapter)
        assert not any(word in text for word in ("{cell}", "{literalinclude}", "{raw}", "](../", "<div")), chapter
    norm = lessons.readable(lessons.BOOK / "07-layer-norm.md")
    assert "$$\n\\hat x_i = (x_i - \\mu) \\, r \\tag{LN.1}\n$$" in norm
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
    long = "encoder/block_0/attention/attention (MultiHeadAttention), at the weights of runs/demo-20260101"
    wrapped_title = "\n".join(case_lines(replace(result, name=long)))
    assert {row.case for row in lines.read_lines(wrapped_title)} == {long}
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
    for damaged in ("number,wnid\n1,a\n", "number,wnid,name,predicted_wnid,predicted,probability\nx,a,b,c,d,0.5\n"):
        (tmp_path / "damaged.csv").write_text(damaged)
        with pytest.raises(ValueError, match=r"damaged|invalid literal"):
            guesses.read_guesses(tmp_path / "damaged.csv")
    (tmp_path / guesses.LISTING).write_text("number,file\n1,a.png\n")
    assert guesses.read_listing(tmp_path) == []


# The command


def test_the_server_listens_on_this_machine_alone_and_sends_nothing() -> None:
    args = command.parse_arguments([])
    given = command.server_options(args)
    pairs = dict(zip(given[::2], given[1::2], strict=True))
    hosts = [value for name, value in zip(given[::2], given[1::2], strict=True) if name == "--server.allowedHosts"]
    assert hosts == ["127.0.0.1", "localhost", "[::1]"]
    assert "--server.allowedHosts" not in command.server_options(command.parse_arguments(["--host", "0.0.0.0"]))
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
    given: list[dict[str, str]] = []
    monkeypatch.setattr(command.os, "execve", lambda path, words, names: (begun.append(words), given.append(names)))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONPATH", "")
    quiet = call(command.main)
    assert quiet.err == ""
    loud = call(command.main, "--host", "0.0.0.0", ".")
    assert loud.err.startswith("warning: --host 0.0.0.0: whoever reaches this machine")
    assert all(len(line) <= 80 for line in (loud.err + loud.out).splitlines() if str(Path.cwd()) not in line)
    assert len(begun) == 2
    assert [names[workspace.GIVEN] for names in given] == ["", str(Path.cwd().resolve())]
    assert str(ROOT) in given[0]["PYTHONPATH"].split(os.pathsep)
    monkeypatch.setattr(jobs, "fcntl", None)
    assert "start it in WSL" in call(command.main).err
