"""What all contestants compute: sizes, batch, settings of AdamW. Plain numbers and NumPy, for any framework to read.

The architecture is the published pre-norm ViT: patches, a class token, learned positions, pre-norm blocks, a final
layer norm, and a head that reads the class token. The optimizer is AdamW at a constant learning rate, with weight decay
on the weight matrices only.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Params = dict[str, Any]
"""The parameters in the engine's layout: nested dictionaries of arrays."""

SEPARATOR = "/"

ARCHITECTURE = (
    "image_size", "patch_size", "channels", "d_model", "heads", "layers", "mlp_dim", "num_classes", "gelu",
)  # fmt: skip
"""Fields that a `Problem` has in common with the engine's `ViT`."""


@dataclass(frozen=True)
class Problem:
    image_size: tuple[int, int]  # pixels, (height, width)
    patch_size: tuple[int, int]
    channels: int
    d_model: int
    heads: int
    layers: int
    mlp_dim: int
    num_classes: int
    gelu: str  # "tanh" or "erf"
    norm_eps: float
    batch: int
    accumulate: int | None  # microbatches of the engine; None: its default for the device
    learning_rate: float
    beta1: float
    beta2: float
    adam_eps: float
    weight_decay: float
    device: str  # "cpu" or "gpu"
    dtype: str  # of the computation, "float32" or "bfloat16"; parameters are float32
    seed: int = 0
    pad_to_multiple_of: int = 1  # tokens in the engine's attention; the others compute with as many as there are

    @property
    def patches(self) -> int:
        (H, W), (h, w) = self.image_size, self.patch_size
        return (H // h) * (W // w)

    @property
    def tokens(self) -> int:
        """N, the class token included."""
        return self.patches + 1

    @property
    def patch_values(self) -> int:
        h, w = self.patch_size
        return h * w * self.channels

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Problem":
        pairs = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **pairs})

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Normalized images (B, H, W, C) float32 and labels (B,) int32, the same for all contestants."""
        rng = np.random.default_rng(self.seed)
        images = rng.normal(size=(self.batch, *self.image_size, self.channels)).astype(np.float32)
        return images, rng.integers(0, self.num_classes, self.batch, dtype=np.int32)


def save_params(path: Path, params: Params) -> None:
    np.savez(path, allow_pickle=False, **dict(_flat(params)))


def load_params(path: Path) -> Params:
    params: Params = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            *parents, last = name.split(SEPARATOR)
            inner = params
            for parent in parents:
                inner = inner.setdefault(parent, {})
            if last:
                inner[last] = arrays[name]
    return params


def _flat(params: Params, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    """Arrays by their paths. An empty dictionary, a layer without parameters, becomes a path that ends in `/`."""
    if not params:
        return [(prefix, np.zeros(0))]
    flat = []
    for key, value in params.items():
        name = prefix + key
        flat += _flat(value, name + SEPARATOR) if isinstance(value, dict) else [(name, np.asarray(value))]
    return flat
