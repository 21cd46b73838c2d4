"""TrivialAugment and RandAugment: one of fourteen operations, or several in sequence, drawn per image.

A batch cannot branch per image: selecting among fourteen results would compute all fourteen for every image. Instead,
every image passes through three stages, each with parameters of its own. An operation belongs to one stage, and the
parameters of the other two are those of the identity:

1. an affine map of the coordinates: shear, translate, rotate
2. a lookup table for the values: autocontrast, equalize, posterize, solarize, brightness, contrast
3. a blend with a degenerate image (Pillow's term: grey or smoothed): color, sharpness

Images have C = 1 or 3 channels. With one channel there is no colour to change: `color` is never drawn, and the other
thirteen operations are equally likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data.augment.affine import IDENTITY, affine, rotate, shear_x, shear_y, translate_x, translate_y
from data.augment.blend import blend, grey, smooth
from data.augment.materialize import materialize
from data.augment.tables import autocontrast, brightness, contrast, equalize, identity, look_up, posterize, solarize

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "autocontrast", "equalize", "posterize",
    "solarize", "color", "contrast", "brightness", "sharpness",
)  # fmt: skip
COLOUR_OPERATIONS = ("color",)  # left out with one channel
LEVELS = 30  # TrivialAugment draws a strength k / LEVELS, k = 0..LEVELS
MAX_MAGNITUDE = 10.0  # of RandAugment


class Ranges(NamedTuple):
    """What each operation does at strength 1. At strength 0 it does nothing; the effect is linear in the strength."""

    shear: float  # pixels per pixel
    translate: tuple[float, float]  # pixels in x and in y
    rotate: float  # degrees
    factor: float  # |factor - 1| of color, contrast, brightness and sharpness
    bits: int  # removed by posterize; solarize always ranges from inverting nothing to inverting everything


def trivial_augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """One of fourteen operations at one of 31 strengths, all equally likely: uint8 (B, H, W, C) -> uint8 (B, H, W, C).

    With the wide ranges of Müller and Hutter 2021, arXiv:2103.10158, table 1; translation is up to 32 pixels whatever
    the image size.
    """
    ranges = Ranges(shear=0.99, translate=(32.0, 32.0), rotate=135.0, factor=0.99, bits=6)
    operation_key, strength_key, sign_key = jax.random.split(key, 3)
    operation = _random_operation(operation_key, images)
    strength = jax.random.randint(strength_key, (len(images),), 0, LEVELS + 1) / LEVELS
    return operate(images, operation, strength, _random_sign(sign_key, len(images)), ranges)


def rand_augment(key: jax.Array, images: jax.Array, count: int, magnitude: float) -> jax.Array:
    """`count` operations in sequence, drawn with replacement, all with the same magnitude, 0..10.

    uint8 (B, H, W, C) -> uint8 (B, H, W, C). Cubuk et al. 2019, arXiv:1909.13719, with the ranges of AutoAugment,
    arXiv:1805.09501, table 6; its translation of 150 pixels of 331 is scaled to the image size. As in other
    implementations, factors lie on either side of 1, and posterize and solarize get stronger with the magnitude.
    """
    H, W = images.shape[1:3]
    share = 150 / 331
    ranges = Ranges(shear=0.3, translate=(share * W, share * H), rotate=30.0, factor=0.9, bits=4)
    strength = jnp.full(len(images), magnitude / MAX_MAGNITUDE)
    for round_key in jax.random.split(key, count):
        operation_key, sign_key = jax.random.split(round_key)
        operation = _random_operation(operation_key, images)
        images = operate(images, operation, strength, _random_sign(sign_key, len(images)), ranges)
    return images


def operations_of(channels: int) -> tuple[str, ...]:
    """The operations for images with so many channels."""
    return OPERATIONS if channels > 1 else tuple(name for name in OPERATIONS if name not in COLOUR_OPERATIONS)


def _random_operation(key: jax.Array, images: jax.Array) -> jax.Array:
    """A position in OPERATIONS for each image: int (B,). Those of `operations_of` are equally likely."""
    names = operations_of(images.shape[-1])
    drawn = jax.random.randint(key, (len(images),), 0, len(names))
    return drawn if names == OPERATIONS else jnp.array([OPERATIONS.index(name) for name in names])[drawn]


def _random_sign(key: jax.Array, count: int) -> jax.Array:
    return jax.random.rademacher(key, (count,), dtype=jnp.result_type(float))


def operate(images: jax.Array, operation: jax.Array, strength: jax.Array, sign: jax.Array, ranges: Ranges) -> jax.Array:
    """Apply one operation to each image: uint8 (B, H, W, C) -> uint8 (B, H, W, C).

    operation: int (B,), positions in OPERATIONS.  strength: (B,), 0..1.  sign: (B,), 1 or -1: the direction of affine
    maps and factors.
    """
    images = materialize(images)
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
    degenerate = _choose(operation, {"color": grey(images)}, otherwise=smooth(images))
    factor = _choose(operation, {"color": factor, "sharpness": factor}, otherwise=jnp.ones(()))
    # Only one stage changes the image, so the tables and the degenerate images can be computed from the original.
    moved = affine(images, _choose(operation, maps, otherwise=jnp.asarray(IDENTITY)))
    replaced = look_up(moved, _choose(operation, tables, otherwise=identity()))
    return materialize(blend(degenerate, replaced, factor[:, None, None, None]))


def _choose(operation: jax.Array, choices: Mapping[str, jax.Array], otherwise: jax.Array) -> jax.Array:
    """For each image the entry of `choices` named after its operation, else `otherwise`; all shapes broadcast."""
    for name, choice in choices.items():
        chosen = operation == OPERATIONS.index(name)
        otherwise = jnp.where(chosen.reshape(-1, *[1] * (choice.ndim - 1)), choice, otherwise)
    return otherwise
