"""Findings on the console: tables that fit 100 columns, then the verdict with its evidence.

Where the output is no terminal (a file, a pipe, a CI log), lines are laid out for 100 columns and carry no colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding, Comparison, ExperimentFinding, Interval, KeyTime
from breakdown.model.stages import STAGES, Stage
from breakdown.report.agreement import agreement
from breakdown.report.palette import STAGE_COLOURS

WIDTH = 100
"""Columns that the tables are made for. A wider terminal is used up to here: long lines of sparse numbers read badly."""

LABEL_WIDTH = 34
MOST_KEYS = 4
FULL_WATERFALLS = 3

_SPEED_NOTE = (
    "samples/s: median over repetitions, all workers together. speedup: over the single node with one worker's cores in the "
    "same round, median over rounds; over whole: over the single node with the whole machine."
)
_STAGE_NOTE = "Exposed: on the critical path of the mean step. The stages of a row add up to its step exactly."


def print_finding(finding: ExperimentFinding, console: Console) -> None:
    """All tables of an experiment, what went wrong, then the verdict last, where the eye ends up."""
    show = _Printer(console)
    show.heading(finding.name, finding.description)
    if finding.cells:
        show.out(_speed_table(finding))
        show.note(_SPEED_NOTE)
        # on a narrow terminal, two tables of half the stages each: a column that does not fit would vanish
        for stages in (STAGES,) if show.width >= WIDTH else (STAGES[:4], STAGES[4:]):
            show.out(_stage_table(finding, stages))
        show.note(_STAGE_NOTE)
    _gaps(finding, show)
    _keys(finding, show)
    _cost(finding, show)
    for cell in finding.cells:
        if cell.samples:
            show.line(Text(f"py-spy beside the trace, {cell.label}: {agreement(cell)}"))
    _troubles(finding, show)
    _others(finding, show)
    show.line(Text(finding.verdict.sentence, style="bold"))
    for evidence in finding.verdict.evidence:
        show.bullet(evidence)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Two results side by side: configuration that differs, samples/s, then the step and its stages."""
    show = _Printer(console)
    show.heading(f"{comparison.a_label}  →  {comparison.b_label}", "A is the first result, B the second.")
    for name, (a, b) in comparison.changed_config.items():
        show.bullet(f"{fmt.words(name)}: {fmt.plain(a)} → {fmt.plain(b)}")
    table = _table("exposed time of a step")
    for name in ("A ms", "B ms", "B − A ms", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(
            row.name,
            fmt.ms(row.a_ns),
            fmt.ms(row.b_ns),
            fmt.signed_ms(row.delta_ns),
            fmt.interval(row.interval_ns, fmt.signed_ms),
            style="bold" if row.name == "step" else "",
        )
    show.out(table)
    a, b = comparison.samples_per_s
    speed = _ratio(comparison.speed_ratio, comparison.speed_ratio_interval)
    show.line(Text(f"samples/s: {fmt.rate(a)} → {fmt.rate(b)}, ratio {speed}", style="bold"))


class _Printer:
    """Lays everything out for at most `WIDTH` columns; for exactly `WIDTH` where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.width = min(console.width, WIDTH) if console.is_terminal else WIDTH

    def out(self, what: RenderableType) -> None:
        before = self._console.width
        self._console.width = self.width  # rich would not go beyond the 80 columns that it assumes for a file
        try:
            self._console.print(what, highlight=False, markup=False, emoji=False)
        finally:
            self._console.width = before

    def heading(self, title: str, description: str) -> None:
        self.out(Text(title, style="bold"))
        if description:
            self.note(description)

    def note(self, text: str) -> None:
        self.out(Text(text, style="dim"))

    def line(self, text: Text) -> None:
        self.out(Text(""))
        self.out(text)

    def bullet(self, text: str) -> None:
        grid = Table.grid(padding=(0, 1, 0, 0))  # a hanging indent for what takes several lines
        grid.add_row(" •", Text(text))
        self.out(grid)


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, min_width=12, max_width=LABEL_WIDTH, overflow="fold")
    return table


def _ratio(value: float | None, bounds: Interval | None) -> str:
    return fmt.NOT_MEASURED if value is None else f"{fmt.ratio(value)} {fmt.interval(bounds, fmt.ratio_bound)}"


def _speed_table(finding: ExperimentFinding) -> Table:
    table = _table("configuration")
    for name in ("samples/s\n[95 % interval]", "speedup\n[95 % interval]", "efficiency", "speedup\nover whole"):
        table.add_column(name, justify="right")
    for cell in finding.cells:
        table.add_row(
            cell.label,
            f"{fmt.rate(cell.samples_per_s)} {fmt.interval(cell.samples_per_s_interval, fmt.rate)}",
            _ratio(cell.speedup, cell.speedup_interval),
            fmt.percent(cell.efficiency),
            fmt.ratio(cell.speedup_whole),
        )
    return table


def _stage_table(finding: ExperimentFinding, stages: Sequence[Stage]) -> Table:
    table = _table("exposed ms,\n% of the step")
    table.add_column("step", justify="right", min_width=6)
    for stage in stages:
        heading = Text(stage.label, style=STAGE_COLOURS[stage].console)
        table.add_column(heading, justify="right", min_width=6, overflow="fold")
    for cell in finding.cells:
        table.add_row(*_stage_row(cell, stages))
    return table


def _stage_row(cell: CellFinding, stages: Sequence[Stage]) -> list[Text]:
    def pair(ns: int, below: str) -> Text:
        return Text.assemble(fmt.ms(ns), "\n", (below, "dim"), overflow="fold")

    shares = [pair(stage.exposed_ns, fmt.percent(stage.share)) for stage in cell.stages if stage.stage in stages]
    return [Text(cell.label, overflow="fold"), pair(cell.step_ns, "ms"), *shares]


def _gaps(finding: ExperimentFinding, show: _Printer) -> None:
    """The way from the single node's step to each distributed one, biggest change first; in a line each where many are."""
    many = len(finding.waterfalls) > FULL_WATERFALLS
    for fall in finding.waterfalls:
        bars = sorted(fall.bars, key=lambda bar: -abs(bar.delta_ns))
        title = f"{fall.baseline_label} → {fall.label}: {fmt.ms(fall.baseline_ns)} → {fmt.ms(fall.step_ns)} ms a step"
        show.line(Text(f"{title}, {fmt.signed_ms(fall.gap_ns)} ms"))
        if many:
            show.bullet(", ".join(f"{bar.stage.label} {fmt.signed_ms(bar.delta_ns)}" for bar in bars))
            continue
        for bar in bars:
            change = f"{fmt.signed_ms(bar.delta_ns):>8} ms  {fmt.interval(bar.interval_ns, fmt.signed_ms)}"
            show.out(Text.assemble("   ", (f"{bar.stage.label:<10}", STAGE_COLOURS[bar.stage].console), change))


def _keys(finding: ExperimentFinding, show: _Printer) -> None:
    """The biggest entries of each distributed cell's account by key."""
    distributed = [cell for cell in finding.cells if cell.servers and cell.keys]
    if distributed:
        show.line(Text("Keys that cost most, exposed ms of a step"))
    for cell in distributed:
        biggest = [
            f"{fmt.key_name(found.key)} {found.stage.label} at {found.place} {fmt.ms(found.exposed_ns)}{_queue(cell, found)}"
            for found in cell.keys[:MOST_KEYS]
        ]
        show.bullet(f"{cell.label}: {'; '.join(biggest)}")


def _queue(cell: CellFinding, key: KeyTime) -> str:
    """How much of a key's time requests queued behind work on it, and behind which most."""
    here = [q for q in cell.stages[key.stage].queued if (q.key, q.place) == (key.key, key.place)]
    return f" (queue behind {', '.join(f'{found.op} {fmt.ms(found.ns)}' for found in here[:2])})" if here else ""


def _cost(finding: ExperimentFinding, show: _Printer) -> None:
    if not finding.cost:
        return
    show.line(Text("COST, the fewest workers that beat the single node"))
    for family, found in finding.cost.items():
        show.bullet(f"{family}: {fmt.cost(found)}")


def _others(finding: ExperimentFinding, show: _Printer) -> None:
    """A sentence for each distributed cell but the one that the verdict is about."""
    if finding.verdict.others:
        show.line(Text("The other configurations"))
    for sentence in finding.verdict.others:
        show.bullet(sentence)


def _troubles(finding: ExperimentFinding, show: _Printer) -> None:
    warnings = [f"{cell.label}: {warning}" for cell in finding.cells for warning in cell.warnings]
    notes = [f"{labels}: {note}" for labels, note in fmt.notes(finding.cells)]
    for title, lines, style in (
        ("Left out", finding.left_out, "bold red"),
        ("Failures", finding.failures, "bold red"),
        ("Warnings", warnings, "bold yellow"),
        ("Notes", notes, ""),
    ):
        if lines:
            show.line(Text(title, style=style))
            for line in lines:
                show.bullet(line)
