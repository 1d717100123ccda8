"""A cell.json for tests that write one by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from breakdown.model.schema import FORMAT_VERSION


def content_of(name: str, runs: Iterable[int] = (0,), **fields: Any) -> dict[str, Any]:
    """A cell.json in which these repetitions were done."""
    entry = {"status": "done", "error": None, "log": None, "wall_s": 0.0, "recorder_cost_ns_per_span": {}, "warnings": []}
    return {
        "format_version": FORMAT_VERSION,
        "cell_id": name,
        "label": name,
        "experiment": "test",
        "config": {"backend": "torch_ps", "workload": "mlp", "warmup_steps": 0},
        "machine": {},
        "versions": {},
        "commit": None,
        "cores": {},
        "notes": [],
        "runs": [{"run": run, **entry} for run in runs],
        **fields,
    }
