"""Writes figures as files: SVG for papers and the page, PNG for all else. The same finding gives the same SVG bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from breakdown.analysis.findings import ExperimentFinding, Timeline
from breakdown.report.figures import canvas
from breakdown.report.figures.flame import flame_graph
from breakdown.report.figures.heatmap import heat_map
from breakdown.report.figures.rates import rates
from breakdown.report.figures.servers import server_load
from breakdown.report.figures.stages import stages
from breakdown.report.figures.timeline import timeline
from breakdown.report.figures.waterfall import waterfall

PNG_DPI = 150


def figures(finding: ExperimentFinding, timelines: Sequence[Timeline]) -> Iterator[tuple[str, Figure]]:
    """Every figure of an experiment with the name of its file, one at a time: a big matrix has many."""
    yield "samples-per-second", rates(finding.cells)
    yield "stages", stages(finding.cells)
    for fall in finding.waterfalls:
        yield file_name("waterfall", fall.cell_id), waterfall(fall)
    for cell in finding.cells:
        yield file_name("keys", cell.cell_id), heat_map(cell)
        if cell.servers:
            yield file_name("servers", cell.cell_id), server_load(cell)
        for role in cell.samples:
            yield file_name(f"flame-{role.node}", cell.cell_id), flame_graph(cell.label, role)
    for number, page in enumerate(timelines):
        yield file_name(f"timeline-{number}", page.label), timeline(page)


def write_all(finding: ExperimentFinding, timelines: Sequence[Timeline], plots_dir: Path) -> list[Path]:
    """Writes each figure as `<name>.svg` and `<name>.png`; returns the files. Raises `OSError` on a full disk."""
    folder = Path(plots_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, figure in figures(finding, timelines):
        for suffix, content in ((".svg", svg(figure).encode()), (".png", png(figure))):
            path = folder / f"{name}{suffix}"
            path.write_bytes(content)
            written.append(path)
    return written


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


def file_name(kind: str, what: str) -> str:
    """A file name from a kind and a label: letters, digits, dot and dash only."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._]+', '-', what).strip('-')}"
