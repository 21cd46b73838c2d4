"""The cases of the default check: every layer with every option, at shapes in which (almost) all sizes differ.

Where two sizes are equal, a transposed axis or a sum over the wrong one can go unnoticed. Layers come before what is
composed of them, so that the first case that fails is the one to look at.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from checks.draw import draw_params, layer_case
from checks.functions import AttentionFunction, LossFunction, ModelFunction, OnePageFunction
from checks.mae_cases import mae_cases, masked_loss_cases, restore_cases
from checks.structure import classes_inside, qkv_regions
from checks.tiny import (
    CHANNELS,
    DROP,
    GRID,
    IMAGE,
    PATCH,
    SMALL_D,
    SMALL_M,
    SMALL_TOKENS,
    TOKENS,
    B,
    C,
    D,
    H,
    K,
    M,
    N,
    case_random,
    tiny_block,
    tiny_model,
)
from model.combinators import Composite, Residual, Sequential
from model.encoder import Encoder
from model.layer import Layer
from model.layers.attention import ScaledDotProductAttention
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dense import Dense
from model.layers.dropout import Dropout, DropPath
from model.layers.feed_forward import FeedForward
from model.layers.gelu import GELU
from model.layers.keep_tokens import KeepTokens
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import PatchEmbedding, height_width
from model.layers.pooling import ClassTokenPooling, MeanPooling
from model.layers.position_embedding import PositionEmbedding
from model.layers.shifted_patches import VIEWS, ShiftedPatches
from model.layers.softmax import Softmax
from model.loss import CrossEntropy
from model.vit import ViT
from verify.case import Case, Tensors
from verify.layer import draw_input

Row = tuple[str, Layer, Any, bool, dict[str, float]]


def all_cases(seed: int) -> list[Case]:
    """Every case, at points drawn from the seed."""
    return [*layer_cases(seed), *loss_cases(seed), *model_cases(seed), *mae_cases(seed)]


def mutant_cases(seed: int) -> list[Case]:
    """The cases on which planted mistakes are tried: each layer, the losses, the model on one page, an autoencoder.

    Blocks that lack a part are left out, as they consist of the same layers as those that have it.
    """
    lacking = ("encoder block, no ", "encoder block, neither")
    layers = [case for case in layer_cases(seed) if not case.name.startswith(lacking)]
    return [*layers, *loss_cases(seed), one_page_case(seed), next(mae_cases(seed))]


def layer_cases(seed: int) -> list[Case]:
    """The layers one by one, then what is composed of them."""
    attention = partial(MultiHeadAttention, D, H)
    embed, place = partial(PatchEmbedding, IMAGE, PATCH, CHANNELS, D), partial(PositionEmbedding, GRID, D)
    images, patches = (B, *IMAGE, CHANNELS), (B, GRID[0] * GRID[1], D)
    rates: dict[str, Any] = {"dropout": DROP, "attention_dropout": 0.2, "drop_path": 0.25}
    last = tiny_block(ClassTokenAttention, tokens=1)
    bare = tiny_block(ClassTokenAttention, tokens=1, norm_first=False, residual=False, dropout=DROP)
    keep = {"(1 - rate)": 1 - DROP}
    local: dict[str, Any] = {"learned_temperature": True, "masked_diagonal": True}
    heads: dict[str, float] = {"H": H, "K": K}
    small: dict[str, float] = {"H": H, "K": SMALL_D // H, "M": SMALL_M}
    inner: list[Row] = [
        # name, layer, input or its shape, training?, sizes other than B, N, D
        ("dense", Dense(D, M), TOKENS, False, {"M": M}),
        ("dense, given a key", Dense(D, M), TOKENS, True, {"M": M}),
        ("dense, one vector an image", Dense(D, M), (B, D), False, {"D": D, "M": M}),
        ("dense, no bias, one vector an image", Dense(D, C, bias=False), (B, D), False, {"D": D, "C": C}),
        ("dense, images", Dense(CHANNELS, M), images, False, {"M": M}),
        ("layer_norm", LayerNorm(D), TOKENS, False, {}),
        ("layer_norm, given a key", LayerNorm(D), TOKENS, True, {}),
        ("layer_norm, one vector an image, large eps", LayerNorm(D, eps=0.3), (B, D), False, {"D": D}),
        ("gelu, tanh", GELU(), _wide(seed, TOKENS), False, {}),
        ("gelu, erf", GELU("erf"), _wide(seed, TOKENS), False, {}),
        ("gelu, tanh, far out", GELU(), _wide(seed, (6, 7), 40), True, {}),
        ("gelu, erf, far out", GELU("erf"), _wide(seed, (6, 7), 40), True, {}),
        ("softmax", Softmax(), (B, H, 7, N), False, {"N": N}),
        ("softmax, given a key", Softmax(), (B, H, 7, N), True, {"N": N}),
        ("dropout", Dropout(DROP), TOKENS, True, keep),
        ("dropout, evaluation", Dropout(DROP), TOKENS, False, keep),
        ("drop_path", DropPath(DROP), (7, N, D), True, keep),
        ("keep_tokens", KeepTokens(0.5, first=1), TOKENS, True, {}),
        ("keep_tokens, no class token", KeepTokens(0.3), TOKENS, True, {}),
        ("keep_tokens, evaluation", KeepTokens(0.5, first=1), TOKENS, False, {}),
    ]  # fmt: skip
    composed: list[Row] = [
        ("attention", attention(), TOKENS, False, heads),
        ("attention, dropout", attention(dropout=DROP), TOKENS, True, keep | heads),
        ("attention, no bias, one head", MultiHeadAttention(D, 1, qkv_bias=False), TOKENS, False, {"K": D}),
        ("class token attention", ClassTokenAttention(D, H), TOKENS, False, heads),
        ("class token attention, dropout, no bias", ClassTokenAttention(D, H, DROP, False), TOKENS, True, keep | heads),
        ("attention, learned temperature", attention(learned_temperature=True), TOKENS, False, heads),
        ("attention, masked diagonal", attention(masked_diagonal=True), TOKENS, False, heads),
        ("attention, local, dropout", attention(dropout=DROP, qkv_bias=False, **local), TOKENS, True, keep | heads),
        ("class token attention, local", ClassTokenAttention(D, H, **local), TOKENS, False, heads),
        ("layer_scale", LayerScale(D), TOKENS, False, {}),
        ("layer_scale, given a key, one vector an image", LayerScale(D), (B, D), True, {"D": D}),
        ("class_token pooling", ClassTokenPooling(N), TOKENS, False, {}),
        ("class_token pooling, given a key", ClassTokenPooling(N), TOKENS, True, {}),
        ("mean pooling, given a key", MeanPooling(), TOKENS, True, {"(N - 1)": N - 1}),
        ("mean pooling", MeanPooling(), TOKENS, False, {"(N - 1)": N - 1}),
        ("mean pooling, no class token", MeanPooling(class_token=False), patches, False, {}),
        ("positions, learned", place(), patches, False, {}),
        ("positions, learned, given a key", place(), patches, True, {}),
        ("positions, learned, no class token", place(class_token=False), patches, False, {}),
        ("positions, sinusoidal 1-D", place(positions="sinusoidal_1d"), patches, False, {}),
        ("positions, sinusoidal 2-D, no class token", place(False, "sinusoidal_2d"), patches, False, {}),
        ("positions, none", place(positions="none"), patches, False, {}),
        ("patch_embedding", embed(), images, False, {}),
        ("patch_embedding, given a key", embed(), images, True, {}),
        ("patch_embedding, norms", embed(norm_before=True, norm_after=True), images, False, {}),
        ("shifted_patches", ShiftedPatches((2, 5)), images, False, {"views": VIEWS}),
        ("shifted_patches, given a key", ShiftedPatches((4, 3)), images, True, {"views": VIEWS}),
        ("sequential", Sequential((("a", Dense(D, M)), ("gelu", GELU()), ("b", Dense(M, C)))), TOKENS, False, {"M": M}),
        ("residual", Residual(Dense(D, D)), TOKENS, False, {}),
        ("residual, class token", Residual(ClassTokenAttention(D, H), tokens=1), TOKENS, False, heads),
        ("composite", _Pair(), TOKENS, True, keep),
        ("feed_forward", FeedForward(D, M), TOKENS, False, {"M": M}),
        ("feed_forward, erf, dropout", FeedForward(D, M, "erf", DROP), TOKENS, True, {"M": M} | keep),
        ("encoder block, pre-norm", tiny_block(), SMALL_TOKENS, False, small),
        ("encoder block, post-norm, training", tiny_block(norm_first=False, **rates), SMALL_TOKENS, True, small),
        ("encoder block, class token", last, SMALL_TOKENS, False, small),
        ("encoder block, post-norm, class token", replace(last, norm_first=False), SMALL_TOKENS, False, small),
        ("encoder block, layer scale", tiny_block(layer_scale=LayerScale(SMALL_D)), SMALL_TOKENS, False, small),
        ("encoder block, no residual", tiny_block(residual=False), SMALL_TOKENS, False, small),
        ("encoder block, no residual, post-norm, dropout", bare, SMALL_TOKENS, True, small),
        ("encoder block, no norm", tiny_block(norm=None), SMALL_TOKENS, False, small),
        ("encoder block, no norm, post-norm", tiny_block(norm=None, norm_first=False), SMALL_TOKENS, False, small),
        ("encoder block, neither, class token", replace(bare, norm=None), SMALL_TOKENS, True, small),
        ("encoder, drop path", Encoder(tiny_block(drop_path=0.25), 2), SMALL_TOKENS, True, small),
        ("encoder, constant drop path", Encoder(tiny_block(drop_path=0.25), 2, "constant"), SMALL_TOKENS, True, small),
    ]  # fmt: skip
    inner_cases, composed_cases = ([_layer_case(seed, *row) for row in rows] for rows in (inner, composed))
    return [*inner_cases, *restore_cases(seed), *attention_cases(seed), *composed_cases]


class _Pair(Composite):
    """A composition of compositions, such as a reader may build."""

    @property
    def body(self) -> Layer:
        inner = Sequential((("dense", Dense(D, D)), ("dropout", Dropout(DROP))))
        return Sequential((("norm", LayerNorm(D)), ("skip", Residual(inner)), ("twice", Residual(Residual(inner)))))

    def __hash__(self) -> int:
        return hash(_Pair)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair)


def attention_cases(seed: int) -> Iterator[Case]:
    """Attention without its projections: of all tokens, and of the class token alone."""
    for name, attention, queries, learned in (
        ("attention of q, k, v", ScaledDotProductAttention(), N, False),
        ("attention of q, k, v, dropout", ScaledDotProductAttention(DROP), N, False),
        ("attention of q, k, v, local", ScaledDotProductAttention(DROP, masked_diagonal=True), N, True),
        ("attention of q, k, v, one query, local", ScaledDotProductAttention(masked_diagonal=True), 1, True),
        ("attention of q, k, v, dropout, padded", ScaledDotProductAttention(DROP, pad_to_multiple_of=4), N, True),
    ):
        rng = case_random(seed, name)
        tensors = {"q": draw_input((B, H, queries, K), rng), **{n: draw_input((B, H, N, K), rng) for n in ("k", "v")}}
        if learned:
            tensors["scale"] = 1 + 0.3 * rng.normal(size=H)
        constants = {"key": jax.random.key(int(rng.integers(1 << 31)))} if attention.dropout else {}
        sizes = {"B": B, "N": N, "H": H, "K": K, "(1 - rate)": 1 - DROP}
        yield Case(
            name, AttentionFunction(attention), tensors, constants, sizes, {}, "ScaledDotProductAttention",
            classes_inside(attention),
        )  # fmt: skip


def loss_cases(seed: int) -> Iterator[Case]:
    """The losses: with either kind of label, with and without smoothing, and with saturated softmax; of patches."""
    yield from masked_loss_cases(seed)
    for name, smoothing, soft, size in (
        ("loss", 0.0, False, 1.0),
        ("loss, smoothing", 0.1, False, 1.0),
        ("loss, soft labels", 0.0, True, 1.0),
        ("loss, soft labels, smoothing", 0.1, True, 1.0),
        ("loss, large logits", 0.1, False, 30.0),
        ("loss, logits beyond the range of exp", 0.1, False, 3000.0),
    ):
        rng = case_random(seed, name)
        # Soft labels that do not sum to 1 show whether the gradient forgets the sum of the targets.
        labels = rng.uniform(size=(B, C)) if soft else rng.integers(C, size=B)
        loss = CrossEntropy(smoothing)
        logits = size * draw_input((B, C), rng)
        yield Case(
            name, LossFunction(loss), {"logits": logits}, {"labels": labels}, {"B": B, "C": C}, {}, "CrossEntropy",
            frozenset({"CrossEntropy"}),
        )  # fmt: skip


def one_page_case(seed: int) -> Case:
    """The model on one page, with square patches, all tokens in every block."""
    model = replace(tiny_model(), patch_size=2)
    case = model_case("vit, on one page", model, CrossEntropy(), seed)
    return replace(case, function=OnePageFunction(model), target="vit_backward", contains=frozenset({"vit_backward"}))


def model_cases(seed: int) -> Iterator[Case]:
    """The whole model with its loss, end to end, in variants that together use every option."""
    rates: dict[str, Any] = {"dropout": 0.1, "embedding_dropout": 0.2, "attention_dropout": 0.15, "drop_path": 0.3}
    rates |= {"patch_dropout": 0.4}
    yield model_case("vit", tiny_model(), CrossEntropy(), seed)
    yield model_case("vit, training", tiny_model(**rates, head_weights="glorot"), CrossEntropy(0.1), seed, train=True)
    other = tiny_model(
        norm="post", final_norm=False, pooling="mean", class_token=False, positions="sinusoidal_2d", gelu="erf",
        qkv_bias=False, patch_norm_before=True, patch_norm_after=True,
    )  # fmt: skip
    yield model_case("vit, post-norm, mean pooling, 2-D sinusoids, erf", other, CrossEntropy(), seed, soft=True)
    local = tiny_model(
        shifted_patches=True, patch_norm_before=True, learned_temperature=True, masked_diagonal=True, layer_scale=0.1
    )  # fmt: skip
    yield model_case("vit, shifted patches, local attention, layer scale", local, CrossEntropy(), seed)
    yield model_case(
        "vit, no residual, no norm in the blocks", tiny_model(residual=False, norm="none"), CrossEntropy(), seed
    )
    without = tiny_model(layers=0, pooling="mean", class_token=False, positions="none")
    yield model_case("vit, no blocks", without, CrossEntropy(), seed)
    yield one_page_case(seed)


def model_case(
    name: str, model: ViT, loss: CrossEntropy, seed: int, *, train: bool = False, soft: bool = False, batch: int = B
) -> Case:
    """A model at random parameters, images and labels."""
    rng = case_random(seed, name)
    height, width = height_width(model.image_size)
    tensors: Tensors = draw_params(model, rng)
    tensors["images"] = rng.normal(size=(batch, height, width, model.channels))
    C = model.num_classes
    labels = rng.dirichlet(np.ones(C), size=batch) if soft else rng.integers(C, size=batch)
    constants: Tensors = {"labels": labels}
    if train:
        constants["key"] = jax.random.key(int(rng.integers(1 << 31)))
    function = ModelFunction(model, loss)
    return Case(
        name, function, tensors, constants, model_sizes(model, batch), qkv_regions(tensors), "ViT",
        classes_inside(model) | {"CrossEntropy"},
    )  # fmt: skip


def model_sizes(model: ViT, batch: int) -> dict[str, float]:
    """The sizes of a model, by their letters in the legend of shapes."""
    return {
        "B": batch, "N": model.position_embedding.tokens, "D": model.d_model, "H": model.heads,
        "K": model.d_model // model.heads, "M": model.mlp_dim, "C": model.num_classes,
    }  # fmt: skip


def _wide(seed: int, shape: tuple[int, ...], far: float = 8.0) -> np.ndarray:
    """Inputs uniform in [-far, far], so that a slope that is wrong far out is seen."""
    return case_random(seed, "wide").uniform(-far, far, size=shape)


def _layer_case(seed: int, name: str, layer: Layer, x: Any, train: bool, sizes: dict[str, float]) -> Case:
    target = "Composite" if isinstance(layer, _Pair) else ""
    return layer_case(name, layer, x, case_random(seed, name), train=train, sizes=sizes, target=target)
