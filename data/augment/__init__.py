"""Augmentation and normalization in jax.numpy: pure functions of a PRNG key, part of the jitted training step."""

from data.augment.augmentation import Augmentation, Keys, split_keys
from data.augment.normalize import normalize

__all__ = ["Augmentation", "Keys", "normalize", "split_keys"]
