"""The cases of the masked autoencoder: its layers, its loss, and all of it end to end."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from checks.draw import draw_params
from checks.functions import MAEFunction, MaskedErrorFunction, RestoreFunction
from checks.structure import classes_inside, qkv_regions
from checks.tiny import GRID, B, D, N, case_random, tiny_model
from model.layers.keep_tokens import KeepTokens
from model.layers.patch_embedding import height_width
from model.layers.restore_tokens import RestoreTokens
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from verify.case import Case, Tensors
from verify.layer import draw_input

KEPT, PATCHES, P = 4, GRID[0] * GRID[1], 7


def restore_cases(seed: int) -> Iterator[Case]:
    """Tokens that are put back in their places."""
    for name, train in (("restore_tokens", False), ("restore_tokens, given a key", True)):
        rng, layer = case_random(seed, name), RestoreTokens(N, D)
        key = jax.random.key(int(rng.integers(1 << 31)))
        tensors = {**draw_params(layer, rng), "x": draw_input((B, KEPT, D), rng)}
        kept = KeepTokens(1 - (KEPT - 1) / (N - 1), first=1).draw(key, B, N)
        constants: Tensors = {"kept": np.asarray(kept)} | ({"key": key} if train else {})
        sizes = {"B": B, "N": N, "D": D, "n'": KEPT, "missing": B * (N - KEPT)}
        yield Case(
            name, RestoreFunction(layer), tensors, constants, sizes, {}, "RestoreTokens", classes_inside(layer)
        )  # fmt: skip


def masked_loss_cases(seed: int) -> Iterator[Case]:
    """The error of hidden patches: with normalized targets and with pixels, with few hidden and with nearly all."""
    for name, loss, hidden in (
        ("loss of patches", MaskedSquaredError(), 5),
        ("loss of patches, of pixels", MaskedSquaredError(normalize_patches=False), 7),
        ("loss of patches, one hidden in each image", MaskedSquaredError(), 1),
    ):
        rng = case_random(seed, name)
        ranks = rng.random((B, PATCHES)).argsort(axis=1)
        constants: Tensors = {"patches": 3 * rng.normal(size=(B, PATCHES, P)) + 1, "hidden": ranks < hidden}
        sizes = {"B": B, "n": PATCHES, "h": hidden, "P": P}
        tensors = {"predicted": draw_input((B, PATCHES, P), rng)}
        yield Case(
            name, MaskedErrorFunction(loss), tensors, constants, sizes, {}, "MaskedSquaredError",
            frozenset({"MaskedSquaredError"}),
        )  # fmt: skip


def mae_cases(seed: int) -> Iterator[Case]:
    """The whole autoencoder with its loss."""
    yield mae_case("mae", tiny_mae(), MaskedSquaredError(), seed)
    rates: dict[str, Any] = {"dropout": 0.1, "embedding_dropout": 0.2, "attention_dropout": 0.15, "drop_path": 0.3}
    other = tiny_mae(pooling="mean", class_token=False, positions="sinusoidal_2d", **rates)
    yield mae_case("mae, no class token, training", other, MaskedSquaredError(False), seed, train=True)


def tiny_mae(**options: Any) -> MAE:
    """An autoencoder small enough for every coordinate to be checked; `options` are those of the ViT."""
    return MAE(
        tiny_model(**{"layers": 1} | options), 0.5, decoder_dim=12, decoder_heads=3, decoder_layers=1, decoder_mlp_dim=5
    )


def mae_case(
    name: str, model: MAE, loss: MaskedSquaredError, seed: int, *, train: bool = False, batch: int = B
) -> Case:
    """An autoencoder at random parameters, images and hidden patches."""
    rng = case_random(seed, name)
    tensors: Tensors = draw_params(model, rng)
    images = rng.normal(size=(batch, *height_width(model.vit.image_size), model.vit.channels))
    tensors["images"] = images
    kept = np.asarray(model.draw(jax.random.key(int(rng.integers(1 << 31))), batch))
    constants: Tensors = {"kept": kept, "patches": np.asarray(model.patches(jnp.asarray(images)))}
    if train:
        constants["key"] = jax.random.key(int(rng.integers(1 << 31)))
    sizes = {"B": batch, "N": model.tokens, "D": model.vit.d_model, "E": model.decoder_dim, "H": model.vit.heads}
    return Case(
        name, MAEFunction(model, loss), tensors, constants, sizes, qkv_regions(tensors), "MAE",
        classes_inside(model) | {"MaskedSquaredError"},
    )  # fmt: skip
