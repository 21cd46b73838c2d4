"""From a file of weights, ours or another library's, to a run that can be evaluated and used."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from common.errors import ConfigError, UserError
from common.text import counted, first_of
from model.weights.infer import infer_model, with_head
from model.weights.maps import Found, flatten, from_names
from model.weights.namings import NAMINGS, Naming, recognize
from training import checkpoint
from training.classes import UNKNOWN, Classes
from training.config import Config, read_overrides
from training.run_folder import RunFolder
from training.weights.description import Description, configuration, read_description
from training.weights.files import read_arrays
from training.weights.foreign import Told, read_told

IN_FOLDERS = ("model.safetensors", "model.npz", "model.safetensors.index.json")
SECTIONS = ("model", "data")
NAMED = 2  # arrays in a message


@dataclass(frozen=True)
class Imported:
    """A model from a file, before it is a run."""

    file: Path
    naming: Naming
    config: Config
    classes: Classes
    found: Found
    arrays: int
    step: int
    has_head: bool  # otherwise the one in `found` is made of zeros
    assumed: dict[str, Any]  # what no file says
    sources: tuple[Path, ...]  # the files beside it that say something


def find_file(path: Path) -> Path:
    """The file of weights that `path` names: itself, or the one in a folder. Raises UserError if there is none."""
    file = next((path / name for name in IN_FOLDERS if (path / name).is_file()), path) if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{file.absolute()}: there is no such file")
    return file


def read_weights(
    path: Path,
    names: str | None = None,
    overrides: Sequence[str] = (),
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    need_head: bool = True,
) -> Imported:
    """The model in a file of weights. Of what is known of it, the command line wins over the files beside it.

    Args:
        names: the naming; None: it is recognized, or told by the description.
        overrides: options of the sections `model` and `data`, as `section.key=value`.
        mean, std: of the pixels of an image, scaled to 0..1, per channel or one for all.
        need_head: whether a file without a head is refused.

    Raises:
        UserError: the file is damaged or no file of weights, or its arrays fit no model; one message says why.
        OSError: a file cannot be read.
    """
    file = find_file(path)
    given = _given(overrides)
    arrays, description = read_arrays(file), read_description(file)
    names = names or (description.names if description else None)
    try:
        naming = NAMINGS.get(names) if names else recognize(arrays)
        if naming is None:
            known = ", ".join(name for name in NAMINGS if not name.endswith("_scanned"))
            some = first_of(sorted(arrays), NAMED)
            raise UserError(f"{file}: its names are those of no ViT that is known here ({known}), as in {some}")
        told = Told() if description else read_told(file, naming)
        model = (description.model if description else told.model) | given["model"]
        whole = with_head(naming, arrays, model.get("num_classes") or len(told.names or ()) or 1)
        if whole is not arrays and need_head:
            raise UserError(
                f"{file}: there is no head in it, so it cannot say what is in an image; a training can begin with it: "
                f"train.start_from={quote(str(file))}"
            )
        inferred = infer_model(naming, whole, model)
        config = configuration(dataclasses.asdict(inferred), _data(description) | given["data"], str(file))
        found = from_names(naming, config.model, whole)
        _require_finite(found)
    except ConfigError:
        raise
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    classes, assumed = _classes(file, config, naming, description, told, mean, std)
    assumed = {key: getattr(inferred, key) for key in _guessed(naming) if key not in model} | assumed
    sources = told.sources
    step = description.step if description else 0
    return Imported(file, naming, config, classes, found, len(arrays), step, whole is arrays, assumed, sources)


def write_run(imported: Imported, folder: Path) -> RunFolder:
    """Make the run `folder`, whose best checkpoint has the parameters.

    Raises:
        UserError: the folder holds something else, or cannot be made.
        OSError: a file cannot be written.
    """
    note = f"# imported from {imported.file.absolute()}, named as by {imported.naming.title}\n"
    run = RunFolder.create("imported", folder, files={"config.yml": note + imported.config.to_yaml()})
    try:
        run.write_classes(imported.classes)
        checkpoint.save(run.best, {"params": imported.found.params}, {"step": imported.step})
    except OSError:  # such as a full disk: another import may use the folder
        run.undo_beginning()
        raise
    return run


def _require_finite(found: Found) -> None:
    wrong = [path for path, array in flatten(found.params).items() if not np.isfinite(array).all()]
    if wrong:
        raise ValueError(f"{first_of(wrong, NAMED)}: values that are not finite, as of a training that diverged")


def _given(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    for override in overrides:
        if override.partition(".")[0] not in SECTIONS:
            raise UserError(f"{override}: weights have options of the sections {' and '.join(SECTIONS)} alone")
    values = read_overrides(list(overrides))
    return {section: values.get(section, {}) for section in SECTIONS}


def _data(description: Description | None) -> dict[str, Any]:
    return description.data if description else {"name": "image_folder"}


def _guessed(naming: Naming) -> tuple[str, ...]:
    """The options of the model that arrays of this naming do not tell."""
    return ("gelu", "eps") if naming.kernel_axes == "hwio" else ("heads", "gelu", "eps")


def _classes(
    file: Path,
    config: Config,
    naming: Naming,
    description: Description | None,
    told: Told,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> tuple[Classes, dict[str, Any]]:
    """The classes and the normalization, and what of it is assumed."""
    model = config.model
    assumed: dict[str, Any] = {}
    classes = description.classes if description else None
    known = {"mean": mean or (classes or told).mean, "std": std or (classes or told).std}
    channels = []
    for (key, values), default in zip(known.items(), naming.normalization, strict=True):
        assumed |= {} if values else {key: default}
        channels.append(_per_channel(key, values or default, model.channels))
    names = classes.class_names if classes else told.names
    if names is not None and len(names) != model.num_classes:
        raise UserError(f"{file}: a head of {model.num_classes} classes, but beside it {counted(len(names), 'name')}")
    if names is None:
        assumed["classes"] = "without names"
        names = tuple(f"class {i}" for i in range(model.num_classes))
    unique = len(set(names)) == len(names) and all(names)
    ids = classes.class_ids if classes else names if unique else tuple(str(i) for i in range(len(names)))
    try:
        made = Classes(ids, names, channels[0], channels[1], classes.fingerprint if classes else UNKNOWN)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    return made, assumed


def _per_channel(key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise UserError(f"--{key}: {len(values)} numbers, and the model has {channels} channels")
    return values * channels if len(values) == 1 else values
