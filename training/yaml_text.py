"""Strict YAML, without guesses: a scalar is text, and a key that is given twice is an error.

PyYAML follows YAML 1.1, in which `010` is 8, `1:30` is 90, `no` is false and `1e-3` is text. Here every scalar stays
the text that was written, and only null (`null`, `~` or nothing) is resolved. What a text means is decided where its
type is known: training/fields.py reads numbers as decimal ones, on the command line as in a file.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from common.documents import read_text
from common.errors import ConfigError, DamagedError

LARGEST = 2**20  # bytes of a file; configs.yml has about 10,000
MOST_LEVELS = 100
MOST_NODES = 100_000  # values in a document; configs.yml has about 500


class _StrictLoader(yaml.SafeLoader):
    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.levels += 1
        if self.levels > MOST_LEVELS:  # PyYAML would go on to Python's own limit, in a second
            raise RecursionError
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node

    def as_written(self, node: yaml.Node) -> str:
        return str(self.construct_scalar(node))  # type: ignore[arg-type]  # a wrong kind of node is refused there


_StrictLoader.yaml_implicit_resolvers = {}  # of this class alone: it inherits none of YAML 1.1
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), ["<"])
for _kind in ("int", "float", "bool", "timestamp", "binary"):  # also where a file says so, as in `!!int 010`
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.as_written)


class _Dumper(yaml.SafeDumper):
    """Escapes characters that YAML takes for line breaks: PyYAML writes them as they are, and reads blanks."""

    def represent_text(self, text: str) -> yaml.Node:
        style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def dump_yaml(document: Any) -> str:
    """The document as text, with its keys in their order; `parse_yaml` reads it back."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML document: dictionaries, lists, None, and text for every other scalar.

    Raises:
        ConfigError: the text is not valid YAML, gives a key twice, contains itself by an alias, or is too large with
            its aliases written out; the message names `source` and the line.
    """
    with _explained(source):
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_aliases(node)
        return loader.construct_document(node)


def compose_yaml(text: str, source: str) -> yaml.Node | None:
    """The nodes of a YAML document, which know where they stand in the text; None if there are none.

    Raises:
        ConfigError: as for `parse_yaml`.
    """
    with _explained(source):
        node = _StrictLoader(text).get_single_node()
        if node is not None:
            _check_aliases(node)
        return node


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}{line}: {error.problem or 'not valid YAML'}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a forbidden character
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _check_aliases(document: yaml.Node) -> None:
    """Refuse aliases that make a document contain itself, or that make much out of a short text.

    Raises:
        yaml.MarkedYAMLError: with the place of the alias's target.
    """
    sizes: dict[int, int] = {}  # nodes with aliases written out, by identity; 0 while a node is being counted

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise yaml.MarkedYAMLError(problem="an alias makes it contain itself", problem_mark=node.start_mark)
            return sizes[id(node)]
        sizes[id(node)] = 0
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = itertools.chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        total = 1 + sum(map(size, inner))
        if total > MOST_NODES:
            problem = f"more than {MOST_NODES:,} values, with aliases written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        sizes[id(node)] = total
        return total

    size(document)


def read_utf8(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it is not UTF-8, or too large to be a configuration.
        OSError: it cannot be read.
    """
    try:
        return read_text(path, LARGEST)
    except DamagedError as error:
        raise ConfigError(str(error)) from None
