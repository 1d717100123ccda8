"""The timeline: a few steps, all roles on one page, messages as arrows between lanes, the critical path on top of it all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.patheffects import Normal, Stroke

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Timeline
from breakdown.model.stages import REQUEST_OPS, Op, Stage
from breakdown.report import lanes as geometry
from breakdown.report.figures import canvas
from breakdown.report.palette import GRID, INK, MUTED, PAPER, STAGE_COLOURS

ROW = 0.25  # inches a lane
WIDTH = 11.0
HEAD_LENGTH, HEAD_WIDTH = 2.0, 2.0  # points, of an arrow


@dataclass(frozen=True)
class Look:
    """How boxes of one kind lie in their lane (in lanes, from its middle) and are painted."""

    below: float
    height: float
    alpha: float | None
    edge: float  # points


LOOKS = {
    "work": Look(-0.4, 0.62, None, 0.4),
    "asleep": Look(-0.4, 0.62, 0.3, 0),  # of a thread that only sleeps
    "request": Look(0.27, 0.14, 0.8, 0),
}


def timeline(found: Timeline) -> Figure:
    """Each box is one piece of a thread's work; thin bars below it are requests that queue or are held."""
    rows = geometry.rows(found)
    nodes = max([0.3, *(canvas.text_width(row.node, 9, bold=True) for row in rows)])
    with canvas.style():
        height = ROW * geometry.height(rows) + 1.75
        figure = canvas.new_figure(height, WIDTH)
        left = nodes + canvas.left_margin([row.thread for row in rows], 8, least=0.75) + 0.15
        axes = canvas.place(figure, left, 0.5, 0.25, 1.2)
        title = f"Timeline: {fmt.shorten(found.label, 80)}"
        figure.text(0.01, 1 - 0.12 / height, title, va="top", fontsize=11, fontweight="bold")
        figure.legend(
            handles=_legend(),
            loc="upper left",
            bbox_to_anchor=(0.003, 1 - 0.36 / height),
            ncols=12,
            fontsize=8,
            handlelength=1.3,
            columnspacing=1.2,
        )
        axes.set_xlim(0, max(found.end_ns, 1) / fmt.NS_PER_MS)
        axes.set_ylim(geometry.height(rows) - 0.5, -0.6)
        _steps(axes, found)
        _boxes(axes, found, rows)
        _messages(axes, found, rows)
        _critical(axes, found, rows)
        _names(axes, rows, nodes)
        note = f". {fmt.joined(found.joined_ns)}" if found.joined_ns else ""
        axes.set_xlabel(f"ms since the start of this page{note}")
        axes.xaxis.grid(True)
    return figure


def _legend() -> list[Patch | Line2D]:
    arrow = Line2D([], [], color=MUTED, marker=">", markersize=4, linewidth=1, label="message")
    path = Line2D([], [], color=INK, linewidth=2, label="critical path")
    return [*canvas.stage_handles(), arrow, path]


