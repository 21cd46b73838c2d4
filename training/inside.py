"""Looking inside a trained model: what it attends to in an image, and which pixels its answer depends on."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.errors import UserError
from model.attention_maps import attention_weights, on_patches, rollout
from model.layer import Params
from training.device import explained_out_of_memory
from training.predictor import PredictionStep


class Attention(NamedTuple):
    """What the pooled token draws from each patch; a grid is (rows, columns) of patches."""

    heads: np.ndarray  # (B, H, rows, columns), of the last block
    rollout: np.ndarray  # (B, rows, columns), over all blocks


def attention_of(step: PredictionStep, params: Params, images: np.ndarray) -> Attention:
    """The attention in uint8 images (B, H, W, C).

    Raises:
        UserError: the model has no attention (model.layers=0), or memory ran out.
    """
    if not step.model.layers:
        raise UserError("a model with model.layers=0 has no attention to be drawn; --saliency and --patches are")
    with explained_out_of_memory("the number of images"):
        heads, rolled = _attention(step, params, images)
        return Attention(np.asarray(heads), np.asarray(rolled))


@partial(jax.jit, static_argnums=0)
def _attention(step: PredictionStep, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    vit = step.model
    weights = [of_block.astype(jnp.float32) for of_block in attention_weights(vit, params, step.pixels(images))]
    return on_patches(vit, weights[-1]), on_patches(vit, rollout(weights, vit.residual))


def saliency_of(step: PredictionStep, params: Params, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How the logit of a class changes with each pixel: float32 (B, H, W, C), per step of 1 in 0..255.

    `images` are uint8 (B, H, W, C), `classes` (B,). It is `backward` of the model, started at that logit; see the
    chapter on saliency of the book.

    Raises:
        UserError: memory ran out.
    """
    with explained_out_of_memory("the number of images"):
        return np.asarray(_saliency(step, params, images, classes))


@partial(jax.jit, static_argnums=0)
def _saliency(step: PredictionStep, params: Params, images: jax.Array, classes: jax.Array) -> jax.Array:
    logits, cache = step.model.forward(params, step.pixels(images))
    one_hot = jnp.eye(step.model.num_classes, dtype=logits.dtype)[classes]
    dpixels, _ = step.model.backward(params, cache, one_hot)
    return dpixels / (255 * jnp.asarray(step.std, dpixels.dtype))  # through the normalization
