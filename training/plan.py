"""The plan of a run: after which steps it evaluates and saves, and how many steps the next dispatch makes.

A step is counted by the updates made so far: "after step 10" means that 10 updates are done.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    total_steps: int
    steps_per_epoch: int  # of a whole epoch; the last one of the run may be shorter
    checkpoint_every: int | None  # steps; None: only where an epoch is evaluated
    steps_per_dispatch: int  # steps in one call of the compiled program
    evaluate_every: int = 1  # epochs

    @property
    def epochs(self) -> int:
        """Number of epochs, counting a last one that is cut short."""
        return self.epochs_after(self.total_steps)

    @property
    def steps_per_evaluation(self) -> int:
        return self.evaluate_every * self.steps_per_epoch

    def epochs_after(self, step: int) -> int:
        """Epochs that have begun, or ended, after `step` steps."""
        return math.ceil(step / self.steps_per_epoch)

    def evaluations_after(self, step: int) -> int:
        """Evaluations of a run that ends after `step`."""
        return math.ceil(step / self.steps_per_evaluation)

    def epoch_end(self, step: int) -> int:
        """The step after which the epoch ends that goes on after `step`."""
        return min(self.total_steps, (step // self.steps_per_epoch + 1) * self.steps_per_epoch)

    def evaluates(self, step: int) -> bool:
        """Whether `step` is followed by an evaluation: that of every `evaluate_every`-th epoch, or of the run's end."""
        return step % self.steps_per_evaluation == 0 or step == self.total_steps

    def last_evaluation(self, step: int) -> int:
        """The step before the training that goes on after `step`: that of an evaluation, or 0."""
        return step // self.steps_per_evaluation * self.steps_per_evaluation

    def next_evaluation(self, step: int) -> int:
        """The step of the evaluation after the training that goes on after `step`."""
        return min(self.total_steps, self.last_evaluation(step) + self.steps_per_evaluation)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`, besides those of each evaluation."""
        return self.checkpoint_every is not None and step % self.checkpoint_every == 0

    def dispatch_steps(self, step: int) -> int:
        """Steps of the dispatch that begins after `step`: a full one, or 1 where an epoch ends or a checkpoint is due
        before the end of a full one. So there are only two programs to compile."""
        every = self.checkpoint_every or self.total_steps
        pause = min(self.epoch_end(step), (step // every + 1) * every)
        return self.steps_per_dispatch if step + self.steps_per_dispatch <= pause else 1

    def dispatch_sizes(self, step: int) -> set[int]:
        """The steps of all dispatches from `step` to the end of the run: one or two numbers."""
        sizes: set[int] = set()
        while step < self.total_steps and len(sizes) < len({1, self.steps_per_dispatch}):
            sizes.add(self.dispatch_steps(step))
            step += self.dispatch_steps(step)
        return sizes