def _steps(axes: Axes, found: Timeline) -> None:
    """Where the explained worker's steps begin and end."""
    worker = found.critical[0].worker if found.critical else None
    step_of = {segment.start_ns: segment.step for segment in reversed(found.critical)}
    for rank, start, end in found.step_bounds_ns:
        if rank != worker:
            continue
        for bound in (start, end):
            axes.axvline(bound / fmt.NS_PER_MS, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
        if start in step_of:
            name = f"step {fmt.integer(step_of[start])} of worker {rank}: {fmt.ms(end - start)} ms"
            middle = (start + end) / 2 / fmt.NS_PER_MS
            axes.text(middle, -0.75, name, ha="center", va="bottom", fontsize=8, color=MUTED, clip_on=False)


def _boxes(axes: Axes, found: Timeline, rows: Sequence[geometry.Lane]) -> None:
    for row in rows:
        axes.axhline(row.y + 0.5, color=GRID, linewidth=0.5, zorder=0.4)
    alike: dict[tuple[Stage, str], list[tuple[float, float, float, float]]] = defaultdict(list)
    for span in found.spans:
        look = "request" if span.op in REQUEST_OPS else "asleep" if span.op == Op.BLOCK else "work"
        y, start = rows[span.lane].y, span.start_ns / fmt.NS_PER_MS
        width = (span.end_ns - span.start_ns) / fmt.NS_PER_MS
        alike[span.stage, look].append((start, y + LOOKS[look].below, width, LOOKS[look].height))
    for (stage, look), corners in alike.items():
        canvas.boxes(axes, stage, corners, alpha=LOOKS[look].alpha, linewidth=LOOKS[look].edge)


def _messages(axes: Axes, found: Timeline, rows: Sequence[geometry.Lane]) -> None:
    alike: dict[Stage, list[tuple[float, float, float, float]]] = defaultdict(list)
    for message in found.messages:
        start, end = message.send_start_ns / fmt.NS_PER_MS, message.recv_end_ns / fmt.NS_PER_MS
        alike[message.stage].append((start, rows[message.from_lane].y, end, rows[message.to_lane].y))
    for stage, ends in alike.items():
        look: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.9, "color": STAGE_COLOURS[stage].fill, "zorder": 2}
        from_x, from_y, to_x, to_y = np.array(ends).T
        lines = np.stack([np.stack([from_x, from_y], axis=-1), np.stack([to_x, to_y], axis=-1)], axis=1)
        axes.add_collection(LineCollection(list(lines), **look), autolim=False)
        axes.add_artist(PathPatch(canvas.polygons(_heads(axes, from_x, from_y, to_x, to_y)), **look))


def _heads(axes: Axes, from_x: Any, from_y: Any, to_x: Any, to_y: Any) -> tuple[tuple[Any, Any], ...]:
    """The three corners of each arrow's head, which looks along its line as that is seen on paper."""
    box, (width, height) = axes.get_position(), axes.figure.get_figure(root=True).get_size_inches()
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x_points, y_points = 72 * box.width * width / (high - low), 72 * box.height * height / (top - bottom)
    along_x, along_y = (to_x - from_x) * x_points, (to_y - from_y) * y_points
    length = np.maximum(np.hypot(along_x, along_y), 1e-9)
    along_x, along_y = along_x / length, along_y / length
    back_x, back_y = to_x - along_x * HEAD_LENGTH / x_points, to_y - along_y * HEAD_LENGTH / y_points
    side_x, side_y = -along_y * HEAD_WIDTH / 2 / x_points, along_x * HEAD_WIDTH / 2 / y_points
    return (to_x, to_y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)


def _critical(axes: Axes, found: Timeline, rows: Sequence[geometry.Lane]) -> None:
    """A strip in the stages' colours on top, and one line through the lanes."""
    xs: list[float] = []
    ys: list[float] = []
    strip: dict[Stage, list[tuple[float, float, float, float]]] = defaultdict(list)
    for piece in geometry.critical_way(found):
        segment = piece.segment
        start, end = segment.start_ns / fmt.NS_PER_MS, segment.end_ns / fmt.NS_PER_MS
        strip[segment.stage].append((start, -0.4, end - start, 0.8))
        xs += (start, end)
        ys += (rows[piece.from_lane].y - 0.09, rows[piece.to_lane].y - 0.09)
    for stage, corners in strip.items():
        canvas.boxes(axes, stage, corners, linewidth=0.3)
    halo = [Stroke(linewidth=3.4, foreground=PAPER), Normal()]
    axes.plot(xs, ys, color=INK, linewidth=1.7, path_effects=halo, zorder=3, solid_joinstyle="round")


def _names(axes: Axes, rows: Sequence[geometry.Lane], nodes: float) -> None:
    where = axes.get_yaxis_transform()
    inch = 1 / (axes.get_position().width * WIDTH)
    left = -axes.get_position().x0 / axes.get_position().width + 0.1 * inch
    axes.set_yticks([0, *(row.y for row in rows)], ["", *(row.thread for row in rows)], fontsize=8)
    axes.text(left, 0, "critical path", transform=where, va="center", fontweight="bold")
    for row in rows:
        if row.first:
            axes.text(left, row.y, row.node, transform=where, va="center", fontweight="bold")
