"""A timeline with so many pieces that nobody can read them: those too short to be seen are drawn together.

The page's width is divided into columns. What is shorter than a column joins its neighbours in its lane that begin in the
same one, and what they become has the stage that most of their time was in. So nothing is left out, no lane looks idle where
it was not, and the critical path still tiles its steps. The columns are as fine as the number of pieces allows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.model.stages import REQUEST_OPS, Op, Stage

FINEST = 8192
"""Columns to begin with: a page that is zoomed in eightfold still shows each."""

_Timed = TypeVar("_Timed", Segment, TimelineSpan)


def pieces(found: Timeline) -> int:
    """How many things are drawn. A segment of the critical path is one three times: strip, line and table."""
    return len(found.spans) + len(found.messages) + 3 * len(found.critical)


def condensed(found: Timeline, most: int) -> Timeline:
    """The timeline with at most so many pieces, or with one column; as it is where it has no more."""
    columns = FINEST
    while pieces(found) > most and columns:
        found = _joined(found, max(found.end_ns // columns, 1))
        columns //= 2
    return found


def _joined(found: Timeline, column_ns: int) -> Timeline:
    spans = [*_boxes(found.spans, column_ns)]
    return replace(
        found,
        spans=tuple(sorted(spans, key=lambda span: (span.lane, span.start_ns, span.end_ns))),
        messages=tuple(_arrows(found.messages, column_ns)),
        critical=tuple(_path(found.critical, column_ns)),
        joined_ns=column_ns,
    )


def _boxes(spans: Iterable[TimelineSpan], column_ns: int) -> Iterator[TimelineSpan]:
    alike: dict[Hashable, list[TimelineSpan]] = defaultdict(list)
    for span in spans:
        if span.end_ns - span.start_ns >= column_ns:
            yield span
        else:
            alike[span.lane, span.op == Op.BLOCK, span.op in REQUEST_OPS, span.start_ns // column_ns].append(span)
    for group in alike.values():
        yield _one(group)


def _path(segments: Iterable[Segment], column_ns: int) -> Iterator[Segment]:
    """Neighbours only: a long segment parts them, and so does the end of a step."""

    def column(segment: Segment) -> tuple[int, int, bool]:
        is_short = segment.end_ns - segment.start_ns < column_ns
        return segment.step, segment.start_ns // column_ns, is_short

    for (_, _, is_short), group in groupby(segments, key=column):
        if is_short:
            yield _one([*group])
        else:
            yield from group


def _arrows(messages: Iterable[TimelineMessage], column_ns: int) -> Iterator[TimelineMessage]:
    alike: dict[Hashable, list[TimelineMessage]] = defaultdict(list)
    for message in messages:
        ends = message.send_start_ns // column_ns, message.recv_end_ns // column_ns
        alike[message.from_lane, message.to_lane, message.stage, *ends].append(message)
    for group in alike.values():
        longest = max(group, key=lambda message: message.recv_end_ns - message.send_start_ns)
        yield replace(longest, pieces=sum(message.pieces for message in group))


def _one(group: Sequence[_Timed]) -> _Timed:
    """One piece for all: from the first's start to the last's end, and otherwise as the longest of the main stage."""
    if len(group) == 1:
        return group[0]
    times: dict[Stage, int] = defaultdict(int)
    for piece in group:
        times[piece.stage] += piece.end_ns - piece.start_ns
    main = max(times, key=lambda stage: times[stage])
    longest = max((piece for piece in group if piece.stage is main), key=lambda piece: piece.end_ns - piece.start_ns)
    return replace(
        longest,
        start_ns=min(piece.start_ns for piece in group),
        end_ns=max(piece.end_ns for piece in group),
        pieces=sum(piece.pieces for piece in group),
    )
