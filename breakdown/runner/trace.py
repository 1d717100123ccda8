"""Records a user's own command, and saves it as an experiment of one cell."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.backends import serving
from breakdown.backends.registry import tracer
from breakdown.clock.clocks import now_ns
from breakdown.errors import RunError, TraceError, UsageError
from breakdown.launch import sampling
from breakdown.model.schema import FORMAT_VERSION
from breakdown.runner import machine, second_sight
from breakdown.runner.follow import follow, inheritors
from breakdown.runner.plan import home_of
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder, ExperimentFolder
from breakdown.store.tables import Tables, load

CELL = "command"
"""The name of the one cell's folder."""

_MARK = "BREAKDOWN_TRACE_DIR"
_REMEDY = "Mark the steps yourself: from breakdown.record.marker import step, and call step() at the end of each."


@dataclass(frozen=True)
class Traced:
    """What became of the command. `problem`: None where it ended with 0."""

    output: Path
    steps: int
    problem: str | None


def trace(
    framework: str,
    command: Sequence[str],
    output: Path,
    warmup_steps: int,
    say: Callable[[str], None],
    sample_rate_hz: int | None = None,
) -> Traced:
    """Runs the command, and keeps what was recorded, however it ended. `sample_rate_hz`: how often py-spy looks; None: not.

    Raises `ConfigError` for an unknown framework, `EnvironmentMissingError` when its recorder is not built, `UsageError`
    when the command cannot be started or the output is not empty, `RunError` when nothing was recorded.
    """
    how = tracer(framework)
    home = home_of(framework)
    if shutil.which(command[0]) is None:
        raise UsageError(f"cannot start {command[0]}: there is no such program. Give the command as in a shell, behind --.")
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty. Choose another --output.")
    folder = ExperimentFolder(output)
    cell = folder.cell(CELL)
    traces = cell.raw_dir(0).absolute()
    traces.mkdir(parents=True)
    env = {**os.environ, **how.variables(home, traces, warmup_steps)}
    folder.write({"name": output.name, "description": shlex.join(command), "cells": [CELL]})
    if sample_rate_hz is not None:
        env[sampling.VARIABLE] = "1"
    entry: dict[str, Any] = {"run": 0, "status": "done", "error": None, "log": None, "wall_s": 0.0}
    entry |= {"recorder_cost_ns_per_span": {}, "warnings": []}
    begin = now_ns()
    with second_sight.sampling(cell, entry, sample_rate_hz, lambda: inheritors(_MARK, env[_MARK])):
        ended = follow(command, env, _MARK, say, lambda pid: serving.serves(traces, pid))
        entry["wall_s"] = round((now_ns() - begin) / 1e9, 3)
    serving.forget(traces)
    problem = None
    if ended.interrupted:
        problem = "the command was interrupted"
    elif ended.exit_code:
        code = f"exit code {ended.exit_code}" if ended.exit_code > 0 else f"signal {-ended.exit_code}"
        problem = f"the command ended with {code}"
    entry["warnings"] += [problem] if problem else []
    about = {
        "format_version": FORMAT_VERSION,
        "cell_id": CELL,
        "experiment": output.name,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "cores": {},
        "notes": [],
        "runs": [entry],
    }
    _collect(framework, cell, entry, problem)
    cell.write({**about, "label": f"{framework} command", "config": {}})
    tables = load(cell.path)
    cell.write({**about, **_told_by(framework, how.way, command, warmup_steps, tables)})
    if not len(tables.steps):
        raise RunError(f"no step was found: {how.steps}. {_REMEDY} What was recorded is in {cell.path}.")
    return Traced(output, len(tables.steps), problem)


def _collect(framework: str, cell: CellFolder, entry: dict[str, Any], problem: str | None) -> None:
    try:
        report = collect(cell, 0)
    except TraceError as error:
        why = f"{problem}, and " if problem else ""
        raise RunError(f"{why}nothing was recorded: no process of the command trained with {framework}.") from error
    entry["warnings"] += report.warnings
    entry["recorder_cost_ns_per_span"] = dict(report.recorder_cost_ns_per_span)


def _told_by(
    framework: str, way: Mapping[str, str], command: Sequence[str], warmup_steps: int, tables: Tables
) -> Mapping[str, Any]:
    """Label and configuration, as far as the trace tells them; the fields of a cell that it does not tell are left out."""
    nodes = [*tables.clock["runs"]["0"]["nodes"]]
    workers, servers = (sum(node.startswith(role) for node in nodes) for role in ("worker-", "server-"))
    noted = {name: value for notes in tables.notes.get("0", {}).values() for name, value in notes}
    told = {name: found for name, default in way.items() if (found := str(noted.get(name, default)))}
    program, samples = _program(command), tables.steps["samples"]
    shape = [f"{servers}s{workers}w"] if servers else []
    config = {
        "backend": framework,
        "workload": program,
        "workers": max(workers, 1),
        "servers": max(servers, 1),
        **told,
        "batch_size": int(samples.median()) if len(samples) else 0,
        "warmup_steps": warmup_steps,
        "command": shlex.join(command),
    }
    return {"label": f"{' '.join([framework, *shape, *told.values()])}, {program}", "config": config}


def _program(command: Sequence[str]) -> str:
    """What the command is about: its first script, else its first word."""
    scripts = (word for word in command if word.endswith((".py", ".sh")))
    return Path(next(scripts, command[0])).name
