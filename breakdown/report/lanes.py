"""Where things lie on a timeline's page: rows for lanes, and the critical path's way through them. Geometry only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.model.stages import Op, Stage

GROUP_GAP = 0.45
"""Empty space between the lanes of two processes, in lanes."""


@dataclass(frozen=True)
class Lane:
    """One thread's row. `y` is its middle, in lanes from the top; the critical path's own strip lies at 0."""

    node: str  # "worker-0"
    thread: str  # "send-server-0"
    y: float
    first: bool  # of its process


@dataclass(frozen=True)
class PathPiece:
    """One segment of the critical path, on its way from lane to lane (the same but for a message)."""

    segment: Segment
    from_lane: int
    to_lane: int


def rows(timeline: Timeline) -> tuple[Lane, ...]:
    """One row a lane, in the timeline's order, with a gap wherever the process changes."""
    lanes: list[Lane] = []
    y = 0.4
    for name in timeline.lanes:
        node, _, thread = name.partition(" ")
        first = not lanes or lanes[-1].node != node
        y += 1 + (GROUP_GAP if first else 0)
        lanes.append(Lane(node, thread or node, y, first))
    return tuple(lanes)


def height(lanes: Sequence[Lane]) -> float:
    """In lanes, from the top of the critical path's strip to the bottom of the last lane."""
    return (lanes[-1].y if lanes else 0.0) + 1.1


def critical_way(timeline: Timeline) -> tuple[PathPiece, ...]:
    """The lane that each segment of the critical path lies in, found by its place, operation and key.

    What has no box of its own (a handover between two threads, an unexplained gap) stays where the path was before.
    """
    spans: dict[str, list[TimelineSpan]] = {}
    for span in timeline.spans:
        spans.setdefault(_node(timeline, span.lane), []).append(span)
    pieces: list[PathPiece] = []
    for segment in timeline.critical:
        start, end = _find(segment, spans.get(str(segment.place), []), timeline.messages) or (-1, -1)
        if start < 0:
            start = end = pieces[-1].to_lane if pieces else _main(timeline, segment.worker)
        pieces.append(PathPiece(segment, start, end))
    return tuple(_arriving_late(piece, after) for piece, after in zip_longest(pieces, pieces[1:]))


def _arriving_late(piece: PathPiece, after: PathPiece | None) -> PathPiece:
    """Of messages that one thread sends one behind the other, the path follows the last to its receiver, not each."""
    if after is None or after.from_lane != piece.from_lane:
        return piece
    return replace(piece, to_lane=piece.from_lane)


def _node(timeline: Timeline, lane: int) -> str:
    return timeline.lanes[lane].partition(" ")[0]


def _main(timeline: Timeline, worker: int) -> int:
    """The lane of the worker's main thread, or the first one."""
    name = f"worker-{worker} main"
    return timeline.lanes.index(name) if name in timeline.lanes else 0


def _find(segment: Segment, spans: Iterable[TimelineSpan], messages: Iterable[TimelineMessage]) -> tuple[int, int] | None:
    if segment.op == Op.WIRE:
        wires = [m for m in messages if m.key == segment.key and m.stage == _stage(segment)]
        wire = max(wires, key=lambda m: _overlap(segment, m.send_start_ns, m.recv_end_ns), default=None)
        if wire and _overlap(segment, wire.send_start_ns, wire.recv_end_ns) > 0:
            return wire.from_lane, wire.to_lane
    # the nearest match first: the very box, then the same key's, then whatever the place did at that time in that stage
    touching = [span for span in spans if _overlap(segment, span.start_ns, span.end_ns) > 0 and span.op != Op.BLOCK]
    best = max(touching, key=lambda span: _likeness(segment, span), default=None)
    return (best.lane, best.lane) if best and _likeness(segment, best) > (0, 0, 0) else None


def _stage(segment: Segment) -> Stage:
    """The stage that the box has which lies under the segment: what the other worker did, where this one waited for it."""
    return segment.stage if segment.cause is None else segment.cause


def _likeness(segment: Segment, span: TimelineSpan) -> tuple[int, int, int]:
    same_key, same_op = span.key == segment.key, span.op == segment.op
    match = 3 if same_key and same_op else 2 if same_key and span.stage == _stage(segment) else 1 if same_op else 0
    return match, int(span.stage == _stage(segment)), _overlap(segment, span.start_ns, span.end_ns) if match else 0


def _overlap(segment: Segment, start_ns: int, end_ns: int) -> int:
    return min(segment.end_ns, end_ns) - max(segment.start_ns, start_ns)
