"""Writes figures as files: SVG for papers and the page, PNG for all else. The same finding gives the same SVG bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from breakdown.analysis.findings import ExperimentFinding, Timeline
from breakdown.report import names
from breakdown.report.figures import canvas
from breakdown.report.figures.flame import flame_graph
from breakdown.report.figures.heatmap import heat_map
from breakdown.report.figures.rates import rates
from breakdown.report.figures.servers import server_load
from breakdown.report.figures.stages import stages
from breakdown.report.figures.timeline import timeline
from breakdown.report.figures.waterfall import waterfall
from breakdown.store.files import replacing

PNG_DPI = 150


def figures(finding: ExperimentFinding, timelines: Sequence[Timeline]) -> Iterator[tuple[str, Figure]]:
    """Every figure of an experiment with the name of its file, one at a time: a big matrix has many."""
    yield names.RATES, rates(finding.cells)
    yield names.STAGES, stages(finding.cells)
    for fall in finding.waterfalls:
        yield names.of_waterfall(fall), waterfall(fall)
    for cell in finding.cells:
        yield names.of_keys(cell), heat_map(cell)
        if cell.servers:
            yield names.of_servers(cell), server_load(cell)
        for role in cell.samples:
            yield names.file_name(f"flame-{role.node}", cell.cell_id), flame_graph(cell.label, role)
    for number, page in enumerate(timelines):
        yield names.file_name(f"timeline-{number}", page.label), timeline(page)


def write_all(
    finding: ExperimentFinding,
    timelines: Sequence[Timeline],
    plots_dir: Path,
    watch: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, str]:
    """Writes each figure as `<name>.svg` and `<name>.png`; returns the SVG texts by name, for the page.

    `watch` is told of each: what it is, how many are done, and of about how many.

    Raises `TraceError` when one cannot be written.
    """
    folder = Path(plots_dir)
    drawn: dict[str, str] = {}
    total = 2 + len(finding.waterfalls) + 2 * len(finding.cells) + len(timelines)
    for number, (name, figure) in enumerate(figures(finding, timelines)):
        watch(f"figure {name}", number, max(total, number))
        drawn[name] = svg(figure)
        for suffix, content in ((".svg", drawn[name].encode()), (".png", png(figure))):
            with replacing(folder / f"{name}{suffix}") as new:
                new.write_bytes(content)
    return drawn


def svg(figure: Figure) -> str:
    """The figure as SVG text, without a date and with stable ids."""
    buffer = io.StringIO()
    with canvas.style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with canvas.style():
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()
