"""The training loop: batches through the compiled step, evaluations, checkpoints to resume from.

A run is a function of its configuration and its data. Every number that the loop carries from step to step is in the
checkpoint. The order of the images is a function of (seed, epoch), and the random numbers of a step are a function of
(seed, step). So a run that was interrupted, at any moment, ends with the same parameters as one that was not; on a CPU
bit for bit.
"""

import dataclasses
import hashlib
import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from common.errors import CheckpointError
from common.interrupt import StopRequest
from common.progress import announced
from data.dataset import Dataset
from training import checkpoint
from training.config import Config
from training.device import explained_out_of_memory
from training.devices import choose_devices
from training.dispatches import Dispatches
from training.evaluation import Evaluation
from training.feed import build_feed, default_steps
from training.fields import show
from training.hosts import ALONE, Hosts
from training.plan import Plan
from training.progress import Progress, describe_epoch
from training.progress_bar import EpochProgress
from training.reconstruction import build_evaluator
from training.resuming import best_so_far, continue_records, last_is_damaged
from training.run_folder import RunFolder
from training.saving import save, weights_of
from training.setup import build_step, steps_per_epoch
from training.start import Start, starting_state
from training.step import StepMetrics, TrainState
from training.step_log import StepLog, StepRow
from training.stops import DivergedError, Stopped

# What happens before a training that is asked to stop does so.
STEP_FIRST, EVALUATION_FIRST = "the step is finished and saved", "the evaluation is finished and saved"
MAX_PENDING = 2  # dispatches that may run while the next is prepared; their metrics are read when they are done


