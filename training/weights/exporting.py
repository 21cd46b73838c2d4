"""From a run to a file that another library reads."""

from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError
from common.files import replace_text
from model.weights.maps import to_names, with_learned_positions
from model.weights.namings import NAMINGS
from training.trained import Trained
from training.weights.description import describe, description_file
from training.weights.files import require_writer, write_arrays
from training.weights.foreign import huggingface_files

WEIGHTS = {"google": "model.npz", "big_vision": "model.npz", "big_vision_scanned": "model.npz"}
HUGGINGFACE = "model.safetensors"  # the name that transformers looks for


@dataclass(frozen=True)
class Exported:
    files: tuple[Path, ...]
    arrays: int
    notes: tuple[str, ...]  # what the user should know


def weights_file(to: Path, names: str) -> Path:
    """The file of weights that `to` stands for: itself, or one in the folder `to`.

    Raises:
        UserError: it has another ending than those of files of weights, or safetensors is not installed.
    """
    is_folder = to.is_dir() or not to.suffix
    file = to / WEIGHTS.get(names, HUGGINGFACE) if is_folder else to
    require_writer(file)
    return file


def export(trained: Trained, to: Path, names: str) -> Exported:
    """Write the parameters of a trained model under the names of a library, and a description beside them.

    Of an autoencoder the encoder is written. It has no head.

    Raises:
        UserError: the library has no such model, a file is there already, or safetensors is not installed.
        OSError: a file cannot be written.
    """
    naming, file = NAMINGS[names], weights_file(to, names)
    has_head = trained.config.autoencoder is None
    model, params = trained.model, trained.model_params
    if names != "own":
        model, params = with_learned_positions(model, params)
        if not has_head and model.class_token:  # nothing is pooled, so any library will do that has such tokens
            model = replace(model, pooling="class_token")
    try:
        arrays = to_names(naming, model, params)
    except ValueError as error:
        raise UserError(f"{trained.run.path}: {error}; `--names own` has every model") from None
    texts = {description_file(file).name: describe(trained, model, names)}
    differ = "logits" if has_head else "features"
    notes = [f"{naming.title} computes {what}: its {differ} differ a little" for what in naming.differences(model)]
    if not has_head:
        notes.append(
            "an encoder without head, as it was trained without labels: a classifier has to be trained from it"
        )
    if names == "huggingface" and file.name == HUGGINGFACE:
        texts |= huggingface_files(model, trained.classes, has_head)
    elif names == "huggingface":
        notes.append(f"from_pretrained reads folders: name one in place of {file.name} to have its config.json, too")
    files = (file, *(file.with_name(name) for name in texts))
    for path in files:
        if path.exists():
            raise UserError(f"{path}: exists; move it away, or export to another place")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(file, arrays)
    for name, text in texts.items():
        replace_text(file.with_name(name), text)
    return Exported(files, len(arrays), tuple(notes))
