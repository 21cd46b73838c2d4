"""Tokens and features beside the logits, the weights of attention, and rollout, against definitions in plain NumPy."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention_maps import attention_weights, on_patches, rollout
from model.vit import ViT
from tests.oracle import normal, random_params
from tests.test_vit import OPTIONS, SMALL

IMAGES = (7, 2, 6, 8, 3)  # seed and shape
compiled_weights = jax.jit(attention_weights, static_argnums=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS[:4] + OPTIONS[-7:-5] + OPTIONS[-3:], ids=str)
def test_tokens_and_features_come_with_the_logits_of_forward(options: dict[str, Any]) -> None:
    vit = ViT(**{**SMALL, **options})
    params, images = random_params(vit), normal(*IMAGES)
    expected, _ = jax.jit(vit.forward)(params, images)
    (pooled, from_features), (tokens, logits) = (
        jax.jit(vit.features)(params, images),
        jax.jit(vit.tokens)(params, images),
    )
    np.testing.assert_allclose(from_features, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)
    assert tokens.shape == (2, vit.position_embedding.tokens, 12)
    by_hand = tokens[:, 0] if vit.pooling == "class_token" else tokens[:, int(vit.class_token) :].mean(axis=1)
    np.testing.assert_allclose(by_hand, pooled, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_tokens_beside_the_class_token_are_computed_and_not_made_up() -> None:
    """They are those of the same model with mean pooling, whose blocks compute every token anyway."""
    vit = ViT(**SMALL)
    params, images = random_params(vit), normal(*IMAGES)
    other = ViT(**{**SMALL, "pooling": "mean"})
    tokens, _ = jax.jit(vit.tokens)(params, images)
    np.testing.assert_allclose(tokens, jax.jit(other.tokens)(params, images)[0], rtol=1e-12)
    assert float(jnp.abs(tokens[:, 1:] - tokens[:, :1]).min()) > 0


def test_features_are_computed_as_forward_does_bit_for_bit() -> None:
    vit = ViT(**{**SMALL, "layers": 1})
    params, images = random_params(vit), normal(*IMAGES)
    np.testing.assert_array_equal(vit.features(params, images)[1], vit.forward(params, images)[0])


def test_tokens_in_half_precision() -> None:
    vit = ViT(**SMALL, dtype="bfloat16")
    params, images = random_params(vit), normal(*IMAGES).astype("float32")
    tokens, logits = vit.tokens(params, images)
    assert (tokens.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(logits, vit.forward(params, images)[0], rtol=0.1, atol=0.1)
    assert all(weights.dtype == jnp.bfloat16 for weights in compiled_weights(vit, params, images))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "mean", "class_token": False}, {"pooling": "mean", "pad_to_multiple_of": 4},
     {"learned_temperature": True, "masked_diagonal": True},
     {"norm": "post", "qkv_bias": False}],
    ids=str,
)  # fmt: skip
def test_weights_are_the_softmax_of_queries_and_keys(options: dict[str, Any]) -> None:
    """Of the first block, from its parameters, in NumPy."""
    vit = ViT(**{**SMALL, **options})
    params, images = random_params(vit), normal(*IMAGES)
    first, last = compiled_weights(vit, params, images)
    N, H, D = vit.position_embedding.tokens, 3, 12
    x = np.asarray(vit.patch_embedding.forward(params["patch_embedding"], images)[0])
    x = np.asarray(vit.position_embedding.forward(params["position_embedding"], jnp.asarray(x))[0])
    branch = params["encoder"]["block_0"]["attention"]
    branch = branch.get("residual", branch)
    if vit.norm == "pre":
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + vit.eps)
        x = x * np.asarray(branch["norm"]["gamma"]) + np.asarray(branch["norm"]["beta"])
    attention = branch["attention"]
    qkv = x @ np.asarray(attention["qkv"]["W"]) + np.asarray(attention["qkv"].get("b", 0))
    q, k = (part.reshape(2, N, H, D // H).transpose(0, 2, 1, 3) for part in (qkv[..., :D], qkv[..., D : 2 * D]))
    factor = np.asarray(attention["scale"])[:, None, None] if "scale" in attention else 1 / np.sqrt(D // H)
    scores = factor * (q @ k.swapaxes(-1, -2))
    if vit.masked_diagonal:
        scores[..., np.arange(N), np.arange(N)] = -np.inf
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(first, expected, rtol=1e-9, atol=1e-12)
    assert last.shape == (2, H, 1 if vit.pooling == "class_token" else N, N)
    np.testing.assert_allclose(last.sum(axis=-1), 1, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_single_row_of_the_last_block_is_that_of_all_rows() -> None:
    vit, every = ViT(**SMALL), ViT(**{**SMALL, "pooling": "mean"})
    params, images = random_params(vit), normal(*IMAGES)
    one, all_rows = compiled_weights(vit, params, images)[-1], compiled_weights(every, params, images)[-1]
    np.testing.assert_allclose(one, all_rows[:, :, :1], rtol=1e-12)
    rolled = [rollout(compiled_weights(model, params, images)) for model in (vit, every)]
    np.testing.assert_allclose(rolled[0], rolled[1][:, :1], rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_tokens_that_only_pad_the_attention_have_no_weights(pooling: str) -> None:
    vit = ViT(**{**SMALL, "pooling": pooling})
    params, images = random_params(vit), normal(*IMAGES)
    padded = compiled_weights(replace(vit, pad_to_multiple_of=8), params, images)  # 16 tokens for 9
    for found, expected in zip(padded, compiled_weights(vit, params, images), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("residual", [True, False])
def test_rollout_by_hand(residual: bool) -> None:
    """Two blocks, one image, two heads, two tokens: the products of the matrices, written out."""
    first = np.array([[[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]])
    second = np.array([[[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]])
    found = rollout([jnp.asarray(first), jnp.asarray(second)], residual)
    # Means over the heads: ((3/4, 1/4), (1/2, 1/2)) and ((0, 1), (1, 0)).
    mixed = [(7 / 8 + 1 / 4) / 2, (1 / 8 + 3 / 4) / 2]
    expected = [mixed, mixed] if residual else [[1 / 2, 1 / 2], [3 / 4, 1 / 4]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.parametrize("options", [{"pooling": "mean"}, {"residual": False}], ids=str)
def test_rollout_distributes_one_over_the_tokens(options: dict[str, Any]) -> None:
    vit = ViT(**{**SMALL, **options})
    weights = compiled_weights(vit, random_params(vit), normal(*IMAGES).astype("float32"))
    found = rollout(weights, vit.residual)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert on_patches(vit, found).shape == (2, 2, 4)
    assert on_patches(vit, weights[-1]).shape == (2, 3, 2, 4)


def test_on_patches_takes_what_is_pooled() -> None:
    """Token 0 is the class token; the patches are in row-major order."""
    attention = jnp.arange(81.0).reshape(1, 9, 9)
    of_class = on_patches(ViT(**SMALL), attention)
    np.testing.assert_array_equal(of_class[0], np.arange(1, 9).reshape(2, 4))
    mean = on_patches(ViT(**{**SMALL, "pooling": "mean"}), attention)
    np.testing.assert_array_equal(mean[0], 40.5 + np.arange(1, 9).reshape(2, 4))


def test_a_model_without_blocks_attends_to_nothing() -> None:
    vit = ViT(**{**SMALL, "layers": 0, "pooling": "mean", "class_token": False})
    assert attention_weights(vit, random_params(vit), normal(*IMAGES)) == []
    with pytest.raises(ValueError, match="rollout needs the weights of one block or more"):
        rollout([])
