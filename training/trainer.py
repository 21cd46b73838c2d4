"""The training loop: batches through the compiled step, an evaluation an epoch, checkpoints that a run resumes from.

A run is a function of its configuration and its data alone. Every number that the loop carries from step to step is in
the checkpoint, the order of the images is a function of (seed, epoch) and the random numbers of a step of (seed, step);
so a run that was interrupted, at whatever moment, ends with the parameters of one that was not, bit for bit on a CPU.
"""

import dataclasses
import math
import shlex
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.errors import CheckpointError, UserError
from common.interrupt import StopRequest
from common.progress import format_seconds
from data.dataset import Dataset
from data.loader import epoch_rows, prefetch
from training import checkpoint
from training.config import Config
from training.device import explained_out_of_memory
from training.evaluation import Evaluation, EvaluationStep, Evaluator
from training.feed import Dispatch, build_feed, default_steps
from training.fields import show
from training.metrics import MetricsRow
from training.progress import EpochProgress
from training.run_folder import RunFolder
from training.setup import build_step, steps_per_epoch
from training.step import StepMetrics, TrainingStep, TrainState

LAG = 2  # dispatches that may be under way while the next is prepared; their losses are looked at when they are done


@dataclass
class Progress:
    """How far a run has come: what a checkpoint holds beside parameters and optimizer state. Sums are of the epoch."""

    step: int = 0
    best_top1: float = -1.0
    seconds: float = 0.0  # spent so far in training and evaluation
    loss_sum: float = 0.0
    loss_count: int = 0
    learning_rate: float = 0.0  # of the last step
    epoch_seconds: float = 0.0  # in training alone
    epoch_wait: float = 0.0  # of these, waiting for data


class Stopped(Exception):  # noqa: N818  # no error: it was asked for
    """The run was asked to stop, and has saved where it is."""


