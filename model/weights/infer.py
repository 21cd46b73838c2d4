"""The model that named arrays belong to, from their names and shapes.

What no array tells is given, or as the library has it by default: heads (but for Flax, whose kernels have an axis of
them), GELU, eps, and whether a model with a class token reads it or the mean of the patches.
"""

import math
import re
from typing import Any

import numpy as np

from model.layers.patch_embedding import Size, height_width
from model.vit import ViT
from model.weights.namings import Arrays, Naming
from model.weights.tables import CLASS_TOKEN, POSITIONS, PROJECT, paths

HEAD_WIDTH = 64
HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1664: 16}
"""The published models by their width (Ti, S, M, B, L, So400m, H, g, G): the largest have wider heads."""

Shapes = dict[str, tuple[int, ...]]


def infer_model(naming: Naming, arrays: Arrays, given: dict[str, Any] | None = None) -> ViT:
    """The model of these arrays. `given` are options of it that are known otherwise; they win over what is guessed.

    Raises:
        ValueError: arrays that tell the sizes are missing, or have shapes that fit no model or not what is given.
    """
    arrays, given = naming.spelled(dict(arrays)), dict(given or {})
    missing = [name for name in (naming.kernel, *naming.landmarks) if name not in arrays]
    if missing:
        raise ValueError(f"there is no {missing[0]}, so these are no weights of {naming.title}")
    flat = naming.kernel_axes == "pd" and "patch_size" in given
    patch = height_width(given["patch_size"]) if flat else naming.patch_size(arrays)
    shapes = _our_shapes(naming, arrays, patch, given)
    if "head/W" not in shapes:
        raise ValueError("there is no head in it: these are no weights of a whole classifier")
    P, D = shapes[f"{PROJECT}/W"]
    class_token = CLASS_TOKEN in shapes
    options: dict[str, Any] = {
        "patch_size": _size(patch),
        "channels": P // (patch[0] * patch[1]),
        "d_model": D,
        "heads": HEADS.get(D) or max(1, D // HEAD_WIDTH),
        "layers": 1 + max((int(m[1]) for m in (re.match(naming.block, name) for name in arrays) if m), default=-1),
        "mlp_dim": _of_block(shapes, "expand/W", (D, 4 * D))[1],
        "num_classes": shapes["head/W"][1],
        "pooling": "class_token" if class_token else "mean",
        "class_token": class_token,
        "final_norm": "norm/gamma" in shapes or naming.can_be.get("final_norm") == (True,),
        "patch_norm_after": "patch_embedding/norm_after/gamma" in shapes,
        "qkv_bias": bool(_of_block(shapes, "qkv/b")) or naming.can_be.get("qkv_bias") == (True,),
        "layer_scale": 1e-5 if _of_block(shapes, "layer_scale/gamma") else None,
        "positions": "learned" if POSITIONS in shapes else "none",
        **naming.computes,
    }
    heads = _heads_of(naming, arrays)
    if heads is not None:
        options["heads"] = heads
        if given.get("heads", heads) != heads:
            raise ValueError(f"its kernels have {heads} heads, not {given['heads']}")
    options |= given
    if options["layers"] < 1 and naming.can_be:
        raise ValueError("there is no encoder block in it")
    if "image_size" not in given:
        options["image_size"] = _image_size(shapes, patch, options["class_token"])
    return ViT(**options)


def with_head(naming: Naming, arrays: Arrays, classes: int) -> Arrays:
    """The arrays, with a head of zeros for so many classes if they have none."""
    spelled = naming.spelled(arrays)
    if naming.kernel not in spelled or not spelled[naming.kernel].ndim:  # `infer_model` says so
        return arrays
    shape = spelled[naming.kernel].shape
    D = shape[0] if naming.kernel_axes == "oihw" else shape[-1]
    blank = {"head/W": np.zeros((D, classes), np.float32), "head/b": np.zeros(classes, np.float32)}
    rows = [row for row in naming.table(_probe(naming, (1, 1), True, {})) if row.ours[0] in blank]
    head = {row.theirs[0]: row.layout.forth((blank[row.ours[0]],))[0] for row in rows}
    return arrays | head if head.keys().isdisjoint(spelled) else arrays


def _probe(naming: Naming, patch: tuple[int, int], class_token: bool, given: dict[str, Any]) -> ViT:
    """A model of one block that has every parameter that the naming knows of."""
    knows: dict[str, Any] = {
        "layer_scale": 1.0 if naming.can_be.get("layer_scale") != (None,) else None,
        "patch_norm_after": naming.can_be.get("patch_norm_after") != (False,),
        "pooling": "class_token" if class_token else "mean",
    }
    knows |= {name: given[name] for name in ("norm", "residual") if name in given}
    return ViT(
        patch, patch, 1, d_model=1, heads=1, layers=1, mlp_dim=1, num_classes=1, class_token=class_token, **knows
    )


def _our_shapes(naming: Naming, arrays: Arrays, patch: tuple[int, int], given: dict[str, Any]) -> Shapes:
    """The shapes that the arrays have in our tree, as far as they are there; of the blocks, the first."""
    shapes: Shapes = {}
    for class_token in (False, True):
        probe = _probe(naming, patch, class_token, given)
        axes = {path: len(leaf.shape) for path, leaf in paths(probe).items()}
        for row in naming.table(probe):
            if all(name in arrays for name in row.theirs):
                try:
                    ours = row.layout.back(tuple(arrays[name] for name in row.theirs))
                    fits = all(part.ndim == axes[path] for path, part in zip(row.ours, ours, strict=True))
                except (ValueError, IndexError):
                    fits = False
                if not fits:
                    raise ValueError(f"{row.theirs[0]} has shape {arrays[row.theirs[0]].shape}, which fits no model")
                shapes |= {path: part.shape for path, part in zip(row.ours, ours, strict=True)}
    return shapes


def _of_block(shapes: Shapes, end: str, otherwise: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The shape of the parameter of the first block whose path ends so."""
    return next((shape for path, shape in shapes.items() if path.endswith(f"/{end}")), otherwise)


def _heads_of(naming: Naming, arrays: Arrays) -> int | None:
    """The heads, where kernels have an axis of them."""
    query = next((name for name in arrays if re.match(naming.block, name) and name.endswith("/query/kernel")), None)
    return arrays[query].shape[1] if query and arrays[query].ndim == 3 else None


def _image_size(shapes: Shapes, patch: tuple[int, int], class_token: bool) -> Size:
    if POSITIONS not in shapes:
        raise ValueError("there is no table of learned positions to tell the size of the images: give the image size")
    patches = shapes[POSITIONS][0] - class_token
    side = math.isqrt(max(patches, 0))
    if side * side != patches or not patches:
        raise ValueError(f"{patches} positions of patches are no square of patches: give the image size")
    return _size((side * patch[0], side * patch[1]))


def _size(pair: tuple[int, int]) -> Size:
    return pair[0] if pair[0] == pair[1] else pair
