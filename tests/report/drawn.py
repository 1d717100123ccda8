"""The page of a made-up finding, with the figures that it shows."""

from __future__ import annotations

from collections.abc import Sequence

from breakdown.analysis.findings import ExperimentFinding, Timeline
from breakdown.report import html, plots


def page(finding: ExperimentFinding, timelines: Sequence[Timeline]) -> str:
    return html.page(finding, timelines, svgs(finding))


def svgs(finding: ExperimentFinding) -> dict[str, str]:
    """What the page shows as figures: timelines are drawn by the page itself."""
    return {name: plots.svg(figure) for name, figure in plots.figures(finding, ())}
