"""The hot path: the buffers of one thread, and the functions that append a record to them.

A record is packed to its file bytes at once and appended to a plain list of that thread. Packing costs the caller the same
as building a tuple, gives the garbage collector nothing to trace, and leaves the flusher a join, so that it hardly ever
holds the interpreter's lock. The flusher takes a prefix of a list while its thread goes on appending; each of the two list
operations is atomic, so no lock is needed.
"""

from __future__ import annotations

import struct
from typing import Callable, Iterator, List, Sequence, Tuple

from breakdown.model.identity import NO_REQUEST
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import CHAIN_HEAD, CHAIN_LINK, COLUMNS, Kind, row_struct, words_struct

Append = Callable[[bytes], None]
Reject = Callable[[str], None]

_KINDS = (Kind.SPAN, Kind.SENT, Kind.RECEIVED, Kind.ASKED, Kind.SERVED, Kind.REPLIED, Kind.CHAIN)


class Rows:
    """A list of packed rows that one thread fills and another empties."""

    __slots__ = ("_rows", "append", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._rows: List[bytes] = []
        self.append: Append = self._rows.append

    def take(self) -> List[bytes]:
        """What is there now; what is appended meanwhile stays for the next time."""
        count = len(self._rows)
        taken = self._rows[:count]
        del self._rows[:count]
        return taken


class FileThreadRecorder:
    """Satisfies `api.ThreadRecorder`. Its methods are closures held in slots: a call is one lookup and no `self`."""

    __slots__ = ("_rows", "asked", "chain", "ident", "name", "received", "replied", "sent", "served", "span")

    def __init__(self, ident: int, name: str, reject: Reject) -> None:
        """`reject` is told, in words, of each record whose values are not 64-bit integers."""
        self.ident = ident
        self.name = name
        self._rows = tuple(map(Rows, _KINDS))
        span, *others, chain = self._rows
        self.span = _span(span.append, reject, name)
        self.chain = _chain(chain.append, reject, name)
        self.sent, self.received, self.asked, self.served, self.replied = (_plain(rows, reject, name) for rows in others)

    def take(self) -> Iterator[Tuple[Kind, List[bytes]]]:
        """Takes out the rows gathered so far, kind by kind; for the flusher."""
        for rows in self._rows:
            taken = rows.take()
            if taken:
                yield rows.kind, taken


def _span(append: Append, reject: Reject, thread: str) -> Callable[..., None]:
    pack = row_struct(Kind.SPAN).pack
    error = struct.error

    def span(
        stage: Stage,
        op: int,
        key: int,
        step: int,
        size_bytes: int,
        start_ns: int,
        end_ns: int,
        request_id: int = NO_REQUEST,
        cause_id: int = NO_REQUEST,
        cpu_ns: int = NOT_MEASURED,
        runnable_ns: int = NOT_MEASURED,
    ) -> None:
        try:
            append(pack(stage, op, key, step, size_bytes, start_ns, end_ns, request_id, cause_id, cpu_ns, runnable_ns))
        except error as problem:
            reject(f"thread {thread}, step {step}: {problem}")

    return span


def _chain(append: Append, reject: Reject, thread: str) -> Callable[..., None]:
    head, link, error = len(CHAIN_HEAD), len(CHAIN_LINK), struct.error

    def chain(step: int, size_bytes: int, start_ns: int, cpu_ns: int, runnable_ns: int, links: Sequence[int], /) -> None:
        count = len(links)
        try:
            pack = words_struct(head + count).pack
            append(pack(count // link, step, size_bytes, start_ns, cpu_ns, runnable_ns, *links))
        except error as problem:
            reject(f"thread {thread}, step {step}: {problem}")

    return chain


def _plain(rows: Rows, reject: Reject, thread: str) -> Callable[..., None]:
    """Takes the columns of its kind, in order and without names."""
    append, pack, error = rows.append, row_struct(rows.kind).pack, struct.error
    step = COLUMNS[rows.kind].index("step")

    def record(*values: int) -> None:
        try:
            append(pack(*values))
        except error as problem:
            reject(f"thread {thread}, step {values[step]}: {problem}")

    return record
