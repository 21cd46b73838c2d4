"""train.py as it is used: what a run leaves, how it survives, and what it says to bad input."""

import contextlib
import os
import re
import resource
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

import train
from common.errors import ConfigError, UserError
from tests.conftest import Ended
from tests.tiny_data import write_data_set
from tests.tiny_runs import ROOT, STEPS_PER_EPOCH, assert_same_outcome, start_python
from training import checkpoint
from training.config import Config
from training.run_folder import RunFolder
from training.trainer import Trainer

STEPS = 3 * STEPS_PER_EPOCH
Call = Callable[..., Ended]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.name != ".lock"}


def results(run: Path) -> dict[str, bytes]:
    """The same without the log, which every call appends to."""
    return {name: content for name, content in contents(run).items() if name != "log.txt"}


def edit(run: Path, pattern: str, replacement: str) -> None:
    """Change a line of the run's configuration."""
    text, count = re.subn(pattern, replacement, (run / "config.yml").read_text())
    assert count == 1
    (run / "config.yml").write_text(text)


def assert_refused(ended: Ended, message: str) -> None:
    """Exit code 2, and one line alone, which matches `message`."""
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert re.search(message, ended.err), ended.err
    assert ended.err.startswith("error: ")


# What a run leaves.


def test_a_run_leaves_what_is_needed_to_go_on(finished: Path) -> None:
    files = {"config.yml", "classes.json", "metrics.csv", "steps.csv", "last.npz", "best.npz", "log.txt"}
    assert set(contents(finished)) == files
    run = RunFolder(finished)
    config, classes = run.read_config(), run.read_classes()
    assert (config.preset, config.model.d_model) == ("baseline", 8)
    assert config.optim.learning_rate == 0.01  # given as 1e-2, which YAML takes for text
    assert len(classes.class_ids) == len(classes.class_names) == 12
    header, *rows = run.metrics_file.read_text().splitlines()
    assert header == (
        "epoch,step,train_loss,val_loss,val_top1,val_top5,learning_rate,images_per_second,seconds,data_wait,"
        "ema_top1,ema_loss"
    )
    assert [row.split(",")[:2] for row in rows] == [["1", "6"], ["2", "12"], ["3", "18"]]
    best = max(run.read_metrics(), key=lambda row: (row.val_top1, -row.step))
    meta = checkpoint.load(run.best)[1]
    assert (meta["step"], meta["val_top1"]) == (best.step, pytest.approx(best.val_top1, rel=1e-5))
    assert checkpoint.load(run.last)[1]["progress"]["step"] == STEPS


def test_steps_in_place_of_epochs(call: Call, tiny: tuple[str, ...], finished: Path, tmp_path: Path) -> None:
    ended = call(train.main, *tiny, "train.epochs=null", "train.steps=7", "--device", "cpu", "--run", tmp_path / "run")
    assert ended.code == 0
    assert "7 steps of 8 images, 6 an epoch" in ended.out
    rows, longer = RunFolder(tmp_path / "run").read_metrics(), RunFolder(finished).read_metrics()
    assert [(row.epoch, row.step) for row in rows] == [(1, 6), (2, 7)]
    assert (rows[0].train_loss, rows[0].val_loss) == (longer[0].train_loss, longer[0].val_loss)
    assert checkpoint.load(tmp_path / "run" / "last.npz")[1]["progress"]["step"] == 7


def test_a_run_without_a_name_is_called_after_its_preset(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    ended = call(train.main, *tiny, "train.epochs=1", "--device", "cpu")
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"baseline-\d{8}-\d{6}", run.name)
    assert f"evaluate with: python evaluate.py runs/{run.name}" in ended.out


def test_summary_needs_no_data_and_leaves_nothing(call: Call, tmp_path: Path) -> None:
    ended = call(train.main, "baseline", "model.layers=2", "model.mlp_dim=512", "data.root=nowhere", "--summary")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "shape", "parameters", "MFLOPs"]
    assert [line.split()[0] for line in lines if "EncoderBlock" in line] == ["block_0", "block_1"]
    assert list(tmp_path.iterdir()) == []


# Going on.


def test_a_finished_run_has_nothing_to_go_on_with(call: Call, copy: Path) -> None:
    before = results(copy)
    ended = call(train.main, "--resume", copy, "--device", "cpu")
    assert ended.code == 0
    assert f"{copy}: already trained for 18 steps; more with train.epochs=N" in ended.out
    assert results(copy) == before


