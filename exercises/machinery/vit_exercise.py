"""The last exercise: a small ViT built from the reader's layers must reproduce the losses of the model in model/."""

import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from exercises.machinery.answers import FOLDER, load_answer
from exercises.machinery.catalogue import find_exercise, solution_module
from exercises.machinery.checking import check, example
from exercises.machinery.exercise import flatten, nearly_equal
from exercises.machinery.outcome import Outcome
from exercises.machinery.points import C, D
from exercises.machinery.runner import NotStartedError, NotWrittenError, ReaderError, function_of, load, read, run
from model.layer import Params
from model.loss import CrossEntropy
from model.vit import ViT
from verify.programs import jit

LAYERS = ("patch_embedding", "class_token", "layer_norm", "multi_head_attention", "feed_forward", "mean_pooling",
          "dense_input", "dense_parameters")  # fmt: skip
NEEDED = (*LAYERS, "cross_entropy", "clipping", "adamw")
MODEL = ViT(
    image_size=(12, 10), patch_size=(4, 5), d_model=D, heads=3, layers=2, mlp_dim=7, num_classes=C, pooling="mean"
)  # fmt: skip
STEPS = 20
TOLERANCE = 1e-6  # of the loss, relative
PARTS = ("layers", "gradients", "losses")  # of the exercise, one after the other
WAY_BACK = ("head", "norm", "blocks", "tokens", "embed")
WAY_BACK_IN_A_BLOCK = ("feed_forward", "norm_2", "attention", "norm_1")
Tree = Any


def check_vit(path: Path, reveal: bool = False) -> Outcome:
    """Gradients of one step first, then the losses of a run."""
    parts = dict.fromkeys(PARTS, False)
    try:
        source = read(path)
        module = load(source, path)
        backward = function_of(module, "backward")
        missing = [name for name in NEEDED if not _passes(name, path.parent)]
        if missing:
            return Outcome(
                "to do", (f"the ViT is trained with these, which must pass first: {', '.join(missing)}",), parts
            )
        parts["layers"] = True
        own = SimpleNamespace(**{name: _module(path.with_name(f"{name}.py")) for name in NEEDED})
        try:
            return _compared(own, module, backward, source, path, reveal, parts)
        except (NotWrittenError, ReaderError):
            raise
        except Exception as error:  # in a file that passes its own check, but fails at these shapes
            raise _failed(error, path.parent) from None
    except NotWrittenError:
        return Outcome("to do", (f"`backward` in {path} is still empty",), parts)
    except NotStartedError as error:
        return Outcome("to do", (str(error),), parts)
    except ReaderError as error:
        return Outcome("wrong", tuple(str(error).splitlines()), parts)


def vit_lines() -> list[str]:
    """The shapes of the parameters, which are those of the gradients."""
    params = to_own(jax.eval_shape(MODEL.init, jax.random.key(0)))
    return [f"{name:<34} {leaf.shape}" for name, leaf in flatten({"params": params}).items()]


def _failed(error: Exception, folder: Path) -> ReaderError:
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == folder]
    where = f"{Path(places[-1].filename).name}, line {places[-1].lineno}: " if places else ""
    return ReaderError(f"{where}{type(error).__name__}: {' '.join(str(error).split()):.300}")


def _passes(name: str, folder: Path) -> bool:
    """Whether the reader's file passes its own check, measurements apart."""
    return check(find_exercise(name), folder / f"{name}.py", measured=False).state == "passed"


def _module(path: Path) -> Any:
    return load(read(path), path)


def _compared(
    own: Any, module: Any, backward: Callable[..., Any], source: str, path: Path, reveal: bool, parts: dict[str, bool]
) -> Outcome:
    """The last two stages; `parts` is told what is right."""
    images, targets = task()
    params = to_own(initial())
    state = _zeros(params)
    reference = reference_losses()
    losses = []
    for step in range(STEPS):
        output = run(function_of(module, "forward"), (own, params, images), source, path).returned
        if not (isinstance(output, tuple) and len(output) == 2):
            raise ReaderError("`forward` no longer returns (logits, cache): python -m exercises reset vit")
        logits, vit_cache = output
        loss, loss_cache = own.cross_entropy.forward(logits, targets)
        grads = run(backward, (own, vit_cache, own.cross_entropy.backward(loss_cache, 1.0)), source, path).returned
        if step == 0:
            wrong = _differences(grads, reveal)
            if wrong:
                return Outcome("wrong", tuple(wrong), parts)
            parts["gradients"] = True
        losses.append(float(loss))
        params, state = updated(own, params, grads, state, step + 1)
    error = np.abs(np.array(losses) / reference - 1)
    if not error.max() <= TOLERANCE:
        step = int(np.argmax(~(error <= TOLERANCE)))
        return Outcome("wrong", (f"the loss differs from the reference from step {step}: yours is {losses[step]:.9g}",),
                       parts)  # fmt: skip
    parts["losses"] = True
    return Outcome("passed", (f"{STEPS} steps, loss {losses[0]:.4f} to {losses[-1]:.4f}; largest difference from the "
                              f"model in model/: {error.max():.0e}",), parts)  # fmt: skip


