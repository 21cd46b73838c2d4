"""Typed values for the fields of a configuration dataclass, as the annotation of the field specifies.

Supported are `int`, `float`, `bool`, `str`, `None`, `Literal`, tuples of a fixed length, unions of these, and
`Annotated[..., Check]` for a range.
"""

import contextlib
import difflib
import json
import math
from collections.abc import Callable, Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml


class Check(NamedTuple):
    """A condition on a value, and its description for a message."""

    expected: str
    holds: Callable[[Any], bool]


Positive = Annotated[float, Check("a number above 0", lambda value: value > 0)]
NotNegative = Annotated[float, Check("a number of at least 0", lambda value: value >= 0)]
Share = Annotated[float, Check("a number of at least 0 and below 1", lambda value: 0 <= value < 1)]
Count = Annotated[int, Check("a whole number of at least 1", lambda value: value >= 1)]
# JAX uses only the lowest 32 bits of a seed: larger seeds would repeat smaller ones.
Seed = Annotated[int, Check("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)]
Name = Annotated[str, Check("some text", bool)]


def read(kind: Any, value: object) -> Any:
    """Convert `value`, as YAML reads it, to the type `kind`.

    Raises:
        ValueError: it is not of this type; `describe(kind)` says what is expected.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        result = read(args[0], value)
        if not args[1].holds(result):
            raise ValueError
        return result
    if origin in (Union, UnionType):
        for member in sorted(
            args, key=lambda member: member is not NoneType
        ):  # None first: the text "none" would match str too
            with contextlib.suppress(ValueError):
                return read(member, value)
        raise ValueError
    if origin is Literal:
        return _accept(value, isinstance(value, str) and value in args)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(args):
            raise ValueError
        return tuple(read(member, item) for member, item in zip(args, value, strict=True))
    return _read_scalar(kind, value)


def _read_scalar(kind: Any, value: object) -> Any:
    is_text = isinstance(value, str)
    if kind is NoneType:
        if value is None or (is_text and str(value).lower() in ("none", "null")):
            return None
        raise ValueError
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            number = float(value)  # also from text: PyYAML reads 1e-3, without a point, as text
            return _accept(number, math.isfinite(number))
        raise ValueError
    if kind is int:
        return _accept(value, isinstance(value, int) and not isinstance(value, bool))
    if kind in (bool, str):
        return _accept(value, isinstance(value, kind))
    raise TypeError(f"{kind} is no type for a configuration field")


def _accept(value: Any, condition: bool) -> Any:
    if not condition:
        raise ValueError
    return value


def read_text(kind: Any, text: str) -> Any:
    """Convert `text` from the command line to the type `kind`. It is read as YAML unless any text is a valid value.

    Raises:
        ValueError: it is not of this type.
    """
    if takes_text(kind):
        return read(kind, text)
    try:
        return read(kind, yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError from error


def takes_text(kind: Any) -> bool:
    """Whether any text is a value of the type `kind`."""
    if get_origin(kind) is Annotated:
        return takes_text(get_args(kind)[0])
    return kind is str or (get_origin(kind) in (Union, UnionType) and any(map(takes_text, get_args(kind))))


def describe(kind: Any) -> str:
    """What is expected of a value of the type `kind`, for a message."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return args[1].expected
    if origin in (Union, UnionType):
        return " or ".join(map(describe, args))
    if origin is Literal:
        return f"one of {', '.join(args)}"
    if origin is tuple:
        return f"a list of {len(args)}, each {describe(args[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    return words[kind]


def show(value: object) -> str:
    """A value as it is written in a message."""
    return json.dumps(value, default=str, ensure_ascii=False)


def nearest(name: str, valid: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: the most similar valid one, else `otherwise`, else all of them."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return otherwise or f"choose from {', '.join(valid)}"
