"""The cell of a user's own command: as it stands while the command runs, and what its traces make of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from breakdown.backends.registry import tracer
from breakdown.model.schema import FORMAT_VERSION
from breakdown.runner import machine
from breakdown.runner.unfinished import NOT_ENDED
from breakdown.store.collect import CollectReport, collect
from breakdown.store.folder import CellFolder
from breakdown.store.tables import Tables, load

CELL = "command"
"""The name of the one cell's folder."""

_REMEDY = "Mark the steps yourself: from breakdown.record.marker import step, and call step() at the end of each."


def begun(
    cell: CellFolder, name: str, framework: str, command: Sequence[str], warmup_steps: int, trace_every: int
) -> dict[str, Any]:
    """Writes cell.json as it must read should this process be killed, and gives the entry of its one repetition."""
    entry: dict[str, Any] = {"run": 0, "status": "failed", "error": NOT_ENDED, "log": None, "wall_s": 0.0}
    entry |= {"recorder_cost_ns_per_span": {}, "warnings": []}
    cell.write(
        {
            "format_version": FORMAT_VERSION,
            "cell_id": CELL,
            "label": f"{framework} command",
            "experiment": name,
            "config": {
                "backend": framework,
                "workload": _program(command),
                "warmup_steps": warmup_steps,
                **({"trace_every": trace_every} if trace_every > 1 else {}),
                "command": shlex.join(command),
            },
            "machine": machine.describe(),
            "versions": machine.versions(),
            "commit": machine.commit(),
            "cores": {},
            "notes": [],
            "runs": [entry],
        }
    )
    return entry


def save(
    cell: CellFolder, entry: dict[str, Any], after: Callable[[Tables, CollectReport], None] = lambda tables, report: None
) -> Tables:
    """Collects the traces of a command that has ended, and makes its cell.json true. `after`: what else goes into `entry`.

    Raises `TraceError` when nothing can be collected or saved; then the traces stay.
    """
    about = cell.read()
    report = collect(cell, entry["run"])
    entry["status"], entry["error"] = "done", None
    entry["warnings"] += report.warnings
    entry["recorder_cost_ns_per_span"] = dict(report.recorder_cost_ns_per_span)
    cell.write({**about, "runs": [entry]})
    tables = load(cell.path)
    after(tables, report)
    cell.write({**about, "runs": [entry], **_told_by(about["config"], tables)})
    return tables


def no_step(framework: str, cell: CellFolder, missing: Sequence[str], left_out: Sequence[str]) -> str:
    """The message for a result without a step.

    `missing`: what is known of records that are not there; `left_out`: why steps that were found are not among them.
    """
    where = f"What was recorded is in {cell.path}."
    if left_out:
        return f"no step is left: {'; '.join((*left_out, *missing))}. {where}"
    if missing:
        return f"no step is in what was recorded, which is not all: {'; '.join(missing)}. {where}"
    return f"no step was found: {tracer(framework).steps}. {_REMEDY} {where}"


def _told_by(config: Mapping[str, Any], tables: Tables) -> Mapping[str, Any]:
    """Label and configuration, as far as the trace tells them; the fields of a cell that it does not tell are left out."""
    framework, program = config["backend"], config["workload"]
    nodes = [*tables.clock["runs"]["0"]["nodes"]]
    workers, servers = (sum(node.startswith(role) for node in nodes) for role in ("worker-", "server-"))
    noted = {name: value for notes in tables.notes.get("0", {}).values() for name, value in notes}
    told = {name: found for name, default in tracer(framework).way.items() if (found := str(noted.get(name, default)))}
    samples = tables.steps["samples"]
    shape = [f"{servers}s{workers}w"] if servers else []
    known = {
        "backend": framework,
        "workload": program,
        "workers": max(workers, 1),
        "servers": max(servers, 1),
        **told,
        "batch_size": int(samples.median()) if len(samples) else 0,
        **{name: config[name] for name in ("warmup_steps", "trace_every") if name in config},
        "command": config["command"],
    }
    return {"label": f"{' '.join([framework, *shape, *told.values()])}, {program}", "config": known}


def _program(command: Sequence[str]) -> str:
    """What the command is about: its first script, else its first word."""
    scripts = (word for word in command if word.endswith((".py", ".sh")))
    return Path(next(scripts, command[0])).name
