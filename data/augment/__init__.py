"""Augmentation and normalisation, in jax.numpy: pure functions of a key that run inside the jitted training step."""

from data.augment.augmentation import Augmentation
from data.augment.normalize import normalize

__all__ = ["Augmentation", "normalize"]