class Trainer:
    """Trains `config` on `dataset` in the folder `run`, from its last checkpoint where it has one."""

    def __init__(self, run: RunFolder, config: Config, dataset: Dataset, device: jax.Device) -> None:
        self.run, self.config, self.dataset, self.device = run, config, dataset, device
        self.batch_size = config.train.batch_size
        self.steps_per_epoch = steps_per_epoch(config.train, dataset)
        self.total_steps = config.train.total_steps(self.steps_per_epoch)
        self.step = build_step(config, dataset, self.total_steps, device.platform)
        evaluation = EvaluationStep(config.model, dataset.mean, dataset.std)
        self.evaluator = Evaluator(evaluation, dataset.val, config.train.eval_batch_size)
        self.progress = Progress()
        self.feed = build_feed(config.data.placement, dataset.train, device)
        self.steps_per_dispatch = config.train.steps_per_dispatch or default_steps(device.platform)
        self._programs: dict[int, Any] = {}  # compiled, by the number of their steps
        self._unsettled: deque[tuple[int, StepMetrics]] = deque()  # with the number of the first of their steps
        self._last_loss: float | None = None

    def start(self) -> None:
        """Take up the last checkpoint of the run, or draw new parameters.

        Raises:
            CheckpointError: the checkpoint is damaged, of another model, or with an average where none is kept.
        """
        with explained_out_of_memory("model.layers, model.d_model or model.mlp_dim"):
            if self.run.last.exists():
                self._require_average_as_configured()
                template = jax.eval_shape(self.step.init)
                state, meta = checkpoint.restore(self.run.last, template)
                self.progress = _read_progress(self.run.last, meta)
                self.state: TrainState = jax.device_put(state, self.device)
            else:
                self.state = jax.jit(TrainingStep.init, static_argnums=0)(self.step)
        # Rows past the checkpoint will be made again; so will its own, if the evaluation after it had not ended.
        self.run.truncate_metrics(self.progress.step - int(self.epoch_is_over()))

    def _require_average_as_configured(self) -> None:
        saved, kept = "average" in checkpoint.branches(self.run.last), self.step.ema is not None
        if saved != kept:
            raise CheckpointError(
                f"{self.run.last}: saved {'with' if saved else 'without'} a moving average of the parameters, but "
                f"{self.run.config_file} has optim.ema={show(self.config.optim.ema)}: undo that, or train anew"
            )

    def fit(self, stop: StopRequest) -> None:
        """Train until the configured number of steps.

        Raises:
            Stopped: `stop` was set; the run can be resumed.
            UserError: the loss is not finite, and the last checkpoint is from before that; or memory ran out.
        """
        with explained_out_of_memory("train.batch_size, or raise train.accumulate (the parts of a batch)"):
            self._compile()
            if self.epoch_is_over():  # it was interrupted between its last step and the end of its evaluation
                self._end_epoch(stop)
            dispatches = self._dispatches()
            try:
                while self.progress.step < self.total_steps:
                    self._train_epoch(dispatches, stop)
                    self._end_epoch(stop)
            finally:
                dispatches.close()

    def _compile(self) -> None:
        """Both steps, of which the evaluation's is tried at once: if it is too large, better now than in an hour."""
        dispatch = jax.jit(Dispatch(self.step, self.feed), donate_argnums=0)
        for steps in {1, self.steps_per_dispatch}:
            inputs = self.feed.inputs(np.zeros((steps, self.batch_size), int))
            self._programs[steps] = dispatch.lower(self.state, self.feed.resident, inputs).compile()
        self._require_good_parameters()

    def _train_epoch(self, dispatches: Iterator[tuple[int, Any]], stop: StopRequest) -> None:
        """Steps to the end of the epoch, or of the run."""
        epoch, first = divmod(self.progress.step, self.steps_per_epoch)
        last = min(self.total_steps, (epoch + 1) * self.steps_per_epoch) - epoch * self.steps_per_epoch
        name = f"epoch {epoch + 1}/{math.ceil(self.total_steps / self.steps_per_epoch)}"
        with EpochProgress(name, last * self.batch_size, first * self.batch_size) as shown:
            end = self.progress.step - first + last
            while self.progress.step < end:
                began = time.perf_counter()
                steps, inputs = next(dispatches)
                waited = time.perf_counter() - began
                self.state, metrics = self._programs[steps](self.state, self.feed.resident, inputs)
                self._unsettled.append((self.progress.step + 1, metrics))
                self.progress.step += steps
                # Within the clock: a step counts when it is computed, not when it is handed over.
                self._settle(0 if self._pauses(stop) else LAG)
                elapsed = time.perf_counter() - began
                self.progress.epoch_wait += waited
                self.progress.epoch_seconds += elapsed
                self.progress.seconds += elapsed
                shown.advance(steps * self.batch_size, self._last_loss)
                if stop.signal is not None:
                    self.save()
                    raise Stopped
                if self._saves_here():
                    self.save()

    def _saves_here(self) -> bool:
        every = self.config.train.checkpoint_every
        return every is not None and self.progress.step % every == 0

    def _pauses(self, stop: StopRequest) -> bool:
        """Whether something other than the next step comes after this one."""
        at_end = self.progress.step % self.steps_per_epoch == 0 or self.progress.step == self.total_steps
        return at_end or stop.signal is not None or self._saves_here()

    def _settle(self, lag: int) -> None:
        """Take in the losses of all dispatches but the last `lag`, waiting for those that are still computed."""
        while len(self._unsettled) > lag:
            first, metrics = self._unsettled.popleft()
            for step, row in enumerate(zip(*jax.device_get(metrics), strict=True), first):
                loss, grad_norm, learning_rate = map(float, row)
                self._require_finite(f"the loss of step {step}", loss)
                # A gradient that is not finite spoils the parameters in the very step whose loss was still a number.
                self._require_finite(f"the norm of the gradient of step {step}", grad_norm)
                self._last_loss, self.progress.learning_rate = loss, learning_rate
                self.progress.loss_sum += loss
                self.progress.loss_count += 1

    def _require_good_parameters(self) -> None:
        # A step's loss is that of the parameters before it, so it cannot tell what the last update did to them.
        loss = self.evaluator.probe(self.state.params)
        self._require_finite(f"the validation loss after step {self.progress.step}", loss)

    def _require_finite(self, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        saved = "No checkpoint was written before it."
        if self.run.last.exists():
            _, meta = checkpoint.load(self.run.last)
            saved = f"The last checkpoint, {self.run.last}, is that of step {meta['progress']['step']}."
        raise UserError(
            f"{name} is {value}: the run has diverged. {saved} Try a lower optim.learning_rate, a longer optim.warmup "
            "or optim.max_grad_norm=1.0"
        )

    def epoch_is_over(self) -> bool:
        at_end = self.progress.step % self.steps_per_epoch == 0 or self.progress.step == self.total_steps
        return at_end and self.progress.loss_count > 0

    def _end_epoch(self, stop: StopRequest) -> None:
        """Save, evaluate, add a row to the metrics, and keep the parameters if they are the best so far."""
        self.save()
        began = time.perf_counter()
        result = self.evaluator(self.state.params)
        self._require_finite(f"the validation loss after step {self.progress.step}", result.loss)
        averaged = None if self.state.average is None else self.evaluator(self.state.average)
        self.progress.seconds += time.perf_counter() - began
        row = self._metrics_row(result, averaged)
        self.run.append_metrics(row)
        self._keep_if_best(result, averaged)
        self.progress = Progress(self.progress.step, self.progress.best_top1, self.progress.seconds)
        self._write()
        print(self._describe(row, result), flush=True)
        if stop.signal is not None and self.progress.step < self.total_steps:
            raise Stopped

    def _keep_if_best(self, result: Evaluation, averaged: Evaluation | None) -> None:
        """Where an average is kept, it is what the run is for: it alone decides. The parameters are saved beside it."""
        chosen = averaged or result
        if chosen.top1 <= self.progress.best_top1:
            return
        self.progress.best_top1 = chosen.top1
        tree = {"params": self.state.params}
        meta: dict[str, Any] = {"step": self.progress.step, "val_top1": chosen.top1, "val_loss": chosen.loss}
        if self.state.average is not None:
            tree["average"], meta["weights"] = self.state.average, "average"
        self._save_to(self.run.best, tree, meta)

    def _metrics_row(self, result: Evaluation, averaged: Evaluation | None) -> MetricsRow:
        progress = self.progress
        return MetricsRow(
            epoch=math.ceil(progress.step / self.steps_per_epoch),
            step=progress.step,
            train_loss=progress.loss_sum / progress.loss_count,
            val_loss=result.loss,
            val_top1=result.top1,
            val_top5=result.top5,
            learning_rate=progress.learning_rate,
            images_per_second=progress.loss_count * self.batch_size / progress.epoch_seconds,
            seconds=progress.seconds,
            data_wait=progress.epoch_wait / progress.epoch_seconds,
            ema_top1=averaged and averaged.top1,
            ema_loss=averaged and averaged.loss,
        )

    def _describe(self, row: MetricsRow, result: Evaluation) -> str:
        steps_left = self.total_steps - row.step
        left = format_seconds(steps_left * row.seconds / row.step)
        chance = 1 / self.config.model.num_classes
        parts = [
            f"epoch {row.epoch}/{math.ceil(self.total_steps / self.steps_per_epoch)}",
            f"train loss {row.train_loss:.3f}",
            f"validation: loss {result.loss:.3f}",
            f"top-1 {result.top1:.2%} (chance {chance:.2%})",
            f"top-5 {result.top5:.2%}",
            *([] if row.ema_loss is None else [f"average: loss {row.ema_loss:.3f}", f"top-1 {row.ema_top1:.2%}"]),
            f"{row.images_per_second:,.0f} images/s",
        ]
        return "  ".join([*parts, f"{left} left"] if steps_left else parts)

    def save(self) -> None:
        """Write the checkpoint `last`, but never one that has diverged: that is a UserError, and the old one stays."""
        self._settle(0)
        self._require_good_parameters()
        self._write()

    def _write(self) -> None:
        self._save_to(self.run.last, self.state, {"progress": dataclasses.asdict(self.progress)})

    def _save_to(self, path: Path, tree: Any, meta: dict[str, Any]) -> None:
        try:
            checkpoint.save(path, tree, meta)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror}. The checkpoints before it are kept: make room, then go "
                f"on with `python train.py --resume {shlex.quote(str(self.run.path))}`"
            ) from error

    def _dispatches(self) -> Generator[tuple[int, Any], None, None]:
        """The steps in each dispatch to come and what it is given; the next ones are made while one computes."""

        def all_epochs() -> Iterator[np.ndarray]:
            step, rows, known = self.progress.step, np.empty((0, 0)), -1
            while step < self.total_steps:
                epoch, first = divmod(step, self.steps_per_epoch)
                if epoch != known:
                    rows, known = self._epoch_rows(epoch), epoch
                steps = self._steps_from(step)
                yield rows[first : first + steps]
                step += steps

        return prefetch(all_epochs(), transform=lambda rows: (len(rows), self.feed.inputs(rows)))

    def _epoch_rows(self, epoch: int) -> np.ndarray:
        return epoch_rows(len(self.dataset.train.labels), self.batch_size, self.config.train.seed, epoch)

    def _steps_from(self, step: int) -> int:
        """How many the dispatch makes that begins behind `step`: all, or one where the loop pauses before their end."""
        every = self.config.train.checkpoint_every or self.total_steps
        pause = min(self.total_steps, *((step // period + 1) * period for period in (self.steps_per_epoch, every)))
        return self.steps_per_dispatch if step + self.steps_per_dispatch <= pause else 1


def _read_progress(path: object, meta: dict) -> Progress:
    try:
        return Progress(**meta["progress"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its progress cannot be read ({error}); it is no checkpoint to resume from") from None
