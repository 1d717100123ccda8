"""Appends blocks to one trace file. The first failure is logged and remembered; from then on records are only counted."""

from __future__ import annotations

import errno
import json
import os
import sys
from itertools import accumulate
from typing import Any, Optional, Sequence

from breakdown.errors import RecordError, remedy
from breakdown.record.layout import HEAD, MAGIC, ROW_BYTES, Kind, head, padding_bytes

ROWS_A_BLOCK = 4096
"""About 320 KB of spans: joining them holds the interpreter's lock for some 0.2 ms; their crc and the write hold none."""


class TraceWriter:
    """The file behind a recorder. Used by one thread at a time; never raises after it was opened."""

    def __init__(self, path: str) -> None:
        """Raises `RecordError` when the file cannot be created."""
        self.path = path
        self.lost = 0
        self.failure: Optional[OSError] = None
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise RecordError(f"cannot create the trace file {path}: {reason(error)}. {remedy(error)}") from error
        self._made = os.fstat(self._file)
        self._write(MAGIC)

    def json(self, kind: Kind, value: Any) -> None:
        """A block that holds one JSON value."""
        self.text(kind, 0, json.dumps(value))

    def text(self, kind: Kind, thread: int, text: str) -> None:
        """A block that holds text."""
        payload = text.encode("utf-8", "replace")
        self._write(head(kind, thread, len(payload), payload) + payload + bytes(padding_bytes(len(payload))))

    def rows(self, kind: Kind, thread: int, rows: Sequence[bytes]) -> None:
        """Blocks that hold these packed records: rows, or chains of many words, which are never parted between blocks."""
        for first in range(0, len(rows), ROWS_A_BLOCK):
            chunk = rows[first : first + ROWS_A_BLOCK]
            if self.failure is not None:
                self.lost += len(chunk)
                continue
            payload = b"".join(chunk)
            written = self._write(head(kind, thread, len(payload) // ROW_BYTES[kind], payload) + payload)
            if self.failure is not None:
                self.lost += sum(end > written - HEAD.size for end in accumulate(map(len, chunk)))

    def close(self) -> None:
        """Closes the file. Some file systems report a full disk only here."""
        try:
            if self._is_ours():
                os.close(self._file)
        except OSError as error:
            self._fail(error)

    def _is_ours(self) -> bool:
        """Whether the descriptor still is the file's: a program that closes all it finds may have opened another by then."""
        try:
            return os.path.samestat(os.fstat(self._file), self._made)
        except OSError:
            return False

    def _open_again(self) -> None:
        try:
            self._file = os.open(self.path, os.O_WRONLY)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            self._fail(error)

    def _write(self, data: bytes) -> int:
        """Writes all of it and returns how many bytes got there: fewer once the file has failed."""
        if self.failure is None and not self._is_ours():
            self._open_again()
        written = 0
        view = memoryview(data)
        while self.failure is None and written < len(data):
            try:
                written += os.write(self._file, view[written:])
            except OSError as error:
                self._fail(error)
        return written

    def _fail(self, error: OSError) -> None:
        if self.failure is None:
            self.failure = error
            print(
                f"breakdown: recording stopped, the program goes on. Writing {self.path} failed: {reason(error)}.",
                file=sys.stderr,
                flush=True,
            )


def reason(error: OSError) -> str:
    """For example "No space left on device (ENOSPC)"."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"
