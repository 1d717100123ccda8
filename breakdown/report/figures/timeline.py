"""The timeline: a few steps, all roles on one page, messages as arrows between lanes, the critical path on top of it all."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch
from matplotlib.patheffects import Normal, Stroke

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Timeline
from breakdown.model.stages import REQUEST_OPS, Op
from breakdown.report import lanes as geometry
from breakdown.report.figures import canvas
from breakdown.report.palette import GRID, INK, MUTED, PAPER, STAGE_COLOURS

ROW = 0.25  # inches a lane
WIDTH = 11.0
ASLEEP = 0.3  # opacity of a box whose thread only sleeps


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
        axes.set_xlabel("ms since the start of this page")
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
    for span in found.spans:
        y, start = rows[span.lane].y, span.start_ns / fmt.NS_PER_MS
        width = (span.end_ns - span.start_ns) / fmt.NS_PER_MS
        if span.op in REQUEST_OPS:
            canvas.box(axes, span.stage, start, y + 0.27, width, 0.14, alpha=0.8, linewidth=0)
        elif span.op == Op.BLOCK:
            canvas.box(axes, span.stage, start, y - 0.4, width, 0.62, alpha=ASLEEP, linewidth=0)
        else:
            canvas.box(axes, span.stage, start, y - 0.4, width, 0.62, linewidth=0.4)


def _messages(axes: Axes, found: Timeline, rows: Sequence[geometry.Lane]) -> None:
    for message in found.messages:
        start = (message.send_start_ns / fmt.NS_PER_MS, rows[message.from_lane].y)
        end = (message.recv_end_ns / fmt.NS_PER_MS, rows[message.to_lane].y)
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=5,
                shrinkA=0,
                shrinkB=0,
                linewidth=0.6,
                color=STAGE_COLOURS[message.stage].fill,
                alpha=0.9,
                zorder=2,
            )
        )


def _critical(axes: Axes, found: Timeline, rows: Sequence[geometry.Lane]) -> None:
    """A strip in the stages' colours on top, and one line through the lanes."""
    xs: list[float] = []
    ys: list[float] = []
    for piece in geometry.critical_way(found):
        segment = piece.segment
        start, end = segment.start_ns / fmt.NS_PER_MS, segment.end_ns / fmt.NS_PER_MS
        canvas.box(axes, segment.stage, start, -0.4, end - start, 0.8, linewidth=0.3)
        xs += (start, end)
        ys += (rows[piece.from_lane].y - 0.09, rows[piece.to_lane].y - 0.09)
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
