"""The whole model on one page: a Vision Transformer from pixels to the loss, and back to every gradient.

`vit_forward` computes the loss of a batch and keeps what the backward pass needs. `vit_backward` goes through the same
lines from the last to the first. Both take the parameters of a `ViT` (model/vit.py) with default options, and give the
same results. `ViT` is composed of layers with options; here are none. Every line has its shape and its tag.

Sizes   B images, n patches of P values, N = n + 1 tokens of width D, H heads of width K = D / H, M hidden, C classes
Names   dz is the gradient of the loss with respect to z, and has the shape of z; every use of z contributes to it
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

EPS = 1e-6  # of every layer norm


def vit_forward(params: Any, images: jax.Array, labels: jax.Array, patch: int, H: int) -> tuple[jax.Array, Any]:
    """Mean cross entropy of images (B, height, width, channels) and labels (B,), and the cache; `patch` in pixels."""
    embedding, places = params["patch_embedding"]["project"], params["position_embedding"]
    B, D = len(images), len(places["class_token"])
    patches = cut(images, patch)  # (B, n, P)                                                         PATCH.1
    x = dense(embedding, patches)  # (B, n, D)                                                        PATCH.2
    x = jnp.concatenate([jnp.broadcast_to(places["class_token"], (B, 1, D)), x], axis=1)  # (B, N, D)  POS.1
    x = x + places["positions"]  # (B, N, D)                                                          POS.2
    kept = []
    for i in range(len(params["encoder"])):
        norm_1, qkv, out, norm_2, expand, project = block_layers(params, i)
        a, norm_1_cache = layer_norm(norm_1, x)  # (B, N, D)                                          LN.1, LN.2
        q, k, v = (split_heads(third, H) for third in jnp.split(dense(qkv, a), 3, axis=-1))  # each (B, H, N, K)  MHA.1
        q = q / math.sqrt(D // H)  # (B, H, N, K), and kept divided: dk needs it so
        weights = softmax(q @ k.mT)  # (B, H, N, N)                                                   MHA.2, MHA.3
        mixed = merge_heads(weights @ v)  # (B, N, D)                                                 MHA.4
        x = x + dense(out, mixed)  # (B, N, D)                                                        MHA.5, RES.1
        b, norm_2_cache = layer_norm(norm_2, x)  # (B, N, D)                                          LN.1, LN.2
        hidden, slope = gelu(dense(expand, b))  # (B, N, M) both                                      GELU.3, GELU.4
        x = x + dense(project, hidden)  # (B, N, D)                                                   FF.1, RES.1
        kept.append((norm_1_cache, a, q, k, v, weights, mixed, norm_2_cache, b, slope, hidden))
    z, norm_cache = layer_norm(params["norm"], x[:, 0])  # (B, D), the class token alone              POOL.1
    logits = dense(params["head"], z)  # (B, C)                                                       DENSE.1
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (B, C)
    log_p = shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))  # (B, C)                 CE.1
    target = labels[:, None] == jnp.arange(logits.shape[1])  # (B, C), true at the label              CE.2
    loss = -jnp.where(target, log_p, 0).sum() / B  # ()                                               CE.3
    return loss, (patches, kept, norm_cache, z, jnp.exp(log_p), target)


def vit_backward(params: Any, cache: Any, patch: int, image_shape: tuple[int, ...], H: int) -> tuple[jax.Array, Any]:
    """The gradients of the loss with respect to the images and to the parameters, these in a tree like `params`."""
    patches, kept, norm_cache, z, p, target = cache
    grads: Any = {"patch_embedding": {}, "encoder": {}}
    dlogits = (p - target) / len(p)  # (B, C)                                                         CE.4
    dz, grads["head"] = dense_backward(params["head"], z, dlogits)  # (B, D)                          DENSE.2 to DENSE.4
    dclass, grads["norm"] = layer_norm_backward(params["norm"], norm_cache, dz)  # (B, D)             LN.3 to LN.5
    dx = jnp.zeros((len(p), patches.shape[1] + 1, z.shape[1]), z.dtype).at[:, 0].set(dclass)  # (B, N, D)  POOL.1
    for i in reversed(range(len(kept))):
        norm_1, qkv, out, norm_2, expand, project = block_layers(params, i)
        norm_1_cache, a, q, k, v, weights, mixed, norm_2_cache, b, slope, hidden = kept[i]
        dhidden, dproject = dense_backward(project, hidden, dx)  # (B, N, M)                          DENSE.2 to DENSE.4
        db, dexpand = dense_backward(expand, b, dhidden * slope)  # (B, N, D)                         GELU.5
        dbranch, dnorm_2 = layer_norm_backward(norm_2, norm_2_cache, db)  # (B, N, D)                 LN.3 to LN.5
        dx = dx + dbranch  # (B, N, D): x was used twice, so two gradients add                        RES.1
        dmerged, dout = dense_backward(out, mixed, dx)  # (B, N, D)
        dmixed = split_heads(dmerged, H)  # (B, H, N, K)                                              MHA.6
        dweights, dv = dmixed @ v.mT, weights.mT @ dmixed  # (B, H, N, N) and (B, H, N, K)            MHA.7
        dscores = softmax_backward(weights, dweights)  # (B, H, N, N)                                 MHA.8, SM.2
        dq, dk = dscores @ k / math.sqrt(q.shape[-1]), dscores.mT @ q  # (B, H, N, K) both            MHA.9
        dthirds = jnp.concatenate([merge_heads(third) for third in (dq, dk, dv)], axis=-1)  # (B, N, 3D)
        da, dqkv = dense_backward(qkv, a, dthirds)  # (B, N, D)                                       MHA.10
        dbranch, dnorm_1 = layer_norm_backward(norm_1, norm_1_cache, da)  # (B, N, D)                 LN.3 to LN.5
        dx = dx + dbranch  # (B, N, D)                                                                RES.1
        grads["encoder"][f"block_{i}"] = {
            "attention": {"norm": dnorm_1, "attention": {"qkv": dqkv, "out": dout}},
            "feed_forward": {"norm": dnorm_2, "feed_forward": {"expand": dexpand, "project": dproject}},
        }
    grads["position_embedding"] = {"positions": dx.sum(axis=0), "class_token": dx[:, 0].sum(axis=0)}  # POS.3, POS.4
    embedding = params["patch_embedding"]["project"]
    dpatches, grads["patch_embedding"]["project"] = dense_backward(embedding, patches, dx[:, 1:])  # (B, n, P)  POS.5
    dimages = uncut(dpatches, patch, image_shape)  # (B, height, width, channels)                     PATCH.3
    # `params` has an entry `{}` for each layer without parameters; `grads` so far has none.
    return dimages, jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(grads))


def block_layers(params: Any, i: int) -> tuple[Any, ...]:
    """The parameters of a block's six layers with parameters, in the order of the forward pass."""
    attention, feed_forward = (params["encoder"][f"block_{i}"][name] for name in ("attention", "feed_forward"))
    inner, outer = attention["attention"], feed_forward["feed_forward"]
    return attention["norm"], inner["qkv"], inner["out"], feed_forward["norm"], outer["expand"], outer["project"]


