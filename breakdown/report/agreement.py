"""One sentence on how far sampling and tracing agree."""

from __future__ import annotations

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding
from breakdown.analysis.sampling.findings import RoleSamples


def agreement(cell: CellFinding) -> str:
    """For example "server-0 within 2.1 points (customer, asleep), worker-0 within 2.7 points (engine, compute)"."""
    parts = [_of(role) for role in cell.samples]
    return "; ".join(part for part in parts if part) or "no thread could be compared"


def _of(role: RoleSamples) -> str:
    found = role.farthest
    if found is None:
        return ""
    thread, share = found
    what = "asleep" if share.stage is None else f"{share.stage.label}/{share.op}" if share.op else share.stage.label
    points = fmt.number(abs(share.difference or 0.0) * 100, 1)
    return f"{role.node} within {points} points ({thread.name}, {what})"
