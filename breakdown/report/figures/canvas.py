"""What all figures share: an empty figure in the house style, boxes in a stage's colour and hatch, the legend of stages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path

from breakdown.analysis import wording as fmt
from breakdown.model.stages import STAGES, Stage
from breakdown.report.palette import GRID, INK, MUTED, PAPER, STAGE_COLOURS

STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a key may hold a dollar sign
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "svg.fonttype": "none",  # text stays text: searchable, readable aloud, small
    "svg.hashsalt": "breakdown",  # the same bytes for the same finding
}

MOST_WHISKER = 1.5
"""An axis is at most so many times as long as what was measured. Whiskers of two or three repetitions may be far longer:
these run off its edge without an end, and stand in figures beside it."""

WIDTH = 9.0  # inches: fits a page in landscape, and text of 9 points stays legible in portrait
HINTING = 1.03  # drawn glyphs are fitted to pixels, which makes a line up to this much wider than its outline
OUTLINE = 100  # points: outlines are measured at this size, so that rounding to 1/64 of a point is nothing
HATCH_ALPHA = "59"  # in hexadecimal: the hatch is a third of black, so that text on top stays legible


@contextmanager
def style() -> Iterator[None]:
    """The house style, for making a figure and for writing it."""
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def box(axes: Axes, stage: Stage, x: float, y: float, width: float, height: float, **more: Any) -> Rectangle:
    """A rectangle in the stage's colour and hatch, from (x, y)."""
    look = STAGE_COLOURS[stage]
    options: dict[str, Any] = {"linewidth": 0.5, "edgecolor": look.ink + HATCH_ALPHA, **more}
    patch = Rectangle((x, y), width, height, facecolor=look.fill, hatch=look.hatch, **options)
    axes.add_artist(patch)  # not add_patch: every figure sets its own limits, and finding them takes longer than drawing
    return patch


def boxes(axes: Axes, stage: Stage, corners: Sequence[tuple[float, float, float, float]], **more: Any) -> None:
    """Many rectangles (x, y, width, height) of one stage, drawn as one shape: an artist each would take a hundred times as
    long. Where two of them overlap, the colour is laid on once.
    """
    if len(corners):
        x, y, width, height = np.asarray(corners, dtype=np.float64).T
        outline = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        look = STAGE_COLOURS[stage]
        options: dict[str, Any] = {"linewidth": 0.5, "edgecolor": look.ink + HATCH_ALPHA, "snap": True, **more}
        axes.add_artist(PathPatch(polygons(outline), facecolor=look.fill, hatch=look.hatch, **options))


def polygons(corners: Sequence[tuple[Any, Any]]) -> Path:
    """One shape of many closed polygons: the first corners of all, the second of all, and so on, as arrays (x, y)."""
    points = np.stack([np.stack(corner, axis=-1) for corner in (*corners, corners[0])], axis=1)
    codes = [Path.MOVETO, *[Path.LINETO] * (len(corners) - 1), Path.CLOSEPOLY]
    return Path(points.reshape(-1, 2), np.tile(np.array(codes, dtype=np.uint8), len(points)))


def stage_handles(stages: Iterable[Stage] = STAGES) -> list[Patch]:
    looks = [(stage.label, STAGE_COLOURS[stage]) for stage in stages]
    return [
        Patch(facecolor=look.fill, hatch=look.hatch, edgecolor=look.ink + HATCH_ALPHA, linewidth=0.5, label=label)
        for label, look in looks
    ]


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a line of text, in inches."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")))
    if not text.strip():
        return 0.0
    font.set_size(OUTLINE, 72)
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    return float(font.get_width_height()[0]) / 64 * size / OUTLINE / 72 * HINTING


def left_margin(labels: Iterable[str], size: float = 9, least: float = 0.6) -> float:
    """Inches that the longest of the labels needs left of the axes."""
    return max([least, *(text_width(label, size) for label in labels)]) + 0.2


def fold(label: str, limit: int, lines: int) -> str:
    """A label on at most so many lines of `limit` characters each; of a longer one the middle goes, then the end."""
    short = fmt.shorten(label, limit * lines)
    return "\n".join(textwrap.wrap(short, limit, max_lines=lines, placeholder="…", break_on_hyphens=False)) or label


def join(parts: Iterable[str], size: float, inches: float) -> str:
    """The parts with dots between them, on as many lines as the width asks for; no part is broken."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]} · {part}" if lines else part
        if lines and text_width(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def place(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes with margins in inches, so that a taller figure keeps its margins."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height))
