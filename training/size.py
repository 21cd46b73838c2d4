"""Models that are too large for any memory, refused before anything is made of them.

A size such as `model.d_model=100000000` would make the system kill the process, or the machine swap. The bounds here
are counted from the options alone, since the layers themselves might already be too many. They are lower bounds: what
passes may still run out of memory, and that is explained where it happens.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from common.errors import ConfigError
from common.memory import format_bytes, machine_memory
from common.text import counted
from model.layers.patch_embedding import height_width

FLOAT = 4  # bytes
HALF = 2
BATCHES = 3  # of images that are in memory at once: one is used, two are prepared


class Part(NamedTuple):
    """Numbers that a model needs memory for, and the options of `model` that say how many."""

    numbers: int
    options: tuple[str, ...]


def parameters(model: Mapping[str, Any]) -> list[Part]:
    """The weight matrices of a model with these options. Biases, norms and positions come on top."""
    D, M, layers = model["d_model"], model["mlp_dim"], model["layers"]
    P = math.prod(height_width(model["patch_size"])) * model["channels"]
    return [
        Part(layers * 4 * D * D, ("d_model", "layers")),
        Part(layers * 2 * D * M, ("mlp_dim", "d_model", "layers")),
        Part(P * D, ("patch_size", "channels", "d_model")),
        Part(D * model["num_classes"], ("num_classes", "d_model")),
    ]


def activations(model: Mapping[str, Any]) -> Part:
    """The largest array in the forward pass of one image: the image, tokens, or the scores of attention."""
    image, patch = height_width(model["image_size"]), height_width(model["patch_size"])
    n = math.prod(side // part for side, part in zip(image, patch, strict=True))
    blocks = min(model["layers"], 1)
    return max(
        Part(math.prod(image) * model["channels"], ("image_size", "channels")),
        Part(n * model["d_model"], ("d_model", "image_size", "patch_size")),
        Part(n * model["mlp_dim"] * blocks, ("mlp_dim", "image_size", "patch_size")),
        Part(n * n * model["heads"] * blocks, ("image_size", "patch_size", "heads")),
    )


def check_size(
    model: Mapping[str, Any],
    copies: int = 1,
    images: int = 1,
    memory: int | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Refuse a model that is too large.

    Args:
        model: the options of the section `model`.
        copies: of the parameters; in training there are gradients and the state of the optimizer besides.
        images: that go through the model at once.
        memory: bytes of the device; None: those of this machine.
        names: of options that are called otherwise than `model.` and their key.

    Raises:
        ConfigError: there is less memory than the copies and the forward pass of these images take.
    """
    memory = memory or machine_memory()
    sides = (*height_width(model["image_size"]), *height_width(model["patch_size"]))
    sizes = (*sides, *(model[name] for name in ("channels", "d_model", "heads", "mlp_dim", "num_classes")))
    if memory is None or min(sizes) < 1 or model["layers"] < 0:  # the model itself says what is wrong with these
        return
    largest = activations(model)
    parts = [Part(copies * part.numbers, part.options) for part in parameters(model)]
    parts.append(Part(images * largest.numbers * _bytes(model) // FLOAT, largest.options))
    needed = FLOAT * sum(part.numbers for part in parts)
    if needed > memory:
        called = names or {}
        given = " ".join(f"{called.get(n, f'model.{n}')}={_short(model[n])}" for n in max(parts).options)
        what = "such a model" if copies == 1 else "training such a model"
        what += f" with {images} images at once" if images > 1 else ""
        raise ConfigError(
            f"{given}: {what} takes {format_bytes(needed)} of memory or more, and there are {format_bytes(memory)}: "
            f"choose smaller sizes{' or fewer images' if images > 1 else ''}"
        )


def check_dispatch(steps: int, images: int, pixels: int, memory: int | None = None) -> None:
    """Refuse more training images for one dispatch than there is memory for.

    Args:
        steps: of the dispatch.
        images: of a step.
        pixels: bytes of an image.
        memory: bytes of the device; None: those of this machine.

    Raises:
        ConfigError: there is less memory than the images of the dispatches take that are prepared.
    """
    memory, needed = memory or machine_memory(), BATCHES * steps * images * pixels
    if memory is not None and needed > memory:
        raise ConfigError(
            f"{f'train.steps_per_dispatch={steps}' if steps > 1 else f'train.batch_size={images}'}: the images of "
            f"{counted(steps, 'step')} take {format_bytes(needed)} of memory, and there are {format_bytes(memory)}: "
            f"choose {'fewer steps, or ' if steps > 1 else ''}a smaller train.batch_size"
        )


def _bytes(model: Mapping[str, Any]) -> int:
    return HALF if model.get("dtype") == "bfloat16" else FLOAT


def _short(size: object) -> str:
    text = "[{},{}]".format(*size) if isinstance(size, tuple) else str(size)
    return text if len(text) <= 20 else f"{text[:3]}... ({len(text)} digits)"
