"""A flame graph laid out in pixels, for the page and for the figure: boxes, their short names, and the words behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from breakdown.analysis import wording as fmt
from breakdown.analysis.sampling.findings import Frame, RoleSamples
from breakdown.model.stages import Stage

WIDTH = 1_000.0
ROW = 18.0
THINNEST = 1.5
"""Boxes below this width are not drawn: neither they nor what they call could be seen. They stay in the table."""

DEEPEST = 45
CHARACTER = 7.0  # of 11 px text, where letters are wide
PADDING = 8.0

_TEMPLATE = re.compile(r"(?<=\w)<[^<>]*>")
_FILE = re.compile(r" \([^()]*\)$")


@dataclass(frozen=True)
class FlameBox:
    """`stage` None: of several stages. `y` counts from the top; callers stand above what they call."""

    x: float
    y: float
    width: float
    stage: Stage | None
    text: str
    words: str


@dataclass(frozen=True)
class FlameGraph:
    boxes: tuple[FlameBox, ...]
    height: float


def lay_out(role: RoleSamples) -> FlameGraph:
    """The boxes that can be seen. The whole width is the time that all threads together were awake."""
    whole = role.awake_ns
    scale = WIDTH / whole if whole else 0.0
    shown = [frame for frame in role.flame if frame.width_ns * scale >= THINNEST and frame.depth < DEEPEST]
    boxes = tuple(
        FlameBox(
            frame.start_ns * scale,
            frame.depth * ROW,
            frame.width_ns * scale,
            frame.stage,
            _fit(short_name(frame.name), frame.width_ns * scale),
            _words(frame, whole),
        )
        for frame in shown
    )
    return FlameGraph(boxes, ROW * (1 + max((frame.depth for frame in shown), default=0)))


def short_name(frame: str) -> str:
    """A function's name without its file, template arguments and outer namespaces."""
    name, before = _FILE.sub("", frame).replace("(anonymous namespace)::", ""), ""
    while name != before:
        name, before = _TEMPLATE.sub("", name), name
    name = name.partition("(")[0].strip() or name
    return "::".join(name.split("::")[-2:])


def _fit(name: str, width: float) -> str:
    letters = int((width - PADDING) / CHARACTER)
    return fmt.shorten(name, letters) if letters >= 3 else ""


def _words(frame: Frame, whole: int) -> str:
    stage = frame.stage.label if frame.stage is not None else "several stages"
    return f"{frame.name} · {stage} · {fmt.ms_unit(frame.width_ns)}, {fmt.percent(frame.width_ns / whole)} of the time awake"
