"""What an exported file does not say of its model: a description beside it, `NAME.vit.json`.

It holds the options of the model, how images are prepared, and the classes, so that an import gives the same model
again, whatever the naming. Without it, the model follows from the arrays and from what the other library writes beside
them (foreign.py).
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.documents import fit, read_json
from common.errors import DamagedError, UserError
from model.vit import ViT
from training.classes import NAMES, Classes
from training.config import SECTIONS, Config, from_yaml
from training.trained import Trained
from training.yaml_text import dump_yaml

ENDING = ".vit.json"
FORMAT = 1
OF_THE_DATA = ("name", "resize", "classes", "holdout", "val_folder")
"""The options of the data that belong to the model: what its classes are, and which images it has not seen."""


@dataclass(frozen=True)
class Description:
    format: int
    names: str  # the naming of the arrays
    step: int  # updates before the parameters were saved
    model: dict[str, Any]  # options of the section `model`
    data: dict[str, Any]  # those of OF_THE_DATA
    classes: Classes


def description_file(weights: Path) -> Path:
    return weights.with_name(weights.stem + ENDING)


def describe(trained: Trained, model: ViT, names: str) -> str:
    """The text of the description of a trained model whose exported form is `model`."""
    data = {key: getattr(trained.config.data, key) for key in OF_THE_DATA}
    classes = {NAMES.get(key, key): value for key, value in dataclasses.asdict(trained.classes).items()}
    values = {"format": FORMAT, "names": names, "step": trained.step, "model": dataclasses.asdict(model)}
    return json.dumps(values | {"data": data, "classes": classes}, indent=1, ensure_ascii=False) + "\n"


def read_description(weights: Path) -> Description | None:
    """The description beside a file of weights; None: there is none.

    Raises:
        UserError: it is damaged, or of another version.
    """
    path = description_file(weights)
    if not path.exists():
        return None
    advice = "put the whole file back, or delete it: what it said is then guessed"
    keys = {key: name for name, key in NAMES.items()}
    try:
        values: dict[str, Any] = read_json(path, dict[str, Any])
        classes = values.get("classes")
        if isinstance(classes, dict):
            values["classes"] = {keys.get(key, key): value for key, value in classes.items()}
        found: Description = fit(Description, values)
    except DamagedError as error:
        raise UserError(f"{error}; {advice}") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {advice}") from None
    if found.format != FORMAT:
        raise UserError(f"{path}: written in format {found.format}, but this version reads format {FORMAT}")
    options = configuration(found.model, found.data, str(path)).model
    return dataclasses.replace(found, model=dataclasses.asdict(options))


def configuration(model: dict[str, Any], data: dict[str, Any], source: str) -> Config:
    """The configuration of a run with these options, and the defaults of all others.

    Raises:
        ConfigError: an option is unknown, or has a value that it cannot have.
    """
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in model.items()}
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS} | {"model": plain, "data": dict(data)}
    return from_yaml(dump_yaml({"preset": "imported", **sections}), source)
