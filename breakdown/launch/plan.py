"""A printable plan of processes: what would start, with which cores, environment and log. Made first, started later."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from breakdown.model.identity import Node


@dataclass(frozen=True)
class ProcessPlan:
    """One process of a run. `cores` None: not pinned."""

    node: Node
    argv: tuple[str, ...]
    env: Mapping[str, str]  # in addition to the caller's
    cores: tuple[int, ...] | None
    log: Path
    serves: bool = False  # it never ends by itself: the launcher ends it (SIGTERM) once all others have ended


@dataclass(frozen=True)
class RunPlan:
    """One repetition of one cell."""

    cell_id: str
    run: int
    processes: tuple[ProcessPlan, ...]
    timeout_s: float
    notes: tuple[str, ...] = ()  # what a reader should know, for example that roles share cores


def describe(plan: RunPlan) -> str:
    """The plan as text: a line a process, its command below it, then the notes."""
    lines = [f"{plan.cell_id}, repetition {plan.run}, at most {plan.timeout_s:g} s"]
    for process in plan.processes:
        cores = "not pinned" if process.cores is None else f"cores {','.join(map(str, process.cores))}"
        variables = " ".join(f"{name}={value}" for name, value in sorted(process.env.items()))
        lines.append(f"  {process.node!s:<12} {cores:<12} log {process.log}")
        lines.append(f"    {variables} {shlex.join(process.argv)}")
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines)
