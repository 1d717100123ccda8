"""The load of each server of one configuration: bytes in and out, busy and queue time of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding, ServerLoad
from breakdown.model.stages import Stage
from breakdown.report.figures import canvas
from breakdown.report.palette import MUTED

ROW = 0.36  # inches
GAP = 0.75


def server_load(cell: CellFinding) -> Figure:
    """Four panels side by side. Without servers, one line that says so."""
    servers = cell.servers
    names = [f"server {load.server}{_keys(load)}" for load in servers]
    with canvas.style():
        height = ROW * max(len(servers), 1) + 1.1
        figure = canvas.new_figure(height)
        title = f"Load of the servers: {fmt.shorten(cell.label, 60)}"
        figure.text(0.012, 1 - 0.12 / height, title, va="top", fontsize=11, fontweight="bold")
        note = "a step of the run, all workers' requests together"
        if cell.server_skew is not None:
            note += f"; the busiest server moves {fmt.ratio(cell.server_skew)} the mean bytes"
        figure.text(
            0.012,
            1 - 0.35 / height,
            note if servers else "no servers in this configuration",
            va="top",
            fontsize=8.5,
            color=MUTED,
        )
        if not servers:
            return figure
        left = canvas.left_margin(names)
        width = (canvas.WIDTH - left - 4 * GAP) / 4
        panels: tuple[tuple[str, Stage, Sequence[int | None], Callable[[int | None], str]], ...] = (
            ("bytes in", Stage.PUSH, [load.bytes_in for load in servers], fmt.size),
            ("bytes out", Stage.PULL, [load.bytes_out for load in servers], fmt.size),
            ("busy, ms", Stage.AGGREGATE, [load.busy_ns for load in servers], fmt.ms),
            ("in queue, ms", Stage.AGGREGATE, [load.queue_ns for load in servers], fmt.ms),
        )
        for index, (name, stage, values, write) in enumerate(panels):
            x = left + index * (width + GAP)
            axes = canvas.place(figure, x, 0.2, canvas.WIDTH - x - width, 0.85)
            _panel(axes, name, stage, values, write)
            axes.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
    return figure


def _keys(load: ServerLoad) -> str:
    return "" if load.bytes_in is None else f" · {fmt.integer(load.keys)} key{'' if load.keys == 1 else 's'}"


def _panel(axes: Axes, name: str, stage: Stage, values: Sequence[int | None], write: Callable[[int | None], str]) -> None:
    for row, value in enumerate(values):
        canvas.box(axes, stage, 0, row - 0.3, value or 0, 0.6)
        axes.annotate(write(value), (value or 0, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(0, max([1, *(value or 0 for value in values)]))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_title(name, fontsize=8.5, color=MUTED, fontweight="normal", pad=4)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
