"""The training loop: interrupted anywhere it ends alike, and what has diverged is never saved."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError, UserError
from common.interrupt import StopRequest
from data.dataset import Dataset
from tests.tiny_runs import assert_same_outcome, random_dataset
from training import checkpoint
from training.config import load_config
from training.describe import describe
from training.evaluation import Evaluator
from training.metrics import MetricsRow
from training.plan import Plan
from training.progress import describe_epoch
from training.run_folder import RunFolder
from training.setup import check_fit, steps_per_epoch
from training.step import TrainingStep
from training.step_log import read_steps
from training.stops import Stopped
from training.trainer import Trainer

# 26 images in batches of 6: 4 steps an epoch, 2 images left over; 10 steps end in the middle of the third epoch.
OPTIONS = (
    "model.image_size=8", "model.patch_size=8", "model.d_model=4", "model.heads=1", "model.layers=1", "model.mlp_dim=4",
    "model.num_classes=5", "model.dropout=0.1", "optim.learning_rate=3e-3", "optim.schedule=cosine", "optim.warmup=0.2",
    "augment.flip=true", "augment.crop_padding=2", "train.steps=10", "train.batch_size=6", "train.eval_batch_size=4",
    "train.checkpoint_every=3",
)  # fmt: skip
STEPS = 10


PROGRAMS: dict[tuple[TrainingStep, type, frozenset[int]], dict[int, Any]] = {}


@pytest.fixture
def compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal trainers share the compiled step, which would else be the whole time of a test."""
    compile_step = Trainer._compile

    def compile_or_take(trainer: Trainer) -> None:
        sizes = frozenset(trainer.plan.dispatch_sizes(trainer.progress.step))
        known = trainer.step, type(trainer.feed), sizes
        if known not in PROGRAMS:
            compile_step(trainer)
            PROGRAMS[known] = trainer._programs
        trainer._programs = dict(PROGRAMS[known])

    monkeypatch.setattr(Trainer, "_compile", compile_or_take)


def make_trainer(folder: Path, *options: str, dataset: Dataset | None = None) -> Trainer:
    config = load_config("baseline", [*OPTIONS, *options])
    folder.mkdir(exist_ok=True)
    return Trainer(RunFolder(folder), config, dataset or random_dataset(), jax.devices("cpu")[0])


def train(folder: Path, *options: str) -> Trainer:
    trainer = make_trainer(folder, *options)
    trainer.start()
    with StopRequest() as stop:
        trainer.fit(stop)
    return trainer


def train_until(
    folder: Path, moment: Callable[[Trainer], bool], call: str = "_read_metrics", options: tuple[str, ...] = ()
) -> int:
    """Train with a SIGINT to this process at the first such call for which `moment` holds; the step it stopped at."""
    trainer = make_trainer(folder, *options)
    owner: Any = trainer.evaluator if call == "_run" else trainer
    method = getattr(owner, call)

    def interrupted(*arguments: Any) -> Any:
        if stop.signal is None and moment(trainer):
            os.kill(os.getpid(), signal.SIGINT)
        return method(*arguments)

    setattr(owner, call, interrupted)
    trainer.start()
    with StopRequest() as stop, pytest.raises(Stopped):
        trainer.fit(stop)
    assert stop.signal == signal.SIGINT
    return trainer.progress.step


def in_step(step: int) -> Callable[[Trainer], bool]:
    return lambda trainer: trainer.progress.step == step


def in_evaluation(step: int, batch: int) -> Callable[[Trainer], bool]:
    batches = itertools.count()  # 0: the probe of the parameters before they are saved
    return lambda trainer: trainer.progress.step == step and next(batches) == batch


# Resuming.


