"""The finding of an experiment as one table, a row a cell: what `summary.parquet` holds."""

from __future__ import annotations

import json

import pandas as pd

from breakdown.analysis.findings import CellFinding, ExperimentFinding, Interval


def frame(finding: ExperimentFinding) -> pd.DataFrame:
    """One row a cell, in the experiment's order. Units stand in the column names; configuration has a column a field.

    Null means not measured. `*_low` and `*_high` are the ends of 95 % intervals.
    """
    return pd.DataFrame([_row(cell) for cell in finding.cells])


def _row(cell: CellFinding) -> dict[str, object]:
    row: dict[str, object] = {
        "cell_id": cell.cell_id,
        "label": cell.label,
        "repetitions": cell.repetitions,
        "steps": cell.steps,
        "step_ns": cell.step_ns,
        **_ends("step_ns", cell.step_interval_ns),
        "samples_per_s": cell.samples_per_s,
        **_ends("samples_per_s", cell.samples_per_s_interval),
        "speedup": cell.speedup,
        **_ends("speedup", cell.speedup_interval or Interval(None, None)),
        "efficiency": cell.efficiency,
        "speedup_whole": cell.speedup_whole,
        "server_skew": cell.server_skew,
        "pushed_bytes": cell.bytes_pushed,
        "pulled_bytes": cell.bytes_pulled,
        "recorder_cost_ns": cell.recorder_cost_ns,
    }
    for time in cell.stages:
        label = time.stage.label
        row[f"{label}_exposed_ns"] = time.exposed_ns
        row.update(_ends(f"{label}_exposed_ns", time.exposed_interval_ns))
        row[f"{label}_hidden_ns"] = time.hidden_ns
        row[f"{label}_contention_ns"] = time.contention_ns
        row[f"{label}_blocked_ns"] = time.blocked_ns
    for name, value in cell.config.items():
        row[f"config_{name}"] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
    return row


def _ends(name: str, interval: Interval) -> dict[str, object]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}
