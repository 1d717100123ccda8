"""The heat map of one configuration: keys down, stages across, exposed ms of the mean step in each field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding
from breakdown.model.stages import STAGES, Stage
from breakdown.report.figures import canvas
from breakdown.report.palette import GRID, HEAT, MUTED

ROW = 0.27  # inches
MOST_KEYS = 24  # more rows than this are no picture any more; the rest share one row

_COLOURS = LinearSegmentedColormap.from_list("heat", HEAT)

Grid = Mapping[str, Mapping[Stage, int]]


def heat_map(cell: CellFinding) -> Figure:
    """The biggest keys first. All places (workers, servers) of one key and stage share a field."""
    grid = key_grid(cell)
    names = [fmt.shorten(name, 34) for name in grid]
    with canvas.style():
        height = ROW * max(len(grid), 1) + 1.25
        figure = canvas.new_figure(height)
        axes = canvas.place(figure, canvas.left_margin(names), 0.2, 0.3, 0.95)
        figure.text(
            0.012,
            1 - 0.12 / height,
            f"Exposed time by key and stage: {fmt.shorten(cell.label, 60)}",
            va="top",
            fontsize=11,
            fontweight="bold",
        )
        figure.text(0.012, 1 - 0.36 / height, "ms of the mean step; · is zero", va="top", fontsize=8.5, color=MUTED)
        _fields(axes, grid)
        axes.set_xlim(0, len(STAGES))
        axes.set_ylim(max(len(grid), 1), 0)
        axes.set_yticks([row + 0.5 for row in range(len(names))], names)
        axes.xaxis.tick_top()
        axes.set_xticks([column + 0.5 for column in range(len(STAGES))], [stage.label for stage in STAGES])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def key_grid(cell: CellFinding) -> Grid:
    """The cell's key times as rows of a table, the biggest key first; beyond `MOST_KEYS` keys, the last row is the rest."""
    totals: Counter[str] = Counter()
    for found in cell.keys:
        totals[found.key] += found.exposed_ns
    order = [key for key, _ in totals.most_common()]
    kept = order if len(order) <= MOST_KEYS else order[: MOST_KEYS - 1]
    rest = f"({fmt.integer(len(order) - len(kept))} other keys)"
    grid: dict[str, dict[Stage, int]] = {}
    for found in cell.keys:
        row = grid.setdefault(fmt.key_name(found.key) if found.key in kept else rest, {})
        row[found.stage] = row.get(found.stage, 0) + found.exposed_ns
    return {name: grid[name] for name in [*map(fmt.key_name, kept), rest] if name in grid}


def _fields(axes: Axes, grid: Grid) -> None:
    most = max((ns for row in grid.values() for ns in row.values()), default=0)
    zero: list[tuple[int, int]] = []
    for y, row in enumerate(grid.values()):
        for x, stage in enumerate(STAGES):
            ns = row.get(stage, 0)
            if not ns:
                zero.append((x, y))
                continue
            colour = _COLOURS(ns / most)
            axes.add_artist(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=GRID, linewidth=0.6))
            axes.text(x + 0.5, y + 0.5, fmt.ms(ns), ha="center", va="center", fontsize=8, color=_ink(colour))
    if zero:  # most fields are: as texts they would take longer than all the rest
        x, y = np.array(zero).T
        outline = canvas.polygons(((x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)))
        axes.add_artist(PathPatch(outline, facecolor="none", edgecolor=GRID, linewidth=0.6, snap=True))
        axes.plot(x + 0.5, y + 0.5, linestyle="none", marker=".", markersize=2, color=MUTED)
    if not grid:
        axes.text(len(STAGES) / 2, 0.5, "no key was measured", ha="center", va="center", color=MUTED)


def _ink(colour: object) -> str:
    red, green, blue = to_rgb(colour)  # type: ignore[arg-type]
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"
