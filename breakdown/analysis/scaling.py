"""Speedup, efficiency and COST: each distributed cell against the single node that does the same work.

- speedup = samples/s of N workers / samples/s of the single node, the median over the rounds that both have;
  efficiency = speedup / N.
- COST = the smallest tested number of workers that beats the single node (after McSherry, Isard and Murray, "Scalability!
  But at what COST?", HotOS 2015). The single node is the one with one worker's resources, like their single thread; where
  that was not measured, the one with the whole machine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from breakdown.analysis import repetitions
from breakdown.analysis.account import CellAccount
from breakdown.analysis.findings import CellFinding, Cost, Interval
from breakdown.config.identity import has_no_server, meaningful

WHOLE_MACHINE: Final = 0
"""`cores_per_worker` of a single node that has all cores."""
SAME_WORK: Final = ("workload", "workload_options", "batch_size", "optimizer", "compute")
"""The fields that a cell and its single node must share: what is computed for a batch. Those that a cell lacks are equal."""
_WAYS: Final = {"mxnet": ("kvstore",), "tensorflow": ("tf_mode", "consistency")}
"""By backend, the fields that say how its workers are kept consistent. Of the others it is `consistency`."""
_NOT_OF_FAMILY: Final = frozenset({"workers", "seed", "timeout_s", "port", "record"})
"""Fields that do not tell families apart: the number of workers, and what has no part in how fast they are meant to be."""


@dataclass(frozen=True)
class Baselines:
    """A cell's single nodes. None: not measured."""

    one_worker: CellAccount | None
    whole_machine: CellAccount | None


def is_single(cell: CellFinding) -> bool:
    """A cell without a parameter server."""
    return has_no_server(cell.config)


def framework(config: Mapping[str, Any]) -> str:
    """What computes a step. A cell's single node computes with the same."""
    backend = str(config.get("backend"))
    return backend if backend in ("mxnet", "tensorflow") else "torch"


def baselines(cell: CellAccount, accounts: Sequence[CellAccount]) -> Baselines:
    """The single nodes that do the same work as this cell, among `accounts`."""
    config = cell.finding.config
    same = [
        other
        for other in accounts
        if is_single(other.finding)
        and framework(other.finding.config) == framework(config)
        and all(other.finding.config.get(name) == config.get(name) for name in SAME_WORK)
    ]
    by_cores = {other.finding.config.get("cores_per_worker"): other for other in same}
    return Baselines(by_cores.get(config.get("cores_per_worker")), by_cores.get(WHOLE_MACHINE))


def with_speedup(cell: CellAccount, single: Baselines) -> CellFinding:
    """The cell's finding with its speedups (ratios) filled in as far as its single nodes were measured."""
    finding = cell.finding
    if single.one_worker is not None:
        speedup, bounds = speed_ratio(single.one_worker, cell)
        finding = replace(finding, speedup=speedup, speedup_interval=bounds, efficiency=speedup / workers(finding))
    if single.whole_machine is not None:
        finding = replace(finding, speedup_whole=speed_ratio(single.whole_machine, cell)[0])
    return finding


def speed_ratio(a: CellAccount, b: CellAccount, paired: bool = True) -> tuple[float, Interval]:
    """b's samples/s by a's, and its interval: see `repetitions.ratio`."""
    return repetitions.ratio(a.samples_per_s, b.samples_per_s, a.totals.runs, b.totals.runs, paired)


def workers(cell: CellFinding) -> int:
    return max(int(cell.config.get("workers", 1)), 1)


def costs(cells: Sequence[CellFinding]) -> dict[str, Cost]:
    """COST of each family: distributed cells that differ in the number of workers alone, of what means something to them."""
    families: dict[tuple[tuple[str, str], ...], list[CellFinding]] = {}
    for cell in cells:
        if not is_single(cell) and _against_single(cell) is not None:
            families.setdefault(_family(cell.config), []).append(cell)
    texts = _names(list(families))
    found: dict[str, Cost] = {}
    for family, members in families.items():
        winners = [workers(cell) for cell in members if (_against_single(cell) or 0.0) > 1.0]
        found[texts[family]] = Cost(min(winners, default=None), max(map(workers, members)))
    return found


def _against_single(cell: CellFinding) -> float | None:
    return cell.speedup_whole if cell.speedup is None else cell.speedup


def _family(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in meaningful(config).items() if name not in _NOT_OF_FAMILY))


def _names(families: Sequence[tuple[tuple[str, str], ...]]) -> dict[tuple[tuple[str, str], ...], str]:
    """Backend, servers and consistency of each family; where several share these, also the fields that tell them apart."""
    heads = {family: _head(dict(family)) for family in families}
    names = {}
    for family, head in heads.items():
        alike = [set(other) for other in families if heads[other] == head]
        common = set[tuple[str, str]].intersection(*alike)
        names[family] = " ".join((head, *(f"{name}={value}" for name, value in family if (name, value) not in common)))
    return names


def _head(fields: Mapping[str, str]) -> str:
    backend = fields.get("backend", "")
    how = [fields.get(name, "") for name in _WAYS.get(backend, ("consistency",))]
    return " ".join(part for part in (backend, f"{fields.get('servers', '?')}s", *how) if part)
