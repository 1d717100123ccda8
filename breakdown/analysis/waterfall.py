"""Account 2: from the single node's step to the distributed step, a bar a stage (ns). The bars add up to the gap exactly."""

from __future__ import annotations

from breakdown.analysis import repetitions
from breakdown.analysis.account import CellAccount
from breakdown.analysis.codes import Long
from breakdown.analysis.findings import Bar, Interval, Waterfall
from breakdown.analysis.stages import Totals
from breakdown.errors import TraceError
from breakdown.model.stages import STAGES


def waterfall(baseline: CellAccount, cell: CellAccount) -> Waterfall:
    """Why `cell`'s mean step is longer than `baseline`'s. Raises `TraceError` if the bars do not add up to the gap."""
    before, after = baseline.totals.stage_ns, cell.totals.stage_ns
    intervals = stage_deltas(baseline.totals, cell.totals)
    found = Waterfall(
        baseline_id=baseline.finding.cell_id,
        cell_id=cell.finding.cell_id,
        baseline_label=baseline.finding.label,
        label=cell.finding.label,
        baseline_ns=baseline.totals.step_ns,
        step_ns=cell.totals.step_ns,
        bars=tuple(Bar(stage, after[stage] - before[stage], intervals[stage]) for stage in STAGES),
    )
    if sum(bar.delta_ns for bar in found.bars) != found.gap_ns:
        raise TraceError(f"the bars of {found.label} do not add up to its gap: a fault of breakdown, please report it")
    return found


def stage_deltas(a: Totals, b: Totals, paired: bool = True) -> tuple[Interval, ...]:
    """The intervals of b - a in ns: one a stage in the order of `Stage`, then the step's."""

    def difference(a_ns: Long, b_ns: Long) -> Interval:
        return repetitions.difference((a_ns, a.steps), (b_ns, b.steps), a.runs, b.runs, paired)

    by_stage = [difference(a.exposed_ns[:, stage], b.exposed_ns[:, stage]) for stage in STAGES]
    return (*by_stage, difference(a.exposed_ns.sum(axis=1), b.exposed_ns.sum(axis=1)))
