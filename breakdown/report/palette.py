"""One colour, one hatch and one text colour for each stage: the same in every figure, on the page and on the console.

The colours are Okabe and Ito's ("Color Universal Design", 2008), which people with the common kinds of colour blindness
can tell apart; grey stands for `other`. The hatch tells stages apart where there is no colour (a print in grey).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakdown.model.stages import STAGES, Stage


@dataclass(frozen=True)
class StageColour:
    """How one stage is drawn."""

    fill: str  # "#rrggbb"
    hatch: str  # matplotlib's hatch letters; "" is plain
    ink: str  # text on top of `fill`: at least 4.5 to 1 in contrast (WCAG 2.1, AA)
    console: str  # a rich style


STAGE_COLOURS: Mapping[Stage, StageColour] = {
    Stage.INPUT: StageColour("#f0e442", "..", "#000000", "yellow"),
    Stage.COMPUTE: StageColour("#009e73", "", "#000000", "green"),
    Stage.SERIALIZE: StageColour("#cc79a7", "xx", "#000000", "magenta"),
    Stage.PUSH: StageColour("#e69f00", "//", "#000000", "dark_orange3"),
    Stage.AGGREGATE: StageColour("#0072b2", "--", "#ffffff", "blue"),
    Stage.PULL: StageColour("#56b4e9", "\\\\", "#000000", "cyan"),
    Stage.WAIT: StageColour("#d55e00", "||", "#000000", "red"),
    Stage.OTHER: StageColour("#6b7075", "++", "#ffffff", "bright_black"),
}

STAGE_MEANINGS: Mapping[Stage, str] = {
    Stage.INPUT: "Taking the batch.",
    Stage.COMPUTE: "Forward, backward and, where the worker updates, the local update.",
    Stage.SERIALIZE: "Encoding and decoding of what is sent, at worker and server.",
    Stage.PUSH: "Gradients on the wire, from the worker to the server.",
    Stage.AGGREGATE: "At the server: waiting in its queue, summing the workers' gradients, updating the parameters.",
    Stage.PULL: "Parameters on the wire, from the server to the worker, with the request for them.",
    Stage.WAIT: "Held until other workers have done their part.",
    Stage.OTHER: "What none of the other stages explains. It is always shown, never dropped.",
}

# The neutral colours of a figure. On the page they become CSS variables, so that they follow light and dark; stage inks are
# other values (pure black and white) on purpose, since text on a stage's colour stays as it is.
INK = "#1f2328"
MUTED = "#57606a"
GRID = "#d8dee4"
PAPER = "#fefefe"
BASELINE = "#b8c0c8"
ACCENT = "#0b5cad"

HEAT = ("#eef4fa", "#a9cbe6", "#5a9bcb", "#1f6aa5", "#0b3c6f")
"""One hue from light to dark, for the heat map: orders by lightness alone, so it survives a print in grey."""

assert tuple(STAGE_COLOURS) == STAGES == tuple(STAGE_MEANINGS)
