"""The same weights in the libraries themselves give the same logits. Each test needs its library installed."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.errors import UserError
from model.vit import ViT
from model.weights.infer import infer_model
from model.weights.maps import from_names, to_names
from model.weights.namings import NAMINGS, Naming
from tests.oracle import normal
from tests.tiny_weights import (
    CONFIG,
    ENCODER,
    IMAGES,
    MEAN,
    encoder_tokens,
    export,
    forward,
    imported,
    logits_of,
    make_run,
)
from training.config import Config
from training.trained import load_trained
from training.weights.importing import read_weights


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
        output = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        return getattr(output, "logits", output).numpy()


def randomized(model: Any) -> Any:
    """The same model of PyTorch, with every parameter drawn anew: zeros would agree with anything."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_transformers_loads_an_exported_folder(transformers: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    folder = export(run, tmp_path / "huggingface", "--names", "huggingface")
    model, report = transformers.ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_allclose(their_logits(model), logits_of(run), rtol=1e-5, atol=1e-5)
    assert model.config.id2label == {0: "ant", 1: "bee, wild", 2: "cat"}


def test_transformers_loads_an_exported_encoder_that_was_trained_without_labels(
    transformers: Any, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", ENCODER)
    folder = export(run, tmp_path / "huggingface", "--names", "huggingface")
    model, report = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    import torch

    with torch.no_grad():
        theirs = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).last_hidden_state.numpy()
    np.testing.assert_allclose(theirs, encoder_tokens(run), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}])
def test_a_folder_that_transformers_wrote_is_imported(transformers: Any, options: Any, tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_attention_heads=4, num_hidden_layers=2, intermediate_size=12,
        id2label={0: "ant", 1: "bee", 2: "bee"}, **options,
    )  # fmt: skip
    model = randomized(transformers.ViTForImageClassification(config))
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


def test_transformers_models_without_a_head_and_in_several_files(transformers: Any, tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_attention_heads=4, num_hidden_layers=2, intermediate_size=12
    )
    model = randomized(transformers.ViTModel(config))
    model.save_pretrained(tmp_path / "theirs", max_shard_size="2KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    found = read_weights(tmp_path / "theirs", need_head=False)
    assert not found.has_head
    ours, _ = found.config.model.tokens(found.found.params, jnp.asarray(IMAGES))
    import torch

    with torch.no_grad():
        theirs = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).last_hidden_state
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


TIMM = {
    "class token": {},
    "tanh and another eps": {"act_layer": "gelu_tanh", "eps": 1e-3},
    "mean": {"global_pool": "avg", "fc_norm": False, "class_token": False},
    "mean beside a class token": {"global_pool": "avg", "fc_norm": False},
    "layer scale": {"init_values": 0.1},
    "no biases of q, k, v": {"qkv_bias": False},
    "no position of the class token": {"no_embed_class": True},
    "norm of patches": {"patch_norm": True},
    "no final norm": {"final_norm": False},
}


def timm_model(**options: Any) -> Any:
    """A tiny `VisionTransformer` of timm, randomized."""
    torch, pytest_timm = pytest.importorskip("torch"), pytest.importorskip("timm.models.vision_transformer")
    eps, patch_norm = options.pop("eps", 1e-6), options.pop("patch_norm", False)
    norm = partial(torch.nn.LayerNorm, eps=eps)
    if patch_norm:
        options["embed_layer"] = partial(pytest_timm.PatchEmbed, norm_layer=norm)
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 4, "mlp_ratio": 1.5}
    return randomized(pytest_timm.VisionTransformer(num_classes=3, norm_layer=norm, **sizes, **options))


@pytest.mark.parametrize("kind", TIMM)
def test_timm_computes_the_same(kind: str) -> None:
    theirs = timm_model(**TIMM[kind])
    arrays = {name: array.numpy() for name, array in theirs.state_dict().items()}
    naming = NAMINGS["timm"]
    known = {"heads": 4} | ({"gelu": "tanh", "eps": 1e-3} if "eps" in TIMM[kind] else {})
    known |= {"pooling": "mean"} if "mean" in kind else {}
    model, params = infer_and_map(naming, arrays, known)
    np.testing.assert_allclose(forward(model, params), their_logits(theirs), rtol=1e-5, atol=1e-5)
    back = timm_model(**TIMM[kind])
    ours = to_names(naming, model, params)
    if kind == "no position of the class token":  # timm adds it to the token
        assert ours["pos_embed"].shape == (1, 5, 8)
        return
    load(back, ours)
    np.testing.assert_allclose(their_logits(back), forward(model, params), rtol=1e-5, atol=1e-5)


def infer_and_map(naming: Naming, arrays: dict[str, np.ndarray], known: dict[str, Any]) -> tuple[ViT, Any]:
    model = infer_model(naming, arrays, known)
    return model, from_names(naming, model, arrays).params


def load(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put arrays in a model of PyTorch. Each must have its place, and each place its array."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, strict=True)


@pytest.mark.parametrize(("names", "config", "options"), [
    ("google", CONFIG, {}),
    ("google", MEAN, {"global_pool": "avg", "fc_norm": False, "class_token": False}),
    ("big_vision", CONFIG, {"no_embed_class": True}),
    ("big_vision", MEAN, {"global_pool": "avg", "fc_norm": False, "class_token": False}),
])  # fmt: skip
def test_timm_reads_what_is_exported_under_the_names_of_google(
    names: str, config: Config, options: dict[str, Any], tmp_path: Path
) -> None:
    """It has a reader of the published files, with their names, shapes and axes."""
    theirs = timm_model(act_layer="gelu_tanh", **options)
    run = make_run(tmp_path / "run", config)
    theirs.load_pretrained(str(export(run, tmp_path / "x.npz", "--names", names)))
    np.testing.assert_allclose(their_logits(theirs), logits_of(run), rtol=1e-5, atol=1e-5)


def torchvision_model() -> Any:
    """torchvision's `vit_b_16`, of tiny sizes, randomized."""
    pytest.importorskip("torch")
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    return randomized(vision.VisionTransformer(8, 4, 2, 4, 8, 12, num_classes=3))


def test_torchvision_computes_the_same() -> None:
    theirs, naming = torchvision_model(), NAMINGS["torchvision"]
    arrays = {name: array.numpy() for name, array in theirs.state_dict().items()}
    model, params = infer_and_map(naming, arrays, {"heads": 4})
    assert model == replace(CONFIG.model, gelu="erf")
    expected = their_logits(theirs)
    np.testing.assert_allclose(forward(model, params), expected, rtol=1e-5, atol=1e-5)
    back = torchvision_model()
    load(back, to_names(naming, model, params))
    np.testing.assert_array_equal(their_logits(back), expected)


@pytest.mark.parametrize("names", ["timm", "torchvision"])
def test_an_exported_file_is_loaded_by_the_library(names: str, tmp_path: Path) -> None:
    """As docs/weights.md shows it."""
    theirs = timm_model(act_layer="gelu_tanh") if names == "timm" else torchvision_model()
    safetensors = pytest.importorskip("safetensors.torch")
    config = CONFIG if names == "timm" else replace(CONFIG, model=replace(CONFIG.model, gelu="erf"))
    run = make_run(tmp_path / "run", config)
    theirs.load_state_dict(safetensors.load_file(export(run, tmp_path / "x.safetensors", "--names", names)))
    np.testing.assert_allclose(their_logits(theirs), logits_of(run), rtol=1e-5, atol=1e-5)


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