def test_a_finished_run_may_go_on_for_longer(call: Call, copy: Path) -> None:
    before = (copy / "metrics.csv").read_text()
    ended = call(train.main, "--resume", copy, "train.epochs=4", "train.eval_batch_size=12", "--device", "cpu")
    assert ended.code == 0
    assert "\n        goes on after step 18 of 24, in epoch 4 of 4\ncompiling the training step ... " in ended.out
    after = (copy / "metrics.csv").read_text()
    assert after.startswith(before)
    assert [row.step for row in RunFolder(copy).read_metrics()] == [6, 12, 18, 24]
    assert RunFolder(copy).read_config().train.epochs == 4


# Calls a function of the program for the number-th time, and is gone: no handler runs, no file is closed.
KILLED = """
import importlib, os, signal, sys
import train
from common.command import run_command

where, number = sys.argv.pop(1), int(sys.argv.pop(1))
module, _, path = where.partition(":")
*parents, name = path.split(".")
owner = importlib.import_module(module)
for parent in parents:
    owner = getattr(owner, parent)
function, calls = getattr(owner, name), iter(range(1, number + 1))

def killed(*arguments, **options):
    if next(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)

setattr(owner, name, killed)
sys.exit(run_command(train.main))
"""


@pytest.mark.parametrize(
    ("where", "number", "saved"),
    [
        pytest.param("training.trainer:Trainer._read_metrics", 2, None, id="before the first save"),
        pytest.param("training.trainer:Trainer._read_metrics", 12, 8, id="in an epoch, a step after a save"),
        pytest.param("numpy.lib.format:write_array", None, 4, id="in the middle of writing a checkpoint"),
        pytest.param("training.evaluation:Evaluator._run", 5, 6, id="in an evaluation"),
        pytest.param("training.checkpoint:save", 3, 6, id="between the row and the best checkpoint"),
        pytest.param("training.checkpoint:save", 4, 6, id="between the best checkpoint and the last"),
    ],
)
def test_killed_a_run_ends_like_one_that_was_not(
    where: str, number: int | None, saved: int | None,
    call: Call, tiny: tuple[str, ...], finished: Path, programs: Path, tmp_path: Path,
) -> None:  # fmt: skip
    run = RunFolder(tmp_path / "run")
    if number is None:
        number = len(checkpoint.load(finished / "last.npz")[0]) * 3 // 2  # half of the second checkpoint is written
    arguments = (where, number, *tiny, "--device", "cpu", "--run", run.path)
    with start_python("-c", KILLED, *arguments, cache=programs, cwd=tmp_path) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, out + err
    assert saved == (checkpoint.load(run.last)[1]["progress"]["step"] if run.last.exists() else None)

    assert call(train.main, "--resume", run.path, "--device", "cpu").code == 0
    assert_same_outcome(run.path, finished)
    assert set(contents(run.path)) == set(contents(finished))  # nothing half-written stays


