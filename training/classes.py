"""What is needed of the data to use a trained model without them, and its file, `classes.json`."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.documents import fit, read_json
from common.errors import DamagedError, UserError
from common.files import replace_text

NAMES = {"class_ids": "wnids", "class_names": "names"}  # in the file, which is older than those of the fields

UNKNOWN = "unknown"
"""The fingerprint of data of which nothing is known, as of weights from elsewhere; nor are the ids of the classes."""

AGAIN = "`python train.py --resume RUN` writes it anew from the data"


@dataclass(frozen=True)
class Classes:
    """The fields are those of data.dataset.Dataset."""

    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        """Raises ValueError for what no data set can have."""
        if not self.class_ids or len(set(self.class_ids)) < len(self.class_ids):
            raise ValueError("wnids: there are none, or one occurs twice")
        if len(self.class_names) != len(self.class_ids) or not all((*self.class_ids, *self.class_names)):
            raise ValueError("names: a class has no name, or a name no class")
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError("mean and std: expected one number for each channel")
        if not all(0 <= mean <= 1 for mean in self.mean) or not all(0 < std <= 1 for std in self.std):
            raise ValueError("mean and std: expected numbers from 0 to 1, and no std of 0")


def write_classes(path: Path, classes: Classes) -> None:
    """Raises OSError if the file cannot be written."""
    values = {NAMES.get(name, name): value for name, value in asdict(classes).items()}
    replace_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_classes(path: Path) -> Classes:
    """Raises UserError if the file is missing or damaged."""
    fields = {key: name for name, key in NAMES.items()}
    try:
        values: dict[str, Any] = read_json(path, dict[str, Any])
        classes: Classes = fit(Classes, {fields.get(key, key): value for key, value in values.items()})
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {AGAIN}") from None
    except DamagedError as error:
        raise UserError(f"{error}; delete it: {AGAIN}") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it: {AGAIN}") from None
    return classes


def short_names(names: Mapping[str, str]) -> dict[str, str]:
    """By the id of each class the first of the synonyms in its name, with the id where that is another's too."""
    first = {class_id: name.partition(",")[0] for class_id, name in names.items()}
    shared = [name for name, count in Counter(first.values()).items() if count > 1]
    return {class_id: f"{name} ({class_id})" if name in shared else name for class_id, name in first.items()}


def short_class_names(classes: Classes) -> list[str]:
    """The short names in the order of the classes."""
    return list(short_names(dict(zip(classes.class_ids, classes.class_names, strict=True))).values())
