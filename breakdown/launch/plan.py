"""A printable plan of processes: what would start, with which cores, environment and log. Made first, started later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional

from breakdown.model.identity import Node


@dataclass(frozen=True)
class ProcessPlan:
    """One process of a run. `cores` None: not pinned."""

    node: Node
    argv: tuple[str, ...]
    env: Mapping[str, str]  # in addition to the caller's
    cores: Optional[tuple[int, ...]]
    log: Path


@dataclass(frozen=True)
class RunPlan:
    """One repetition of one cell."""

    cell_id: str
    run: int
    processes: tuple[ProcessPlan, ...]
    timeout_s: float
