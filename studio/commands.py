"""What each button runs: commands of this project, as one would type them in its folder."""

from collections.abc import Sequence
from pathlib import Path

from studio.workspace import as_argument

Command = list[str]  # its first word is `python`


def train(preset: str, overrides: Sequence[str], run: Path) -> Command:
    return ["python", "train.py", preset, *overrides, "--run", str(run)]


def resume(run: Path, overrides: Sequence[str] = ()) -> Command:
    return ["python", "train.py", "--resume", str(run), *overrides]


def summary(preset: str, overrides: Sequence[str]) -> Command:
    return ["python", "train.py", preset, *overrides, "--summary"]


def preview(preset: str, overrides: Sequence[str], out: Path, images: int = 18) -> Command:
    """At most so many training images as the model sees them."""
    columns = max(1, min(6, images))
    shown = ["--rows", str(max(1, images // columns)), "--columns", str(columns)]
    return ["python", "-m", "training.preview", preset, *overrides, "--out", str(out), *shown]


def reconstructions(run: Path, out: Path) -> Command:
    """What a masked autoencoder predicts."""
    return ["python", "-m", "training.preview", str(run), "--out", str(out), "--rows", "2", "--columns", "6"]


def download(name: str) -> Command:
    return ["python", "-m", "data.download", name]


def inspect(folder: Path) -> Command:
    return ["python", "-m", "data.inspect", as_argument(folder)]


def evaluate(run: Path, into: Path) -> Command:
    files = [word for kind in ("json", "csv", "html") for word in (f"--{kind}", str(into / f"evaluation.{kind}"))]
    return ["python", "evaluate.py", str(run), *files]


def validation_images(run: Path, out: Path, numbers: Sequence[int] = (), count: int = 12, seed: int = 0) -> Command:
    """Those with these numbers, or `count` that are drawn."""
    chosen = ["--numbers", ",".join(map(str, numbers))] if numbers else ["--count", str(count), "--seed", str(seed)]
    return ["python", "-m", "training.validation_images", str(run), "--out", str(out), *chosen]


def predict(images: Sequence[Path], run: Path, into: Path, *, with_attention: bool = True) -> Command:
    """The guesses, and two pictures: what the model attends to, and which pixels its first guess hangs on."""
    kinds = ("attention", "saliency") if with_attention else ("saliency",)
    figures = [word for kind in kinds for word in (f"--{kind}", str(into / f"{kind}.png"))]
    files = ["--json", str(into / "guesses.json"), *figures]
    return ["python", "predict.py", *map(str, images), "--run", str(run), *files]


def check_layers(only: str, report: Path) -> Command:
    chosen = ["--only", only] if only else []
    return ["python", "gradcheck.py", *chosen, "--verbose", "--json", str(report)]


def check_run(run: Path, report: Path) -> Command:
    return ["python", "gradcheck.py", "--checkpoint", str(run), "--verbose", "--json", str(report)]


def plant(file: str, mistake: str, report: Path) -> Command:
    """Check the gradients with one mistake planted."""
    return ["python", "gradcheck.py", "--mutants", "--only", f"{file}: {mistake}", "--json", str(report)]
