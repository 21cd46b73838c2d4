"""The options of the sections `optim`, `data` and `train`: what their values must be, and what follows from them.

The other sections have classes elsewhere, which are what they configure: the model, the loss and the augmentation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common.errors import ConfigError
from common.paths import named_path
from data.form import Broken, Resize
from data.loader import Sampling
from data.registry import SOURCES
from training.fields import Check, Count, Name, NotNegative, Positive, Seed, Share, Workers, show

Placement = Literal["auto", "device", "host"]
"""Where the training images are kept, as in feed.py."""

LENGTHS = ("epochs", "steps", "minutes")
"""The options of `train` that say how long to train."""


MOST_STEPS = 2**31 - 1
"""The state of the optimizer counts its steps in 32 bits."""

Steps = Annotated[int, Check(f"a whole number from 1 to {MOST_STEPS}", lambda value: 1 <= value <= MOST_STEPS)]


Iterations = Annotated[int, Check("a whole number from 1 to 100", lambda value: 1 <= value <= 100)]  # each is compiled


@dataclass(frozen=True)
class OptimConfig:
    name: Literal["adamw", "muon"]
    learning_rate: NotNegative
    schedule: Literal["constant", "cosine"]
    warmup: Share
    final_learning_rate: NotNegative
    beta1: Share
    beta2: Share
    eps: Positive
    weight_decay: NotNegative
    max_grad_norm: Positive | None
    ema: Share | None
    momentum: Share
    newton_schulz_steps: Iterations


@dataclass(frozen=True)
class DataConfig:
    name: Annotated[str, Check(f"one of {', '.join(SOURCES)}", lambda name: name in SOURCES, tuple(SOURCES))]
    root: Name | None
    cache: Name | None
    workers: Workers | None
    placement: Placement
    resize: Resize
    broken: Broken
    val_folder: Name | None
    holdout: Share | None
    classes: Count | None
    sampling: Sampling

    @property
    def folder(self) -> Path:
        """`root`, or the default folder of the data set. A relative one is in the current folder."""
        return named_path(self.root or SOURCES[self.name].folder)

    @property
    def cache_folder(self) -> Path | None:
        """`cache`, if it is given."""
        return named_path(self.cache) if self.cache else None


Hidden = Annotated[float, Check("a number above 0 and below 1", lambda share: 0 < share < 1)]
Width = Annotated[int, Check("a whole number from 1 to 65,536", lambda width: 1 <= width <= 2**16)]
Depth = Annotated[int, Check("a whole number from 1 to 100", lambda depth: 1 <= depth <= 100)]


@dataclass(frozen=True)
class MAEConfig:
    """A masked autoencoder around the model, if `mask` is not None (model/mae.py)."""

    mask: Hidden | None
    decoder_dim: Width
    decoder_heads: Width
    decoder_layers: Depth
    decoder_mlp_dim: Width
    normalize_patches: bool


@dataclass(frozen=True)
class TrainConfig:
    """Exactly one of `epochs`, `steps` and `minutes` is set."""

    epochs: Count | None
    steps: Steps | None
    minutes: Positive | None
    batch_size: Count
    eval_batch_size: Count
    seed: Seed
    evaluate_every: Count
    checkpoint_every: Count | None
    accumulate: Count | None
    steps_per_dispatch: Count | None
    log_every: Count | None
    start_from: Name | None
    freeze: Literal["backbone"] | None
    devices: Count | Literal["all"]
    share_optimizer: bool
    distributed: Name | None

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in LENGTHS}
        if sum(value is not None for value in lengths.values()) != 1:
            given = ", ".join(f"{name}={show(value)}" for name, value in lengths.items())
            raise ValueError(f"epochs, steps and minutes each say how long to train: give one of them ({given})")
        if self.accumulate is not None and self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} must divide batch_size={self.batch_size}")

    def total_steps(self, steps_per_epoch: int) -> int:
        """The number of updates in the whole run. Minutes must have been turned into steps before (time_budget.py).

        Raises:
            ConfigError: the epochs have more steps than can be counted.
        """
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None, "train.minutes is not turned into train.steps yet"
        if self.epochs > MOST_STEPS // steps_per_epoch:
            raise ConfigError(f"train.epochs={self.epochs}: at most {MOST_STEPS // steps_per_epoch}, of these data")
        return self.epochs * steps_per_epoch
