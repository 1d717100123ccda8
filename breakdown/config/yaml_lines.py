"""Safe YAML with line numbers: mappings know the line of each key, a key that is there twice is an error.

Numbers like `1e-3` are numbers here, as YAML 1.2 has them (YAML 1.1 reads them as text).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from breakdown.errors import ConfigError


class LinedDict(dict[str, Any]):
    """A mapping that remembers where it stood in its file: `line` is its own, `lines` its keys' (from 1)."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def read(path: Path) -> Any:
    """The file's content. Raises `ConfigError` with the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}. Give the path of an experiment file.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder. Give the path of an experiment file.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Give the path of an experiment file.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path} line {mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: {error.problem or error.context}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error).splitlines()[0]}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply for an experiment file.") from None


def scalar(text: str) -> Any:
    """One value as a file would hold it: `3`, `1e-3`, `true`, `tcp`. Raises `ConfigError`."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"'{text}' is not a value. Write a number, text, true or false.") from None
    if isinstance(value, (dict, list)):
        raise ConfigError(f"'{text}' is not one value. Write a number, text, true or false.")
    return value


class _Loader(yaml.SafeLoader):
    """The safe loader (it builds plain values only), with lines, duplicate keys refused, and YAML 1.2 floats."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> LinedDict:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
        key = key_node.value
        if key in seen:
            problem = f"key '{key}' is there twice, first in line {seen[key]}"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen[key] = line
    loader.flatten_mapping(node)  # merge keys (<<: *anchor)
    made = LinedDict(node.start_mark.line + 1)
    for key_node, value_node in node.value:
        key = str(key_node.value)
        made.lines[key] = key_node.start_mark.line + 1
        made[key] = loader.construct_object(value_node, deep=True)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
