"""Mistakes in the use of the checker, in words of their own: they are no mistakes in a derivative."""

import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from verify.errors import CheckError

LIBRARIES = ("jax", "jaxlib", "numpy", "torch")  # an exception that comes from there is blamed on the line that called
RAISES = "the backward raises"


def require_arguments(*, seed: Any, plan: Any, plan_type: type, name: Any = "", regions: Any = None) -> None:
    """Raise CheckError for arguments of `check` or `check_layer` that are of another type than they take."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise CheckError(f"seed={seed!r}: give a whole number of at least 0")
    if plan is not None and not isinstance(plan, plan_type):
        raise CheckError(f"plan={plan!r}: give a {plan_type.__name__}, as in plan=Plan(coordinates=20)")
    if not isinstance(name, str):
        raise CheckError(f"name={name!r}: give a text")
    if regions is not None and not callable(regions):
        raise CheckError(
            f"regions={regions!r}: give a function of the tensors by name that returns the regions, as in "
            'regions=lambda tensors: {"qkv/b": (("queries", (slice(0, 8),)),)}'
        )


@contextmanager
def lists_explained(name: str, x: Any) -> Iterator[None]:
    """In the block, a TypeError of a function that is given a list of numbers says that it may want an array."""
    try:
        yield
    except TypeError as error:
        if not _has_list_of_numbers(x):
            raise
        raise CheckError(
            f"{name} fails ({error}): x has a list of numbers, which it is given as a list: pass np.array(...) instead"
        ) from error


def _has_list_of_numbers(tree: Any) -> bool:
    """Whether numbers stand in a list or tuple of the tree themselves, and not in an array."""
    if isinstance(tree, dict):
        return any(map(_has_list_of_numbers, tree.values()))
    if isinstance(tree, list | tuple):
        return any(isinstance(entry, int | float) or _has_list_of_numbers(entry) for entry in tree)
    return False


def require_one_argument(f: Callable[..., Any], name: str) -> None:
    """Raise CheckError unless `f` can be called as f(x)."""
    if not callable(f):
        raise CheckError(f"{name} is a {type(f).__name__}, not a function: write check(f, x, analytic)")
    found = _count(f, 1)
    if found is not None:
        raise CheckError(
            f"{name} takes {found}, but is called as f(x): put the arrays into one tree, as in "
            "check(lambda t: f(*t), (a, b), analytic)"
        )


def require_two_arguments(analytic: Callable[..., Any]) -> None:
    """Raise CheckError unless `analytic` can be called as analytic(x, dy)."""
    found = _count(analytic, 2)
    if found is not None:
        raise CheckError(
            f"analytic takes {found}, but is called as analytic(x, dy): dy is the cotangent of the output, and what it "
            "returns is the gradient of sum(dy * f(x)), like x"
        )


def require_like(found: Any, expected: Any, words: str) -> Any:
    """`found`, a gradient of `expected`. Raise CheckError if one of them is a single array and the other is not, or one
    has names and the other only numbers; `words` say so, with `{found}` and `{expected}` in them."""
    if not jax.tree.leaves(expected) and not jax.tree.leaves(found):
        return found
    for leaf in jax.tree.leaves(found):
        kind = getattr(leaf, "dtype", np.asarray(leaf).dtype if isinstance(leaf, str | bytes) else None)
        if kind is not None and getattr(kind, "kind", "f") in "OSU":
            text = f"{str(leaf)[:40]!r}, which is no number"
            raise CheckError(words.format(found=text, expected=described(expected)))
    kinds = _kind(found), _kind(expected)
    if found is None or (None not in kinds and kinds[0] != kinds[1]):
        raise CheckError(words.format(found=described(found), expected=described(expected)))
    return found


def _kind(tree: Any) -> str | None:
    """Whether a tree is an array, a dict or a sequence; None if it is anything else."""
    if hasattr(tree, "dtype") or isinstance(tree, int | float):
        return "array"
    if isinstance(tree, tuple | list) and not hasattr(tree, "_fields"):
        return "sequence"
    return "dict" if isinstance(tree, dict) else None


def described(tree: Any) -> str:
    """What a function returned, in words."""
    if tree is None:
        return "None (is the return missing?)"
    if _kind(tree) == "array":
        return "one array"
    return f"a {type(tree).__name__}{f' of {len(tree)}' if hasattr(tree, '__len__') else ''}"


def require_methods(layer: Any) -> None:
    """Raise CheckError unless `layer` is an object with `init`, `forward` and `backward` that take their arguments."""
    if isinstance(layer, type):
        raise CheckError(f"{layer.__name__} is a class: give an object of it, as in {layer.__name__}(...)")
    title = type(layer).__name__
    missing = [name for name in ("init", "forward", "backward") if not callable(getattr(layer, name, None))]
    if missing:
        raise CheckError(f"{title} has no {' and no '.join(missing)}: a layer has init, forward and backward")
    for name, arguments in (("init", "key"), ("backward", "params, cache, dy")):
        found = _count(getattr(layer, name), len(arguments.split()))
        if found is not None:
            raise CheckError(f"{title}: {name} takes {found}, but is called as {name}({arguments})")


def _count(function: Callable[..., Any], wanted: int) -> str | None:
    """How many arguments a function takes, in words, if it cannot be called with `wanted` of them."""
    inputs = getattr(function, "nin", None)  # of NumPy's functions, whose further arguments are outputs
    if isinstance(inputs, int):
        return None if inputs == wanted else _arguments(inputs)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # a function that does not tell
        return None
    try:
        signature.bind(*[None] * wanted)
        return None
    except TypeError:
        parameters = signature.parameters.values()
        keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if keywords:
            return f"the keyword{'s' if len(keywords) > 1 else ''} {', '.join(keywords)}"
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in positional if p.default is p.empty]
        return _arguments(len(required) if len(required) > wanted else len(positional))


def _arguments(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"


def raised(error: Exception) -> str:
    """An exception in a backward, with the place in the reader's file at which it was raised."""
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return LEAK
    words = str(error).strip().partition("\n")[0]
    at = place(error)
    return f"{RAISES} {type(error).__name__}: {words}{f' ({at})' if at else ''}"


def place(error: BaseException) -> str:
    """File and line of the last frame that is neither of the checker nor of a library, as in `layer.py, line 12`."""
    homes = [Path(__file__).parent, *(Path(home) for name in LIBRARIES for home in _homes(name))]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(home) for home in homes)
        and (os.path.exists(frame.filename) or frame.filename in linecache.cache or frame.filename.endswith(".py"))
    ]
    if not frames:
        return ""
    file, here = frames[-1].filename, os.getcwd() + os.sep
    return f"{file.removeprefix(here)}, line {frames[-1].lineno}"


def _homes(name: str) -> list[str]:
    return list(getattr(sys.modules.get(name), "__path__", []))


LEAK = (
    "an array from one call is used in another: keep nothing on self or in a global, but return it in the cache, or "
    "pass it in"
)


@contextmanager
def leaks_told(name: str) -> Iterator[None]:
    """A context in which JAX's error about an array that outlives its call becomes one sentence."""
    try:
        yield
    except jax.errors.UnexpectedTracerError as error:
        raise CheckError(f"{name}: {LEAK}") from error
