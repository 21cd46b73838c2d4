"""The plan of a run: which step ends an epoch, where a checkpoint is due, how many steps the next dispatch makes.

A step is counted by the updates made so far: "after step 10" means that 10 updates are done.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    total_steps: int
    steps_per_epoch: int  # of a whole epoch; the last one of the run may be shorter
    checkpoint_every: int | None  # steps; None: only where an epoch ends
    steps_per_dispatch: int  # steps in one call of the compiled program

    @property
    def epochs(self) -> int:
        """Number of epochs, counting a last one that is cut short."""
        return self.epochs_after(self.total_steps)

    def epochs_after(self, step: int) -> int:
        """Epochs that have begun, or ended, after `step` steps."""
        return math.ceil(step / self.steps_per_epoch)

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, ends after `step`."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps

    def epoch_end(self, step: int) -> int:
        """The step after which the epoch ends that goes on after `step`."""
        return min(self.total_steps, (step // self.steps_per_epoch + 1) * self.steps_per_epoch)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`, besides those at the end of each epoch."""
        return self.checkpoint_every is not None and step % self.checkpoint_every == 0

    def dispatch_steps(self, step: int) -> int:
        """Steps of the dispatch that begins after `step`: a full one, or 1 where an epoch ends or a checkpoint is due
        before the end of a full one. So there are only two programs to compile."""
        every = self.checkpoint_every or self.total_steps
        pause = min(self.epoch_end(step), (step // every + 1) * every)
        return self.steps_per_dispatch if step + self.steps_per_dispatch <= pause else 1
