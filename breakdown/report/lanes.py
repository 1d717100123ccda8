"""Where things lie on a timeline's page: rows for lanes, and the critical path's way through them. Geometry only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.model.stages import Op, Stage
from breakdown.report.touching import Touching

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
    spans = _by_place(timeline)
    messages = _by_content(timeline.messages)
    pieces: list[PathPiece] = []
    for segment in timeline.critical:
        wires = messages.get((segment.key, _stage(segment)))
        start, end = _find(segment, spans.get(str(segment.place)), wires) or (-1, -1)
        if start < 0:
            start = end = pieces[-1].to_lane if pieces else _main(timeline, segment.worker)
        pieces.append(PathPiece(segment, start, end))
    return tuple(_arriving_late(piece, after) for piece, after in zip_longest(pieces, pieces[1:]))


def _arriving_late(piece: PathPiece, after: PathPiece | None) -> PathPiece:
    """Of messages that one thread sends one behind the other, the path follows the last to its receiver, not each."""
    if after is None or after.from_lane != piece.from_lane:
        return piece
    return replace(piece, to_lane=piece.from_lane)


def _by_place(timeline: Timeline) -> dict[str, Touching[TimelineSpan]]:
    """Each node's boxes; of a thread that sleeps, none."""
    found: dict[str, list[tuple[int, int, TimelineSpan]]] = {}
    for span in timeline.spans:
        if span.op != Op.BLOCK:
            node = timeline.lanes[span.lane].partition(" ")[0]
            found.setdefault(node, []).append((span.start_ns, span.end_ns, span))
    return {node: Touching(timed) for node, timed in found.items()}


def _by_content(messages: Iterable[TimelineMessage]) -> dict[tuple[str, Stage], Touching[TimelineMessage]]:
    """The messages of each key and stage."""
    found: dict[tuple[str, Stage], list[tuple[int, int, TimelineMessage]]] = {}
    for message in messages:
        timed = (message.send_start_ns, message.recv_end_ns, message)
        found.setdefault((message.key, message.stage), []).append(timed)
    return {content: Touching(timed) for content, timed in found.items()}


def _main(timeline: Timeline, worker: int) -> int:
    """The lane of the worker's main thread, or the first one."""
    name = f"worker-{worker} main"
    return timeline.lanes.index(name) if name in timeline.lanes else 0


def _find(
    segment: Segment, spans: Touching[TimelineSpan] | None, wires: Touching[TimelineMessage] | None
) -> tuple[int, int] | None:
    start_ns, end_ns = segment.start_ns, segment.end_ns
    if segment.op == Op.WIRE and wires is not None:
        over = wires.during(start_ns, end_ns)
        wire = max(over, key=lambda m: _overlap(segment, m.send_start_ns, m.recv_end_ns), default=None)
        if wire is not None:
            return wire.from_lane, wire.to_lane
    # the nearest match first: the very box, then the same key's, then whatever the place did at that time in that stage
    touching = spans.during(start_ns, end_ns) if spans is not None else []
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
