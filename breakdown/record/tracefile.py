"""Reads a trace file: blocks of int64 rows as views into the mapped file, and what names them.

A file that ends early, or is damaged from some byte on, is read up to its last whole record; `warnings` says so. Only the
standard library; `Block.rows` is a buffer that `numpy.frombuffer` takes as it is.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from array import array
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from breakdown.errors import TraceError
from breakdown.record.layout import (
    COLUMNS,
    HEAD,
    MAGIC,
    MARK,
    ROW_BYTES,
    Kind,
    checksum,
    head_check,
    padding_bytes,
    payload_bytes,
)


@dataclass(frozen=True)
class Block:
    """Rows of one kind and one thread, in the order in which they were recorded. `rows` is little-endian int64, aligned."""

    kind: Kind
    thread: int
    count: int
    rows: memoryview

    def __iter__(self) -> Iterator[Tuple[int, ...]]:
        """The rows as tuples of integers, columns as in `layout.COLUMNS`."""
        values = array("q")
        values.frombytes(self.rows)
        if sys.byteorder == "big":
            values.byteswap()
        width = len(COLUMNS[self.kind])
        for first in range(0, len(values), width):
            yield tuple(values[first : first + width])


@dataclass(frozen=True)
class TraceFile:
    """All that could be read. `names[id]` is an op's or a key's text, `threads[id]` a thread's name."""

    path: str
    meta: Mapping[str, Any]
    names: Tuple[str, ...]
    threads: Mapping[int, str]
    blocks: Tuple[Block, ...]
    notes: Tuple[Tuple[str, Any], ...]
    warnings: Tuple[str, ...]

    def rows(self, kind: Kind) -> Iterator[Tuple[int, Tuple[int, ...]]]:
        """(thread id, row) of every row of this kind."""
        return ((block.thread, row) for block in self.blocks if block.kind == kind for row in block)


def read(path: str) -> TraceFile:
    """Reads what is whole. Raises `TraceError` when there is no such file, or its head shows that it is not a trace."""
    data = _mapped(path)
    if data[: len(MAGIC)] != MAGIC:
        raise TraceError(_not_a_trace(path, bytes(data[: len(MAGIC)])))
    found = _Contents(path)
    position = len(MAGIC)
    while position < len(data):
        size = found.take(data[position:])
        if size is None:
            break
        position += size
    return found.result(len(data) - position)


class _Contents:
    """Gathers blocks until the end, or until one is not whole."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._meta: Optional[Mapping[str, Any]] = None
        self._names: List[str] = [""]
        self._threads: Dict[int, str] = {}
        self._blocks: List[Block] = []
        self._notes: List[Tuple[str, Any]] = []
        self._lost: Optional[int] = None

    def take(self, data: memoryview) -> Optional[int]:
        """Takes the first block of `data` and returns its size; None when it is not whole, after taking its whole rows."""
        if len(data) < HEAD.size:
            return None
        mark, kind, thread, count, crc, check = HEAD.unpack_from(data)
        if mark != MARK or kind not in set(Kind) or check not in (0, head_check(kind, thread, count)):
            return None
        kind = Kind(kind)
        size = payload_bytes(kind, count)
        payload = data[HEAD.size : HEAD.size + size]
        if len(payload) < size:
            # The process died, or the disk was full, within this write: what precedes the cut is as it was written.
            if kind in ROW_BYTES:
                self._take_rows(kind, thread, payload)
            return None
        if crc != checksum(kind, thread, count, payload):
            return None
        if kind in ROW_BYTES:
            self._take_rows(kind, thread, payload)
        else:
            self._take_text(kind, thread, bytes(payload).decode("utf-8"))
        return HEAD.size + size + padding_bytes(size)

    def _take_rows(self, kind: Kind, thread: int, payload: memoryview) -> None:
        count = len(payload) // ROW_BYTES[kind]
        if count:
            self._blocks.append(Block(kind, thread, count, payload[: count * ROW_BYTES[kind]]))

    def _take_text(self, kind: Kind, thread: int, text: str) -> None:
        if kind == Kind.THREAD:
            self._threads[thread] = text
            return
        value = json.loads(text)
        if kind == Kind.META:
            self._meta = value
        elif kind == Kind.NAMES:
            self._names.extend(value)
        elif kind == Kind.NOTE:
            self._notes.append((value[0], value[1]))
        else:
            self._lost = value["lost"]

    def result(self, unread_bytes: int) -> TraceFile:
        """`unread_bytes`: from the first block that was not whole to the end of the file."""
        if self._meta is None:
            raise TraceError(f"{self._path} holds no whole first block: the process died while it started. Read its log.")
        warnings = []
        if unread_bytes > 0:
            warnings.append(
                f"{self._path}: the last {unread_bytes} bytes are cut off or damaged; read up to the last whole record"
            )
        elif self._lost is None:
            warnings.append(f"{self._path}: the process ended without closing its trace; its last second may be missing")
        if self._lost:
            warnings.append(f"{self._path}: {self._lost} records could not be written and are missing")
        return TraceFile(
            self._path,
            self._meta,
            tuple(self._names),
            self._threads,
            tuple(self._blocks),
            tuple(self._notes),
            tuple(warnings),
        )


def _mapped(path: str) -> memoryview:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise TraceError(f"cannot read the trace file {path}: {error.strerror}.") from error


def _not_a_trace(path: str, start: bytes) -> str:
    if MAGIC.startswith(start):
        return f"{path} ends within its first bytes: the process died while it started, or the disk was full. Read its log."
    if start[:-2] == MAGIC[:-2]:
        return (
            f"{path} has trace layout {start[-2:].decode('ascii', 'replace')}, this version reads {MAGIC[-2:].decode()}. "
            "Collect it with the version of breakdown that recorded it."
        )
    return f"{path} is not a trace file of breakdown: it starts with {start!r}, not {MAGIC!r}."