@pytest.mark.usefixtures("compile_once")
def test_interrupted_in_any_step_a_run_ends_alike(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    rows = RunFolder(tmp_path / "whole").read_metrics()
    assert [(row.epoch, row.step) for row in rows] == [(1, 4), (2, 8), (3, 10)]
    for step in range(1, STEPS + 1):
        folder = tmp_path / f"stopped-in-{step}"
        assert train_until(folder, in_step(step)) == step
        train(folder)
        assert_same_outcome(folder, tmp_path / "whole")


@pytest.mark.usefixtures("compile_once")
def test_interrupted_in_any_evaluation_a_run_ends_alike(tmp_path: Path) -> None:
    """At its first, second and last batch (10 images, 4 at once), in the first epoch and in the second."""
    train(tmp_path / "whole")
    for step in (4, 8):
        for batch in (1, 2, 3):
            folder = tmp_path / f"stopped-in-{step}-{batch}"
            assert train_until(folder, in_evaluation(step, batch), call="_run") == step
            assert [row.step for row in RunFolder(folder).read_metrics()] == [4, 8][: step // 4]
            train(folder)
            assert_same_outcome(folder, tmp_path / "whole")


@pytest.mark.usefixtures("compile_once")
def test_interrupted_after_every_step_a_run_ends_alike(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    for step in range(1, STEPS + 1):
        assert train_until(tmp_path / "stopped", in_step(step)) == step
    train(tmp_path / "stopped")
    assert_same_outcome(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.usefixtures("compile_once")
def test_a_run_whose_last_checkpoint_is_gone_is_left_as_it_is(tmp_path: Path) -> None:
    """To begin again would overwrite what there is: the metrics, and the best parameters."""
    train(tmp_path)
    (tmp_path / "last.npz").unlink()
    for present in (("best.npz", "metrics.csv", "steps.csv"), ("metrics.csv", "steps.csv")):
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert set(files) == set(present)
        with pytest.raises(UserError, match=r"last\.npz: missing, .* there is: metrics\.csv up to step 10"):
            train(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
        (tmp_path / "best.npz").unlink(missing_ok=True)


@pytest.mark.usefixtures("compile_once")
def test_a_run_whose_best_checkpoint_is_gone_keeps_the_best_from_here_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_until(tmp_path, in_step(5))
    (tmp_path / "best.npz").unlink()
    train(tmp_path)
    assert "best.npz: missing; the parameters with top-1 " in capsys.readouterr().err
    assert checkpoint.load(tmp_path / "best.npz")[1]["step"] > 5


@pytest.mark.usefixtures("compile_once")
def test_asked_to_stop_while_it_compiles_a_run_stops_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is trained or saved then, nor said to be. The signal is seen at once, and not behind the compilation."""
    trainer = make_trainer(tmp_path)
    trainer.start()
    told: list[str] = []

    def compiling() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while stop.signal is None:
            time.sleep(0.001)
        told.append(capfd.readouterr().err)

    monkeypatch.setattr(trainer, "_compile", compiling)
    with StopRequest() as stop, pytest.raises(Stopped) as caught:
        trainer.fit(stop)
    assert caught.value.step == trainer.progress.step == 0
    assert told == ["\nstopping: the compilation ends first\nCtrl-C again leaves at once, with what was saved before\n"]
    assert list(tmp_path.iterdir()) == []


def test_more_steps_than_an_epoch_has_are_not_compiled_into_a_dispatch(tmp_path: Path) -> None:
    assert make_trainer(tmp_path, "train.steps_per_dispatch=1000000000").plan.steps_per_dispatch == 4


@pytest.mark.usefixtures("compile_once")
def test_fewer_evaluations_train_alike(tmp_path: Path) -> None:
    """10 steps are 2.5 epochs: evaluated after the second and at the end, with the loss of all steps in between."""
    train(tmp_path / "each")
    train(tmp_path / "second", "train.evaluate_every=2")
    (arrays, _), (expected, _) = (checkpoint.load(tmp_path / name / "last.npz") for name in ("second", "each"))
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    each, second = (RunFolder(tmp_path / name).read_metrics() for name in ("each", "second"))
    assert [(row.epoch, row.step) for row in second] == [(2, 8), (3, 10)]
    assert second[0].train_loss == pytest.approx((each[0].train_loss + each[1].train_loss) / 2, rel=1e-5)
    assert second[1].val_loss == each[2].val_loss


@pytest.mark.usefixtures("compile_once")
def test_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    train(tmp_path / "run")
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    trainer = make_trainer(tmp_path / "run")
    trainer.start()
    assert trainer.progress.step == STEPS
    assert not trainer.evaluation_is_due()
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files


def test_a_checkpoint_of_another_model_or_of_none_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    state = jax.eval_shape(trainer.step.init)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    checkpoint.save(trainer.run.last, zeros, {})
    with pytest.raises(UserError, match=r"last\.npz: its progress cannot be read"):
        trainer.start()
    checkpoint.save(trainer.run.last, zeros, {"progress": {"step": 1, "of": 2}})
    with pytest.raises(UserError, match=r"last\.npz: its progress cannot be read"):
        trainer.start()
    with pytest.raises(CheckpointError, match="of another model"):
        make_trainer(tmp_path, "model.d_model=8").start()


def test_each_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "train.steps=8")
    batches = [np.asarray(images)[0] for _, (images, _) in trainer.dispatches.after(trainer.progress.step)]
    images = [image.tobytes() for batch in batches for image in batch]
    assert len(batches) == 8
    assert len(set(images[:24])) == len(set(images[24:])) == 24  # no image twice in an epoch
    assert images[:24] != images[24:]
    trainer.progress.step = 6  # a resumed run sees what it would have seen
    for (_, (again, _)), expected in zip(trainer.dispatches.after(trainer.progress.step), batches[6:], strict=True):
        np.testing.assert_array_equal(again[0], expected)


def test_classes_are_drawn_evenly_if_asked_for_and_a_resumed_run_goes_on_so(tmp_path: Path) -> None:
    dataset = random_dataset()
    labels = np.repeat(np.arange(5), [1, 2, 3, 4, 16]).astype(np.int32)
    dataset = dataset._replace(train=dataset.train._replace(labels=labels))
    trainer = make_trainer(tmp_path, "train.steps=10", "data.sampling=balanced", dataset=dataset)
    batches = [np.asarray(labels)[0] for _, (_, labels) in trainer.dispatches.after(trainer.progress.step)]
    assert np.bincount(np.concatenate(batches)).tolist() == [12] * 5  # 60 images of 5 classes
    trainer.progress.step = 6
    for (_, (_, again)), expected in zip(trainer.dispatches.after(trainer.progress.step), batches[6:], strict=True):
        np.testing.assert_array_equal(again[0], expected)
    assert trainer.identity != make_trainer(tmp_path, "train.steps=10", dataset=dataset).identity


# What the loop reports.


def test_what_one_channel_does_without_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, grey = random_dataset(), ("model.channels=1", "data.sampling=balanced")
    splits = [split._replace(images=split.images[..., :1]) for split in (dataset.train, dataset.val)]
    dataset = dataset._replace(train=splits[0], val=splits[1], mean=(0.5,), std=(0.2,))
    for policy, jitter, told in (
        ("trivial_augment", 0.4, ["augment the images have one channel, so saturation and color are left out"]),
        ("rand_augment", 0, ["augment the images have one channel, so color is left out"]),
        ("none", 0, []),
    ):
        options = (*grey, f"augment.policy={policy}", f"augment.color_jitter={jitter}")
        describe(make_trainer(tmp_path, *options, dataset=dataset), brief=True)
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("augment")] == told
        assert "        drawn equally often from each class (data.sampling=balanced)" in lines
        assert max(map(len, lines[1:2] + lines[3:])) <= 80
    describe(make_trainer(tmp_path, "augment.policy=trivial_augment"), brief=True)
    out = capsys.readouterr().out
    assert "left out" not in out
    assert "sampling" not in out


@pytest.mark.usefixtures("compile_once")
def test_a_row_sums_up_its_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.start()
    losses: list[float] = []
    norms: list[float] = []
    require_finite = trainer._require_finite

    def record(name: str, value: float) -> None:
        if "of step" in name:
            (losses if "loss" in name else norms).append(value)
        require_finite(name, value)

    trainer._require_finite = record
    with StopRequest() as stop:
        trainer.fit(stop)
    rows = trainer.run.read_metrics()
    assert len(losses) == STEPS
    steps = [row for row, _ in read_steps(trainer.run.steps_file)]
    expected = zip(range(1, STEPS + 1), losses, norms, strict=True)
    assert [np.float32(row[:3]).tolist() for row in steps] == [[*row] for row in expected]
    assert [row.learning_rate for row in steps if row.step in (4, 8, 10)] == [
        pytest.approx(row.learning_rate, rel=1e-5) for row in rows
    ]
    for row, part in zip(rows, (losses[:4], losses[4:8], losses[8:]), strict=True):
        assert row.train_loss == pytest.approx(np.mean(part), rel=1e-5)
        assert 0 <= row.data_wait <= 1
        assert row.images_per_second > 0
        assert row.learning_rate == pytest.approx(float(trainer.step.optimizer.rate(row.step - 1)), rel=1e-5)
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)
    final = trainer.evaluator(trainer.state.params, quiet=True)
    assert (rows[-1].val_top1, rows[-1].val_top5) == (pytest.approx(final.top1), pytest.approx(final.top5))
    assert rows[-1].val_loss == pytest.approx(final.loss, rel=1e-5)


@pytest.mark.usefixtures("compile_once")
def test_best_is_the_checkpoint_of_the_best_evaluation(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    accuracies, kept, evaluate = iter((0.3, 0.5, 0.5)), {}, trainer.evaluator.__call__

    def evaluated(params: Any) -> Any:
        kept[trainer.progress.step] = jax.tree.map(np.array, params)
        return evaluate(params)._replace(top1=next(accuracies))

    trainer.evaluator = Scripted(trainer.evaluator, evaluated)
    trainer.start()
    with StopRequest() as stop:
        trainer.fit(stop)
    best, meta = checkpoint.restore(trainer.run.best, kept[8], part="params")
    assert (meta["step"], meta["val_top1"]) == (8, 0.5)  # the first of two equals
    jax.tree.map(np.testing.assert_array_equal, best, kept[8])
    assert trainer.progress.best_top1 == 0.5


@pytest.mark.usefixtures("compile_once")
def test_with_an_average_it_is_what_is_chosen_by(tmp_path: Path) -> None:
    """Evaluated beside the parameters, reported beside them, and saved beside them."""
    trainer = make_trainer(tmp_path, "optim.ema=0.9")
    results, kept, evaluate = iter((0.9, 0.3, 0.8, 0.5, 0.7, 0.4)), {}, trainer.evaluator.__call__

    def evaluated(params: Any) -> Any:
        result = evaluate(params)._replace(top1=next(results))
        kept[trainer.progress.step, result.top1] = jax.tree.map(np.array, params)
        return result

    trainer.evaluator = Scripted(trainer.evaluator, evaluated)
    trainer.start()
    with StopRequest() as stop:
        trainer.fit(stop)
    rows = trainer.run.read_metrics()
    assert [(row.val_top1, row.ema_top1) for row in rows] == [(0.9, 0.3), (0.8, 0.5), (0.7, 0.4)]
    assert all(row.ema_loss not in (None, row.val_loss) for row in rows)
    assert trainer.progress.best_top1 == 0.5
    for part, top1 in (("params", 0.8), ("average", 0.5)):
        best, meta = checkpoint.restore(trainer.run.best, kept[8, top1], part=part)
        jax.tree.map(np.testing.assert_array_equal, best, kept[8, top1])
        assert (meta["step"], meta["val_top1"], meta["weights"]) == (8, 0.5, "average")


@pytest.mark.usefixtures("compile_once")
def test_the_line_of_an_epoch_tells_of_the_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "averaged", "optim.ema=0.9")
    rows, lines = RunFolder(tmp_path / "averaged").read_metrics(), capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2 * len(rows)
    for row, first, second in zip(rows, lines[::2], lines[1::2], strict=True):
        assert f"val loss {row.val_loss:.3f}  top-1 {row.val_top1:.2%}" in first
        assert "top-5" not in first  # of five classes it is 100%
        assert f"  average: loss {row.ema_loss:.3f}  top-1 {row.ema_top1:.2%}  " in second
    train(tmp_path / "plain")
    assert "average" not in capsys.readouterr().out


@pytest.mark.usefixtures("compile_once")
def test_a_run_with_an_average_resumes_alike(tmp_path: Path) -> None:
    train(tmp_path / "whole", "optim.ema=0.9")
    for step in (2, 4, 7):
        assert train_until(tmp_path / "stopped", in_step(step), options=("optim.ema=0.9",)) == step
    train(tmp_path / "stopped", "optim.ema=0.9")
    assert_same_outcome(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.usefixtures("compile_once")
def test_an_average_cannot_begin_or_end_within_a_run(tmp_path: Path) -> None:
    train(tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"last\.npz: saved without a moving .* has optim\.ema=0\.9: undo"):
        make_trainer(tmp_path / "plain", "optim.ema=0.9").start()
    train(tmp_path / "averaged", "optim.ema=0.9")
    with pytest.raises(CheckpointError, match=r"last\.npz: saved with a moving average .* has optim\.ema=null: undo"):
        make_trainer(tmp_path / "averaged").start()


class Scripted:
    """An evaluator with other results."""

    def __init__(self, evaluator: Evaluator, call: Callable[[Any], Any]) -> None:
        self.probe, self._call = evaluator.probe, call

    def __call__(self, params: Any) -> Any:
        return self._call(params)


@pytest.mark.usefixtures("compile_once")
def test_the_old_state_is_given_up_to_the_new_one(tmp_path: Path) -> None:
    """Donated, so that a step does not need the memory of two states."""
    trainer = make_trainer(tmp_path)
    trainer.start()
    before = jax.tree.leaves(trainer.state)
    with StopRequest() as stop:
        trainer.fit(stop)
    assert all(array.is_deleted() for array in before)
    assert not any(array.is_deleted() for array in jax.tree.leaves(trainer.state))


# Several steps in a dispatch, images on the device.


@pytest.mark.usefixtures("compile_once")
@pytest.mark.parametrize("placement", ["host", "device"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_however_steps_are_dispatched_a_run_ends_alike(tmp_path: Path, placement: str, steps: int) -> None:
    train(tmp_path / "plain")
    train(tmp_path / "other", f"data.placement={placement}", f"train.steps_per_dispatch={steps}")
    assert_same_outcome(tmp_path / "other", tmp_path / "plain")


def test_a_dispatch_ends_where_the_loop_pauses(tmp_path: Path) -> None:
    """4 steps an epoch, saves behind steps 3, 6 and 9, the end behind step 10."""
    trainer = make_trainer(tmp_path, "train.steps_per_dispatch=2")
    assert [trainer.plan.dispatch_steps(step) for step in range(10)] == [2, 2, 1, 1, 2, 1, 2, 1, 1, 1]
    trainer = make_trainer(tmp_path, "train.steps_per_dispatch=4", "train.checkpoint_every=null")
    assert [trainer.plan.dispatch_steps(step) for step in range(10)] == [4, 1, 1, 1, 4, 1, 1, 1, 1, 1]


@pytest.mark.usefixtures("compile_once")
def test_stopped_between_dispatches_a_run_ends_alike(tmp_path: Path) -> None:
    options = ("train.steps_per_dispatch=2", "data.placement=device")
    train(tmp_path / "whole", *options)
    assert train_until(tmp_path / "stopped", in_step(6), options=options) == 6
    train(tmp_path / "stopped", *options)
    assert_same_outcome(tmp_path / "stopped", tmp_path / "whole")


# Divergence.


@pytest.mark.usefixtures("compile_once")
@pytest.mark.parametrize(("what", "name"), [("loss", "loss"), ("grad_norm", "norm of the gradient")])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_number_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str, value: float
) -> None:
    compile_step = Trainer._compile

    def compile_and_spoil(trainer: Trainer) -> None:
        compile_step(trainer)
        step = trainer._programs[1]

        def spoiled(*arguments: Any) -> Any:
            state, metrics, asked = step(*arguments)
            spoiled = metrics._replace(**{what: np.float32([value])}) if state.optimizer.step == 5 else metrics
            return state, spoiled, asked

        trainer._programs[1] = spoiled

    monkeypatch.setattr(Trainer, "_compile", compile_and_spoil)
    with pytest.raises(UserError, match=rf"^the {name} of step 5 is {value}: .*last\.npz, is that of step 4\. Try a"):
        train(tmp_path)
    assert checkpoint.load(tmp_path / "last.npz")[1]["progress"]["step"] == 4
    assert [row.step for row in RunFolder(tmp_path).read_metrics()] == [4]
    *_, (last, _) = read_steps(tmp_path / "steps.csv")
    assert (last.step, str(last.loss if what == "loss" else last.gradient_norm)) == (5, str(value))


@pytest.mark.usefixtures("compile_once")
def test_parameters_that_the_last_update_has_spoiled_are_not_saved(tmp_path: Path) -> None:
    """The loss of a step is from before its update: finite, though the parameters that would be saved are lost."""
    train(tmp_path)
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"^the validation loss after step 11 is nan: .*is that of step 10\."):
        train(tmp_path, "train.steps=11", "optim.learning_rate=1e30", "optim.max_grad_norm=null", "optim.warmup=0")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.pop("steps.csv").startswith(good.pop("steps.csv"))  # which tells of step 11, too
    assert after == good


def test_a_row_of_the_longest_training_fits_a_terminal() -> None:
    row = MetricsRow(999, 1_000_000, 12.345, 12.345, 1.0, 1.0, 1e-3, 123_456.0, 360_000.0, 0.0, 1.0, 12.345)
    lines = describe_epoch(row, Plan(1_562_000, 1_000, None, 1), load_config("baseline")).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines), lines


# Memory.


def out_of_memory(*arguments: Any) -> Any:
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes.\n\nmore lines")


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    """Without a compiled step: a test brings its own."""
    monkeypatch.setattr(Trainer, "_compile", lambda self: None)
    trainer = make_trainer(tmp_path)
    trainer.start()
    return trainer


def test_out_of_memory_in_a_step_names_what_to_lower(trainer: Trainer) -> None:
    trainer._programs[1] = out_of_memory
    with StopRequest() as stop, pytest.raises(UserError) as caught:
        trainer.fit(stop)
    assert str(caught.value) == (
        "the memory of the device does not suffice: lower train.batch_size, or raise train.accumulate "
        "(microbatches). JAX says: RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes."
    )


def test_out_of_memory_in_an_evaluation_names_what_to_lower(trainer: Trainer) -> None:
    trainer.evaluator._step = out_of_memory
    with pytest.raises(UserError, match=r"does not suffice: lower train\.eval_batch_size\. JAX says"):
        trainer.save()


def test_another_error_of_jax_is_a_bug_and_shows(trainer: Trainer) -> None:
    def broken(*arguments: Any) -> Any:
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    trainer._programs[1] = broken
    with StopRequest() as stop, pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        trainer.fit(stop)


# What does not fit.


def test_a_batch_larger_than_the_data_is_refused() -> None:
    dataset = random_dataset(train=26)
    assert steps_per_epoch(load_config("baseline", ["train.batch_size=26"]).train, dataset) == 1
    assert steps_per_epoch(load_config("baseline", ["train.batch_size=13"]).train, dataset) == 2
    with pytest.raises(ConfigError, match=r"^train\.batch_size=27 is more than the 26 training images: choose"):
        steps_per_epoch(load_config("baseline", ["train.batch_size=27"]).train, dataset)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model.num_classes=6", r"model\.num_classes=6, but the data have 5 classes: set model\.num_classes=5"),
        ("model.num_classes=4", r"model\.num_classes=4, but the data have 5 classes: set model\.num_classes=5"),
        ("model.image_size=16", r"model\.image_size=16 .* are 8x8 with 3 channels: set model\.image_size=\[8,8\]"),
        ("model.channels=1", r"model\.channels=1, .* data are 8x8 with 3 channels: set model\.channels=3$"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(option: str, told: str) -> None:
    check_fit(load_config("baseline", list(OPTIONS)).model, random_dataset())
    with pytest.raises(ConfigError, match=told):
        check_fit(load_config("baseline", [*OPTIONS, option]).model, random_dataset())
    with pytest.raises(ConfigError, match=r": name the data that runs/mine was trained on with data\.root=DIR$"):
        check_fit(load_config("baseline", [*OPTIONS, option]).model, random_dataset(), Path("runs/mine"))


def test_all_that_does_not_fit_the_images_is_set_at_once() -> None:
    model = load_config("baseline", [*OPTIONS, "model.image_size=16", "model.channels=1"]).model
    with pytest.raises(ConfigError, match=r": set model\.image_size=\[8,8\] model\.channels=3$"):
        check_fit(model, random_dataset())
