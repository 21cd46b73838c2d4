"""The sections on how well the model does: learning curves, confidence, the most confident mistakes."""

import math

import numpy as np

from common.errors import UserError
from common.page import escape
from common.text import counted
from training.metrics import MetricsRow, shows_top5
from training.report.analysis import calibration_error, reliability
from training.report.charts import Line, line_chart
from training.report.material import NO_NUMBERS, Material, details, left_out, note, percent, picture, section, table
from training.report.pictures import data_uri, thumbnail
from training.sweep_table import passes

MISTAKES = 24
CLOSE = 0.02  # a calibration error that is called so


def key_figures(material: Material) -> str:
    """The figures at the top."""
    figures, classes = material.figures, len(material.names)
    shown = [("top-1 accuracy", f"{figures['top1']:.2%}", f"chance: {figures['chance']:.2%}")]
    if shows_top5(classes):
        shown.append(("top-5 accuracy", f"{figures['top5']:.2%}", "in the first five guesses"))
    if len({c["images"] for c in figures["per_class"] if c["images"]}) > 1:
        shown.append(("balanced accuracy", f"{figures['balanced_accuracy']:.2%}", "mean over the classes"))
    shown.append(("loss", f"{figures['loss']:.4f}", f"knowing nothing: {math.log(classes):.4f}"))
    wrong = int((~material.right).sum())
    shown.append(("mistakes", f"{wrong:,}", f"of {counted(figures['images'], 'image')}"))
    tiles = "".join(
        f"<div><dt>{title}</dt><dd><strong>{value}</strong><small>{below}</small></dd></div>"
        for title, value, below in shown
    )
    return f'<dl class="tiles">{tiles}</dl>'


def learning_curves(material: Material) -> str:
    anchor, title = "curves", "Learning curves"
    try:
        rows = material.trained.run.read_metrics()
    except (UserError, OSError) as error:
        return section(anchor, title, left_out(str(error)))
    if not rows:
        why = "the run has no metrics.csv, as one that was imported or not evaluated while it was trained"
        return section(anchor, title, left_out(why))
    at = passes(rows)

    def line(name: str, column: str, kind: str) -> Line:
        values = [row._asdict()[column] for row in rows]
        return Line(name, [(x, value) for x, value in zip(at, values, strict=True) if value is not None], kind)

    mark = next((x for x, row in zip(at, rows, strict=True) if row.step == material.trained.step), None)
    losses = [line("training", "train_loss", "a"), line("validation", "val_loss", "b")]
    losses.append(line("validation, moving average", "ema_loss", "c"))
    accuracies = [line("validation", "val_top1", "b"), line("validation, moving average", "ema_top1", "c")]
    x = "passes over the training images"
    charts = [
        line_chart(losses, label="Loss over the training", x=x, y="loss (nats)", mark=mark),
        line_chart(accuracies, label="Accuracy over the training", x=x, y="top-1", percent=True, mark=mark),
    ]
    said = (
        "The loss, and the share of validation images whose first guess is right. When the loss of the "
        "validation rises while that of the training still falls, the model learns its images by heart."
    )
    if mark is not None:
        said += " The upright line marks the checkpoint that this page is about."
    if material.trained.run.read_config().loss.label_smoothing:
        said += " The training loss includes label smoothing, and mixed or augmented images: it can be the higher one."
    columns = ("epoch", "step", "train_loss", "val_loss", "val_top1", "val_top5", "ema_loss", "ema_top1", "seconds")
    numbers = table(columns, (_cells(row, columns) for row in rows), range(len(columns)))
    drawn = "".join(f"<div>{chart}</div>" for chart in charts if chart)
    return section(
        anchor, title, note(said), f'<div class="pair">{drawn}</div>', details("The numbers of metrics.csv", numbers)
    )


def _cells(row: MetricsRow, columns: tuple[str, ...]) -> list[str]:
    values = row._asdict()
    return ["" if values[name] is None else f"{values[name]:,.6g}" for name in columns]


def confidence(material: Material) -> str:
    anchor, title = "confidence", "How sure it is"
    if not np.isfinite(material.probabilities).all():
        return section(anchor, title, left_out(NO_NUMBERS))
    bins = reliability(material.probabilities, material.right)
    error = calibration_error(bins)
    lines = [
        Line("probability = share that is right", [(0, 0), (1, 1)], "grid-line"),
        Line("this model", [(b.probability, b.right) for b in bins], "b"),
    ]
    chart = line_chart(
        lines, label="Share of right guesses by the probability of the first guess", x="probability of the first guess",
        y="share that is right", percent=True, limits=(0, 1, 0, 1),
    )  # fmt: skip
    if error < CLOSE:
        verdict = "Here it lies close to the diagonal."
    elif sum(b.images * (b.right - b.probability) for b in bins) < 0:
        verdict = "Here it lies mostly below: the model is surer than it should be."
    else:
        verdict = (
            "Here it lies mostly above: the model is more often right than it says, as after training with label "
            "smoothing or mixed images."
        )
    said = (
        "Images with about equally probable first guesses are put together, and it is counted how many of these are "
        f"right. On the dashed diagonal, 70% probability means 70% right. {verdict} Over all images the two differ by "
        f"{percent(error)} on average (expected calibration error)."
    )
    cells = [(percent(b.probability), percent(b.right), f"{b.images:,}") for b in bins]
    numbers = table(("probability", "right", "images"), cells, (0, 1, 2))
    return section(anchor, title, note(said), f'<div class="pair"><div>{chart}</div><div>{numbers}</div></div>')


def mistakes(material: Material) -> str:
    anchor, title = "mistakes", "The most confident mistakes"
    if not np.isfinite(material.probabilities).all():
        return section(anchor, title, left_out(NO_NUMBERS))
    chosen = confident_mistakes(material.probabilities, material.right, MISTAKES)
    if not len(chosen):
        return section(anchor, title, left_out("there is no mistake"))
    said = (
        "Images that the model is most sure about, and wrong: what they are labelled, what they were taken for, "
        "and how probable the model found that. Some are honest mistakes; often the label is wrong, or the "
        "image shows both."
    )
    figures = []
    for index in chosen.tolist():
        label, guess = (material.names[of[index]] for of in (material.result.labels, material.result.predicted))
        caption = (
            f'<span class="label">{escape(label)}</span> taken for <strong>{escape(guess)}</strong> '
            f"<small>{percent(float(material.probabilities[index]))}</small>"
        )
        alt = f"Image {index} of the split: {label}, taken for {guess}"
        figures.append(picture(data_uri(thumbnail(material.image(index))), alt, caption))
    return section(anchor, title, note(said), f'<div class="gallery">{"".join(figures)}</div>')


def confident_mistakes(probabilities: np.ndarray, right: np.ndarray, most: int) -> np.ndarray:
    """The images that are taken for something else with the highest probabilities, the surest first: int (k,)."""
    wrong = np.flatnonzero(~right)
    return wrong[np.argsort(-probabilities[wrong], kind="stable")][:most]