def dense(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["W"] + layer["b"]  # (..., D_in) -> (..., D_out)                                 DENSE.1


def dense_backward(layer: Any, x: jax.Array, dy: jax.Array) -> tuple[jax.Array, Any]:
    x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (rows, D_in), (rows, D_out)
    return dy @ layer["W"].T, {"W": x_rows.T @ dy_rows, "b": dy_rows.sum(axis=0)}  #                  DENSE.2 to DENSE.4


def layer_norm(layer: Any, x: jax.Array) -> tuple[jax.Array, Any]:
    D, centred = x.shape[-1], x - x.mean(axis=-1, keepdims=True)  # (..., D)
    centred = (D * centred - centred.sum(axis=-1, keepdims=True)) / D  # (..., D), without the rounding of the mean
    rstd = 1 / jnp.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPS)  # (..., 1)
    return layer["gamma"] * centred * rstd + layer["beta"], (centred * rstd, rstd)  #                 LN.1, LN.2


def layer_norm_backward(layer: Any, cache: Any, dy: jax.Array) -> tuple[jax.Array, Any]:
    xhat, rstd = cache  # (..., D), (..., 1)
    dxhat = dy * layer["gamma"]  # (..., D)                                                           LN.3
    dx = rstd * (dxhat - dxhat.mean(-1, keepdims=True) - xhat * (dxhat * xhat).mean(-1, keepdims=True))  # LN.4
    rows = tuple(range(dy.ndim - 1))
    return dx, {"gamma": (dy * xhat).sum(axis=rows), "beta": dy.sum(axis=rows)}  #                    LN.5


def softmax(scores: jax.Array) -> jax.Array:
    exponentials = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)  #                                 SM.1


def softmax_backward(p: jax.Array, dp: jax.Array) -> jax.Array:
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))  #                                         SM.2


def gelu(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    c, a, near = math.sqrt(2 / math.pi), 0.044715, jnp.minimum(jnp.maximum(x, -40), 40)  # beyond, s is 0 or 1
    s = 1 / (1 + jnp.exp(-2 * c * (near + a * near * near * near)))  # (1 + tanh u) / 2
    return jnp.maximum(x, near) * s, s + 2 * near * s * (1 - s) * c * (1 + 3 * a * near * near)  #    GELU.3, GELU.4


def split_heads(merged: jax.Array, H: int) -> jax.Array:
    return merged.reshape(*merged.shape[:2], H, -1).swapaxes(1, 2)  # (B, N, D) -> (B, N, H, K) -> (B, H, N, K)


def merge_heads(heads: jax.Array) -> jax.Array:
    B, H, N, K = heads.shape
    return heads.swapaxes(1, 2).reshape(B, N, H * K)  # (B, H, N, K) -> (B, N, H, K) -> (B, N, D)


def cut(images: jax.Array, p: int) -> jax.Array:
    B, height, width, channels = images.shape
    squares = images.reshape(B, height // p, p, width // p, p, channels).swapaxes(2, 3)
    return squares.reshape(B, -1, p * p * channels)  # (B, n, P)                                      PATCH.1


def uncut(patches: jax.Array, p: int, shape: tuple[int, ...]) -> jax.Array:
    B, height, width, channels = shape
    squares = patches.reshape(B, height // p, width // p, p, p, channels).swapaxes(2, 3)
    return squares.reshape(shape)  # (B, height, width, channels)                                     PATCH.3
