"""Strict YAML: a duplicate key is an error, while PyYAML silently keeps the last one."""

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


def parse_yaml(text: str, source: str) -> Any:
    """The plain Python value of a YAML document.

    Raises:
        ConfigError: the text is not valid YAML or gives a key twice; the message names `source` and the line.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}{line}: {error.problem or 'not valid YAML'}") from None
    except (yaml.YAMLError, ValueError) as error:  # a forbidden character; a date that does not exist
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
