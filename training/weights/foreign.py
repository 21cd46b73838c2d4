"""What other libraries write beside their weights: `config.json`, and `preprocessor_config.json` of transformers.

Of a file without them, the library's own defaults are assumed (model/weights/namings.py).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.documents import fit, read_json
from common.errors import UserError
from model.layers.patch_embedding import height_width
from model.vit import ViT
from model.weights.namings import Naming
from training.classes import Classes

ACTIVATIONS = {
    "gelu": "erf", "gelu_python": "erf",
    "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh", "gelu_fast": "tanh", "gelu_tanh": "tanh",
}  # fmt: skip
OPTIONS: dict[str, tuple[str, Any]] = {  # of transformers -> ours, and the type
    "num_attention_heads": ("heads", int),
    "layer_norm_eps": ("eps", float),
    "hidden_dropout_prob": ("dropout", float),
    "attention_probs_dropout_prob": ("attention_dropout", float),
    "image_size": ("image_size", int | tuple[int, int]),
}
WRITTEN = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}


@dataclass(frozen=True)
class Told:
    """What is known of a model beside its arrays. `None` and missing options: nothing is."""

    model: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None  # of the classes
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sources: tuple[Path, ...] = ()  # the files that say so


def read_told(weights: Path, naming: Naming) -> Told:
    """What the files beside `weights` say, if they belong to this naming.

    Raises:
        UserError: a file is damaged, or of a model that is no ViT as here.
    """
    readers: dict[str, Callable[[Path, dict[str, Any]], Told]] = {"huggingface": _huggingface, "timm": _timm}
    path = weights.with_name("config.json")
    if naming.name not in readers or not path.exists():
        return Told()
    try:
        return readers[naming.name](path, read_json(path, dict[str, Any]))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation is {name}, and this project has gelu alone")
    return ACTIVATIONS[name]


def _huggingface(path: Path, config: dict[str, Any]) -> Told:
    kind = config.get("model_type", "vit")
    if kind != "vit":
        raise ValueError(f"of another architecture: model_type is {kind}, and expected is vit")
    model = {name: fit(kind, config[key], key) for key, (name, kind) in OPTIONS.items() if key in config}
    if "hidden_act" in config:
        model["gelu"] = _activation(fit(str, config["hidden_act"], "hidden_act"))
    labels: dict[str, str] = fit(dict[str, str], config.get("id2label", {}), "id2label")
    names = tuple(labels.get(str(i), "") for i in range(len(labels)))
    if not all(names):
        raise ValueError(f"id2label: expected names for 0 to {len(labels) - 1}")
    mean, std, sources = None, None, [path]
    processor = path.with_name("preprocessor_config.json")
    if processor.exists():
        prepared: dict[str, Any] = read_json(processor, dict[str, Any])
        try:
            mean, std = (_channels(prepared, key) for key in ("image_mean", "image_std"))
        except ValueError as error:
            raise UserError(f"{processor}: {error}") from None
        sources.append(processor)
    return Told(model, names or None, mean, std, tuple(sources))


def _timm(path: Path, config: dict[str, Any]) -> Told:
    trained: dict[str, Any] = fit(dict[str, Any], config.get("pretrained_cfg", {}), "pretrained_cfg")
    arguments: dict[str, Any] = fit(dict[str, Any], config.get("model_args", {}), "model_args")
    model: dict[str, Any] = {}
    if "quickgelu" in str(config.get("architecture", "")):
        raise ValueError(f"its activation is quickgelu ({config['architecture']}), and this project has gelu alone")
    if "num_heads" in arguments:
        model["heads"] = fit(int, arguments["num_heads"], "model_args: num_heads")
    if "act_layer" in arguments:
        model["gelu"] = _activation(fit(str, arguments["act_layer"], "model_args: act_layer"))
    pooling = config.get("global_pool", arguments.get("global_pool", "token"))
    if pooling not in ("token", "avg"):
        raise ValueError(f"it pools by {pooling}, and this project by the class token or the mean")
    model["pooling"] = "mean" if pooling == "avg" else "class_token"
    names = config.get("label_names")
    names = None if names is None else fit(tuple[str, ...], names, "label_names")
    return Told(model, names, _channels(trained, "mean"), _channels(trained, "std"), (path,))


def _channels(values: dict[str, Any], key: str) -> tuple[float, ...] | None:
    if key not in values:
        return None
    found: tuple[float, ...] = fit(tuple[float, ...], values[key], key)
    return found


def huggingface_files(model: ViT, classes: Classes, has_head: bool) -> dict[str, str]:
    """The texts of the files by which `from_pretrained(FOLDER)` of `ViTForImageClassification`, or without a head of
    `ViTModel`, knows the model."""
    size, patch = height_width(model.image_size), height_width(model.patch_size)
    config = {
        "architectures": ["ViTForImageClassification" if has_head else "ViTModel"],
        "model_type": "vit",
        "hidden_size": model.d_model,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.mlp_dim,
        "hidden_act": WRITTEN[model.gelu],
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "layer_norm_eps": model.eps,
        "image_size": size[0] if size[0] == size[1] else list(size),
        "patch_size": patch[0] if patch[0] == patch[1] else list(patch),
        "num_channels": model.channels,
        "qkv_bias": model.qkv_bias,
        "id2label": {str(i): name for i, name in enumerate(classes.class_names)},
        "label2id": {name: i for i, name in enumerate(classes.class_names)},
    }
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size[0], "width": size[1]},
        "resample": 3,  # bicubic, in Pillow's numbering
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(classes.mean),
        "image_std": list(classes.std),
    }
    texts = {"config.json": config, "preprocessor_config.json": processor}
    return {name: json.dumps(values, indent=2, ensure_ascii=False) + "\n" for name, values in texts.items()}
