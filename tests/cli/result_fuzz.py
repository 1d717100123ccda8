"""Files of a saved result that are damaged at random: in their bytes, and in what stands in them. A seed does it again."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.damage import damaged_bytes

DEEP = "deep"
"""Stands for a value that is nested deeper than Python's parser goes: JSON is written with it as text."""

VALUES = (
    None, True, -1, 0, 1, 1.5, 2**31, 2**53, 2**63, 10**400, float("inf"), float("nan"), "", "\ud800", "done", "../..",
    "a/b", "x" * 300, "worker-99999", [], {}, [[]], [None], {"0": {}}, {"": None}, {"runs": []}, DEEP,
)  # fmt: skip
NESTED = 100_000


def damage(file: Path, draw: Random) -> str:
    """Damages one file in place, and says how."""
    kind = draw.random()
    if kind < 0.05:
        file.unlink()
        return "gone"
    if kind < 0.35:
        file.write_bytes(damaged_bytes(file.read_bytes(), draw))
        return "bytes"
    if file.suffix == ".parquet":
        return _table(file, draw)
    content: Any = json.loads(file.read_text())
    if draw.random() < 0.05:
        content = copy.deepcopy(draw.choice(VALUES))
    for _ in range(draw.choice((1, 1, 2, 5))):
        _value(content, draw)
    file.write_text(json.dumps(content).replace(f'"{DEEP}"', "[" * NESTED + "]" * NESTED))
    return "structure"


def _value(value: Any, draw: Random) -> None:
    """Changes a value in one place, takes something away, adds or repeats something."""
    while isinstance(value, dict | list) and value:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and draw.random() < 0.8:
            value = value[key]
            continue
        change = draw.random()
        if change < 0.65:
            value[key] = copy.deepcopy(draw.choice(VALUES))
        elif change < 0.85:
            del value[key]
        elif isinstance(value, dict):
            value[draw.choice(("", "7", "worker-7", "\ud800", "x"))] = copy.deepcopy(value[key])
        else:
            value.append(copy.deepcopy(value[key]))
        return


def _table(file: Path, draw: Random) -> str:
    table = pq.read_table(file)
    place = draw.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    change = draw.randrange(6)
    if change == 0:
        table = table.drop_columns([name])
    elif change == 1:
        table = table.set_column(place, name, pa.nulls(len(column), column.type))
    elif change == 2:
        table = table.set_column(place, name, pa.array([draw.choice(("", "x", "worker"))] * len(column)))
    elif change == 3:
        table = table.filter(pa.array(table["run"].to_numpy() != draw.randrange(3)))
    elif change == 4:
        table = table.slice(0, 0)
    elif pa.types.is_integer(column.type):
        values = column.to_pylist()
        for _ in range(min(len(values), draw.choice((1, 10)))):
            low, high = (-(2**31), 2**31 - 1) if column.type == pa.int32() else (-(2**63), 2**63 - 1)
            values[draw.randrange(len(values))] = draw.choice((-1, 0, 1, low, high, 2**30, 2**16))
        table = table.set_column(place, name, pa.array(values, column.type))
    pq.write_table(table, file)
    return f"{name}, {change}"
