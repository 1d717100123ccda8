"""The rows of one process as they are gathered: texts are still texts, and activities may lie within each other.

A profile has hundreds of thousands of operations, so a row is a plain tuple, and they become columns all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from breakdown.model.identity import NO_REQUEST
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import COLUMNS, Kind
from breakdown.store.decode import Ints
from breakdown.store.tensorflow.threads import flat, lanes
from breakdown.store.tensorflow.written import End


class What(NamedTuple):
    """What a row is about."""

    stage: Stage
    op: str
    key: str
    step: int
    request: int
    cause: int = NO_REQUEST


class Texts:
    """Numbers that stand for texts, from 1 on: 0 is none."""

    def __init__(self) -> None:
        self._numbers = {"": 0}

    def of(self, texts: Sequence[str]) -> list[int]:
        """Their numbers."""
        numbers = self._numbers
        for text in dict.fromkeys(texts):
            numbers.setdefault(text, len(numbers))
        return [numbers[text] for text in texts]

    @property
    def all(self) -> list[str]:
        """In the order of their numbers, from 1 on."""
        return list(self._numbers)[1:]


class Rows:
    """The rows of one process."""

    def __init__(self) -> None:
        self._states: list[tuple[str, int, int, What]] = []
        self._work: dict[str, list[tuple[int, int, What]]] = defaultdict(list)
        self._unnamed: dict[str, list[tuple[int, int, What]]] = defaultdict(list)
        self._ends: dict[str, list[End]] = defaultdict(list)

    def state(self, thread: str, start_ns: int, end_ns: int, what: What) -> None:
        """A `queue` or `hold`. One that would end before it starts ends at once."""
        self._states.append((thread, start_ns, end_ns if end_ns > start_ns else start_ns, what))

    def did(self, thread: str, start_ns: int, end_ns: int, what: What) -> None:
        """Activity of a thread."""
        self._work[thread].append((start_ns, end_ns, what))

    def did_somewhere(self, thread: str, start_ns: int, end_ns: int, what: What) -> None:
        """Activity of a thread that the profile does not name: what goes side by side gets a lane in which it is alone."""
        self._unnamed[thread].append((start_ns, end_ns, what))

    def received(self, thread: str, end: End) -> None:
        """The receiving end of a message; those that go side by side get lanes, too."""
        self._ends[thread].append(end)

    def columns(self, names: Texts, threads: Texts) -> Iterator[tuple[Kind, Ints, Ints]]:
        """By kind the numbers of the rows' threads, and the rows: columns as in `COLUMNS`."""
        for thread, work in self._unnamed.items():
            for lane, activity in zip(lanes([(start, end) for start, end, _ in work]), work, strict=True):
                self._work[_lane(thread, lane)].append(activity)
        self._unnamed.clear()
        spans = list(self._states)
        for thread, activities in self._work.items():
            spans += [(thread, start, end, what) for start, end, what in flat(activities)]
        if spans:
            of, starts, ends, whats = zip(*spans, strict=True)
            stages, ops, keys, steps, requests, causes = zip(*whats, strict=True)
            table = {"stage": stages, "op": names.of(ops), "key": names.of(keys), "step": steps, "size_bytes": [0] * len(of)}
            table |= {"start_ns": starts, "end_ns": ends, "request_id": requests, "cause_id": causes}
            table |= {"cpu_ns": [NOT_MEASURED] * len(of), "runnable_ns": [NOT_MEASURED] * len(of)}
            yield Kind.SPAN, np.array(threads.of(of), dtype=np.int64), _table(Kind.SPAN, table)
        for thread, received in self._ends.items():
            places = lanes([(end.start_ns, end.end_ns) for end in received])
            own = [_lane(thread, lane) for lane in places]
            rows = [
                (e.verb, e.direction, e.key, e.step, e.size_bytes, e.request, e.peer, e.start_ns, e.end_ns) for e in received
            ]
            table = dict(zip(COLUMNS[Kind.RECEIVED], zip(*rows, strict=True), strict=True))
            table["key"] = names.of(table["key"])
            yield Kind.RECEIVED, np.array(threads.of(own), dtype=np.int64), _table(Kind.RECEIVED, table)


def _lane(thread: str, lane: int) -> str:
    return thread if lane == 0 else f"{thread}#{lane + 1}"


def _table(kind: Kind, columns: Mapping[str, Sequence[int]]) -> Ints:
    return np.array([np.array(columns[name], dtype=np.int64) for name in COLUMNS[kind]]).T
