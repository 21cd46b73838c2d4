"""How many steps fit into `train.minutes`: the speed is measured once, then the run is one of `train.steps`.

The schedule of the learning rate is a function of the number of all steps, and is compiled into the training step. So
the speed is measured with parameters that are thrown away and a provisional number of steps, before the run begins.
The number that fits is then written to config.yml as `train.steps`. The run is that of this number, bit for bit,
however fast the machine turns out to be, and so is a resumed one. The price is a second compilation.

The minutes are those of training, evaluations and checkpoints. Loading the data, compiling and measuring come on top:
how long a compilation takes depends on what has been compiled before.
"""

import bisect
import dataclasses
import time
from contextlib import closing
from itertools import count
from typing import NamedTuple

import jax
import numpy as np

from common.errors import UserError
from common.interrupt import StopRequest
from data.dataset import Dataset
from data.loader import prefetch
from training import checkpoint
from training.config import Config
from training.device import describe_device, explained_out_of_memory
from training.options import MOST_STEPS
from training.plan import Plan
from training.run_folder import RunFolder
from training.stops import stop_if_asked
from training.trainer import Trainer

PROVISIONAL = 1_000_000  # steps, while their number is not known; only the learning rate depends on it
WARM = 2  # dispatches before the clock starts
TIMED = 3  # dispatches at least
SHARE, LONGEST = 0.02, 10.0  # measure for this share of the time, and at most so many seconds
SAVES = 3  # before and after an evaluation, and at most one of the best parameters
TRIAL = "speed.npz"


class Speed(NamedTuple):
    """Seconds."""

    step: float
    evaluation: float  # of the parameters, and of their moving average if there is one
    checkpoint: float


def fix_steps(run: RunFolder, config: Config, dataset: Dataset, device: jax.Device, stop: StopRequest) -> Config:
    """The configuration with the steps that fit into its minutes, written to the folder of the run with a note.

    Raises:
        Stopped: `stop` was set. No number is fixed yet: a resumed run measures again.
        UserError: not even one step fits, or memory ran out.
    """
    minutes = config.train.minutes
    assert minutes is not None
    seconds, began = 60 * minutes, time.perf_counter()
    print(f"train.minutes={minutes:g}: compiling and measuring the speed", flush=True)
    trainer = Trainer(run, with_steps(config, PROVISIONAL), dataset, device)  # drawn parameters are as fast as others
    speed = measure(trainer, min(SHARE * seconds, LONGEST), stop)
    steps = steps_within(seconds, speed, trainer.plan)
    if steps < 1:
        needed = seconds_needed(1, speed, trainer.plan) / 60
        raise UserError(
            f"train.minutes={minutes:g} is not enough for one step and its evaluation: give at least {1.1 * needed:.2g}"
        )
    note = (
        f"train.minutes={minutes:g} became train.steps={steps}, measured on {describe_device(device)}:\n"
        f"{speed.step:.4g} s a step, {speed.evaluation:.3g} s an evaluation, {speed.checkpoint:.2g} s a checkpoint"
    )
    print(f"{note}; in {time.perf_counter() - began:.0f} s", flush=True)
    fixed = with_steps(config, steps)
    run.write_config(fixed, note)
    return fixed


def with_steps(config: Config, steps: int) -> Config:
    """The same configuration, but for so many steps."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=None, minutes=None, steps=steps))


def measure(trainer: Trainer, seconds: float, stop: StopRequest) -> Speed:
    """The speed of a trainer, whose state is used up. Its steps are timed for about so many seconds.

    Raises:
        Stopped: `stop` was set.
        UserError: memory ran out.
    """
    trainer.start()
    with explained_out_of_memory("train.batch_size, or raise train.accumulate (microbatches)"):
        step = _seconds_per_step(trainer, seconds, stop)
    evaluations = 1 if trainer.state.average is None else 2
    batches = trainer.evaluator.batches
    stop.compiling(lambda: trainer.evaluator.probe(trainer.state.params))
    stop_if_asked(stop, 0)
    began = time.perf_counter()
    trainer.evaluator.probe(trainer.state.params)
    evaluation = evaluations * batches * (time.perf_counter() - began)
    trial = trainer.run.path / TRIAL
    try:
        began = time.perf_counter()
        checkpoint.save(trial, trainer.state, {})
        saving = time.perf_counter() - began
    finally:
        trial.unlink(missing_ok=True)
    stop_if_asked(stop, 0)
    return Speed(step, evaluation, saving)


def _seconds_per_step(trainer: Trainer, seconds: float, stop: StopRequest) -> float:
    """The mean over full dispatches, each with its wait for data, as in training."""
    steps = trainer.plan.dispatch_steps(0)
    program = stop.compiling(lambda: trainer.dispatches.compile(trainer.state, steps))
    rows = trainer.dispatches.order(0)
    dispatches = (np.take(rows, range(first, first + steps), axis=0, mode="wrap") for first in count(0, steps))
    with closing(prefetch(dispatches, transform=trainer.feed.inputs)) as inputs:
        for done in count(1 - WARM):
            stop_if_asked(stop, 0)
            if done == 1:
                began = time.perf_counter()
            trainer.state, metrics, _ = trainer.dispatches.make(program, trainer.state, next(inputs))
            jax.block_until_ready(metrics)
            if done >= TIMED and time.perf_counter() - began >= seconds:
                break
    return (time.perf_counter() - began) / (done * steps)


def steps_within(seconds: float, speed: Speed, plan: Plan) -> int:
    """The largest number of steps that does not take longer, 0 if there is none; `plan` says where epochs end."""
    most = int(min(seconds / speed.step, MOST_STEPS))
    return bisect.bisect_right(range(most + 1), seconds, key=lambda steps: seconds_needed(steps, speed, plan)) - 1


def seconds_needed(steps: int, speed: Speed, plan: Plan) -> float:
    """What so many steps take, with the evaluations and checkpoints that the plan has between them."""
    evaluations = plan.evaluations_after(steps)
    saves = SAVES * evaluations + (steps // plan.checkpoint_every if plan.checkpoint_every else 0)
    return steps * speed.step + evaluations * speed.evaluation + saves * speed.checkpoint
