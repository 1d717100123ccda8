"""The report as one HTML file that works offline: everything is inside it, and it may load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding, ExperimentFinding, Timeline
from breakdown.model.stages import STAGES
from breakdown.report import flames, names, webtimeline
from breakdown.report.agreement import agreement
from breakdown.report.inline import inline
from breakdown.report.palette import STAGE_COLOURS, STAGE_MEANINGS
from breakdown.store.files import replacing

HATCHES: Mapping[str, str] = {
    "..": "M2 2h.01M6 6h.01",
    "xx": "M0 0l8 8M8 0l-8 8",
    "//": "M-2 2l4 -4M0 8l8 -8M6 10l4 -4",
    "\\\\": "M-2 6l4 4M0 0l8 8M6 -2l4 4",
    "--": "M0 4h8",
    "||": "M4 0v8",
    "++": "M0 4h8M4 0v8",
    "": "",
}
"""The palette's hatches as SVG paths in a tile of 8 by 8."""

FIGURES_OPEN = 3
"""Up to so many figures of one kind lie open; of more, only the first, and the others behind their titles."""

MOST_QUEUED = 8
"""Of what requests queued behind, the table names the longest so many; the rest share a figure."""


@dataclass(frozen=True)
class Picture:
    """A figure of a gallery, under its title."""

    title: str
    svg: Markup
    open: bool


def write(finding: ExperimentFinding, timelines: Sequence[Timeline], svgs: Mapping[str, str], path: Path) -> Path:
    """Writes the page. Raises `TraceError` when it cannot be written."""
    text = page(finding, timelines, svgs)
    with replacing(Path(path)) as new:
        new.write_text(text, encoding="utf-8")
    return Path(path)


def page(finding: ExperimentFinding, timelines: Sequence[Timeline], svgs: Mapping[str, str]) -> str:
    """The page's text. `svgs`: the figures by name, as `plots` draws them."""
    shared, differing = _configuration(finding.cells)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            finding=finding,
            stages=STAGES,
            colours=STAGE_COLOURS,
            colours_by_label={stage.label: colour for stage, colour in STAGE_COLOURS.items()},
            hatches=HATCHES,
            meanings=STAGE_MEANINGS,
            rates=inline(svgs[names.RATES], "rates", "Samples per second of each configuration, as in the table."),
            stacked=inline(svgs[names.STAGES], "stages", "Stages of the mean step of each configuration, as in the table."),
            waterfalls=_waterfalls(finding, svgs),
            heat_maps=_heat_maps(finding.cells, svgs),
            servers=_servers(finding.cells, svgs),
            sampled=[cell for cell in finding.cells if cell.samples],
            lay_out_flame=flames.lay_out,
            agreement=agreement,
            timelines=[webtimeline.lay_out(found) for found in timelines],
            geometry=webtimeline,
            most_queued=MOST_QUEUED,
            shared=shared,
            differing=differing,
            notes=fmt.notes(finding.cells),
            warnings=[(cell.label, warning) for cell in finding.cells for warning in cell.warnings],
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("breakdown.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    writers = (
        fmt.ms,
        fmt.ms_unit,
        fmt.signed_ms,
        fmt.percent,
        fmt.points,
        fmt.rate,
        fmt.ratio,
        fmt.ratio_bound,
        fmt.size,
        fmt.integer,
        fmt.cost,
        fmt.plain,
        fmt.words,
        fmt.key_name,
    )
    environment.filters.update({writer.__name__: writer for writer in writers})
    environment.globals["interval"] = fmt.interval
    environment.globals["fmt"] = fmt
    return environment


def _waterfalls(finding: ExperimentFinding, svgs: Mapping[str, str]) -> list[Picture]:
    found = []
    for number, fall in enumerate(finding.waterfalls):
        bars = ", ".join(f"{bar.stage.label} {fmt.signed_ms(bar.delta_ns)}" for bar in fall.bars)
        says = (
            f"Waterfall from {fall.baseline_label}, {fmt.ms_unit(fall.baseline_ns)}, to {fall.label}, "
            f"{fmt.ms_unit(fall.step_ns)}. Changes in ms: {bars}."
        )
        title = f"{fall.baseline_label} → {fall.label}: {fmt.signed_ms(fall.gap_ns)} ms"
        found.append((title, inline(svgs[names.of_waterfall(fall)], f"waterfall{number}", says)))
    return _gallery(found, len(found))


def _heat_maps(cells: Sequence[CellFinding], svgs: Mapping[str, str]) -> list[Picture]:
    """Those with servers first: there, keys tell most."""
    order = [cell for cell in sorted(cells, key=lambda cell: not cell.servers) if cell.keys]
    says = "Exposed time by key and stage of {}."
    found = [
        (cell.label, inline(svgs[names.of_keys(cell)], f"keys{n}", says.format(cell.label))) for n, cell in enumerate(order)
    ]
    return _gallery(found, len([cell for cell in order if cell.servers]))


def _servers(cells: Sequence[CellFinding], svgs: Mapping[str, str]) -> list[Picture]:
    found = []
    for number, cell in enumerate(cells):
        if cell.servers:
            loads = "; ".join(
                f"server {s.server}: {fmt.size(s.bytes_in)} in, {fmt.size(s.bytes_out)} out, busy {fmt.ms_unit(s.busy_ns)}, "
                f"requests queued {fmt.ms_unit(s.queue_ns)}"
                for s in cell.servers
            )
            says = f"Load of {cell.label}: {loads}."
            found.append((cell.label, inline(svgs[names.of_servers(cell)], f"servers{number}", says)))
    return _gallery(found, len(found))


def _gallery(found: Sequence[tuple[str, Markup]], first: int) -> list[Picture]:
    """The `first` pictures are what one wants to see; they lie open where they are few."""
    shown = first if 0 < first <= FIGURES_OPEN else 1
    return [Picture(title, svg, number < shown) for number, (title, svg) in enumerate(found)]


def _configuration(cells: Sequence[CellFinding]) -> tuple[dict[str, Any], list[str]]:
    """The fields that all cells share, and the names of those in which they differ."""
    fields = list(dict.fromkeys(name for cell in cells for name in cell.config))
    differing = [name for name in fields if any(cell.config.get(name) != cells[0].config.get(name) for cell in cells)]
    return {name: cells[0].config.get(name) for name in fields if name not in differing}, differing
