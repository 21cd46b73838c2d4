"""Faults to find: a model trains with one wrong line in one backward pass, and the reader names the line."""

import contextlib
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from checks.mutants import ROOT, Mutant, mutants_by_name, planted
from exercises.machinery.answers import load_answer
from exercises.machinery.outcome import Outcome
from exercises.machinery.runner import NotStartedError, NotWrittenError, ReaderError, function_of, load, read, run
from model.loss import CrossEntropy
from model.vit import ViT
from optim.adamw import AdamW
from verify.programs import jit

MODEL = ViT(image_size=(4, 4), patch_size=2, d_model=12, heads=3, layers=2, mlp_dim=7, num_classes=4, pooling="mean")
STEPS, EVERY = 60, 10
ANOTHER_LINE = "the file is right, but it is another line"
MIN_LENGTH = 8  # characters of a line that are enough to identify it


def check_fault(name: str, path: Path, experiment: bool = True) -> Outcome:
    """Run the reader's experiment with the fault in place (unless `experiment=False`), then judge the answer."""
    nothing = {"file": False, "line": False}
    try:
        source = read(path)
        module = load(source, path)
        lines = _experiment(name, module.__dict__.get("investigate"), source, path) if experiment else ()
        try:
            answer = run(function_of(module, "fault"), (), source, path).returned
        except NotWrittenError:
            return Outcome("to do", (*lines, f"`fault` in {path} is still empty"), nothing)
    except NotWrittenError:
        return Outcome("to do", (f"`investigate` in {path} is empty",), nothing)
    except NotStartedError as error:
        return Outcome("to do", (str(error),), nothing)
    except ReaderError as error:
        return Outcome("wrong", tuple(str(error).splitlines()), nothing)
    wrong = _judged(mutant_of(name), answer)
    if not wrong:
        return Outcome("passed", (), dict.fromkeys(nothing, True))
    return Outcome("wrong", (*lines, wrong), nothing | {"file": wrong.startswith(ANOTHER_LINE)})


def fault_lines(name: str, path: Path) -> list[str]:
    """What is asked for; a fault has no table of shapes."""
    files = sorted(file.stem for file in (ROOT / "model" / "layers").glob("*.py") if file.stem != "__init__")
    return [f"asked for: (file, line), of these files of model/layers/: {', '.join(files)}"]


@cache
def mutant_of(name: str) -> Mutant:
    """The fault that is planted."""
    file, _, mistake = load_answer(name).mutant.partition(": ")
    return mutants_by_name()[file, mistake]


def lines_of(mutant: Mutant) -> Iterator[tuple[int, str]]:
    """The lines that the fault changes, with their numbers, in the correct file."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    for find, _ in mutant.patches:
        first = source[: source.index(find)].count("\n") + 1
        for number in range(first, first + find.count("\n") + 1):
            yield number, source.splitlines()[number - 1]


def _judged(mutant: Mutant, answer: object) -> str:
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], int | str)):
        return f"`fault` must return (file, line), got {answer!r:.80}"
    file = str(answer[0]).removesuffix(".py").rpartition("/")[2]
    if not (ROOT / "model" / "layers" / f"{file}.py").exists():
        return f"there is no model/layers/{file}.py"
    if file != Path(mutant.file).stem:
        return f"the fault is not in model/layers/{file}.py: check that layer alone"
    line = answer[1].strip() if isinstance(answer[1], str) else answer[1]
    for number, text in lines_of(mutant):
        if line == number or (isinstance(line, str) and len(line) >= MIN_LENGTH and line in text):
            return ""
    return (
        f"{ANOTHER_LINE} of model/layers/{file}.py: which gradient is wrong, and which line computes it? A line may "
        "also use a correct value wrongly."
    )


def _experiment(name: str, investigate: object, source: str, path: Path) -> tuple[str, ...]:
    """The losses with and without the fault, and what the reader's function prints."""
    right = _losses()
    printed = io.StringIO()
    # A program that was compiled without the fault must not be reused with it, nor the other way round.
    jax.clear_caches()
    try:
        with planted(mutant_of(name)):
            wrong = _losses()
            if callable(investigate):
                with contextlib.redirect_stdout(printed):
                    run(investigate, (), source, path)
    finally:
        jax.clear_caches()
    rows = [f"{i:6}  {right[i]:8.4f}  {wrong[i]:8.4f}" for i in range(0, STEPS, EVERY)]
    return ("  step     right    faulty (loss)", *rows, "", *printed.getvalue().splitlines(), "")


def _losses() -> np.ndarray:
    """Losses of a small model on a small task: which quarter of the image is bright?"""
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(4, size=32))
    images = jnp.asarray(rng.normal(size=(32, 2, 2, 2, 2, 3)) * 0.5)  # (B, row, 2, column, 2, C)
    bright = (jnp.arange(4) == labels[:, None]).reshape(32, 2, 1, 2, 1, 1)
    images = (images + bright).reshape(32, 4, 4, 3)
    loss, optimizer = CrossEntropy(), AdamW(1e-2)
    params = MODEL.init(jax.random.key(0))
    state = optimizer.init(params)

    def step(params, state):  # type: ignore[no-untyped-def]
        logits, model_cache = MODEL.forward(params, images)
        value, loss_cache = loss.forward(logits, labels)
        _, grads = MODEL.backward(params, model_cache, loss.backward(loss_cache))
        return *optimizer.update(params, grads, state), value

    compiled, losses = jit(step, small=True), []
    for _ in range(STEPS):
        params, state, value = compiled(params, state)
        losses.append(float(value))
    return np.array(losses)
