"""Files of text and JSON that may be damaged, or written by somebody else: what is read is checked, or refused.

Every JSON file of the project is read here. `fit` compares what was read, from JSON or from YAML, with the type that
it should have, so that no caller meets a list where it expects a number.
"""

import dataclasses
import json
import math
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from common.errors import DamagedError

LARGEST = 64 * 2**20  # bytes of a file of text; the largest ones, states of gradcheck.py, are below a megabyte
BLOCK = 2**20  # bytes that are read at once
SHOWN = 40  # characters of a value in a message
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}


def read_text(path: Path, largest: int = LARGEST, errors: str = "strict") -> str:
    """The text of a file in UTF-8. A byte-order mark, which some editors write, is left out. With `errors="replace"`,
    what is not UTF-8 is replaced by question marks.

    Raises:
        DamagedError: it is not UTF-8, or has more than `largest` bytes.
        OSError: it cannot be read.
    """
    content = bytearray()
    with open(path, "rb") as file:
        while len(content) <= largest and (block := file.read(BLOCK)):
            content += block
    if len(content) > largest:
        raise DamagedError(f"{path}: more than {largest:,} bytes, which is too large for this kind of file")
    try:
        return content.decode("utf-8-sig", errors).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from None


def read_json(path: Path, kind: Any, *, finite: bool = True) -> Any:
    """The content of a JSON file as the type `kind`, see `fit`.

    Raises:
        DamagedError: it is not JSON, or of another type.
        OSError: it cannot be read.
    """
    return parse_json(read_text(path), kind, str(path), finite=finite)


def parse_json(text: str | bytes, kind: Any, source: str, *, finite: bool = True) -> Any:
    """The same for JSON in memory; `source` names it in a message."""
    try:
        document = json.loads(text, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise DamagedError(f"{source}: damaged or cut short (nested too deeply)") from None
    except ValueError as error:  # of these are JSONDecodeError, UnicodeDecodeError and numbers of too many digits
        raise DamagedError(f"{source}: damaged or cut short (not JSON: {error})") from None
    try:
        return fit(kind, document, finite=finite)
    except ValueError as error:
        raise DamagedError(f"{source}: damaged ({error})") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def fit(kind: Any, value: Any, name: str = "", *, finite: bool = True) -> Any:
    """`value` of a JSON or YAML document as the type `kind`.

    Types are `Any`, int, float, str, bool, None, `list[X]`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, unions, and
    dataclasses of these: a field with a default may be missing, and no other may be there. Nothing is converted but
    lists to tuples, objects to dataclasses and whole numbers to floats.

    Args:
        name: of the value, for the message.
        finite: whether a float must be.

    Raises:
        ValueError: the value has another type; the message says where in it.
    """
    origin, args = get_origin(kind), get_args(kind)
    where = f"{name}: " if name else ""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _fit_fields(kind, value, name, finite)
    if origin in (Union, UnionType):
        for member in args:
            try:
                return fit(member, value, name, finite=finite)
            except ValueError:
                continue
        raise ValueError(f"{where}expected {' or '.join(map(_words, args))}, got {_shown(value)}")
    if origin is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: fit(args[1], item, f"{where}{key}", finite=finite) for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        kinds = args if origin is tuple and ... not in args else (args[0],) * len(value)
        if len(kinds) == len(value):
            items = [
                fit(k, item, f"{where}item {i}", finite=finite)
                for i, (k, item) in enumerate(zip(kinds, value, strict=True), 1)
            ]
            return origin(items)
    if kind is float and type(value) in (int, float):
        return _fit_float(value, where, finite)
    if origin is None and type(value) is kind:  # not isinstance: true is no number
        return value
    raise ValueError(f"{where}expected {_words(kind)}, got {_shown(value)}")


def _fit_fields(kind: Any, value: Any, name: str, finite: bool) -> Any:
    where = f"{name}: " if name else ""
    if not isinstance(value, dict):
        raise ValueError(f"{where}expected an object, got {_shown(value)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in value if key not in fields]
    if unknown:
        raise ValueError(f"{where}{_shown(unknown[0])} is unknown")
    hints = get_type_hints(kind)
    given = {key: fit(hints[key], item, f"{where}{key}", finite=finite) for key, item in value.items()}
    for key, field in fields.items():
        if key not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}{key} is missing")
    return kind(**given)  # which may refuse values by a ValueError of its own


def _fit_float(value: float, where: str, finite: bool) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if finite and not math.isfinite(number):
        raise ValueError(f"{where}expected a finite number, got {_shown(value)}")
    return number


def _words(kind: Any) -> str:
    if get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return "an object"
    if get_origin(kind) is tuple and ... not in get_args(kind):
        return f"a list of {len(get_args(kind))}"
    return WORDS.get(kind, "a list")


def _shown(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**SHOWN:  # str() refuses one of thousands of digits
        return "a number of many digits"
    text = "null" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
