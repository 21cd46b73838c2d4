"""What a Vision Transformer attends to: the weights of each block, and attention rollout over all of them.

Rollout (Abnar & Zuidema 2020, arXiv:2005.00928): how much of each input token reaches a token of the output, if tokens
are only mixed.

    W_l = mean over the heads of the weights of block l
    A_l = (W_l + I) / 2     the identity stands for the residual connection; without one, A_l = W_l    (ROLL.1)
    R   = A_L ... A_2 A_1   for the L blocks; each row sums to 1                                       (ROLL.2)

Where the head reads the class token alone, the last block computes its row alone, of W_L, A_L and R.

Shapes     images (B, H, W, C); weights (B, H, N, N), or (B, H, 1, N) of a last block that computes the class token
           alone; R (B, N, N) or (B, 1, N); rows are queries, columns keys; a grid is (rows, columns) of patches
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from model.layer import Params
from model.layers.attention import ProjectedAttention
from model.precision import Cast
from model.vit import ViT
from model.walk import activations


def attention_weights(vit: ViT, params: Params, images: jax.Array) -> list[jax.Array]:
    """The attention weights of each block in evaluation, the first block first; [] for a model without blocks.

    The layers keep them for their backward pass, so they are read from the caches. Under `jax.jit` nothing is computed
    twice: the compiler finds that the forward of an attention here is the one of the walk.
    """
    found = []
    for reached in activations(vit, params, images):
        layer = reached.layer.layer if isinstance(reached.layer, Cast) else reached.layer
        if isinstance(layer, ProjectedAttention):
            y, cache = reached.layer.forward(reached.params, reached.x)
            found.append(cache.attention.weights[..., : y.shape[1], : reached.x.shape[1]])  # without the padding
    return found


def rollout(weights: Sequence[jax.Array], residual: bool = True) -> jax.Array:
    """R of the weights of one or more blocks, the first block first; `residual` says whether the blocks are residual.

    Raises:
        ValueError: there are no blocks.
    """
    if not weights:
        raise ValueError("rollout needs the weights of one block or more")
    R = None
    for of_block in weights:
        W = of_block.mean(axis=1)  # (B, n, N), where n is N, or 1 for the class token alone
        A = (W + jnp.eye(W.shape[1], W.shape[2], dtype=W.dtype)) / 2 if residual else W  # ROLL.1
        R = A if R is None else A @ R  # ROLL.2
    assert R is not None
    return R


def on_patches(vit: ViT, attention: jax.Array) -> jax.Array:
    """What the pooled token draws from each patch: attention or rollout (..., n, N) -> (..., rows, columns).

    With pooling "class_token" that is the row of the class token, with "mean" the mean over the rows of the patches.
    What goes to a class token is left out.
    """
    first = int(vit.class_token)
    pooled = attention[..., 0, :] if vit.pooling == "class_token" else attention[..., first:, :].mean(axis=-2)
    return pooled[..., first:].reshape(*pooled.shape[:-1], *vit.patch_embedding.patchify.grid)
