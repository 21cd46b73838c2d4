"""Parity of the masked autoencoder with PyTorch: `ViTMAEForPreTraining` of Hugging Face's transformers.

    python -m benchmarks.parity_mae [--seed N]

The opponent has random weights, which are brought here one by one; both are given the same images and the same hidden
patches. Compared in float64 are the loss, the predicted pixels, and the gradient of every parameter, by our backward
passes and by PyTorch's autograd. Needs PyTorch and transformers (5 or later): pip install -r requirements-bench.txt
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from benchmarks.parity import SPREAD, apart, arrays_of, require_packages
from common.argument_types import seed_number
from common.command import run_command
from common.errors import UserError
from model.layer import Params
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from model.vit import ViT
from model.weights.maps import flatten
from training.device import choose_device

BATCH = 5
MODEL = MAE(
    ViT(32, 8, 3, d_model=48, heads=4, layers=3, mlp_dim=80, num_classes=10, gelu="erf", eps=1e-12),
    0.75, decoder_dim=32, decoder_heads=2, decoder_layers=2, decoder_mlp_dim=56,
)  # fmt: skip
BOUND = 1e-10  # on each figure: rounding in float64


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity_mae", description="Parity with PyTorch.")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    require_packages()
    version = metadata.version("transformers")
    if int(version.partition(".")[0]) < 5:
        raise UserError(f"transformers {version}: before 5 its parameters have other names; install a newer one")
    choose_device("cpu")
    jax.config.update("jax_enable_x64", True)
    found = measure(args.seed)
    for name, figure in found.items():
        print(f"{name:<12}{figure:9.1e}")
    return 0 if max(found.values()) <= BOUND else 1


def measure(seed: int) -> dict[str, float]:
    """Largest relative differences; of the gradients that of the worst tensor, by its norm."""
    import torch

    theirs, rng = their_model(seed), np.random.default_rng(seed)
    images = rng.normal(size=(BATCH, 32, 32, 3))
    kept = MODEL.draw(jax.random.key(seed), BATCH)
    noise = np.ones((BATCH, MODEL.tokens - 1))  # theirs keeps the patches of the least noise
    np.put_along_axis(noise, np.asarray(kept)[:, 1:] - 1, 0.0, axis=1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    output = theirs(pixels, noise=torch.from_numpy(noise))
    output.loss.backward()

    params = brought(arrays_of(theirs.state_dict()))
    predicted, cache = jax.jit(MODEL.forward)(params, images, kept)
    loss, loss_cache = MaskedSquaredError().forward(
        predicted, MODEL.patches(jax.numpy.asarray(images)), MODEL.hidden(kept)
    )
    _, grads = jax.jit(MODEL.backward)(params, cache, MaskedSquaredError().backward(loss_cache))
    none = np.zeros(1)
    expected = flatten(
        brought({name: none if p.grad is None else p.grad.numpy() for name, p in theirs.named_parameters()})
    )
    gradients = [
        float(np.linalg.norm(ours - expected[name]) / np.linalg.norm(expected[name]))
        for name, ours in flatten(grads).items()
        if name != "position_embedding/positions"  # theirs are not trained
    ]
    return {
        "loss": apart(loss, output.loss.detach().numpy()),
        "pixels": apart(predicted, output.logits.detach().numpy()),
        "gradients": max(gradients),
    }


def their_model(seed: int) -> Any:
    """The same autoencoder in transformers, with random weights and our decoder's table of positions."""
    import torch
    import transformers

    torch.manual_seed(seed)
    vit = MODEL.vit
    config = transformers.ViTMAEConfig(
        hidden_size=vit.d_model, num_hidden_layers=vit.layers, num_attention_heads=vit.heads,
        intermediate_size=vit.mlp_dim, hidden_act="gelu", layer_norm_eps=vit.eps, image_size=32, patch_size=8,
        decoder_hidden_size=MODEL.decoder_dim, decoder_num_attention_heads=MODEL.decoder_heads,
        decoder_num_hidden_layers=MODEL.decoder_layers, decoder_intermediate_size=MODEL.decoder_mlp_dim,
        mask_ratio=MODEL.mask, norm_pix_loss=True, attn_implementation="sdpa",
    )  # fmt: skip
    theirs = transformers.ViTMAEForPreTraining(config).double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(SPREAD * torch.randn_like(parameter))
        theirs.decoder.decoder_pos_embed.copy_(torch.from_numpy(np.array(MODEL.positions))[None])
    return theirs


def brought(arrays: dict[str, np.ndarray]) -> Params:
    """Their arrays, or the gradients of these, in our tree."""

    def dense(name: str) -> Params:
        return {"W": arrays[f"{name}.weight"].T, "b": arrays[f"{name}.bias"]}

    def norm(name: str) -> Params:
        return {"gamma": arrays[f"{name}.weight"], "beta": arrays[f"{name}.bias"]}

    def block(name: str) -> Params:
        q, k, v = (dense(f"{name}.attention.{part}_proj") for part in "qkv")
        qkv = {key: np.concatenate([q[key], k[key], v[key]], axis=-1) for key in q}
        attention = {"qkv": qkv, "out": dense(f"{name}.attention.o_proj")}
        feed_forward = {"expand": dense(f"{name}.mlp.fc1"), "project": dense(f"{name}.mlp.fc2")}
        return {
            "attention": {"norm": norm(f"{name}.layernorm_before"), "attention": attention},
            "feed_forward": {"norm": norm(f"{name}.layernorm_after"), "feed_forward": feed_forward},
        }

    def blocks(name: str, count: int) -> Params:
        return {f"block_{i}": block(f"{name}.{i}") for i in range(count)}

    below, decoder = "vit.embeddings", "decoder"
    kernel = arrays[f"{below}.patch_embeddings.projection.weight"]  # (D, C, h, w)
    project = {
        "W": kernel.transpose(2, 3, 1, 0).reshape(-1, MODEL.vit.d_model),
        "b": arrays[f"{below}.patch_embeddings.projection.bias"],
    }
    tree = {
        "patch_embedding": {"project": project},
        "position_embedding": {
            "class_token": arrays[f"{below}.cls_token"].reshape(-1),
            "positions": np.squeeze(arrays[f"{below}.position_embeddings"]),
        },
        "encoder": blocks("vit.layers", MODEL.vit.layers),
        "norm": norm("vit.layernorm"),
        "decoder": {
            "embed": dense(f"{decoder}.decoder_embed"),
            "restore": {"mask_token": arrays[f"{decoder}.mask_token"].reshape(-1)},
            "encoder": blocks(f"{decoder}.decoder_layers", MODEL.decoder_layers),
            "norm": norm(f"{decoder}.decoder_norm"),
            "head": dense(f"{decoder}.decoder_pred"),
        },
    }
    return _like(jax.eval_shape(MODEL.init, jax.random.key(0)), tree)


def _like(expected: Any, found: Any) -> Any:
    """`found` with an empty branch wherever `expected` has one: layers without parameters."""
    if not isinstance(expected, dict):
        return found
    return {name: _like(branch, found.get(name, {})) for name, branch in expected.items()}


if __name__ == "__main__":
    sys.exit(run_command(main))
