"""How far a run has come: what a checkpoint holds besides the state of the step, and what is reported of an epoch."""

from dataclasses import dataclass
from typing import Any, Self

from common.documents import fit
from common.errors import CheckpointError
from common.progress import format_seconds
from training.config import Config
from training.evaluation import Evaluation
from training.metrics import MetricsRow, shows_top5
from training.options import MOST_STEPS
from training.plan import Plan

INDENT = 8  # of the second line of an epoch


@dataclass
class Progress:
    """Saved with every checkpoint. Sums are over the steps since the last evaluation."""

    step: int = 0  # updates made
    best_top1: float = -1.0
    seconds: float = 0.0  # of training and evaluation since the run began
    loss_sum: float = 0.0
    loss_count: int = 0
    learning_rate: float = 0.0  # of the last step
    epoch_seconds: float = 0.0  # of training since the last evaluation
    epoch_wait: float = 0.0  # part of these, spent waiting for data

    def __post_init__(self) -> None:
        """Raises ValueError for what no run can come to."""
        counts = {"step": (self.step, MOST_STEPS), "loss_count": (self.loss_count, self.step)}
        for name, (count, most) in counts.items():
            if not 0 <= count <= most:
                raise ValueError(f"{name} is {count:.3g}, and not from 0 to {most}")
        for name in ("seconds", "learning_rate", "epoch_seconds", "epoch_wait"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is below 0")
        if self.best_top1 != -1 and not 0 <= self.best_top1 <= 1:
            raise ValueError(f"best_top1 is {self.best_top1:g}, and neither -1 nor from 0 to 1")
        if self.loss_count and not self.epoch_seconds:
            raise ValueError("epoch_seconds is 0 after a step")

    @classmethod
    def from_meta(cls, meta: dict[str, Any], source: object, counted: int | None = None) -> Self:
        """The progress in the `meta` of the checkpoint `source`; `counted` are the steps that its optimizer counted.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        try:
            if "progress" not in meta:
                raise ValueError("there is none")
            progress: Self = fit(cls, meta["progress"])
            if counted not in (None, progress.step):
                raise ValueError(f"it is of step {progress.step}, and the optimizer of step {counted}")
            return progress
        except ValueError as error:
            raise CheckpointError(
                f"{source}: its progress cannot be read ({error}); it is no checkpoint to resume from"
            ) from None

    def add_loss(self, loss: float) -> None:
        self.loss_sum += loss
        self.loss_count += 1

    def add_seconds(self, elapsed: float, waited: float) -> None:
        """Count training time, of which `waited` was spent waiting for data."""
        self.epoch_wait += waited
        self.epoch_seconds += elapsed
        self.seconds += elapsed

    def after_evaluation(self) -> "Progress":
        """The same, with all sums at zero."""
        return Progress(self.step, self.best_top1, self.seconds)

    def metrics_row(self, plan: Plan, batch_size: int, raw: Evaluation, average: Evaluation | None) -> MetricsRow:
        """The row of the epochs that end here; `raw` evaluates the parameters, `average` their moving average."""
        return MetricsRow(
            epoch=plan.epochs_after(self.step),
            step=self.step,
            train_loss=self.loss_sum / self.loss_count,
            val_loss=raw.loss,
            val_top1=raw.top1,
            val_top5=raw.top5,
            learning_rate=self.learning_rate,
            images_per_second=self.loss_count * batch_size / self.epoch_seconds,
            seconds=self.seconds,
            data_wait=self.epoch_wait / self.epoch_seconds,
            ema_top1=average and average.top1,
            ema_loss=average and average.loss,
        )


def describe_epoch(row: MetricsRow, plan: Plan, config: Config) -> str:
    """What is printed after an evaluation: two lines of at most 80 columns."""
    accuracy = config.accuracy
    steps_left = plan.total_steps - row.step
    head = f"epoch {row.epoch}/{plan.epochs}"
    found = [f"train loss {row.train_loss:.3f}", f"val loss {row.val_loss:.3f}", f"{accuracy} {row.val_top1:.2%}"]
    found += [f"top-5 {row.val_top5:.2%}"] if accuracy == "top-1" and shows_top5(config.model.num_classes) else []
    rest = [] if row.ema_loss is None else [f"average: loss {row.ema_loss:.3f}", f"{accuracy} {row.ema_top1:.2%}"]
    rest.append(f"{row.images_per_second:,.0f} images/s")
    rest += [f"{format_seconds(steps_left * row.seconds / row.step)} left"] if steps_left else []
    return "  ".join([head, *found]) + "\n" + "  ".join([" " * INDENT, *rest])
