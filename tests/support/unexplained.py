"""How much of a typical step no record explains."""

from __future__ import annotations

from breakdown.analysis.critical_path import walk
from breakdown.model.stages import Stage
from breakdown.store.tables import Tables


def unexplained(tables: Tables) -> float:
    """The share of a traced step that is `other`: the median, since a busy machine may take the core away in any gap."""
    path = walk(tables)
    length_ns = path["end_ns"] - path["start_ns"]
    of_step = [path[column] for column in ("run", "worker", "step")]
    other_ns = length_ns.where(path["stage"] == Stage.OTHER.label, 0).groupby(of_step).sum()
    return float((other_ns / length_ns.groupby(of_step).sum()).median())