# A quarter of a second a step, so that the signal comes in the middle.
SLOW = """
import sys, time
import train
from common.command import run_command
from training.trainer import Trainer

read_metrics = Trainer._read_metrics
Trainer._read_metrics = lambda *arguments: (time.sleep(0.25), read_metrics(*arguments))
sys.exit(run_command(train.main))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_a_run_saves_and_ends_like_one_that_was_not(
    number: signal.Signals, code: int,
    call: Call, tiny: tuple[str, ...], finished: Path, programs: Path, tmp_path: Path,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    arguments = (*tiny, "--device", "cpu", "--run", run)
    with start_python("-c", SLOW, *arguments, cache=programs, cwd=tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1/3"):
                process.send_signal(number)
                break
        out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    told = re.search(r"stopped after step (\d+)\ngo on with: python train.py --resume (.*)\n", out)
    assert told
    assert told[2] == str(run)
    assert checkpoint.load(run / "last.npz")[1]["progress"]["step"] == int(told[1]) < STEPS
    assert "stopping: the step is finished and saved" in err

    assert call(train.main, "--resume", run, "--device", "cpu").code == 0
    assert_same_outcome(run, finished)


def test_a_second_ctrl_c_leaves_at_once(
    call: Call, tiny: tuple[str, ...], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_metrics = Trainer._read_metrics

    def interrupted(trainer: Trainer, max_pending: int) -> None:
        if trainer.progress.step == 9:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        read_metrics(trainer, max_pending)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_read_metrics", interrupted)
        ended = call(train.main, *tiny, "--device", "cpu", "--run", tmp_path / "run")
    assert ended.code == 130
    assert ended.err.endswith("interrupted\n")
    assert checkpoint.load(tmp_path / "run" / "last.npz")[1]["progress"]["step"] == 8
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert call(train.main, "--resume", tmp_path / "run", "--device", "cpu").code == 0
    assert_same_outcome(tmp_path / "run", finished)


# What can go wrong on the way.


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes: the nearest thing to a full disk that a process can give itself."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_checkpoint_that_is_there(call: Call, copy: Path) -> None:
    before = results(copy)
    with full_disk(room=100_000):
        ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(ended, rf"^error: {copy}/last\.npz: cannot be written: File too large\. .*--resume {copy}`\n$")
    after = results(copy)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"config.yml", "steps.csv"}  # which have the new epochs, and a step of them
    assert call(train.main, "--resume", copy, "--device", "cpu").code == 0


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(call: Call, copy: Path) -> None:
    edit(copy, "learning_rate: 0.01", "learning_rate: 1.0e+30")
    edit(copy, "max_grad_norm: 1.0", "max_grad_norm: null")
    last = (copy / "last.npz").read_bytes()
    ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(ended, rf"the loss of step 20 is nan: the run has diverged\. .*{copy}/last\.npz, is that of step 18")
    assert (copy / "last.npz").read_bytes() == last
    assert [row.step for row in RunFolder(copy).read_metrics()] == [6, 12, 18]
    assert ended.err in (copy / "log.txt").read_text()

    # It would diverge again, wherever its data are; not so with other options.
    ended = call(train.main, "--resume", copy, "train.checkpoint_every=1", "--device", "cpu")
    assert_refused(
        ended, rf"{copy}: the loss of step 20 is nan, and resumed with the same options .* begin another run"
    )
    edit(copy, r"learning_rate: 1.0e\+30", "learning_rate: 0.01")
    assert call(train.main, "--resume", copy, "--device", "cpu").code == 0
    assert not (copy / "diverged.json").exists()


def test_a_run_without_its_checkpoint_is_not_begun_again(call: Call, copy: Path) -> None:
    (copy / "last.npz").unlink()
    before = contents(copy)
    ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(
        ended, rf"^error: {copy}/last\.npz: missing, .*: metrics\.csv up to step 18 and best\.npz, which `python"
    )
    assert contents(copy) == before


def test_half_a_checkpoint_is_refused(call: Call, copy: Path) -> None:
    content = (copy / "last.npz").read_bytes()
    (copy / "last.npz").write_bytes(content[: len(content) // 2])
    ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(ended, rf"{copy}/last\.npz: damaged or cut short")


def test_a_checkpoint_of_another_model_is_refused(call: Call, copy: Path) -> None:
    edit(copy, "d_model: 8", "d_model: 16")
    ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(ended, rf"{copy}/last\.npz: of another model: .* has shape .*, but the configured model wants")


def test_two_trainings_in_one_folder(call: Call, copy: Path) -> None:
    before = contents(copy)
    with RunFolder(copy).lock():
        ended = call(train.main, "--resume", copy, "train.epochs=4", "--device", "cpu")
    assert_refused(ended, rf"{copy}: another training \(process {os.getpid()}\) is writing this run")
    assert contents(copy) == before


def test_a_folder_with_a_run_wants_resume(call: Call, tiny: tuple[str, ...], copy: Path) -> None:
    before = contents(copy)
    assert_refused(call(train.main, *tiny, "--run", copy), f"{copy}: holds a run already; .*`--resume {copy}`")
    assert contents(copy) == before


def test_a_run_that_was_stopped_before_it_had_its_options_begins_anew(
    call: Call, tiny: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    """Former versions wrote the classes and the log before the options."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished / "classes.json", run)
    assert_refused(
        call(train.main, "--resume", run), rf"{run}: this run was stopped before its config\.yml was written"
    )
    (run / "log.txt").write_text(f"2026-11-27 04:48:14  {shlex.join(['python', 'train.py', *tiny, '--run', 'gone'])}\n")
    assert call(train.main, "--resume", run, "--device", "cpu").code == 0
    assert_same_outcome(run, finished)
    (run / "config.yml").unlink()
    assert_refused(call(train.main, "--resume", run), r"has no config\.yml")  # it has results, which would be lost


