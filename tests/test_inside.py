"""What the figures of predict.py show: the gradient of a logit by the pixels, attention, and the patches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from model.attention_maps import attention_weights, on_patches, rollout
from model.vit import ViT
from tests.oracle import random_params
from tests.test_vit import SMALL
from training.inside import Attention, attention_of, saliency_of
from training.inside_figures import (
    ACROSS,
    SCALE,
    SIDE,
    Panel,
    Row,
    attention_row,
    coloured,
    enlarged,
    figure,
    patches_row,
    saliency_row,
)
from training.predictor import PredictionStep

VIT = ViT(**SMALL)  # 6x8 pixels in 2x4 patches, with a class token
STEP = PredictionStep(VIT, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)


@pytest.mark.usefixtures("float64")
def test_saliency_is_the_gradient_of_the_logit_by_the_pixels_from_0_to_255() -> None:
    params, classes = random_params(VIT), np.array([3, 1])

    def logits_of_the_classes(pixels: jax.Array) -> jax.Array:
        normal = (pixels / 255 - jnp.array(STEP.mean)) / jnp.array(STEP.std)
        return VIT.forward(params, normal)[0][jnp.arange(2), classes].sum()

    oracle = jax.jit(jax.grad(logits_of_the_classes))(jnp.asarray(IMAGES, float))
    np.testing.assert_allclose(saliency_of(STEP, params, IMAGES, classes), oracle, rtol=1e-9, atol=1e-15)


@pytest.mark.usefixtures("float64")
def test_attention_is_that_of_the_model_at_these_images() -> None:
    params = random_params(VIT)
    found = attention_of(STEP, params, IMAGES)
    weights = jax.jit(attention_weights, static_argnums=0)(VIT, params, STEP.pixels(IMAGES))
    np.testing.assert_allclose(found.heads, on_patches(VIT, weights[-1]), rtol=1e-5)
    np.testing.assert_allclose(found.rollout, on_patches(VIT, rollout(weights)), rtol=1e-5)
    assert (found.heads.shape, found.rollout.shape) == ((2, 3, 2, 4), (2, 2, 4))


def test_a_model_without_attention_says_so() -> None:
    vit = ViT(**{**SMALL, "layers": 0, "pooling": "mean", "class_token": False})
    with pytest.raises(UserError, match=r"model\.layers=0 has no attention to be drawn"):
        attention_of(PredictionStep(vit, STEP.mean, STEP.std), random_params(vit), IMAGES)


# The figures.


def luminance(picture: Image.Image) -> Any:
    return np.asarray(picture.convert("L"), float)


def test_the_scale_goes_from_dark_to_bright() -> None:
    colours = luminance(coloured(np.linspace(0, 1, 101)[None]))[0]
    assert (np.diff(colours) >= 0).all()
    assert (colours[0], colours[-1]) == (0, 244)  # of 252, 255, 164
    np.testing.assert_array_equal(np.asarray(coloured(np.array([[0.5]])))[0, 0], SCALE[2])


def test_the_brightest_place_of_a_panel_is_the_patch_that_is_attended_to() -> None:
    heads, grey = np.full((1, 3, 2, 4), 0.01), np.full((6, 8, 3), 128, np.uint8)
    for head, place in enumerate([(0, 3), (1, 0), (1, 2)]):
        heads[0, head][place] = 0.4
    rolled = np.zeros((1, 2, 4))
    rolled[0, 0, 1] = 0.2
    row = attention_row("a", "ant 90.0%", grey, Attention(heads, rolled), 0, VIT)
    assert [panel.lines[0] for panel in row.panels] == [
        "ant 90.0%", "head 1 of 3, last block", "head 2 of 3, last block", "head 3 of 3, last block",
        "mean of the heads", "rollout, 2 blocks",
    ]  # fmt: skip
    assert [panel.lines[1] for panel in row.panels[1:]] == [
        f"brightest patch {share}" for share in ("40.0%", "40.0%", "40.0%", "14.0%", "20.0%")
    ]
    scale = row.panels[0].picture.width // 8
    for panel, place in zip(row.panels[1:4] + row.panels[5:], [(0, 3), (1, 0), (1, 2), (0, 1)], strict=True):
        patches = luminance(panel.picture).reshape(2, 3 * scale, 4, 2 * scale).mean(axis=(1, 3))
        assert np.unravel_index(patches.argmax(), (2, 4)) == place


def test_a_saliency_panel_is_bright_where_the_gradient_is_large_whatever_its_sign() -> None:
    gradient = np.zeros((6, 8, 3), np.float32)
    gradient[4, 5, 1] = -2.0
    gradient[1, 1, 0] = 1.0
    row = saliency_row("a", IMAGES[0], [("ant 90%", gradient), ("bee 5%", np.zeros_like(gradient))])
    scale = row.panels[1].picture.width // 8
    cells = luminance(row.panels[1].picture)[::scale, ::scale]
    assert np.unravel_index(cells.argmax(), cells.shape) == (4, 5)
    assert cells[1, 1] > cells[0, 0] == 0
    assert luminance(row.panels[2].picture).max() == 0  # a gradient of zero has no brightest place


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_apart_in_the_order_of_the_tokens(channels: int) -> None:
    vit = ViT(**{**SMALL, "channels": channels})
    image = np.arange(8, dtype=np.uint8).reshape(2, 4).repeat(3, axis=0).repeat(2, axis=1) * 30  # a grey for each
    row = patches_row("a", np.repeat(image[..., None], channels, axis=2), vit)
    apart = np.asarray(row.panels[1].picture)
    assert row.panels[1].lines[0] == "8 tokens, behind the class token 0"
    assert row.panels[0].lines[0] == "patches of 2x3 pixels"
    greys = [
        apart[(2 * i + 1) * len(apart) // 4, (2 * j + 1) * apart.shape[1] // 8, 0] for i in (0, 1) for j in range(4)
    ]
    assert greys == [30 * number for number in range(8)]


def test_an_image_is_enlarged_in_whole_steps() -> None:
    picture = enlarged(IMAGES[0])
    assert picture.size == (SIDE, SIDE * 6 // 8)
    np.testing.assert_array_equal(np.asarray(picture)[:: SIDE // 8, :: SIDE // 8], IMAGES[0])
    assert enlarged(np.zeros((1, 1, 1), np.uint8)).size == (SIDE, SIDE)
    assert enlarged(np.zeros((8, 900, 3), np.uint8)).size == (900, 8)


def test_a_figure_has_room_for_all_panels_and_long_names() -> None:
    panels = [Panel(enlarged(IMAGES[0]), ("a name " * 30, "")) for _ in range(ACROSS + 2)]
    picture = figure([Row("x\x1b" * 300, panels), Row("b", panels[:1])])
    assert picture.width == 4 * (SIDE + 20)  # seven panels in lines of four and three
    pixels = np.asarray(picture)
    assert (pixels[:, -10:] == 255).all()  # nothing beyond the margin
    first = panels[0].picture
    columns = [pixels[:, x : x + SIDE].tobytes() for x in range(10, pixels.shape[1], SIDE + 20)]
    assert [column.count(np.asarray(first).tobytes()) for column in columns] == [3, 2, 2, 1]  # and none is cut
