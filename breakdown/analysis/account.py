"""One cell's tables turned into its finding, with the sums per repetition from which comparisons draw their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from breakdown.analysis import bootstrap, servers, stages
from breakdown.analysis.bootstrap import Floats
from breakdown.analysis.critical_path import Steps, find, measured_steps, traced_steps
from breakdown.analysis.findings import CellFinding
from breakdown.analysis.graph import build
from breakdown.analysis.rows import Rows, read
from breakdown.analysis.sampling.compare import sampled_roles
from breakdown.analysis.traced import said_of
from breakdown.errors import TraceError
from breakdown.model.identity import Node, Role

if TYPE_CHECKING:
    from breakdown.store.tables import Tables


@dataclass(frozen=True)
class CellAccount:
    """A cell's finding and what it was made from. `samples_per_s`: by repetition, in the order of `totals.runs`."""

    finding: CellFinding
    totals: stages.Totals
    samples_per_s: Floats


def account(tables: Tables) -> CellAccount:
    """Breaks one cell down. Raises `TraceError` where no step was measured, or where an account does not balance."""
    cell = tables.cell
    steps = measured_steps(tables)
    if not len(steps):
        raise TraceError(
            f"cell '{cell.get('cell_id', '')}' has no measured step: no repetition got past its warm-up. "
            "Read its logs, or run it again."
        )
    rows = read(tables)
    graph = build(rows, tables.steps)
    traced = traced_steps(tables)
    path = find(graph, traced)
    sums = stages.totals(path, steps)
    rates = samples_per_s(steps)
    whole_steps = sums.exposed_ns.sum(axis=1)
    loads = servers.loads(graph, traced)
    pushed, pulled = servers.bytes_moved(rows, traced)
    finding = CellFinding(
        cell_id=str(cell.get("cell_id", "")),
        label=str(cell.get("label", cell.get("cell_id", ""))),
        config=dict(cell.get("config", {})),
        repetitions=len(sums.runs),
        steps=len(steps),
        step_ns=sums.step_ns,
        step_interval_ns=bootstrap.over(len(rates), lambda at: bootstrap.means(whole_steps, sums.steps, at)),
        samples_per_s=float(np.median(rates)),
        samples_per_s_interval=bootstrap.over(len(rates), lambda at: bootstrap.medians(rates, at)),
        samples_per_s_by_run=tuple(rates.tolist()),
        stages=stages.stage_times(graph, path, sums),
        keys=stages.key_times(rows, path, sums),
        servers=loads,
        server_skew=servers.skew(loads),
        bytes_pushed=pushed,
        bytes_pulled=pulled,
        recorder_cost_ns=_recorder_cost_ns(cell, rows, steps),
        warnings=(*tables.warnings, *said_of(len(steps), len(traced)), *_run_warnings(cell)),
        samples=sampled_roles(tables),
    )
    return CellAccount(finding, sums, rates)


def samples_per_s(steps: Steps) -> Floats:
    """By repetition, all workers together: the sum of each worker's samples by the time from its first to its last step."""
    rates = []
    for run in np.unique(steps.run):
        rate = 0.0
        for worker in np.unique(steps.worker[steps.run == run]):
            mine = (steps.run == run) & (steps.worker == worker)
            elapsed_ns = int(steps.end_ns[mine].max() - steps.start_ns[mine].min())
            rate += int(steps.samples[mine].sum()) / max(elapsed_ns, 1) * 1e9
        rates.append(rate)
    return np.array(rates)


def _recorder_cost_ns(cell: Mapping[str, Any], rows: Rows, steps: Steps) -> int | None:
    """What recording cost a worker in a step at most, in ns, by the recorder's own measurement: all records of its threads.

    At most, because a trace file may hold several of them in one row.
    """
    per_record = {int(run["run"]): run.get("recorder_cost_ns_per_span") or {} for run in cell.get("runs", ())}
    cost = 0.0
    for (run, worker), records in servers.records(rows, steps).items():
        own = per_record.get(run, {}).get(str(Node(Role.WORKER, worker)))
        if own is None:
            return None
        cost += own * records
    return round(cost / len(steps))


def _run_warnings(cell: Mapping[str, Any]) -> list[str]:
    return [
        f"repetition {run['run']}: {warning}"
        for run in cell.get("runs", ())
        if run.get("status") != "failed"
        for warning in run.get("warnings") or ()
    ]
