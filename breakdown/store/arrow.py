"""Arrow tables with the columns and types of `model.schema`, and the Parquet files that hold them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breakdown.errors import TraceError
from breakdown.model.schema import ADDED_COLUMNS, MESSAGE_COLUMNS, SAMPLE_COLUMNS, SPAN_COLUMNS, STEP_COLUMNS
from breakdown.store.files import replacing

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "spans": SPAN_COLUMNS,
    "messages": MESSAGE_COLUMNS,
    "steps": STEP_COLUMNS,
    "samples": SAMPLE_COLUMNS,
}

_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "int64?": pa.int64(),
    "double?": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.dictionary(pa.int32(), pa.string()),
}


def schema(name: str) -> pa.Schema:
    """The Arrow schema of `spans`, `messages`, `steps` or `samples`."""
    return pa.schema([pa.field(column, _TYPES[kind], kind.endswith("?")) for column, kind in COLUMNS[name].items()])


def table(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """A table of this schema from numpy and Arrow arrays. Raises `TraceError` when a number does not fit its column."""
    arrays = []
    for field in schema(name):
        try:
            arrays.append(pa.array(columns[field.name]).cast(field.type))
        except pa.ArrowInvalid as error:
            raise TraceError(
                f"column {field.name} of {name} holds a number that does not fit {field.type}: {error}."
            ) from error
    return pa.Table.from_arrays(arrays, schema=schema(name))


def nullable(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> pa.Array:
    """An array that is null where `missing`."""
    return pa.array(values, mask=missing)


def append(path: Path, name: str, new: pa.Table, run: int) -> None:
    """Adds the rows of one repetition to a file, in place of those it may already hold of it. All or nothing.

    Raises `TraceError` when the file there cannot be read, or the new one cannot be written.
    """
    with replacing(path) as target, _writer(target, name) as writer:
        if path.exists():
            for group in _groups(path, name):
                others = group.filter(pc.not_equal(group["run"], run))
                if others.num_rows:
                    writer.write_table(others)
        writer.write_table(new)


def read(path: Path, name: str) -> pa.Table:
    """The whole table. Raises `TraceError` when it is missing, broken, or not of the schema."""
    try:
        with _opened(path, pa.memory_map) as file:
            _must_be_whole(file, path)
            return _of_schema(file.read(), path, name)
    except FileNotFoundError:
        raise TraceError(
            f"{path.parent} has no {path.name}: no repetition of this cell was collected, or the file is gone. "
            "Restore it; or read the cell's logs, and run it again."
        ) from None
    except _BROKEN as error:
        raise _broken(path, error) from error


@contextmanager
def _writer(path: Path, name: str) -> Iterator[pq.ParquetWriter]:
    texts = [column for column, kind in COLUMNS[name].items() if kind == "text"]
    times = {column: "DELTA_BINARY_PACKED" for column in COLUMNS[name] if column.endswith("_ns")}
    options = {"compression": "zstd", "use_dictionary": texts, "column_encoding": times, "write_page_checksum": True}
    with pa.OSFile(os.fsencode(path), "wb") as file, pq.ParquetWriter(file, schema(name), **options) as writer:
        yield writer


def _groups(path: Path, name: str) -> Iterator[pa.Table]:
    try:
        with _opened(path, pa.OSFile) as file:
            _must_be_whole(file, path)
            for group in range(file.num_row_groups):
                yield _of_schema(file.read_row_group(group), path, name)
    except _BROKEN as error:
        raise _broken(path, error) from error


@contextmanager
def _opened(path: Path, source: Callable[[bytes], Any]) -> Iterator[pq.ParquetFile]:
    with source(os.fsencode(path)) as found, pq.ParquetFile(found, page_checksum_verification=True) as file:
        yield file  # as text, a path would have to be UTF-8


def _must_be_whole(file: pq.ParquetFile, path: Path) -> None:
    """The rows are counted twice, in a file and in its groups: damage to one of them loses no row unseen."""
    counted = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    if counted != file.metadata.num_rows:
        raise TraceError(f"{path} tells of {file.metadata.num_rows} rows and has {counted}. {_REMEDY}")


def _of_schema(found: pa.Table, path: Path, name: str) -> pa.Table:
    for column in COLUMNS[name]:
        if column in ADDED_COLUMNS and column not in found.column_names:
            found = found.append_column(column, pa.nulls(found.num_rows, _TYPES[COLUMNS[name][column]]))
    missing = [column for column in COLUMNS[name] if column not in found.column_names]
    if missing:
        raise TraceError(f"{path} has no column {', '.join(missing)}: another program wrote it. {_REMEDY}")
    found = found.select(list(COLUMNS[name])).cast(schema(name)).unify_dictionaries()
    found.validate(full=True)
    for field in found.schema:
        if not field.nullable and found[field.name].null_count:
            raise TraceError(f"{path} has rows without {field.name}. {_REMEDY}")
    return found


_BROKEN = (OSError, ValueError, pa.ArrowException)
"""What reading a damaged table raises."""

_REMEDY = "Restore the file, or remove its folder and measure again."


def _broken(path: Path, error: Exception) -> TraceError:
    return TraceError(f"cannot read {path}: {str(error).strip().rstrip('.') or type(error).__name__}. {_REMEDY}")
