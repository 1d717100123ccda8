"""A whole experiment: every cell's account, its waterfall against the single node, scaling, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from breakdown.analysis import scaling
from breakdown.analysis.account import account
from breakdown.analysis.critical_path import failed_runs, measured_steps
from breakdown.analysis.diagnosis import diagnose
from breakdown.analysis.findings import CellFinding, ExperimentFinding
from breakdown.analysis.waterfall import waterfall

if TYPE_CHECKING:
    from breakdown.store.tables import Tables


def analyse(
    tables: Sequence[Tables], name: str = "", description: str = "", failures: Sequence[str] = ()
) -> ExperimentFinding:
    """Breaks an experiment down: one `Tables` a cell, in the experiment's order.

    Repetitions that failed are left out and reported, as is a cell of which none got past its warm-up. `failures`: what
    else failed, to be reported beside it (a cell without tables). Raises `TraceError` where an account does not balance.
    """
    usable = [cell for cell in tables if len(measured_steps(cell))]
    accounts = [account(cell) for cell in usable]
    found, waterfalls = [], []
    for cell in accounts:
        if scaling.is_single(cell.finding):
            found.append(cell.finding)
            continue
        single = scaling.baselines(cell, accounts)
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
        verdict=diagnose(found, waterfalls, cost),
        failures=(*failures, *(text for cell in tables for text in _failures(cell))),
    )


def analyse_cell(tables: Tables) -> CellFinding:
    """Breaks one cell down, with nothing to compare it with. Raises `TraceError` where no step was measured."""
    return account(tables).finding


def _failures(tables: Tables) -> list[str]:
    cell = tables.cell
    label = cell.get("label", cell.get("cell_id", ""))
    texts = [
        f"{label}, repetition {number}: {run.get('error') or 'failed'}" + (f" (log: {run['log']})" if run.get("log") else "")
        for number, run in sorted(failed_runs(cell).items())
    ]
    if not len(measured_steps(tables)):
        texts.append(f"{label}: no repetition got past its warm-up, so the cell is not in the tables")
    return texts