def _differences(grads: Tree, reveal: bool) -> list[str]:
    """What is wrong with the first gradients: a known mistake if it is one, their names, and a value."""
    right = flatten({"grads": expected_gradients()})
    found = flatten({"grads": grads})
    problems = [f"{name} is missing" for name in right.keys() - found.keys()]
    problems += [f"{name} is not asked for" for name in found.keys() - right.keys()]
    if problems:
        return sorted(problems)[:5]
    wrong = [name for name in sorted(right, key=_on_the_way_back) if not nearly_equal(found[name], right[name])]
    if not wrong:
        return []
    names = f"wrong, the first on the way back first: {', '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}"
    worst = example(wrong[0], found[wrong[0]], right[wrong[0]], reveal)
    for mistake in load_answer("vit").mistakes:
        version = flatten({"grads": gradients(load(mistake.source, FOLDER / "vit.rot13"))})
        if all(nearly_equal(found[name], version[name]) for name in right):
            return [mistake.question, names, worst]
    return [names, worst]


def _on_the_way_back(name: str) -> tuple[int, int, int]:
    """Sorts names such as grads/blocks/1/norm_2/gamma by when a backward comes to them."""
    _, part, *inner = name.split("/")
    if part == "blocks":
        return WAY_BACK.index(part), -int(inner[0]), WAY_BACK_IN_A_BLOCK.index(inner[1])
    return WAY_BACK.index(part), 0, 0


@cache
def expected_gradients() -> Tree:
    """The gradients of the first step, by the solution."""
    return gradients(solution_module("vit"))


def gradients(module: Any) -> Tree:
    """The gradients of the first step by this version of the exercise, with the layers of the solutions."""
    own = SimpleNamespace(**{name: solution_module(name) for name in NEEDED})
    images, targets = task()
    logits, vit_cache = module.forward(own, to_own(initial()), images)
    _, loss_cache = own.cross_entropy.forward(logits, targets)
    return module.backward(own, vit_cache, own.cross_entropy.backward(loss_cache, 1.0))


def task() -> tuple[jax.Array, jax.Array]:
    """Eight images and their targets."""
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(8, 12, 10, 3))), jnp.asarray(np.eye(C)[rng.integers(C, size=8)])


def initial() -> Params:
    """Random parameters for the first step; none are zero or one, not even those of the head and the norms."""
    params = MODEL.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float) + 0.1 * rng.normal(size=leaf.shape)), params)


def to_own(params: Params) -> Tree:
    """The parameters of the model in the tree that the exercise uses."""

    def block(p: Params) -> Tree:
        attention, feed = p["attention"]["attention"], p["feed_forward"]["feed_forward"]
        return {
            "norm_1": p["attention"]["norm"],
            "attention": {
                "W_qkv": attention["qkv"]["W"], "b_qkv": attention["qkv"]["b"],
                "W_out": attention["out"]["W"], "b_out": attention["out"]["b"],
            },
            "norm_2": p["feed_forward"]["norm"],
            "feed_forward": {
                "W_1": feed["expand"]["W"], "b_1": feed["expand"]["b"],
                "W_2": feed["project"]["W"], "b_2": feed["project"]["b"],
            },
        }  # fmt: skip

    return {
        "embed": params["patch_embedding"]["project"],
        "tokens": params["position_embedding"],
        "blocks": tuple(block(params["encoder"][f"block_{i}"]) for i in range(MODEL.layers)),
        "norm": params["norm"],
        "head": params["head"],
    }


def updated(own: Any, params: Tree, grads: Tree, state: tuple[Tree, Tree], t: int) -> tuple[Tree, tuple[Tree, Tree]]:
    """One update of all parameters by the clipping and AdamW of `own`; here weight decay acts on all of them."""
    leaves, tree = jax.tree.flatten(params)
    clipped = jax.tree.leaves(own.clipping.clip(grads))
    moments = (jax.tree.leaves(part) for part in state)
    new = [own.adamw.update(*leaf, t) for leaf in zip(leaves, clipped, *moments, strict=True)]
    theta, m, v = (jax.tree.unflatten(tree, list(part)) for part in zip(*new, strict=True))
    return theta, (m, v)


def _zeros(params: Tree) -> tuple[Tree, Tree]:
    return jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)


@cache
def reference_losses() -> np.ndarray:
    """Losses of the model in model/, updated by the solutions of clipping and AdamW."""
    own = SimpleNamespace(clipping=solution_module("clipping"), adamw=solution_module("adamw"))
    images, targets = task()
    loss, params = CrossEntropy(), initial()
    state = _zeros(params)

    def first(params):  # type: ignore[no-untyped-def]
        logits, model_cache = MODEL.forward(params, images)
        value, loss_cache = loss.forward(logits, targets)
        return value, MODEL.backward(params, model_cache, loss.backward(loss_cache))[1]

    compiled, losses = jit(first, small=True), []
    for step in range(STEPS):
        value, grads = compiled(params)
        losses.append(float(value))
        params, state = updated(own, params, grads, state, step + 1)
    return np.array(losses)
