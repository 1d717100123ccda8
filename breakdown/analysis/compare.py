"""Two cells side by side: how much faster one is, and which stages made the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakdown.analysis.account import account
from breakdown.analysis.findings import Comparison, Delta
from breakdown.analysis.scaling import speed_ratio
from breakdown.analysis.waterfall import stage_deltas
from breakdown.model.stages import STAGES

if TYPE_CHECKING:
    from breakdown.store.tables import Tables


def compare(a: Tables, b: Tables) -> Comparison:
    """What changes from `a` to `b`: times in ns of the mean step, b - a. The stages' deltas add up to the step's.

    Two different cells of one experiment were measured in interleaved rounds, and are compared round by round; any other
    two are taken as independent. Raises `TraceError` where one of them has no measured step.
    """
    first, second = account(a), account(b)
    paired = bool(a.cell.get("experiment")) and a.cell.get("experiment") == b.cell.get("experiment")
    paired = paired and a.cell.get("cell_id") != b.cell.get("cell_id")  # the same cell twice: two results
    *by_stage, whole = stage_deltas(first.totals, second.totals, paired)
    before, after = first.totals.stage_ns, second.totals.stage_ns
    steps = first.totals.step_ns, second.totals.step_ns
    rows = [Delta("step", *steps, steps[1] - steps[0], whole)]
    rows += [Delta(s.label, before[s], after[s], after[s] - before[s], by_stage[s]) for s in STAGES]
    ratio, bounds = speed_ratio(first, second, paired)
    configs = first.finding.config, second.finding.config
    names = sorted({*configs[0], *configs[1]})
    return Comparison(
        a_label=first.finding.label,
        b_label=second.finding.label,
        samples_per_s=(first.finding.samples_per_s, second.finding.samples_per_s),
        speed_ratio=ratio,
        speed_ratio_interval=bounds,
        rows=tuple(rows),
        changed_config={
            name: (configs[0].get(name), configs[1].get(name))
            for name in names
            if configs[0].get(name) != configs[1].get(name)
        },
    )
