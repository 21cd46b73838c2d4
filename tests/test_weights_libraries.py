"""The same weights in the libraries themselves give the same logits. Each test needs its library installed."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.errors import UserError
from model.weights.infer import infer_model
from model.weights.maps import from_names, to_names
from model.weights.namings import NAMINGS
from tests.oracle import normal
from tests.tiny_weights import CONFIG, IMAGES, MEAN, export, forward, imported, logits_of, make_run
from training.trained import load_trained


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(os.environ, "TRANSFORMERS_VERBOSITY", "error")
    return pytest.importorskip("transformers")


def their_logits(model: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).logits.numpy()


def test_transformers_loads_an_exported_folder(transformers: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    folder = export(run, tmp_path / "huggingface", "--names", "huggingface")
    model, report = transformers.ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_allclose(their_logits(model), logits_of(run), rtol=1e-5, atol=1e-5)
    assert model.config.id2label == {0: "ant", 1: "bee, wild", 2: "cat"}


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}])
def test_a_folder_that_transformers_wrote_is_imported(transformers: Any, options: Any, tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_attention_heads=4, num_hidden_layers=2, intermediate_size=12,
        id2label={0: "ant", 1: "bee", 2: "bee"}, **options,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    for parameter in model.parameters():
        parameter.data.normal_()
    model.save_pretrained(tmp_path / "theirs")
    run = imported(tmp_path / "theirs")
    np.testing.assert_allclose(logits_of(run), their_logits(model), rtol=1e-4, atol=1e-5)
    classes = load_trained(run).classes
    assert (classes.class_ids, classes.class_names) == (("0", "1", "2"), ("ant", "bee", "bee"))


def test_another_architecture_of_transformers_is_refused(transformers: Any, tmp_path: Path) -> None:
    folder = export(make_run(tmp_path / "run"), tmp_path / "huggingface", "--names", "huggingface")
    (folder / "model.vit.json").unlink()
    config = (folder / "config.json").read_text(encoding="utf-8")
    for old, new, message in (
        ('"vit"', '"deit"', "of another architecture: model_type is deit"),
        ("gelu_pytorch_tanh", "relu", "its activation is relu"),
        ('"num_attention_heads": 4', '"num_attention_heads": "4"', "num_attention_heads: expected a whole number"),
        ('"num_attention_heads": 4', '"num_attention_heads": 3', "d_model"),
        ('"2": "cat"', '"7": "cat"', "id2label"),
    ):
        (folder / "config.json").write_text(config.replace(old, new), encoding="utf-8")
        with pytest.raises(UserError, match=message):
            imported(folder)


def linen_vit(heads: int, pooling: str) -> Any:
    """A ViT of Flax's own modules, which give themselves the names that Google's files have."""
    nn = pytest.importorskip("flax.linen")

    class FeedForward(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            hidden = nn.gelu(nn.Dense(12)(x))
            return nn.Dense(x.shape[-1])(hidden)

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(heads)(y, y)
            return x + FeedForward(name="MlpBlock_0")(nn.LayerNorm()(x))

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for i in range(2):
                x = Block(name=f"encoderblock_{i}")(x)
            return nn.LayerNorm(name="encoder_norm")(x)

    class ViT(nn.Module):
        @nn.compact
        def __call__(self, images: Any) -> Any:
            x = nn.Conv(8, (4, 4), strides=(4, 4), padding="VALID", name="embedding")(images)
            x = x.reshape(len(images), -1, 8)
            x = x + self.param("pos_embedding", nn.initializers.normal(1), (1, 4, 8))
            if pooling == "class_token":
                token = self.param("cls", nn.initializers.normal(1), (1, 1, 8))
                x = jnp.concatenate([jnp.tile(token, [len(images), 1, 1]), x], axis=1)
            x = Encoder(name="Transformer")(x)
            return nn.Dense(3, name="head")(x[:, 0] if pooling == "class_token" else x.mean(axis=1))

    return ViT()


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_flax_computes_the_same(pooling: str) -> None:
    """Its own modules with their own names are read as big_vision's, and get ours."""
    module = linen_vit(4, pooling)
    ours = replace(CONFIG.model if pooling == "class_token" else MEAN.model, positions="learned")
    tree = module.init(jax.random.key(0), IMAGES)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    theirs = {
        jax.tree_util.keystr(path, simple=True, separator="/"): normal(i, *leaf.shape).astype(np.float32)
        for i, (path, leaf) in enumerate(leaves)
    }
    tree = jax.tree.unflatten(jax.tree.structure(tree), list(theirs.values()))
    expected = jax.jit(module.apply)(tree, IMAGES)
    naming = NAMINGS["big_vision"]
    model = infer_model(naming, theirs)
    assert model == ours
    params = from_names(naming, model, theirs).params
    np.testing.assert_allclose(forward(model, params), expected, rtol=1e-3, atol=1e-4)
    for name, array in to_names(naming, model, params).items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
