"""What the cells of the book have at hand: figures for light and dark pages, and the gradient checker's words."""

import csv
import html
import io
import json
import re
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from microscope import KEPT, tree_of

from checks.cases import all_cases
from checks.definitions import definition_results
from checks.draw import layer_case
from checks.mutants import mutants_by_name, planted
from data import shape_drawing
from model.layer import Layer, Params
from model.layers.attention import AttentionCache
from model.one_page import vit_backward, vit_forward
from model.vit import ViT
from verify.case import Case
from verify.check import Checker
from verify.results import COMPLEX, DIFFERENCES, CaseResult

CURVES = Path(__file__).parent / "figures" / "mistakes.csv"
TRAINED = Path(__file__).parent / "figures" / "trained.npz"

# From Okabe and Ito's palette, made to be told apart by colour-blind readers; these can be seen on white and on black.
BLUE, RED, GREEN, PINK, ORANGE = "#1f83c4", "#d55e00", "#009e73", "#cc79a7", "#d99100"
STYLES = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), (PINK, ":"), (ORANGE, (0, (6, 1, 1, 1, 1, 1))))
LINE = 96  # characters that a page has room for
INK = "#010203"  # stands for the colour of the page's text, whatever it is
LOOK = {
    "axes.edgecolor": INK, "axes.facecolor": "none", "axes.labelcolor": INK, "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlesize": 10, "figure.facecolor": "none", "font.size": 9, "legend.frameon": False,
    "legend.labelcolor": INK, "lines.linewidth": 1.8, "svg.fonttype": "none", "svg.hashsalt": "book", "text.color": INK,
    "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip

rcParams.update(LOOK)

shown: list[str] = []  # the figures of the cell that runs, as SVG
notebook = False  # whether they are shown in a notebook instead


def settings() -> None:
    """What all cells compute with: float64, as in the gradient checker. They show digits, not float32's rounding."""
    jax.config.update("jax_enable_x64", True)
    np.set_printoptions(precision=4, suppress=True)


def in_notebook() -> None:
    """From here on, `show` shows a figure below the cell of the notebook that calls it."""
    global notebook
    notebook = True
    settings()


def figure(columns: int = 1, width: float = 6.4, height: float = 3.0, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, row after row; sizes in inches."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, list(np.ravel(drawn.subplots(rows, columns)))


def show(drawn: Figure, alt: str) -> None:
    """Put the figure on the page; `alt` says in words what is to be seen."""
    if notebook:
        from IPython.display import Image, display

        png = io.BytesIO()
        drawn.savefig(png, format="png", dpi=120, facecolor="white")
        display(Image(png.getvalue(), alt=alt, width=round(96 * drawn.get_figwidth())))
        return
    file = io.StringIO()
    drawn.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    width = float(drawn.get_figwidth()) * 72
    size = f'style="width: {width:g}pt; min-width: {0.7 * width:g}pt"'  # on a phone less, but so that one can read it
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', size, svg, count=1)
    shown.append(f'<div class="figure" role="img" aria-label="{html.escape(alt)}">{svg}</div>')


def matrix(axes: Axes, values: np.ndarray, title: str, limit: float | None = None) -> None:
    """A small matrix with its numbers: blue below zero, orange above."""
    limit = limit or float(np.abs(values).max())
    axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * limit else "black"
        axes.text(j, i, f"{value:.2f}".replace("-0.00", "0.00"), ha="center", va="center", color=colour)


def squares(axes: Axes, numbers: np.ndarray, kinds: np.ndarray, rows: int | None = None) -> None:
    """Numbers in squares, coloured by their kind; with `rows`, a gap after so many rows."""
    for (i, j), number in np.ndenumerate(numbers):
        y = -i - 0.4 * (i // rows if rows else 0)
        colour = (BLUE, ORANGE, GREEN, PINK)[kinds[i, j]]
        axes.add_patch(Rectangle((j, y), 0.94, 0.94, color=colour, alpha=0.5))
        axes.text(j + 0.47, y + 0.45, str(number), ha="center", va="center")
    axes.set(xlim=(-0.3, 4.3), ylim=(-5.6, 1.2), aspect="equal")  # one scale for all
    axes.axis("off")


def training(*names: str, right: str = "right") -> None:
    """The training loss with each of these mistakes, beside that without: columns of figures/mistakes.csv."""
    with CURVES.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    losses = {name: [float(row[name]) for row in rows] for name in (right, "right, seed 1", *names)}
    drawn, (axes,) = figure(height=3.2)
    axes.plot(steps, losses[right], color="gray", linewidth=3.2, label=right)
    if right == "right":
        axes.plot(steps, losses["right, seed 1"], color="gray", linewidth=1.2, label="right, another seed")
    for name, (colour, line) in zip(names, STYLES, strict=False):
        axes.plot(steps, losses[name], color=colour, linestyle=line, label=name)
    axes.axhline(np.log(12), color="gray", linewidth=0.8, linestyle=":")
    axes.set(xlabel="step", ylabel="training loss, in nats")
    axes.legend()
    ends = ", ".join(f"{name} {losses[name][-1]:.2f}" for name in (right, *names))
    show(drawn, f"training loss over {steps[-1]} steps; at the end: {ends}")


class Trained(NamedTuple):
    """The model of figures/trained.npz, which has learned to tell the generated shapes apart."""

    vit: ViT
    params: Params
    mean: np.ndarray  # (3,), of the training pixels in 0..1
    std: np.ndarray  # (3,)
    class_ids: tuple[str, ...]

    def draw(self, class_id: str, seed: int) -> tuple[np.ndarray, jax.Array, shape_drawing.Box]:
        """A new picture of this class, uint8 (64, 64, 3); as the model wants it, (1, 64, 64, 3); the shape's box."""
        drawn, box = shape_drawing.draw(class_id, np.random.default_rng(seed))
        picture = np.asarray(drawn)
        return picture, jnp.asarray((picture / 255 - self.mean) / self.std)[None], box


def trained() -> Trained:
    """The trained model; its parameters, kept in half precision, in the type of the page's other numbers."""
    with np.load(TRAINED) as kept:
        about, row = json.loads(str(kept["shapes"])), kept["shapes_params"].astype(float)
    vit = ViT(**about["model"])
    leaves, tree = jax.tree.flatten(jax.eval_shape(vit.init, jax.random.key(0)))
    parts = np.split(row, np.cumsum([leaf.size for leaf in leaves])[:-1])
    params = tree.unflatten([jnp.reshape(part, leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
    return Trained(vit, params, np.array(about["mean"]), np.array(about["std"]), tuple(about["wnids"]))


class FirstImage(NamedTuple):
    """What chapter 0 computes: its untrained model, its picture, and everything that comes of them."""

    params: Params
    pixels: np.ndarray  # (16, 16) in 0..255
    image: jax.Array  # (1, 16, 16, 1)
    label: jax.Array  # (1,)
    names: list[str]  # of the classes
    loss: jax.Array
    cache: Any  # of vit_forward
    dimage: jax.Array
    grads: Params


def first_image() -> FirstImage:
    kept = np.load(KEPT)
    params = jax.tree.map(jnp.asarray, tree_of(kept["untrained"].astype(float)))
    about = json.loads(str(kept["about"]))
    image = (kept["images"][:1, :, :, None] / 255 - about["mean"]) / about["std"]
    label = jnp.asarray(kept["labels"][:1])
    loss, cache = vit_forward(params, image, label, 4, 3)
    dimage, grads = vit_backward(params, cache, 4, image.shape, 3)
    return FirstImage(params, kept["images"][0], image, label, about["classes"], loss, cache, dimage, grads)


def attention_weights(cache: Any) -> list[np.ndarray]:
    """(B, H, N, N) of each attention whose cache is somewhere in `cache`, from the first to the last."""
    found = jax.tree.leaves(cache, is_leaf=lambda part: isinstance(part, AttentionCache))
    return [np.asarray(part.weights) for part in found if isinstance(part, AttentionCache)]


def picture(axes: Axes, pixels: np.ndarray, title: str = "", over: np.ndarray | None = None) -> None:
    """A picture, (64, 64, 3) in 0..255. With `over`, in grey, and these values of its pixels or patches in orange."""
    if over is not None:
        strength = 0.9 * enlarged(over / over.max())[:, :, None]
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = ((1 - strength) * grey + strength * np.array([255, 140, 0])).astype(np.uint8)
    axes.imshow(pixels, interpolation="none")  # in the file as it is, and not enlarged
    axes.set_title(title)
    axes.axis("off")


def enlarged(values: np.ndarray, side: int = 64) -> np.ndarray:
    """A value for each patch, in a square, becomes one for each pixel, (side, side)."""
    return np.kron(values, np.ones((side // len(values), side // len(values))))


def inside(values: np.ndarray, box: shape_drawing.Box) -> float:
    """The share of values, for pixels or patches and none negative, that is in the box."""
    left, top, right, bottom = box
    pixels = enlarged(values)
    return float(pixels[top : bottom + 1, left : right + 1].sum() / pixels.sum())


def verdict(result: CaseResult, only_wrong: bool = False) -> None:
    """Print what the checker found: a line for each tensor, and more where it is wrong."""
    sizes = {tensor.name: " x ".join(map(str, tensor.shape)) or "1" for tensor in result.tensors}
    width, wide = max(map(len, sizes)), max(map(len, sizes.values()))
    for tensor in result.wrong if only_wrong else result.tensors:
        method = tensor.method(COMPLEX) or tensor.method(DIFFERENCES)
        start = f"{tensor.name:<{width}}  {sizes[tensor.name]:<{wide}} "
        if tensor.verdict == "wrong":
            words = f"{start} WRONG: {tensor.diagnosis}"
            print(textwrap.fill(words, LINE, subsequent_indent=f"{'':<{width + wide + 4}}", break_on_hyphens=False))
            if method is not None and method.analytic is not None and method.verdict == "wrong":
                print(
                    f"{'':<{width + wide + 3}} at {method.where}: {method.analytic:.6g}, measured {method.numeric:.6g}"
                )
        elif tensor.zero:
            print(f"{start} {tensor.verdict}: zero by theory")
        else:
            worst = f", largest error {method.worst:.0e} of the largest gradient" if method and method.worst else ""
            print(f"{start} {tensor.verdict}{worst}")


def optimizer(name: str, *mistakes: str, file: str = "optim/adamw.py") -> None:
    """Print what comes of comparing with the definitions: as it is, and with each of these mistakes planted.

    `name` is that of a case of checks/definitions.py, of which there is more than one for an optimizer.
    """
    known = mutants_by_name()
    for mistake in (None, *mistakes):
        with nullcontext() if mistake is None else planted(known[file, mistake]):
            (result,) = definition_results(0, name)
        print(f"--- {name}: as it is" if mistake is None else f"--- {mistake}")
        if result.wrong:
            tensor = result.wrong[0]
            print(f"{tensor.name}: WRONG: {tensor.diagnosis}")
            print(f"{len(result.wrong)} of {len(result.tensors)} comparisons are wrong")
        else:
            print(f"{len(result.tensors)} comparisons, all pass")


class Trial:
    """The gradient checker on one case, as the layer is and with mistakes planted in it."""

    def __init__(self, case: Case) -> None:
        self.checker = Checker(case, seed=0)
        self.result = self.checker.check()  # what is measured is measured on the layer as it is

    @classmethod
    def of(cls, layer: Layer, shape: tuple[int, ...], **sizes: int) -> "Trial":
        """A layer at random parameters and a random input of this shape; `sizes` may be named by a diagnosis."""
        return cls(layer_case(type(layer).__name__, layer, shape, np.random.default_rng(0), sizes=sizes))

    @classmethod
    def known(cls, name: str) -> "Trial":
        """One of the cases of `python gradcheck.py`, by its name."""
        return cls(next(case for case in all_cases(0) if case.name == name))

    def plant(self, file: str, *mistakes: str) -> None:
        """Print what the checker says of each of these mistakes of checks/mutants.yml: the tensors that are wrong."""
        known = mutants_by_name()
        for mistake in mistakes:
            print(f"--- {mistake}")
            with planted(known[file, mistake]):
                verdict(self.checker.check(fresh=True), only_wrong=True)
