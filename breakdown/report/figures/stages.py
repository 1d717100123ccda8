"""Stacked stages: one bar a configuration, single nodes included; every stage labelled with its ms and % of the step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding, StageTime
from breakdown.report.figures import canvas
from breakdown.report.palette import INK, MUTED, STAGE_COLOURS

ROW = 0.86  # inches: a bar, and a line of small print below it
BAR = 0.46  # of a row
SMALL = 7.5  # points
RIGHT = 1.0


def stages(cells: Sequence[CellFinding]) -> Figure:
    """What fits into its box is labelled there; what does not is listed below its bar, so no value is missing."""
    names = [canvas.fold(cell.label, 24, 4) for cell in cells]
    lines = [line for name in names for line in name.split("\n")]
    with canvas.style():
        height = ROW * len(cells) + 1.5
        figure = canvas.new_figure(height)
        axes = canvas.place(figure, canvas.left_margin(lines), 0.5, RIGHT, 1.0)
        figure.text(0.012, 1 - 0.12 / height, "Where a step's time goes", va="top", fontsize=11, fontweight="bold")
        figure.legend(
            handles=canvas.stage_handles(),
            loc="upper left",
            bbox_to_anchor=(0.004, 1 - 0.36 / height),
            ncols=8,
            fontsize=8.5,
            handlelength=1.3,
            columnspacing=1.4,
        )
        longest = max([1, *(cell.step_ns for cell in cells)])
        axes.set_xlim(0, longest / fmt.NS_PER_MS)
        axes.set_ylim(len(cells) - 0.45, -0.4)
        inches = axes.get_position().width * canvas.WIDTH / longest
        for row, cell in enumerate(cells):
            _bar(axes, row, cell, inches)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("ms of the mean step (exposed time, on the critical path)")
        axes.xaxis.grid(True)
    return figure


def _bar(axes: Axes, row: int, cell: CellFinding, inches_per_ns: float) -> None:
    at, small = 0, []
    for stage in cell.stages:
        if stage.exposed_ns:
            canvas.box(axes, stage.stage, at / fmt.NS_PER_MS, row - BAR / 2, stage.exposed_ns / fmt.NS_PER_MS, BAR)
            if not _label(axes, row, at, stage, inches_per_ns):
                small.append(stage)
        at += stage.exposed_ns
    where = axes.get_yaxis_transform()
    axes.text(1.02, row, f"{fmt.ms(cell.step_ns)} ms", transform=where, va="center", fontweight="bold", color=INK)
    parts = [f"{s.stage.label} {fmt.ms(s.exposed_ns)} ms, {fmt.percent(s.share)}" for s in small]
    text = canvas.join(parts, SMALL, axes.get_position().width * canvas.WIDTH + RIGHT - 0.1)
    axes.text(0, row + BAR / 2 + 0.05, text, transform=where, va="top", fontsize=SMALL, linespacing=1.1, color=MUTED)


def _label(axes: Axes, row: int, at: int, stage: StageTime, inches_per_ns: float) -> bool:
    value, share = f"{fmt.ms(stage.exposed_ns)} ms", fmt.percent(stage.share)
    if stage.exposed_ns * inches_per_ns < max(canvas.text_width(text, SMALL) for text in (value, share)) + 0.1:
        return False
    look = STAGE_COLOURS[stage.stage]
    plate = {"boxstyle": "square,pad=0.15", "facecolor": look.fill, "edgecolor": "none"} if look.hatch else None
    middle = (at + stage.exposed_ns / 2) / fmt.NS_PER_MS
    axes.text(middle, row, f"{value}\n{share}", ha="center", va="center", fontsize=SMALL, color=look.ink, bbox=plate)
    return True
