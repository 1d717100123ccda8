"""An experiment file: a name, how often to repeat, and the matrix of cells.

    name: quickstart            # default: the file's name
    description: one sentence
    repetitions: 3              # default 1
    defaults: {batch_size: 64}  # fields of `config.cell.Cell`
    axes: {workers: [1, 2]}     # their product is the matrix
    include: [{backend: single}]   # further cells, over the defaults
    exclude: [{workers: 2, servers: 2}]  # cells of the product to leave out

The key `workload_options.x` sets one option of the workload; `workload_options: {...}` all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from breakdown.config import validate
from breakdown.config.cell import Experiment
from breakdown.config.matrix import Check, Matrix, Setting, expand
from breakdown.config.override import REPETITIONS
from breakdown.config.yaml_lines import LinedDict, read
from breakdown.errors import ConfigError, FieldError, unknown_name

KEYS = ("name", "description", REPETITIONS, "defaults", "axes", "include", "exclude")
MAX_REPETITIONS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load(path: Path, overrides: Mapping[str, Any] | None = None, *checks: Check) -> Experiment:
    """Reads and checks a file. `overrides` come from `override.parse_all`, `checks` are what other rooms ask of each cell.

    Raises `ConfigError` naming file and line.
    """
    content = read(path)
    if not isinstance(content, LinedDict):
        raise ConfigError(f"{path}: an experiment file is a mapping of {', '.join(KEYS)}.")
    return _Reader(path, content, dict(overrides or {}), checks).experiment()


class _Reader:
    """One file on its way to an `Experiment`; holds the path for error messages."""

    def __init__(self, path: Path, content: LinedDict, overrides: dict[str, Any], checks: Sequence[Check]) -> None:
        self.path = path
        self.checks = checks
        self.content = content
        self.repetitions = overrides.pop(REPETITIONS, content.get(REPETITIONS, 1))
        self.overrides = {key: Setting(value, f"--set {key}={value}") for key, value in overrides.items()}

    def experiment(self) -> Experiment:
        for key in self.content:
            if key not in KEYS:
                raise self._error(self.content.lines[key], str(unknown_name("key", key, KEYS)))
        matrix = Matrix(
            defaults=self._settings(self.content.get("defaults"), "defaults"),
            axes=self._axes(),
            include=self._list("include"),
            exclude=self._list("exclude"),
            overrides=self.overrides,
        )
        if matrix.exclude and not matrix.axes:
            raise self._at("exclude", "exclude takes cells out of the axes' product, but there are no axes.")
        try:
            cells = expand(matrix, *self.checks)
        except ConfigError as error:
            named = str(error).startswith((str(self.path), "--set"))
            raise error if named else ConfigError(f"{self.path}: {error}") from None
        return Experiment(self._name(), self._description(), self._repetitions(), cells, str(self.path))

    def _name(self) -> str:
        name = self.content.get("name", self.path.stem)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            whose = "name" if "name" in self.content else "there is no name, and the file's own,"
            raise self._at("name", f"{whose} '{name}' must be letters, digits, '.', '_' and '-' (it names a folder).")
        return name

    def _description(self) -> str:
        text = self.content.get("description", "")
        if not isinstance(text, str):
            raise self._at("description", "description must be text.")
        return " ".join(text.split())

    def _repetitions(self) -> int:
        count = self.repetitions
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_REPETITIONS:
            raise self._at(REPETITIONS, f"repetitions must be a whole number from 1 to {MAX_REPETITIONS}, not {count}.")
        return count

    def _axes(self) -> dict[str, tuple[Setting, ...]]:
        axes = self.content.get("axes")
        if axes is None:
            return {}
        if not isinstance(axes, LinedDict):
            raise self._at("axes", "axes must be a mapping of field: [values].")
        return {key: self._axis(axes, key) for key in axes}

    def _axis(self, axes: LinedDict, key: str) -> tuple[Setting, ...]:
        line = axes.lines[key]
        if not isinstance(axes[key], list) or not axes[key]:
            raise self._error(line, f"axis '{key}' must be a list of values, for example [1, 2].")
        return tuple(self._setting(line, key, value) for value in axes[key])

    def _list(self, key: str) -> tuple[dict[str, Setting], ...]:
        parts = self.content.get(key)
        if parts is None:
            return ()
        if not isinstance(parts, list) or not all(isinstance(part, LinedDict) and part for part in parts):
            raise self._at(key, f"{key} must be a list of cells, each a mapping of field: value.")
        return tuple(self._settings(part, key) for part in parts)

    def _settings(self, part: Any, key: str) -> dict[str, Setting]:
        if part is None:
            return {}
        if not isinstance(part, LinedDict):
            raise self._at(key, f"{key} must be a mapping of field: value.")
        return {field: self._setting(part.lines[field], field, value) for field, value in part.items()}

    def _setting(self, line: int, field: str, value: Any) -> Setting:
        try:
            return Setting(validate.normal(field, value), f"{self.path} line {line}")
        except FieldError as error:
            raise self._error(line, str(error)) from None

    def _at(self, key: str, message: str) -> ConfigError:
        return self._error(self.content.lines.get(key, self.content.line), message)

    def _error(self, line: int, message: str) -> ConfigError:
        return ConfigError(f"{self.path} line {line}: {message}")
