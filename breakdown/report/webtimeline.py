"""The timeline as the page draws it: boxes, arrows and the critical path in pixels, and the words that go with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Segment, Timeline, TimelineMessage
from breakdown.model.stages import REQUEST_OPS, Op
from breakdown.report import lanes as geometry

PLOT = 1_000.0  # pixels across; the page stretches this when it zooms
GUTTER = 190.0  # for the lanes' names
HEAD = 26.0  # above the critical path's strip, for the steps' names
LANE = 22.0
THINNEST = 0.05  # what took no time at all can still be found


@dataclass(frozen=True)
class Box:
    """A rectangle. `kind`: "work", "asleep" or "request"; its look."""

    x: float
    y: float
    width: float
    height: float
    stage: str
    kind: str
    words: str


@dataclass(frozen=True)
class Arrow:
    x1: float
    y1: float
    x2: float
    y2: float
    stage: str
    words: str


@dataclass(frozen=True)
class Label:
    """`x` in the plot's pixels (a step's bounds and middle), or `y` for a lane."""

    x: float
    y: float
    text: str
    strong: bool = False


@dataclass(frozen=True)
class WebTimeline:
    """All that the template needs; times are already pixels, and no two frames of reference meet."""

    label: str
    description: str
    height: float
    duration_ms: float
    strip: tuple[Box, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    path: str
    bounds: tuple[float, ...]
    steps: tuple[Label, ...]
    lanes: tuple[Label, ...]
    ticks: tuple[Label, ...]
    table: tuple[Mapping[str, str], ...]  # the first step's critical path, in words
    note: str = ""  # where not each piece is drawn by itself


def lay_out(found: Timeline) -> WebTimeline:
    """The page's geometry of a timeline."""
    rows = geometry.rows(found)
    scale = PLOT / max(found.end_ns, 1)
    worker = found.critical[0].worker if found.critical else None
    ys = [HEAD + LANE * (row.y + 0.5) for row in rows]
    names = [Label(0, HEAD + LANE * 0.5, "critical path", True)]
    for row, y in zip(rows, ys, strict=True):
        names += [Label(0, y, row.node, True)] if row.first else []
        names.append(Label(GUTTER - 8, y, row.thread))
    way = geometry.critical_way(found)
    points = [
        f"{x:.2f},{y - 2:.1f}"
        for piece in way
        for x, y in (
            (piece.segment.start_ns * scale, ys[piece.from_lane]),
            (piece.segment.end_ns * scale, ys[piece.to_lane]),
        )
    ]
    bounds = [(start, end) for rank, start, end in found.step_bounds_ns if rank == worker]
    step_of = {segment.start_ns: segment.step for segment in reversed(found.critical)}
    return WebTimeline(
        label=found.label,
        description=_description(found, worker),
        height=HEAD + LANE * geometry.height(rows) + 24,
        duration_ms=found.end_ns / fmt.NS_PER_MS,
        strip=tuple(_segment_box(segment, scale) for segment in found.critical),
        boxes=tuple(_boxes(found, ys, scale)),
        arrows=tuple(
            Arrow(
                m.send_start_ns * scale,
                ys[m.from_lane],
                m.recv_end_ns * scale,
                ys[m.to_lane],
                m.stage.label,
                _words_of_message(m),
            )
            for m in found.messages
        ),
        path=" ".join(points),
        bounds=tuple(sorted({bound * scale for pair in bounds for bound in pair})),
        steps=tuple(
            Label((start + end) / 2 * scale, 14, f"step {fmt.integer(step_of[start])}: {fmt.ms_unit(end - start)}")
            for start, end in bounds
            if start in step_of
        ),
        lanes=tuple(names),
        ticks=tuple(_ticks(found.end_ns / fmt.NS_PER_MS)),
        table=tuple(_rows(found)),
        note=fmt.joined(found.joined_ns) if found.joined_ns else "",
    )


def words_of(stage: str, op: str, key: str, step: int, duration_ns: int) -> str:
    """What is said of one box: stage, operation, key, step, how long."""
    named = f" · {key}" if key else ""
    return f"{stage} · {op}{named} · step {fmt.integer(step)} · {fmt.duration(duration_ns)}"


def _boxes(found: Timeline, ys: list[float], scale: float) -> list[Box]:
    boxes = []
    for span in found.spans:
        kind = "request" if span.op in REQUEST_OPS else "asleep" if span.op == Op.BLOCK else "work"
        top, height = (ys[span.lane] + 6, 3.0) if kind == "request" else (ys[span.lane] - 9, 14.0)
        length = span.end_ns - span.start_ns
        words = words_of(span.stage.label, _among(span.op, span.pieces), span.key, span.step, length)
        boxes.append(Box(span.start_ns * scale, top, length * scale, height, span.stage.label, kind, words))
    return boxes


def _words_of_message(message: TimelineMessage) -> str:
    took = fmt.duration(message.recv_end_ns - message.send_start_ns)
    return f"{_among('message', message.pieces)} · {message.stage.label} · {fmt.key_name(message.key)} · {took}"


def _segment_box(segment: Segment, scale: float) -> Box:
    length = segment.end_ns - segment.start_ns
    done = words_of(segment.stage.label, _operation(segment), segment.key, segment.step, length)
    words = f"critical path · {done} · {segment.place}"
    return Box(segment.start_ns * scale, HEAD + 2, length * scale, LANE - 4, segment.stage.label, "work", words)


def _operation(segment: Segment) -> str:
    return _among(f"{segment.op} behind {segment.behind}" if segment.behind else segment.op, segment.pieces)


def _among(op: str, pieces: int) -> str:
    """An operation that was drawn together with its neighbours."""
    return op if pieces == 1 else f"{fmt.integer(pieces)} pieces, the longest {op}"


def _ticks(duration_ms: float) -> list[Label]:
    """About eight round numbers of ms along the axis."""
    step = 1e-6
    while duration_ms / step > 10:
        step *= 2.5 if f"{step:e}"[0] == "2" else 2  # 1, 2, 5, 10, ...
    count = int(duration_ms / step) if duration_ms else 0
    decimals = max(0, -int(f"{step:e}"[-3:]))
    return [Label(i * step / max(duration_ms, step) * PLOT, 0, fmt.number(i * step, decimals)) for i in range(count + 1)]


def _rows(found: Timeline) -> list[dict[str, str]]:
    if not found.critical:
        return []
    first = found.critical[0].step
    return [
        {
            "at": fmt.ms(segment.start_ns),
            "took": fmt.duration(segment.end_ns - segment.start_ns),
            "stage": segment.stage.label,
            "op": _operation(segment),
            "key": segment.key,
            "place": str(segment.place),
        }
        for segment in found.critical
        if segment.step == first
    ]


def _description(found: Timeline, worker: int | None) -> str:
    text = (
        f"Timeline of {found.label}: {fmt.integer(len(found.lanes))} threads, {fmt.integer(len(found.spans))} boxes, "
        f"{fmt.integer(len(found.messages))} messages in {fmt.ms_unit(found.end_ns)}."
    )
    if found.joined_ns:
        text = f"{text} {fmt.joined(found.joined_ns)}"
    return text if worker is None else f"{text} The critical path of worker {worker} is drawn through it."
