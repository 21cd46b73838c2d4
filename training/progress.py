"""How far a run has come: what a checkpoint holds besides the state of the step, and what is reported of an epoch."""

from dataclasses import dataclass
from typing import Any, Self

from common.errors import UserError
from common.progress import format_seconds
from training.evaluation import Evaluation
from training.metrics import MetricsRow, shows_top5
from training.plan import Plan

INDENT = 8  # of the second line of an epoch


@dataclass
class Progress:
    """Saved with every checkpoint. Sums are over the steps of the epoch so far."""

    step: int = 0  # updates made
    best_top1: float = -1.0
    seconds: float = 0.0  # of training and evaluation since the run began
    loss_sum: float = 0.0
    loss_count: int = 0
    learning_rate: float = 0.0  # of the last step
    epoch_seconds: float = 0.0  # of training in this epoch
    epoch_wait: float = 0.0  # part of these, spent waiting for data

    @classmethod
    def from_meta(cls, meta: dict[str, Any], source: object) -> Self:
        """The progress in the `meta` of the checkpoint `source`.

        Raises:
            UserError: there is none, or it is damaged.
        """
        try:
            return cls(**meta["progress"])
        except (KeyError, TypeError) as error:
            raise UserError(
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

    def at_next_epoch(self) -> "Progress":
        """The same, with the sums of the epoch at zero."""
        return Progress(self.step, self.best_top1, self.seconds)

    def metrics_row(self, plan: Plan, batch_size: int, raw: Evaluation, average: Evaluation | None) -> MetricsRow:
        """The row of the epoch that ends here; `raw` evaluates the parameters, `average` their moving average."""
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


def describe_epoch(row: MetricsRow, plan: Plan, num_classes: int) -> str:
    """What is printed when an epoch ends: two lines of at most 80 columns."""
    steps_left = plan.total_steps - row.step
    head = f"epoch {row.epoch}/{plan.epochs}"
    found = [f"train loss {row.train_loss:.3f}", f"val loss {row.val_loss:.3f}", f"top-1 {row.val_top1:.2%}"]
    found += [f"top-5 {row.val_top5:.2%}"] if shows_top5(num_classes) else []
    rest = [] if row.ema_loss is None else [f"average: loss {row.ema_loss:.3f}", f"top-1 {row.ema_top1:.2%}"]
    rest.append(f"{row.images_per_second:,.0f} images/s")
    rest += [f"{format_seconds(steps_left * row.seconds / row.step)} left"] if steps_left else []
    return "  ".join([head, *found]) + "\n" + "  ".join([" " * INDENT, *rest])
