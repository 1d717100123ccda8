"""The waterfall: from the single node's step to the distributed one, a bar a stage, with values and intervals."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Bar, Waterfall
from breakdown.report.figures import canvas
from breakdown.report.palette import BASELINE, INK, MUTED

ROW = 0.34  # inches
RIGHT = 2.15  # inches for the two columns of figures
BAR = 0.66  # of a row


def waterfall(found: Waterfall) -> Figure:
    """Rows from top to bottom: the single node, eight stages, the distributed step. The bars add up to the gap exactly."""
    names = [
        canvas.fold(found.baseline_label, 30, 2),
        *(bar.stage.label for bar in found.bars),
        canvas.fold(found.label, 30, 2),
    ]
    lines = [line for name in names for line in name.split("\n")]
    with canvas.style():
        height = ROW * len(names) + 1.35
        figure = canvas.new_figure(height)
        axes = canvas.place(figure, canvas.left_margin(lines), 0.5, RIGHT, 0.85)
        figure.text(0.012, 1 - 0.12 / height, _title(found), va="top", fontsize=11, fontweight="bold")
        _draw(axes, found)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("ms of a step (exposed time)")
        axes.xaxis.grid(True)
    return figure


def _title(found: Waterfall) -> str:
    more = "longer" if found.gap_ns >= 0 else "shorter"
    return (
        f"Why a step is {fmt.ms(abs(found.gap_ns))} ms {more}\n"
        f"{fmt.shorten(found.baseline_label, 40)}  →  {fmt.shorten(found.label, 40)}"
    )


def _draw(axes: Axes, found: Waterfall) -> None:
    level = found.baseline_ns
    ends, whiskers = [0.0, float(level)], [0.0]
    _total(axes, 0, found.baseline_ns)
    for row, bar in enumerate(found.bars, start=1):
        _bar(axes, row, level, bar)
        whiskers += [level + bound for bound in (bar.interval_ns.low, bar.interval_ns.high) if bound is not None]
        level += bar.delta_ns
        ends.append(level)
    _total(axes, len(found.bars) + 1, found.step_ns)
    reach = max(max(ends), 1.0)  # of the bars: whiskers may be far longer, and would leave nothing of them
    low = max(min(ends + whiskers), min(min(ends), (1 - canvas.MOST_WHISKER) * reach))
    high = max(reach, min(max(whiskers), canvas.MOST_WHISKER * reach))
    axes.set_xlim(low / fmt.NS_PER_MS * 1.05, high / fmt.NS_PER_MS * 1.02)
    _heading(axes, -0.75, "change, ms", "95 % interval")


def _total(axes: Axes, row: int, ns: int) -> None:
    axes.barh(row, ns / fmt.NS_PER_MS, BAR, color=BASELINE, edgecolor=MUTED, linewidth=0.5)
    _figures(axes, row, fmt.ms(ns), "", bold=True)


def _bar(axes: Axes, row: int, level: int, bar: Bar) -> None:
    start, end = level / fmt.NS_PER_MS, (level + bar.delta_ns) / fmt.NS_PER_MS
    axes.plot((start, start), (row - 1 + BAR / 2, row - BAR / 2), color=MUTED, linewidth=0.8)
    canvas.box(axes, bar.stage, min(start, end), row - BAR / 2, abs(end - start), BAR)
    if bar.delta_ns == 0:
        axes.plot((start, start), (row - BAR / 2, row + BAR / 2), color=MUTED, linewidth=0.8)
    low, high = bar.interval_ns.low, bar.interval_ns.high
    if low is not None and high is not None:
        at = [(level + bound) / fmt.NS_PER_MS for bound in (low, high)]
        axes.plot(at, (row, row), color=INK, linewidth=1.1)
        for bound in at:
            axes.plot((bound, bound), (row - 0.13, row + 0.13), color=INK, linewidth=1.1)
    axes.plot((end, end), (row + BAR / 2, row + 1 - BAR / 2), color=MUTED, linewidth=0.8)
    _figures(axes, row, fmt.signed_ms(bar.delta_ns), fmt.interval(bar.interval_ns, fmt.signed_ms), bold=False)


def _figures(axes: Axes, row: float, value: str, interval: str, bold: bool, colour: str = INK) -> None:
    """The two columns right of the plot, where no bar can run into them."""
    where = axes.get_yaxis_transform()
    inch = 1 / (axes.get_position().width * canvas.WIDTH)
    weight = "bold" if bold else "normal"
    axes.text(1 + 0.78 * inch, row, value, transform=where, ha="right", va="center", fontweight=weight, color=colour)
    axes.text(1 + 2.05 * inch, row, interval, transform=where, ha="right", va="center", fontsize=8, color=MUTED)


def _heading(axes: Axes, row: float, value: str, interval: str) -> None:
    _figures(axes, row, value, interval, bold=False, colour=MUTED)
