"""Strict YAML, without guesses: a scalar is text, and a key that is given twice is an error.

PyYAML follows YAML 1.1, in which `010` is 8, `1:30` is 90, `no` is false and `1e-3` is text. Here every scalar stays
the text that was written, and only null (`null`, `~` or nothing) is resolved. What a text means is decided where its
type is known: training/fields.py reads numbers as decimal ones, on the command line as in a file.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
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


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML document: dictionaries, lists, None, and text for every other scalar.

    Raises:
        ConfigError: the text is not valid YAML or gives a key twice; the message names `source` and the line.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}{line}: {error.problem or 'not valid YAML'}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a forbidden character
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def read_utf8(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from None
