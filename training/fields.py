"""Typed values for the fields of a configuration dataclass, as the annotation of the field specifies.

Supported are `int`, `float`, `bool`, `str`, `None`, `Literal`, tuples of a fixed length, unions of these, and
`Annotated[..., Check]` for a range.

A value comes as text, from a file as from the command line, and the type decides what it means. Numbers are decimal:
`010` is ten, and what is not decimal (`0x10`, `0o17`, `1:30`, a date, `.inf`) is refused.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Callable, Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from common.argument_types import SEEDS
from common.errors import ConfigError
from training.yaml_text import parse_yaml

WHOLE = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")  # as in 1_000
DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # of float32, without what a GPU takes for 0
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NULLS = ("none", "null")


class Check(NamedTuple):
    """A condition on a value, and its description for a message."""

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()  # the only values that meet it, if they can be listed


Positive = Annotated[float, Check("a number above 0", lambda value: value > 0)]
NotNegative = Annotated[float, Check("a number of at least 0", lambda value: value >= 0)]
Share = Annotated[float, Check("a number of at least 0 and below 1", lambda value: 0 <= value < 1)]
Workers = Annotated[int, Check("a whole number from 1 to 256", lambda value: 1 <= value <= 256)]  # processes
Count = Annotated[int, Check("a whole number of at least 1", lambda value: value >= 1)]
Seed = Annotated[int, Check(f"a whole number from 0 to {SEEDS - 1}", lambda value: 0 <= value < SEEDS)]
Name = Annotated[str, Check("some text", bool)]


def read(kind: Any, value: object) -> Any:
    """Convert `value`, as `parse_yaml` gives it, to the type `kind`.

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
        return _accept(value, value in args)
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(args):
            raise ValueError
        return tuple(read(member, item) for member, item in zip(args, value, strict=True))
    if kind is NoneType:
        return _accept(None, value is None or (isinstance(value, str) and value.lower() in NULLS))
    return _read_scalar(kind, _accept(value, isinstance(value, str)))


def _read_scalar(kind: Any, text: str) -> Any:
    if kind is float:
        return float(_accept(text, DECIMAL.fullmatch(text) and not out_of_range(text)))
    if kind is int:
        return int(_accept(text, WHOLE.fullmatch(text)))
    if kind is bool:
        return _accept(BOOLEANS.get(text.lower()), text.lower() in BOOLEANS)
    if kind is str:
        return text
    raise TypeError(f"{kind} is no type for a configuration field")


def holds(number: float) -> bool:
    """Whether float32, in which everything is computed, holds the number: not as infinity, nor as 0 if it is not 0."""
    return abs(number) <= LARGEST and (number == 0 or abs(number) >= SMALLEST)


def out_of_range(value: object) -> bool:
    """Whether a value as it was written is a number that float32 does not hold."""
    if not isinstance(value, str) or not DECIMAL.fullmatch(value):
        return False
    is_zero = not any(digit in "123456789" for digit in value.lower().partition("e")[0])
    return not holds(float(value)) or (float(value) == 0 and not is_zero)


def _accept(value: Any, condition: object) -> Any:
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
        return read(kind, parse_yaml(text, text))
    except ConfigError as error:
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


def choices(kind: Any) -> tuple[str, ...]:
    """The only values of the type `kind`, if they can be listed."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[1].choices
    return get_args(kind) if get_origin(kind) is Literal else ()


def show(value: object) -> str:
    """A value as it is written in a message."""
    return json.dumps(value, default=str, ensure_ascii=False)


def as_written(value: object) -> str:
    """A value of a YAML document as it is written there, in one line."""
    if isinstance(value, list):
        return str(value).replace("'", "")  # not by recursion: an alias may make a list contain itself
    return value if isinstance(value, str) else show(value)


def as_named(name: str) -> str:
    """A name in a message, in quotes if it has blanks, which are else not seen."""
    return name if name and not any(map(str.isspace, name)) else repr(name)


def nearest(name: str, valid: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: the most similar valid one, else `otherwise`, else all of them."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return otherwise or f"choose from {', '.join(valid)}"
