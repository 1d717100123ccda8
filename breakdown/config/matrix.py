"""From defaults, axes, includes and excludes to the list of cells.

Cells = (the product of the axes, without those that an exclude matches) and the includes, in this order; the first axis
varies slowest. Without axes and includes there is one cell, the defaults. An override replaces the field everywhere: an
axis over it shrinks to the one value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from breakdown.config import validate
from breakdown.config.cell import Cell
from breakdown.config.identity import cell_id, label
from breakdown.errors import ConfigError, FieldError

MAX_CELLS = 10_000
"""More than weeks of measuring: a slip in the axes, and best said before it fills the memory."""


@dataclass(frozen=True)
class Setting:
    """A value and where it was given ("x.yaml line 7", "--set"), for error messages."""

    value: Any
    where: str


Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Matrix:
    """The parts of an experiment file that make cells."""

    defaults: Settings
    axes: Mapping[str, tuple[Setting, ...]]
    include: tuple[Settings, ...]
    exclude: tuple[Settings, ...]
    overrides: Settings


Check = Callable[[Cell], None]
"""Raises `FieldError` for what is wrong with a cell."""


def expand(matrix: Matrix, *checks: Check) -> tuple[Cell, ...]:
    """All cells, checked. `checks`: what other rooms ask of a cell.

    Raises `ConfigError` for a wrong value, an exclude without a match, and cells that are equal.
    """
    axes = {key: values for key, values in matrix.axes.items() if key not in matrix.overrides}
    count = math.prod(len(values) for values in axes.values())
    if count + len(matrix.include) > MAX_CELLS:
        raise ConfigError(f"the matrix has {count} cells, more than {MAX_CELLS}. Take values from the axes.")
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    if not axes and (matrix.axes or not matrix.include):
        rows = [{}]  # all axes are overridden, or there is nothing but defaults
    layered = [_layer(matrix.defaults, row, matrix.overrides) for row in rows]
    layered = _exclude(layered, matrix.exclude)
    layered += [_layer(matrix.defaults, part, matrix.overrides) for part in matrix.include]
    if not layered:
        raise ConfigError("the excludes leave no cell. Take one of them away.")
    cells = tuple(_cell(settings, (validate.check, *checks)) for settings in layered)
    _refuse_equal(cells, layered)
    return cells


def _layer(*layers: Settings) -> dict[str, Setting]:
    """Later layers win. A whole `workload_options` replaces single options that were set below it."""
    merged: dict[str, Setting] = {}
    for layer in layers:
        if validate.OPTIONS in layer:
            merged = {key: value for key, value in merged.items() if not key.startswith(validate.OPTIONS_PREFIX)}
        merged.update(layer)
    return merged


def _exclude(rows: list[dict[str, Setting]], excludes: Sequence[Settings]) -> list[dict[str, Setting]]:
    values = [_values(row) for row in rows]
    gone: set[int] = set()
    for exclude in excludes:
        wanted = {key: setting.value for key, setting in exclude.items()}
        hit = {index for index, value in enumerate(values) if all(_of(value, key) == want for key, want in wanted.items())}
        if not hit:
            where = next(iter(exclude.values())).where
            raise ConfigError(f"{where}: this exclude matches no cell of the axes' product. Correct it or take it away.")
        gone |= hit
    return [row for index, row in enumerate(rows) if index not in gone]


def _values(settings: Settings) -> dict[str, Any]:
    """The fields of the cell that these settings make, not yet checked against each other."""
    options: dict[str, Any] = dict(settings[validate.OPTIONS].value) if validate.OPTIONS in settings else {}
    made: dict[str, Any] = {}
    for key, setting in settings.items():
        if key.startswith(validate.OPTIONS_PREFIX):
            options[key.removeprefix(validate.OPTIONS_PREFIX)] = setting.value
        elif key != validate.OPTIONS:
            made[key] = setting.value
    return {**made, validate.OPTIONS: options}


def _of(values: Mapping[str, Any], key: str) -> Any:
    if key.startswith(validate.OPTIONS_PREFIX):
        return values[validate.OPTIONS].get(key.removeprefix(validate.OPTIONS_PREFIX))
    return values.get(key, getattr(_DEFAULT, key))


_DEFAULT = Cell()


def _cell(settings: Settings, checks: Sequence[Check]) -> Cell:
    cell = Cell(**_values(settings))
    try:
        for check in checks:
            check(cell)
    except FieldError as error:
        # An option may be one of many given at once. A conflict may stand in a field that was never written: then the
        # backend is the next best place.
        whole, _, _ = error.field.partition(".")
        setting = settings.get(error.field) or settings.get(whole) or settings.get("backend")
        raise ConfigError(f"{setting.where}: {error}" if setting else str(error)) from None
    return cell


def _refuse_equal(cells: Sequence[Cell], layered: Sequence[Settings]) -> None:
    first: dict[str, int] = {}
    for index, cell in enumerate(cells):
        earlier = first.setdefault(cell_id(cell), index)
        if earlier != index:
            where = next((setting.where + ": " for setting in reversed(list(layered[index].values()))), "")
            raise ConfigError(
                f"{where}cells {earlier + 1} and {index + 1} of the matrix measure the same: '{label(cell)}'. "
                "Take one away; fields that mean nothing to a cell (servers of a single node) make no difference."
            )
