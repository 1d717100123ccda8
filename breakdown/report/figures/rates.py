"""Samples a second for each configuration: the median, its 95 % interval, and every repetition as a point of its own."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding
from breakdown.report.figures import canvas
from breakdown.report.palette import ACCENT, INK, MUTED

ROW = 0.52  # inches
RIGHT = 1.75


def rates(cells: Sequence[CellFinding]) -> Figure:
    """Starts at zero, so that lengths compare as speeds do."""
    names = [canvas.fold(cell.label, 30, 3) for cell in cells]
    lines = [line for name in names for line in name.split("\n")]
    with canvas.style():
        height = ROW * len(cells) + 1.25
        figure = canvas.new_figure(height)
        axes = canvas.place(figure, canvas.left_margin(lines), 0.5, RIGHT, 0.65)
        figure.text(0.012, 1 - 0.12 / height, "Training speed", va="top", fontsize=11, fontweight="bold")
        figure.text(
            0.012,
            1 - 0.34 / height,
            "median over repetitions, 95 % interval; each point is one repetition",
            va="top",
            fontsize=8.5,
            color=MUTED,
        )
        for row, cell in enumerate(cells):
            _row(axes, row, cell)
        highs = [cell.samples_per_s_interval.high or 0.0 for cell in cells]
        raw = max([1e-9, *(rate for cell in cells for rate in (cell.samples_per_s, *cell.samples_per_s_by_run))])
        axes.set_xlim(0, 1.04 * max(raw, min(max(highs, default=0.0), canvas.MOST_WHISKER * raw)))
        axes.set_ylim(max(len(cells), 1) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.set_major_formatter(lambda value, _: fmt.number(value, 0 if value >= 10 or value == 0 else 1))
        axes.set_xlabel("samples/s, all workers together")
        axes.xaxis.grid(True)
    return figure


def _row(axes: Axes, row: int, cell: CellFinding) -> None:
    axes.plot((0, cell.samples_per_s), (row, row), color=ACCENT, linewidth=5, alpha=0.35, solid_capstyle="butt")
    bounds = cell.samples_per_s_interval
    if bounds.low is not None and bounds.high is not None:
        axes.plot((bounds.low, bounds.high), (row, row), color=ACCENT, linewidth=2.2)
        for bound in (bounds.low, bounds.high):
            axes.plot((bound, bound), (row - 0.12, row + 0.12), color=ACCENT, linewidth=1.4)
    axes.plot((cell.samples_per_s,) * 2, (row - 0.2, row + 0.2), color=INK, linewidth=2.2)
    runs = cell.samples_per_s_by_run
    axes.plot(
        runs,
        [row + 0.32] * len(runs),
        linestyle="none",
        marker="o",
        markersize=4.2,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=0.9,
        alpha=0.8,
    )
    where = axes.get_yaxis_transform()
    inch = 1 / (axes.get_position().width * canvas.WIDTH)
    text = fmt.rate(cell.samples_per_s)
    axes.text(1 + 0.6 * inch, row, text, transform=where, ha="right", va="center", fontweight="bold", color=INK)
    interval = fmt.interval(bounds, fmt.rate)
    axes.text(1 + 0.68 * inch, row, interval, transform=where, va="center", fontsize=7.5, color=MUTED)
