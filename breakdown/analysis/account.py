"""One cell's tables turned into its finding, with the sums per repetition from which comparisons draw their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from breakdown.analysis import repetitions, servers, stages
from breakdown.analysis.critical_path import Steps, find, measured_steps, traced_steps
from breakdown.analysis.findings import CellFinding
from breakdown.analysis.graph import build
from breakdown.analysis.repetitions import Floats
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
    loads = servers.loads(graph, traced)
    pushed, pulled = servers.bytes_moved(rows, traced)
    finding = CellFinding(
        cell_id=str(cell.get("cell_id", "")),
        label=str(cell.get("label", cell.get("cell_id", ""))),
        config=dict(cell.get("config", {})),
        repetitions=len(sums.runs),
        steps=len(steps),
        step_ns=sums.step_ns,
        step_interval_ns=repetitions.mean(sums.exposed_ns.sum(axis=1), sums.steps),
        samples_per_s=float(np.median(rates)),
        samples_per_s_interval=repetitions.median(rates),
        samples_per_s_by_run=tuple(rates.tolist()),
        stages=stages.stage_times(graph, path, sums),
        keys=stages.key_times(rows, path, sums),
        servers=loads,
        server_skew=servers.skew(loads),
        bytes_pushed=pushed,
        bytes_pulled=pulled,
        recorder_cost_ns=_recorder_cost_ns(cell, rows, steps),
        warnings=(*tables.warnings, *disagreements(rows, steps), *said_of(len(steps), len(traced)), *_run_warnings(cell)),
        notes=tuple(map(str, cell.get("notes", ()))),
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


MOST_BEHIND_STEPS, MOST_BEHIND_SHARE = 2, 0.05
"""For so long a worker's work may go on behind its steps: a loop that reads its loss leaves its last update open."""


def disagreements(rows: Rows, steps: Steps) -> list[str]:
    """Where the steps of a worker do not add up to the time from the begin of the first to its last work: a warning."""
    found = []
    own = np.zeros(len(rows.places) + 1, dtype=np.int64)  # the last entry is for NONE
    own[:-1] = [place.rank if place.role is Role.WORKER else -1 for place in rows.places]
    own[-1] = -1
    rank = own[rows.place]
    for run, worker in sorted(set(zip(steps.run.tolist(), steps.worker.tolist(), strict=True))):
        mine = (steps.run == run) & (steps.worker == worker)
        of_steps = (rows.run == run) & (rank == worker) & np.isin(rows.step, steps.step[mine])
        begin, told = int(steps.start_ns[mine].min()), int(steps.wall_ns[mine].sum())
        end = max(int(steps.end_ns[mine].max()), int(rows.end_ns[of_steps].max(initial=0)))
        apart = abs(end - begin - told)
        if apart > max(MOST_BEHIND_STEPS * told / np.count_nonzero(mine), MOST_BEHIND_SHARE * (end - begin)):
            found.append(
                f"repetition {run}: the steps of worker-{worker} add up to {told / 1e9:.3f} s, but from the begin of the "
                f"first to its last work it is {(end - begin) / 1e9:.3f} s: speed and shares are those of the steps alone"
            )
    return found


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
