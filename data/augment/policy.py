"""TrivialAugment and RandAugment: one operation of fourteen, or several in turn, drawn for each image.

An operation chosen for each image on its own would have all fourteen computed for all of them, and thirteen results
thrown away. So all go through the same three stages, and where an operation is not of a stage that one changes nothing:

1. an affine map of the coordinates: shear, translate, rotate
2. a table for the values: autocontrast, equalize, posterize, solarize, brightness, contrast
3. a blend with a plainer image: color, sharpness
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data.augment.affine import IDENTITY, affine, rotate, shear_x, shear_y, translate_x, translate_y
from data.augment.blend import blend, grey, smooth
from data.augment.settled import settled
from data.augment.tables import autocontrast, brightness, contrast, equalize, identity, look_up, posterize, solarize

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "autocontrast", "equalize", "posterize",
    "solarize", "color", "contrast", "brightness", "sharpness",
)  # fmt: skip
LEVELS = 30  # strengths of TrivialAugment above none
STRONGEST = 10.0  # magnitude of RandAugment


class Ranges(NamedTuple):
    """What an operation does at full strength, 1; it does nothing at strength 0, and is linear between."""

    shear: float  # pixels a pixel
    translate: tuple[float, float]  # pixels in x and in y
    rotate: float  # degrees
    factor: float  # how far the factor of color, contrast, brightness and sharpness is from 1
    bits: int  # that posterize takes away; solarize always goes from inverting nothing to everything


def trivial_augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """One operation of the fourteen, at one of 31 strengths, all equally likely: uint8 (B, H, W, 3), and so returned.

    The wide ranges of Müller and Hutter 2021, arXiv:2103.10158, table 1; a shift of 32 pixels whatever the size.
    """
    ranges = Ranges(shear=0.99, translate=(32.0, 32.0), rotate=135.0, factor=0.99, bits=6)
    operation_key, strength_key, sign_key = jax.random.split(key, 3)
    operation = jax.random.randint(operation_key, (len(images),), 0, len(OPERATIONS))
    strength = jax.random.randint(strength_key, (len(images),), 0, LEVELS + 1) / LEVELS
    return operate(images, operation, strength, _random_sign(sign_key, len(images)), ranges)


def rand_augment(key: jax.Array, images: jax.Array, count: int, magnitude: float) -> jax.Array:
    """`count` operations in turn, drawn with replacement, each of the same magnitude, 0..10.

    uint8 (B, H, W, 3) -> uint8 (B, H, W, 3). Cubuk et al. 2019, arXiv:1909.13719, with the ranges of AutoAugment,
    arXiv:1805.09501, table 6; its shift of 150 pixels in 331 is taken as a share of the side. As in other
    implementations, factors go either way from 1, and posterize and solarize grow stronger with the magnitude.
    """
    H, W = images.shape[1:3]
    share = 150 / 331
    ranges = Ranges(shear=0.3, translate=(share * W, share * H), rotate=30.0, factor=0.9, bits=4)
    strength = jnp.full(len(images), magnitude / STRONGEST)
    for round_key in jax.random.split(key, count):
        operation_key, sign_key = jax.random.split(round_key)
        operation = jax.random.randint(operation_key, (len(images),), 0, len(OPERATIONS))
        images = operate(images, operation, strength, _random_sign(sign_key, len(images)), ranges)
    return images


def _random_sign(key: jax.Array, count: int) -> jax.Array:
    return jax.random.rademacher(key, (count,), dtype=jnp.result_type(float))


def operate(images: jax.Array, operation: jax.Array, strength: jax.Array, sign: jax.Array, ranges: Ranges) -> jax.Array:
    """To each image its operation: uint8 (B, H, W, 3) -> uint8 (B, H, W, 3).

    operation: int (B,), a place in OPERATIONS.  strength: (B,), 0..1.  sign: (B,), 1 or -1, of geometry and factors.
    """
    images = settled(images)
    _, H, W, _ = images.shape
    signed = strength * sign
    maps = {
        "shear_x": shear_x(signed * ranges.shear),
        "shear_y": shear_y(signed * ranges.shear),
        "translate_x": translate_x(jnp.round(signed * ranges.translate[0])),
        "translate_y": translate_y(jnp.round(signed * ranges.translate[1])),
        "rotate": rotate(signed * ranges.rotate, (H, W)),
    }
    factor = 1 + signed * ranges.factor
    tables = {
        "autocontrast": autocontrast(images),
        "equalize": equalize(images),
        "posterize": posterize(8 - jnp.round(strength * ranges.bits).astype(int)),
        "solarize": solarize(jnp.round(256 * (1 - strength))),
        "contrast": contrast(images, factor),
        "brightness": brightness(factor),
    }
    plainer = _choose(operation, {"color": grey(images)}, otherwise=smooth(images))
    factor = _choose(operation, {"color": factor, "sharpness": factor}, otherwise=jnp.ones(()))
    # Only one of the three stages does anything, so what it needs to know of the image can be taken from the first.
    moved = affine(images, _choose(operation, maps, otherwise=jnp.asarray(IDENTITY)))
    replaced = look_up(moved, _choose(operation, tables, otherwise=identity()))
    return settled(blend(plainer, replaced, factor[:, None, None, None]))


def _choose(operation: jax.Array, choices: Mapping[str, jax.Array], otherwise: jax.Array) -> jax.Array:
    """For each image that of `choices` which bears the name of its operation, or `otherwise`; all broadcast."""
    for name, choice in choices.items():
        chosen = operation == OPERATIONS.index(name)
        otherwise = jnp.where(chosen.reshape(-1, *[1] * (choice.ndim - 1)), choice, otherwise)
    return otherwise
