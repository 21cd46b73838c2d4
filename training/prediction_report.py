"""Predictions as a person reads them in a terminal, and as a program reads them: JSON, CSV, features."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files import replacing
from common.streams import printable
from common.text import counted, in_columns
from data.chosen_images import STANDARD_INPUT, ReadImage
from training.classes import Classes, short_class_names
from training.predictor import Prediction
from training.trained import Trained

BARS = 10  # images that are shown with all guesses, as bars; of more, each has a line
NAME, BAR = 29, 38  # columns: 2 + 7 + 2 + NAME + 2 + BAR is 80
LINE_PATH, LINE_NAME, LINE_BAR = 37, 22, 10  # the same of a line: 37 + 2 + 22 + 7 + 2 + 10 is 80
COUNTED = 5  # classes in the summary


def as_json(trained: Trained, predictions: Sequence[Prediction], bad: Sequence[ReadImage]) -> str:
    """What predicted, then each image with its guesses, and each one that could not be read with the reason."""
    classes = trained.classes
    about = {
        "run": str(trained.run.path),
        "checkpoint": trained.checkpoint.name,
        "weights": trained.weights,
        "step": trained.step,
    }
    images = [
        {
            "path": prediction.name,
            "guesses": [
                {"wnid": classes.class_ids[c], "name": classes.class_names[c], "probability": float(p)}
                for c, p in _guesses(prediction)
            ],
        }
        for prediction in predictions
    ]
    broken = [{"path": image.name, "problem": image.problem} for image in bad]
    return json.dumps(about | {"images": images, "broken": broken}, indent=1, ensure_ascii=False) + "\n"


def as_csv(predictions: Sequence[Prediction], bad: Sequence[ReadImage], classes: Classes, top: int) -> str:
    """A line for each image: its path, the guesses from the best on, and why it could not be read."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbered = [f"{name}_{k}" for k in range(1, top + 1) for name in ("wnid", "name", "probability")]
    writer.writerow(["path", *numbered, "problem"])
    for prediction in predictions:
        cells = [(classes.class_ids[c], classes.class_names[c], f"{p:.6g}") for c, p in _guesses(prediction)]
        writer.writerow([prediction.name, *(cell for guess in cells for cell in guess), ""])
    for image in bad:
        writer.writerow([image.name, *("" for _ in numbered), image.problem])
    return file.getvalue()


def write_features(path: Path, predictions: Sequence[Prediction]) -> None:
    """An .npz file, to be read by `numpy.load`: `features` float32 (n, D), `paths` (n,), and `predicted` int32 (n,)."""
    with replacing(path) as file:
        np.savez(
            file,
            features=np.stack([p.features for p in predictions if p.features is not None]).astype(np.float32),
            paths=np.array([prediction.name for prediction in predictions]),
            predicted=np.array([prediction.classes[0] for prediction in predictions], np.int32),
        )


def as_text(predictions: Sequence[Prediction], classes: Classes, listed: bool = True) -> str:
    """For a terminal of 80 columns. Many images are listed with a line each, unless `listed` is False."""
    names = {i: printable(name) for i, name in enumerate(short_class_names(classes))}
    if len(predictions) <= BARS:
        return "\n\n".join(_with_bars(prediction, names) for prediction in predictions)
    lines = [_in_a_line(prediction, names) for prediction in predictions] if listed else []
    return "\n".join([*lines, *([""] if lines else []), *_summary(predictions, names)])


def shown_path(name: str) -> str:
    """The name of an image in a message, in one line."""
    return "standard input" if name == STANDARD_INPUT else printable(name).replace("\n", "\\n").replace("\t", "\\t")


def _with_bars(prediction: Prediction, names: dict[int, str]) -> str:
    lines = [shown_path(prediction.name)]
    for c, p in _guesses(prediction):
        lines.append(f"  {p:7.2%}  {in_columns(names[c], NAME)}  {_bar(p, BAR)}".rstrip())
    return "\n".join(lines)


def _in_a_line(prediction: Prediction, names: dict[int, str]) -> str:
    c, p = _guesses(prediction)[0]
    path = in_columns(shown_path(prediction.name), LINE_PATH, keep_end=True)
    return f"{path}  {in_columns(names[c], LINE_NAME)}{p:7.2%}  {_bar(p, LINE_BAR)}".rstrip()


def _summary(predictions: Sequence[Prediction], names: dict[int, str]) -> list[str]:
    """How many images of each class there seem to be, the most frequent classes first."""
    found = Counter(int(prediction.classes[0]) for prediction in predictions).most_common()
    lines = [f"{counted(len(predictions), 'image')} of {counted(len(found), 'class', 'classes')}, as the model says"]
    named, others = found[:COUNTED], sum(count for _, count in found[COUNTED:])
    counts = [(count, in_columns(names[c], 60).rstrip()) for c, count in named] + (
        [(others, "others")] if others else []
    )
    widest = max(len(f"{count:,}") for count, _ in counts)
    lines += [f"  {count:{widest},} x  {name}" for count, name in counts]
    return lines


def _bar(p: float, width: int) -> str:
    return "█" * round(p * width)


def _guesses(prediction: Prediction) -> list[tuple[int, float]]:
    """The classes with their probabilities, the best first."""
    return [(int(c), float(p)) for c, p in zip(prediction.classes, prediction.probabilities, strict=True)]
