"""A whole experiment: every cell's account, its waterfall against the single node, scaling, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from breakdown.analysis import scaling
from breakdown.analysis import wording as fmt
from breakdown.analysis.account import CellAccount, account
from breakdown.analysis.critical_path import failed_runs, measured_steps
from breakdown.analysis.diagnosis import diagnose
from breakdown.analysis.findings import CellFinding, ExperimentFinding
from breakdown.analysis.waterfall import waterfall
from breakdown.errors import TraceError

if TYPE_CHECKING:
    from breakdown.store.tables import Tables

MOST_STEPS = 10
"""Of a cell that is not in the tables, so many steps' times are told."""


def analyse(
    tables: Sequence[Tables],
    name: str = "",
    description: str = "",
    failures: Sequence[str] = (),
    beside: Sequence[Tables] = (),
    left_out: Sequence[str] = (),
) -> ExperimentFinding:
    """Breaks an experiment down: one `Tables` a cell, in the experiment's order.

    Repetitions that failed are left out and reported, as is a cell of which none got past its warm-up. `failures`: what
    else failed, to be reported beside it (a cell without tables). `beside`: single nodes of the same experiment that the
    cells are compared with, and that are not shown. `left_out`: what is known to be missing already. A cell whose account
    does not balance, or whose rows contradict each other, is left out too; where that leaves none, its `TraceError` is
    raised.
    """
    shown, singles = _Accounts(tables), _Accounts(beside)
    accounts = shown.found
    if not accounts and shown.errors:
        raise shown.errors[0]
    found, waterfalls = [], []
    for cell in accounts:
        if scaling.is_single(cell.finding):
            found.append(cell.finding)
            continue
        single = scaling.baselines(cell, [*accounts, *singles.found])
        found.append(scaling.with_speedup(cell, single))
        if single.one_worker is not None:
            waterfalls.append(waterfall(single.one_worker, cell))
    cost = scaling.costs(found)
    first = tables[0].cell if tables else {}
    return ExperimentFinding(
        name=name,
        description=description,
        machine=dict(first.get("machine", {})),
        versions=dict(first.get("versions", {})),
        cells=tuple(found),
        waterfalls=tuple(waterfalls),
        cost=cost,
        verdict=diagnose(found, waterfalls, cost, [single.finding for single in singles.found]),
        failures=(*failures, *(text for cell in tables for text in _failures(cell))),
        left_out=(*left_out, *shown.left_out, *(f"not compared with {text}" for text in singles.left_out)),
    )


class _Accounts:
    """The accounts of those cells that have one, and a line for each that cannot."""

    def __init__(self, tables: Sequence[Tables]) -> None:
        self.found: list[CellAccount] = []
        self.errors: list[TraceError] = []
        self.left_out: list[str] = []
        for cell in tables:
            try:
                if len(measured_steps(cell)):
                    self.found.append(account(cell))
            except TraceError as error:
                self.errors.append(error)
                self.left_out.append(f"{_label(cell)}: {error}")


def analyse_cell(tables: Tables) -> CellFinding:
    """Breaks one cell down, with nothing to compare it with. Raises `TraceError` where no step was measured."""
    return account(tables).finding


def _failures(tables: Tables) -> list[str]:
    cell = tables.cell
    label = _label(tables)
    texts = [
        f"{label}, repetition {number}: {run.get('error') or 'failed'}" + (f" (log: {run['log']})" if run.get("log") else "")
        for number, run in sorted(failed_runs(cell).items())
    ]
    if not _has_measured(tables):
        texts.append(f"{label}: {_why_unmeasured(tables)}, so the cell is not in the tables")
        texts += [f"{label}, repetition {number}: {text}" for number, text in _warnings_of_runs(cell)]
    return texts


def _label(tables: Tables) -> str:
    return str(tables.cell.get("label", tables.cell.get("cell_id", "")))


def _has_measured(tables: Tables) -> bool:
    """Whether a step counts, whatever is in it."""
    counts = (
        ~tables.steps["warm_up"].to_numpy(dtype=bool) & ~tables.steps["run"].isin(list(failed_runs(tables.cell))).to_numpy()
    )
    return bool(counts.any())


def _why_unmeasured(tables: Tables) -> str:
    failed = failed_runs(tables.cell)
    steps = tables.steps[~tables.steps["run"].isin(list(failed))]
    if not len(steps):
        return "no step was recorded" if len(failed) < len(tables.cell.get("runs", ())) else "no repetition was done"
    shown = steps.sort_values(["run", "rank", "step"], kind="stable")[:MOST_STEPS]
    times = ", ".join(fmt.ms(length) for length in shown["end_ns"] - shown["start_ns"])
    more = f", {len(steps) - len(shown)} more" if len(steps) > len(shown) else ""
    config = tables.cell.get("config", {})
    option = "--warmup-steps" if "command" in config else "warmup_steps"
    return (
        f"none of its {len(steps)} steps counts: the first {config.get('warmup_steps', 0)} of each worker are warm-up "
        f"({option}); they took {times} ms{more}"
    )


def _warnings_of_runs(cell: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(run["run"], text) for run in cell.get("runs", ()) for text in run.get("warnings") or ()]
