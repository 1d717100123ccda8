"""The rows of one process, as they are gathered: texts are still texts, and activities may lie within each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import COLUMNS, Kind
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.tensorflow.threads import flat, lanes

_TEXTS = ("thread", "op", "key")


@dataclass(frozen=True)
class What:
    """What a row is about."""

    stage: Stage
    op: str
    key: str
    step: int
    request: int
    cause: int = NO_REQUEST
    cpu_share: float | None = None  # of its time, for how much its thread ran; None: not measured
    runnable_share: float | None = None  # and for how much it had no core to run on


class Used(Protocol):
    """What became of a thread's time, in ns; NOT_MEASURED where nobody knows."""

    @property
    def cpu_ns(self) -> int: ...

    @property
    def runnable_ns(self) -> int: ...


@dataclass(frozen=True)
class End:
    """One end of a message."""

    verb: Verb
    direction: Direction
    key: str
    step: int
    size_bytes: int
    request: int
    peer: int
    start_ns: int
    end_ns: int


class Written:
    """The rows of one process."""

    def __init__(self) -> None:
        self._states: list[tuple[str, int, int, What]] = []
        self._work: dict[str, list[tuple[int, int, What]]] = defaultdict(list)
        self._ends: dict[tuple[Kind, str], list[End]] = defaultdict(list)

    def state(self, thread: str, start_ns: int, end_ns: int, what: What) -> None:
        """A `queue` or `hold`. One that would end before it starts ends at once."""
        self._states.append((thread, start_ns, max(start_ns, end_ns), what))

    def did(self, thread: str, start_ns: int, end_ns: int, what: What, used: Used | None = None) -> None:
        """Activity of a thread. `used`: what became of the thread's time in it."""
        if used is not None:
            whole_ns = max(end_ns - start_ns, 1)
            shares = _share(used.cpu_ns, whole_ns), _share(used.runnable_ns, whole_ns)
            what = replace(what, cpu_share=shares[0], runnable_share=shares[1])
        self._work[thread].append((start_ns, end_ns, what))

    def end(self, kind: Kind, thread: str, end: End) -> None:
        """SENT or RECEIVED. Messages of a connection go side by side: each gets a lane in which it is alone."""
        self._ends[kind, thread].append(end)

    def rows(self, vocabulary: Vocabulary) -> Mapping[Kind, Rows]:
        """All rows, by kind."""
        return {kind: _rows(kind, table, vocabulary) for kind, table in self.tables().items()}

    def tables(self) -> dict[Kind, list[tuple[str | int, ...]]]:
        """All rows, by kind, as tuples of thread and `COLUMNS`; texts are still texts."""
        spans = list(self._states)
        for thread, activities in self._work.items():
            spans += [(thread, start, end, what) for start, end, what in flat(activities)]
        tables: dict[Kind, list[tuple[str | int, ...]]] = {Kind.SENT: [], Kind.RECEIVED: [], Kind.STEP: []}
        tables[Kind.SPAN] = [
            (
                thread,
                what.stage,
                what.op,
                what.key,
                what.step,
                0,
                start,
                end,
                what.request,
                what.cause,
                _part(what.cpu_share, end - start),
                _part(what.runnable_share, end - start),
            )
            for thread, start, end, what in spans
        ]
        for (kind, thread), ends in self._ends.items():
            places = lanes([(end.start_ns, end.end_ns) for end in ends])
            for lane, end in zip(places, ends, strict=True):
                name = thread if lane == 0 else f"{thread}#{lane + 1}"
                about = (end.verb, end.direction, end.key, end.step, end.size_bytes, end.request, end.peer)
                tables[kind].append((name, *about, end.start_ns, end.end_ns))
        return tables


def _share(time_ns: int, whole_ns: int) -> float | None:
    return None if time_ns == NOT_MEASURED else min(time_ns / whole_ns, 1.0)


def _part(share: float | None, length_ns: int) -> int:
    """Of one of the stretches in which this was the innermost activity of its thread."""
    return NOT_MEASURED if share is None else round(share * length_ns)


def _rows(kind: Kind, table: list[tuple[str | int, ...]], vocabulary: Vocabulary) -> Rows:
    columns = {}
    for place, name in enumerate(("thread", *COLUMNS[kind])):
        values = [row[place] for row in table]
        columns[name] = vocabulary.codes(map(str, values)) if name in _TEXTS else np.array(values, dtype=np.int64)
    order = np.lexsort((columns["end_ns"], vocabulary.alphabetical(columns["thread"]))) if table else slice(None)
    return Rows({name: values[order] for name, values in columns.items()}, len(table), 0)
