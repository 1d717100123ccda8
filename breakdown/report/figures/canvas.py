"""What all figures share: an empty figure in the house style, boxes in a stage's colour and hatch, the legend of stages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

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

WIDTH = 9.0  # inches: fits a page in landscape, and text of 9 points stays legible in portrait
HINTING = 1.03  # drawn glyphs are fitted to pixels, which makes a line up to this much wider than its outline
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
    axes.add_patch(patch)
    return patch


def stage_handles(stages: Iterable[Stage] = STAGES) -> list[Patch]:
    looks = [(stage.label, STAGE_COLOURS[stage]) for stage in stages]
    return [
        Patch(facecolor=look.fill, hatch=look.hatch, edgecolor=look.ink + HATCH_ALPHA, linewidth=0.5, label=label)
        for label, look in looks
    ]


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a line of text, in inches."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72 * HINTING


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