def test_a_resume_reads_the_options_under_the_lock(call: Call, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise another process could change them meanwhile, and the older ones would be written back."""
    read_config = RunFolder.read_config

    def locked_too(run: RunFolder, *arguments: list[str]) -> Config:
        with pytest.raises(UserError, match="another training"), run.lock():
            pass
        return read_config(run, *arguments)

    monkeypatch.setattr(RunFolder, "read_config", locked_too)
    assert call(train.main, "--resume", copy, "--device", "cpu").code == 0


def test_a_resumed_run_keeps_its_data(call: Call, copy: Path, tmp_path: Path) -> None:
    """Not the advice to change the model, which a resumed run could not follow."""
    other = write_data_set(tmp_path / "other")
    ended = call(train.main, "--resume", copy, "train.epochs=4", f"data.root={other}", "data.workers=1")
    ended = ended._replace(err=ended.err.splitlines(keepends=True)[-1])  # the rest is the bar of the decoding
    assert_refused(ended, rf"{other}: not the data of {copy}; say where they are with data\.root=DIR")


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dmeo"], "has no preset dmeo; did you mean demo"),
        (["demo", "baseline"], "baseline: a second preset after demo"),
        (["demo", "model.d_modle=8"], r"unknown option model\.d_modle; did you mean model\.d_model"),
        (["demo", "optm.beta1=0.5"], r"unknown section optm; did you mean optim\.beta1"),
        (["demo", "optim.batch_size=8"], r"unknown option optim\.batch_size; did you mean train\.batch_size"),
        (["demo", "train.batch_size=many"], r"train\.batch_size=many: expected a whole number of at least 1"),
        (["demo", "train.batch_size=1e3"], r"train\.batch_size=1e3: expected a whole number"),
        (["demo", "augment.flip=maybe"], r"augment\.flip=maybe: expected true or false"),
        (["demo", "optim.schedule=cosin"], r"optim\.schedule=cosin: expected one of constant, cosine"),
        (["demo", "train.epochs=2", "train.steps=3"], "give one of them"),
        (["demo", "model.heads=5"], "5 heads do not divide d_model"),
        (["demo", "train.accumulate=5"], "accumulate=5 must divide batch_size"),
        (["baseline", "data.root=nowhere"], r"^error: /.*/nowhere: .*python -m data\.download .*python train\.py demo"),
        (["--resume", "nowhere"], "^error: /.*/nowhere: there is no such folder"),
        (["--config", "nowhere.yml"], r"^error: nowhere\.yml: No such file"),
        (["--epochs", "3"], r"^error: --epochs 3: options .* are written section\.key=value: train\.epochs=3$"),
        (["demo", "--lr", "1e-3"], r"^error: --lr 1e-3: .*: optim\.learning_rate=1e-3$"),
        (["demo", "--lr=1e-3"], r"^error: --lr=1e-3: .*: optim\.learning_rate=1e-3$"),
        (["--batch-size", "64", "demo"], r"^error: --batch-size 64: .*: train\.batch_size=64$"),
        (["--optim.eps", "1e-3"], r"^error: --optim\.eps 1e-3: .*: optim\.eps=1e-3$"),
        (["--eps", "1e-3"], r"model\.eps=1e-3 or optim\.eps=1e-3$"),
        (["--warmup-epochs", "5"], r"optim\.warmup, a share of all steps"),
        (["--output_dir", "x"], r"^error: --output_dir x: there is no such option; did you mean --run DIR\?"),
        (["--sumary"], r"^error: --sumary: there is no such option; did you mean --summary\?"),
        (["--xyz"], "^error: --xyz: there is no such option; --help lists the options"),
        (["optim.lr=1e-3"], r"unknown option optim\.lr; did you mean optim\.learning_rate\?"),
        (["demo", "--run", "/proc/x"], "^error: /proc/x: this folder cannot be made here .* choose another one"),
        (["demo", "--run=~nobody-of-this-name/x"], "there is no such user"),
        (["demo", "--run", ""], "name a file or a folder"),
        (
            ["demo", "model.d_model=100000000", "--summary"],
            r"^error: model\.d_model=100000000 .* takes 640 PB of memory",
        ),
        (["demo", "model.layers=100000000", "--summary"], r"^error: .*model\.layers=100000000: .* of memory"),
        (["demo", "foo\nbar"], r"^error: foo\\nbar: a second preset"),
        (["demo", "model.gelu=a\nb"], r"^error: model\.gelu=a\\nb: expected"),
        (["demo", "--compile"], "^error: --compile: there is no such option, as training is always compiled$"),
        (["demo", "--accelerator", "gpu"], "did you mean --device cpu or --device gpu"),
        (["demo", "data.root=/etc/passwd"], "^error: /etc/passwd: a file, where the folder of a data set is expected"),
        (["--resume", "."], r"^error: \.: not the folder of a run"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert_refused(call(train.main, *arguments), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.num_classes=10", r"model\.num_classes=10, but the data have 12 classes: set model\.num_classes=12"),
        ("model.channels=2", r"model\.channels=2: images have 1 \(grey\) or 3 \(RGB\)"),
        ("train.batch_size=49", r"train\.batch_size=49 is more than the 48 training images"),
        ("augment.crop_padding=64", r"augment\.crop_padding=64: a crop could miss the image: choose less than 64"),
        ("train.epochs=400000000", r"train\.epochs=400000000: at most 357913941"),
    ],
)
def test_what_does_not_fit_the_data_leaves_no_folder(
    call: Call, tiny: tuple[str, ...], tmp_path: Path, option: str, message: str
) -> None:
    assert_refused(call(train.main, *tiny, option), message)
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_began_with_stays(call: Call, copy: Path) -> None:
    for argument in ("optim.learning_rate=1", "baseline", "model.layers=2"):
        assert_refused(call(train.main, "--resume", copy, argument), f"^error: {argument}: .* keeps the options")


def test_resume_and_run_exclude_each_other(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call(train.main, "--resume", "a", "--run", "b")
    assert caught.value.code == 2
    assert "leave --run out" in capfd.readouterr().err


def test_resume_and_config_exclude_each_other(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(train.main, "--resume", "a", "--config", "b")
    assert "leave --config out" in capfd.readouterr().err


@pytest.mark.skipif(any(device.platform == "gpu" for device in jax.devices()), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    assert_refused(call(train.main, *tiny, "--device", "gpu"), r"pip install -r requirements-gpu\.txt")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(call: Call) -> None:
    with pytest.raises(ConfigError):
        call(train.main, "dmeo", "--debug")


def test_the_process_itself(tmp_path: Path, programs: Path) -> None:
    """What the tests above cannot see: the script's own exit code, and that nothing else is written on the way."""
    for arguments, lines in ((("dmeo",), 1), (("dmeo", "--debug"), 5)):
        with start_python(ROOT / "train.py", *arguments, cache=programs, cwd=tmp_path) as process:
            out, err = process.communicate(timeout=300)
        assert out == ""
        assert err.count("\n") >= lines
        assert ("Traceback" in err) == ("--debug" in arguments)
        assert process.returncode == (1 if "--debug" in arguments else 2)


def test_help_lists_presets_and_options(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--help"])
    assert caught.value.code == 0
    text = capfd.readouterr().out
    for expected in ("demo", "tiny_imagenet", "optim.learning_rate=", "train.batch_size=", "--resume"):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_a_run_says_is_in_its_log(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    """With the command that it was called by, and nothing is wider than a terminal."""
    arguments = (*tiny, "train.epochs=1", "model.shifted_patches=true", "--device", "cpu", "--run", "a folder")
    ended = call(train.main, *arguments)
    log = (tmp_path / "a folder" / "log.txt").read_text()
    date_and_command, _, said = log.partition("\n")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  python train\.py baseline .* --run 'a folder'", date_and_command
    )
    assert said == ended.out
    assert re.search(r"^compiling the training step \.\.\. \d+\.\d s$", said, re.MULTILINE)
    assert "add model.patch_norm_before=true" in said
    assert "evaluate with: python evaluate.py 'a folder'\n" in said
    wide = [line for line in said.splitlines() if len(line) > 80 and not line.startswith("data    ")]
    assert wide == []
    call(train.main, "--resume", "a folder", "--brief", "--device", "cpu")
    again = (tmp_path / "a folder" / "log.txt").read_text().removeprefix(log)
    assert "already trained for 6 steps" in again
    assert "PatchEmbedding" not in again


def test_a_home_is_found_where_the_shell_left_it(
    call: Call, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in --run=~/x, of which bash makes nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"{copy}: already trained" in call(train.main, "--resume=~/copy", "--device", "cpu").out
    assert f"error: {copy}: holds a run already" in call(train.main, "--run=~/copy", "demo").err
    assert not (tmp_path / "~").exists()


def test_presets_of_ones_own(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    options = [argument for argument in tiny if argument != "baseline"]
    (tmp_path / "own.yml").write_text("mine:\n  extends: baseline\n  train: {epochs: 01}\n")
    without_epochs = [option for option in options if not option.startswith("train.epochs")]
    ended = call(train.main, "mine", *without_epochs, "--config", "own.yml", "--device", "cpu")
    assert ended.code == 0, ended.err
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("mine-")
    assert RunFolder(run).read_config().train.epochs == 1
    (tmp_path / "own.yml").unlink()
    assert call(train.main, "--resume", run, "--device", "cpu").code == 0  # a run has all of its options
