"""The libraries: the table of each, its other spellings, what it cannot express, and what it computes by default."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model.vit import ViT
from model.weights import tables
from model.weights.tables import Table

Arrays = dict[str, np.ndarray]

PLAIN: dict[str, tuple[Any, ...]] = {
    "norm": ("pre",), "residual": (True,), "final_norm": (True,), "positions": ("learned",),
    "patch_norm_before": (False,), "patch_norm_after": (False,), "learned_temperature": (False,),
    "masked_diagonal": (False,), "shifted_patches": (False,), "layer_scale": (None,),
}  # fmt: skip
"""What a model of another library can be, unless its naming says more: option -> values."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,), (0.5,))  # for any number of channels


@dataclass(frozen=True)
class Naming:
    """One way to name and lay out the parameters.

    Attributes:
        name, title: for the command line, and for messages.
        table: the rows for a model.
        landmarks: names that only this naming has, all of them.
        kernel, kernel_axes: the name of the patch projection, and its axes: "oihw", "hwio" or "pd" (already flat).
        block: a pattern of the names in a block, whose group is the number of the block.
        can_be: values of options of the model that the library can express; options that are not named are free.
        computes: options of the model that no array tells, as the library has them by default.
        fixed: those among them that cannot be chosen there, so that a model that differs gives other logits.
        normalization: default mean and standard deviation of the pixels of an image, scaled to 0..1.
        spelled: brings other spellings of the names to those of the table; arrays may be reshaped.
        written: the inverse, for a file that is to be written.
        averages_patches: whether a mean may leave out a class token; otherwise it is over all tokens.
        dropped: patterns of names that no logit depends on, with what they are.
        unlike: patterns of names of models that a ViT of this project cannot be, with the reason.
    """

    name: str
    title: str
    table: Table
    landmarks: tuple[str, ...]
    kernel: str
    kernel_axes: str
    block: str
    can_be: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    computes: Mapping[str, Any] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = HALF
    spelled: Callable[[Arrays], Arrays] = lambda arrays: arrays
    written: Callable[[Arrays], Arrays] = lambda arrays: arrays
    averages_patches: bool = True
    dropped: Mapping[str, str] = field(default_factory=dict)
    unlike: Mapping[str, str] = field(default_factory=dict)

    def patch_size(self, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Height and width of a patch. A flat kernel is taken for that of a square patch of 3 channels, or of 1.

        Raises:
            ValueError: the kernel has another number of axes, or fits no square patch.
        """
        shape = arrays[self.kernel].shape
        if len(shape) != (2 if self.kernel_axes == "pd" else 4):
            raise ValueError(f"{self.kernel} has shape {shape}, which is not that of a projection of patches")
        if self.kernel_axes != "pd":
            return (shape[2], shape[3]) if self.kernel_axes == "oihw" else (shape[0], shape[1])
        sides = [math.isqrt(shape[0] // channels) for channels in (3, 1)]
        side = next((side for side, c in zip(sides, (3, 1), strict=True) if c * side * side == shape[0] > 0), None)
        if side is None:
            raise ValueError(f"{self.kernel} has shape {shape}, not that of a square patch of 1 or 3 channels")
        return side, side

    def require(self, model: ViT) -> None:
        """Raises ValueError if the library has no such model; the message names the options."""
        wrong = [
            f"{key}={getattr(model, key)}" for key, values in self.can_be.items() if getattr(model, key) not in values
        ]
        if model.layers < 1 and self.can_be:
            wrong.append("layers=0")
        if model.pooling == "mean" and model.class_token and not self.averages_patches:
            wrong.append("pooling=mean with a class token")
        if wrong:
            raise ValueError(f"{self.title} has no model with {', '.join(wrong)}")

    def differences(self, model: ViT) -> list[str]:
        """What the library computes otherwise than `model`, as in `gelu=erf, and here tanh`."""
        pairs = ((key, self.computes[key], getattr(model, key)) for key in self.fixed)
        return [f"{key}={theirs}, and here {ours}" for key, theirs, ours in pairs if theirs != ours]


def _renamed(arrays: Arrays, *rules: tuple[str, str]) -> Arrays:
    """The arrays under names in which every pattern is replaced, in order."""
    renamed: Arrays = {}
    for name, array in arrays.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise ValueError(f"{name} is there twice, in two spellings")
        renamed[name] = array
    return renamed


def _timm_spelled(arrays: Arrays) -> Arrays:
    """A table of positions without one for the class token (timm's no_embed_class) gets a row of zeros for it."""
    positions = arrays.get("pos_embed")
    if positions is None or positions.ndim != 3 or "cls_token" not in arrays:
        return arrays
    if math.isqrt(positions.shape[1]) ** 2 != positions.shape[1]:
        return arrays
    return arrays | {"pos_embed": np.concatenate([np.zeros_like(positions[:, :1]), positions], axis=1)}


def _huggingface_spelled(arrays: Arrays) -> Arrays:
    """The names that transformers has in memory since its version 5, while its files have kept the old ones; and those
    of its ViTModel, which has no head."""
    layer = r"^(vit\.)layers\.(\d+)\."
    old = r"\1encoder.layer.\2."
    return _renamed(
        arrays,
        (r"^(?=(embeddings|encoder|layers|layernorm|pooler)\.)", "vit."),
        (layer + r"attention\.q_proj\.", old + "attention.attention.query."),
        (layer + r"attention\.k_proj\.", old + "attention.attention.key."),
        (layer + r"attention\.v_proj\.", old + "attention.attention.value."),
        (layer + r"attention\.o_proj\.", old + "attention.output.dense."),
        (layer + r"mlp\.fc1\.", old + "intermediate.dense."),
        (layer + r"mlp\.fc2\.", old + "output.dense."),
        (layer, old),
    )


def _torchvision_spelled(arrays: Arrays) -> Arrays:
    """The names of the feed-forward before torchvision 0.13."""
    return _renamed(arrays, (r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))


BLOCK, PREFIX = r"^(Transformer/encoderblock_\d+/)", r"^(params|opt/target|optimizer/target)/"


def _flax_spelled(arrays: Arrays) -> Arrays:
    """Without `params/`, the branch of a training state; and the scanned form cut in blocks."""
    arrays = _renamed(arrays, (PREFIX, ""))
    cut: Arrays = {}
    for name, array in arrays.items():
        inside = re.match(r"^Transformer/encoderblock/(.*)", name)
        if inside and not array.ndim:
            raise ValueError(f"{name} has shape (), where an axis of blocks is expected")
        cut |= (
            {f"Transformer/encoderblock_{i}/{inside[1]}": a for i, a in enumerate(array)} if inside else {name: array}
        )
    return cut


def _google_spelled(arrays: Arrays) -> Arrays:
    return _renumbered(arrays, "MultiHeadDotProductAttention_0", tables.LINEN, tables.PUBLISHED)


def _big_vision_spelled(arrays: Arrays) -> Arrays:
    return _renumbered(arrays, "MultiHeadDotProductAttention_1", tables.PUBLISHED, tables.LINEN)


def _renumbered(arrays: Arrays, landmark: str, theirs: Sequence[str], ours: Sequence[str]) -> Arrays:
    """Where `landmark` is in a block: the names `theirs` of its layers become `ours`, as the other library counts."""
    arrays = _flax_spelled(arrays)
    if not any(f"/{landmark}/" in name for name in arrays):
        return arrays
    return _renamed(arrays, *((f"{BLOCK}{a}/", rf"\1{b}/") for a, b in zip(theirs, ours, strict=True)))


def _big_vision_written(arrays: Arrays) -> Arrays:
    return {f"params/{name}": array for name, array in arrays.items()}


def _scanned(arrays: Arrays) -> Arrays:
    """The blocks stacked: one array for each parameter of a block, with an axis of blocks in front."""
    stacks: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        stacks.setdefault(re.sub(r"^Transformer/encoderblock_\d+/", "Transformer/encoderblock/", name), []).append(
            array
        )
    return _big_vision_written(
        {name: np.stack(stack) if "/encoderblock/" in name else stack[0] for name, stack in stacks.items()}
    )


PRE_LOGITS = "a layer between pooling and head (pre-logits)"
ATTENTION_POOLING = "pooling by attention"
GOOGLE_CAN_BE: dict[str, tuple[Any, ...]] = PLAIN | {"qkv_bias": (True,)}
GOOGLE_UNLIKE = {
    r"^pre_logits/": PRE_LOGITS,
    r"^MAPHead_0/|^probe$": ATTENTION_POOLING,
    r"^(conv_root|gn_root|block\d+)/": "a ResNet in front of the patches",
}
GOOGLE_DROPPED = {r"^(opt|optimizer|extra|chrono)/": "the state of a training"}

OWN = Naming(
    "own", "this project", tables.own, ("patch_embedding/project/W",), "patch_embedding/project/W", "pd",
    r"^encoder/block_(\d+)/",
)  # fmt: skip
TIMM = Naming(
    "timm", "timm", tables.timm, ("patch_embed.proj.weight",), "patch_embed.proj.weight", "oihw", r"^blocks\.(\d+)\.",
    can_be={key: PLAIN[key] for key in PLAIN if key not in ("layer_scale", "patch_norm_after", "final_norm")}
    | {"positions": ("learned", "none")},
    computes={"gelu": "erf", "eps": 1e-6},
    spelled=_timm_spelled,
    dropped={r"^mask_token$": "the token of masked patches, which no classifier uses"},
    unlike={
        r"^pre_logits\.": PRE_LOGITS,
        r"^fc_norm\.": "a layer norm behind the mean of the tokens (fc_norm), where this project has it before",
        r"^(dist_token|head_dist\.)": "a second token and head for distillation",
        r"^reg_token$": "register tokens",
        r"^norm_pre\.": "a layer norm in front of the blocks",
        r"^attn_pool\.": ATTENTION_POOLING,
        r"\.attn\.[qk]_norm\.": "layer norms of queries and keys",
        r"\.mlp\.(fc1_[gx]|w12|norm)\b": "another feed-forward",
        r"^blocks\.\d+\.(gamma_1|attn\.relative_position)|^rel_pos_bias|^rope": "other positions or gains (BEiT, EVA)",
        r"^patch_embed\.backbone\.": "a convolutional network in front of the patches",
    },
)  # fmt: skip
HUGGINGFACE = Naming(
    "huggingface", "Hugging Face's ViTForImageClassification", tables.huggingface,
    ("vit.embeddings.patch_embeddings.projection.weight",), "vit.embeddings.patch_embeddings.projection.weight", "oihw",
    r"^vit\.encoder\.layer\.(\d+)\.",
    can_be=PLAIN | {"pooling": ("class_token",)},
    computes={"gelu": "erf", "eps": 1e-12},
    spelled=_huggingface_spelled,
    dropped={
        r"^vit\.pooler\.": "the pooler, which the classifier does not use",
        r"^vit\.embeddings\.mask_token$": "the token of masked patches, which no classifier uses",
    },
)  # fmt: skip
TORCHVISION = Naming(
    "torchvision", "torchvision", tables.torchvision, ("conv_proj.weight",), "conv_proj.weight", "oihw",
    r"^encoder\.layers\.encoder_layer_(\d+)\.",
    can_be=PLAIN | {"pooling": ("class_token",), "qkv_bias": (True,)},
    computes={"gelu": "erf", "eps": 1e-6},
    fixed=("gelu", "eps"),
    normalization=IMAGENET,
    spelled=_torchvision_spelled,
    unlike={r"^heads\.pre_logits\.": PRE_LOGITS},
)  # fmt: skip
GOOGLE = Naming(
    "google", "google-research/vision_transformer", tables.google,
    ("embedding/kernel", "Transformer/posembed_input/pos_embedding"), "embedding/kernel", "hwio",
    r"^Transformer/encoderblock_(\d+)/",
    can_be=GOOGLE_CAN_BE,
    computes={"gelu": "tanh", "eps": 1e-6},
    fixed=("gelu", "eps"),
    averages_patches=False,
    spelled=_google_spelled,
    dropped=GOOGLE_DROPPED,
    unlike=GOOGLE_UNLIKE,
)  # fmt: skip
BIG_VISION = Naming(
    "big_vision", "google-research/big_vision", tables.big_vision,
    ("embedding/kernel",), "embedding/kernel", "hwio", r"^Transformer/encoderblock_(\d+)/",
    can_be=GOOGLE_CAN_BE,
    computes={"gelu": "tanh", "eps": 1e-6},
    fixed=("gelu", "eps"),
    averages_patches=False,
    spelled=_big_vision_spelled,
    written=_big_vision_written,
    dropped=GOOGLE_DROPPED,
    unlike=GOOGLE_UNLIKE,
)  # fmt: skip
BIG_VISION_SCANNED = replace(BIG_VISION, name="big_vision_scanned", written=_scanned)

NAMINGS = {n.name: n for n in (OWN, TIMM, HUGGINGFACE, TORCHVISION, GOOGLE, BIG_VISION, BIG_VISION_SCANNED)}
"""In the order in which they are recognized: those with more landmarks come before those with fewer of the same."""


def recognize(arrays: Arrays) -> Naming | None:
    """The naming of these arrays, by its landmarks; None: it is none of them."""
    for naming in NAMINGS.values():
        if set(naming.landmarks) <= naming.spelled(arrays).keys():
            return naming
    return None