class Trainer:
    """Trains `config` on `dataset` in the folder `run`: from its last checkpoint if it has one, or from `origin`."""

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        dataset: Dataset,
        device: jax.Device,
        origin: Start | None = None,
        hosts: Hosts = ALONE,
    ) -> None:
        self.origin, self.hosts = origin, hosts
        self.run, self.config, self.dataset, self.device = run, config, dataset, device
        self.batch_size = config.train.batch_size
        epoch = steps_per_epoch(config.train, dataset)
        steps = default_steps(device.platform, epoch, config.train.checkpoint_every)
        self.plan = Plan(
            total_steps=config.train.total_steps(epoch),
            steps_per_epoch=epoch,
            checkpoint_every=config.train.checkpoint_every,
            # More would never be made at once, and the program for them would still be compiled.
            steps_per_dispatch=min(config.train.steps_per_dispatch or steps, epoch),
            evaluate_every=config.train.evaluate_every,
        )
        self.devices = choose_devices(config.train, device, config.augment.mixes)
        self._alone = build_step(config, dataset, self.plan.total_steps, device.platform)
        self.step = self.devices.prepared(self._alone)
        self.evaluator = build_evaluator(config, dataset, self.devices)
        self.progress = Progress()
        self.feed = build_feed(config.data.placement, dataset.train, self.devices)
        self.dispatches = Dispatches(self.step, self.feed, self.devices, dataset.train.labels, self.plan, config)
        self._programs: dict[int, Any] = {}  # compiled, by the number of their steps
        self._pending: deque[tuple[int, StepMetrics, jax.Array]] = deque()  # of dispatches: first step, what came out
        self._asked = False  # whether a process that trains with this one was asked to stop
        self._last_loss: float | None = None
        self._steps = StepLog(run.steps_file, config.train.log_every)
        self._evaluation_seconds = 0.0  # of the last one in this process

    @property
    def identity(self) -> str:
        """A hash of the step, its order of images and its data: equal ones train alike, on any number of devices."""
        data = self.config.data
        order = (self.batch_size, data.holdout, data.classes, data.sampling)
        start = filter(None, (self.config.train.start_from,))
        parts = (self._alone, order, self.dataset.fingerprint, self.device.platform, *start)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def start(self) -> None:
        """Restore the last checkpoint of the run, or begin with the first step.

        Raises:
            CheckpointError: the checkpoint is damaged or of another model, or only one of checkpoint and configuration
                has a moving average.
            UserError: there was a checkpoint, and it is gone.
        """
        self.run.require_checkpoint()
        with explained_out_of_memory("model.layers, model.d_model or model.mlp_dim"):
            if self.run.last.exists():
                template = jax.eval_shape(self.step.init)
                try:
                    self._require_average_as_configured()
                    state, meta = checkpoint.restore(self.run.last, template)
                    self.progress = Progress.from_meta(meta, self.run.last, counted=int(state.optimizer.step))
                except CheckpointError as error:
                    raise last_is_damaged(self.run, error) from None
                due, best = self.evaluation_is_due(), weights_of(template)
                self.progress.best_top1 = best_so_far(self.run, self.progress, best, due)
                self.state: TrainState = self.devices.put_state(state)
            else:
                state = starting_state(self.step, self.origin, self.config.model, self.dataset.class_ids, self.device)
                self.state = self.devices.put_state(state)
        if self.hosts.count > 1:
            digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self.state.params)))
            self.hosts.require_same({"parameters": digest.hexdigest()[:12], "JAX": jax.__version__})
        continue_records(self.run, self.progress, self.evaluation_is_due(), self.config.train.log_every)

    def _require_average_as_configured(self) -> None:
        saved, configured = "average" in checkpoint.branches(self.run.last), self.step.ema is not None
        if saved != configured:
            raise CheckpointError(
                f"{self.run.last}: saved {'with' if saved else 'without'} a moving average of the parameters, but "
                f"{self.run.config_file} has optim.ema={show(self.config.optim.ema)}: undo that, or start a new run"
            )

    def fit(self, stop: StopRequest) -> None:
        """Train until the configured number of steps.

        Raises:
            Stopped: `stop` was set; the run can be resumed.
            DivergedError: a loss is not finite; the last checkpoint is from before that.
            UserError: memory ran out.
        """
        self._stop_if_asked(stop)
        with self._steps, explained_out_of_memory("train.batch_size, or raise train.accumulate (microbatches)"):
            with announced("compiling the training step"):
                stop.compiling(self._compile)
            self._stop_if_asked(stop)
            if self.evaluation_is_due():  # interrupted between the last step before an evaluation and its end
                self._evaluate(stop)
            dispatches = self.dispatches.after(self.progress.step)
            try:
                while self.progress.step < self.plan.total_steps:
                    self._train(dispatches, stop)
                    self._evaluate(stop)
            finally:
                dispatches.close()

    def _compile(self) -> None:
        """Compile the training step, and evaluate one batch: what is too large for memory fails now, not in an hour."""
        sizes = self.plan.dispatch_sizes(self.progress.step)
        self._programs = {steps: self.dispatches.compile(self.state, steps) for steps in sizes}
        self._require_finite_loss()

    def _train(self, dispatches: Iterator[tuple[int, Any]], stop: StopRequest) -> None:
        """Steps to the next evaluation."""
        stop.first = STEP_FIRST
        progress, plan = self.progress, self.plan
        first, end = plan.last_evaluation(progress.step), plan.next_evaluation(progress.step)
        one, last = plan.epochs_after(first + 1), plan.epochs_after(end)
        name = f"epoch {one}/{plan.epochs}" if one == last else f"epochs {one}-{last}/{plan.epochs}"
        total, done, later = (n * self.batch_size for n in (end - first, progress.step - first, plan.total_steps - end))
        evaluations = plan.evaluations_after(plan.total_steps) - plan.evaluations_after(end)
        with EpochProgress(name, total, done, later, evaluations * self._evaluation_seconds) as shown:
            while progress.step < end:
                began = time.perf_counter()
                steps, inputs = next(dispatches)
                waited = time.perf_counter() - began
                asked = stop.signal is not None
                self.state, metrics, any_asked = self.dispatches.make(self._programs[steps], self.state, inputs, asked)
                self._pending.append((progress.step + 1, metrics, any_asked))
                progress.step += steps
                pauses = plan.evaluates(progress.step) or plan.saves(progress.step) or self._stops(stop)
                # Timed with the steps: a step is done when it is computed, not when it is dispatched.
                self._read_metrics(0 if pauses else MAX_PENDING)
                progress.add_seconds(time.perf_counter() - began, waited)
                shown.advance(steps * self.batch_size, self._last_loss)
                if self._stops(stop):
                    self.save()
                    raise Stopped(progress.step)
                if plan.saves(progress.step):
                    self.save()

    def _read_metrics(self, max_pending: int) -> None:
        """Read the metrics of all dispatches but the last `max_pending`, waiting for those that are not done."""
        while len(self._pending) > max_pending:
            first, metrics, asked = self._pending.popleft()
            if self.hosts.count > 1:
                self._asked = self._asked or bool(asked)
            for step, row in enumerate(zip(*jax.device_get(metrics), strict=True), first):
                loss, grad_norm, learning_rate = map(float, row)
                self._steps.add(StepRow(step, loss, grad_norm, learning_rate))
                self._require_finite(f"the loss of step {step}", loss)
                # A gradient that is not finite spoils the parameters in a step whose loss was still finite.
                self._require_finite(f"the norm of the gradient of step {step}", grad_norm)
                self._last_loss, self.progress.learning_rate = loss, learning_rate
                self.progress.add_loss(loss)

    def _require_finite_loss(self) -> None:
        # The loss of a step is that of the parameters before its update: it says nothing about the last update.
        loss = self.evaluator.probe(self.state.params)
        self._require_finite(f"the validation loss after step {self.progress.step}", loss)

    def _require_finite(self, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        saved = "No checkpoint was written before it."
        if not self.hosts.leads:
            saved = "Process 0 says what is saved."
        elif self.run.last.exists():
            progress = Progress.from_meta(checkpoint.load_meta(self.run.last), self.run.last)
            saved = f"The last checkpoint, {self.run.last}, is that of step {progress.step}."
        what = f"{name} is {value}"
        raise DivergedError(
            what,
            f"{what}: the run has diverged. {saved} Try a lower optim.learning_rate, a longer optim.warmup or "
            "optim.max_grad_norm=1.0",
        )

    def evaluation_is_due(self) -> bool:
        """Whether an evaluation is due: all steps before it are done, and it is not."""
        return self.plan.evaluates(self.progress.step) and self.progress.loss_count > 0

    def _evaluate(self, stop: StopRequest) -> None:
        """Save, evaluate, append a row to the metrics, and keep the parameters if they are the best so far."""
        stop.first = EVALUATION_FIRST
        self.save()
        began = time.perf_counter()
        raw = self.evaluator(self.state.params)
        self._require_finite(f"the validation loss after step {self.progress.step}", raw.loss)
        average = None if self.state.average is None else self.evaluator(self.state.average)
        self._evaluation_seconds = time.perf_counter() - began
        self.progress.seconds += self._evaluation_seconds
        row = self.progress.metrics_row(self.plan, self.batch_size, raw, average)
        self.run.append_metrics(row)
        self._keep_if_best(average or raw)
        self.progress = self.progress.after_evaluation()
        self._write()
        stop.first = STEP_FIRST
        print(describe_epoch(row, self.plan, self.config), flush=True)
        if self.progress.step < self.plan.total_steps:
            self._stop_if_asked(stop)

    def _stops(self, stop: StopRequest) -> bool:
        """Whether to stop after this step; processes that train together stop when all of them know."""
        return stop.signal is not None if self.hosts.count == 1 else self._asked

    def _stop_if_asked(self, stop: StopRequest) -> None:
        """Raises Stopped if this process was asked to stop, or another one that trains with it."""
        if self.hosts.any(stop.signal is not None):
            raise Stopped(self.progress.step)

    def _keep_if_best(self, result: Evaluation) -> None:
        """Save `best` if this is the best result so far. With a moving average, `result` is that of the average; the
        raw parameters are saved with it."""
        if result.top1 <= self.progress.best_top1:
            return
        self.progress.best_top1 = result.top1
        tree = weights_of(self.state)
        meta: dict[str, Any] = {"step": self.progress.step, "val_top1": result.top1, "val_loss": result.loss}
        if self.state.average is not None:
            meta["weights"] = "average"
        save(self.run, self.run.best, tree, meta, self.hosts)

    def save(self) -> None:
        """Write the checkpoint `last`. If the run has diverged, the old one stays, and a UserError is raised."""
        self._read_metrics(0)
        self._require_finite_loss()
        self._write()

    def _write(self) -> None:
        self._steps.write(to_disk=True)  # first, so that no row before a checkpoint is ever missing
        meta = {"progress": dataclasses.asdict(self.progress), "data": self.dataset.fingerprint}
        save(self.run, self.run.last, self.devices.whole(self.state), meta, self.hosts)
