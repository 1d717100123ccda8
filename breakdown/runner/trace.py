"""Records a user's own command, and saves it as an experiment of one cell.

It is noted as not ended before it starts, and saved when its traces are collected, which `runner.left` does later should
this process be killed meanwhile.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from breakdown.backends import injection, serving
from breakdown.backends.registry import tracer
from breakdown.clock.clocks import now_ns
from breakdown.errors import CommandError, RunError, TraceError, UsageError, reason, remedy
from breakdown.launch import sampling, signals
from breakdown.launch.outcome import how, signal_name
from breakdown.runner import disk, endings, second_sight
from breakdown.runner.command import CELL, begun, no_step, save
from breakdown.runner.follow import Eyes, Followed, follow, inheritors
from breakdown.runner.plan import home_of
from breakdown.store.collect import CollectReport
from breakdown.store.folder import CellFolder, ExperimentFolder
from breakdown.store.lock import is_empty
from breakdown.store.tables import Tables

_MARK = "BREAKDOWN_TRACE_DIR"


@dataclass(frozen=True)
class Traced:
    """What became of the command. `problem`: None where all went well. `exit_code`: as a shell gives it."""

    output: Path
    steps: int
    measured_steps: int
    problem: str | None
    exit_code: int


def trace(
    framework: str,
    command: Sequence[str],
    output: Path,
    warmup_steps: int,
    trace_every: int,
    say: Callable[[str], None],
    sample_rate_hz: int | None = None,
    kept: Sequence[int] = (),
) -> Traced:
    """Runs the command, and keeps what was recorded, however it ended. `sample_rate_hz`: how often py-spy looks; None: not.

    `trace_every`: which steps are traced, see `injection`. `kept`: see `follow`. Raises `ConfigError` for an unknown
    framework, `EnvironmentMissingError` when its recorder is not built, `UsageError` when the command cannot be started, the
    output is not empty or the framework cannot leave steps out, `RunError` when the disk is full or nothing was
    recorded, which is a `CommandError` where the command itself failed.
    """
    how_traced = tracer(framework)
    if trace_every > 1 and how_traced.all_steps:
        raise UsageError(
            f"--trace-every {trace_every}: with {framework} every step is traced: {how_traced.all_steps}. Leave it out."
        )
    home = home_of(framework)
    if shutil.which(command[0]) is None:
        raise UsageError(f"cannot start {command[0]}: there is no such program. Give the command as in a shell, behind --.")
    if output.exists() and not is_empty(output):
        raise UsageError(f"{output} is not empty. Choose another --output.")
    disk.check(output)
    folder = ExperimentFolder(output)
    cell = folder.cell(CELL)
    traces = cell.raw_dir(0).absolute()
    traces.mkdir(parents=True)
    env = {**os.environ, **how_traced.variables(home, traces, warmup_steps), injection.EVERY_VARIABLE: str(trace_every)}
    folder.write({"name": output.name, "description": shlex.join(command), "cells": [CELL]})
    if sample_rate_hz is not None:
        env[sampling.VARIABLE] = "1"
    entry = begun(cell, output.name, framework, command, warmup_steps, trace_every)
    begin = now_ns()
    eyes = Eyes(partial(serving.serves, traces), partial(_node, traces))
    with second_sight.sampling(cell, entry, sample_rate_hz, lambda: inheritors(_MARK, env[_MARK])):
        try:
            ended = follow(command, env, _MARK, say, eyes, kept)
        except UsageError:
            _take_back(folder)
            raise
        entry["wall_s"] = round((now_ns() - begin) / 1e9, 3)
    problem, exit_code = _judged(ended)
    try:
        with signals.noted() if ended.asked_by is not None else nullcontext():  # one more Ctrl-C loses nothing
            return _saved(cell, entry, ended, problem, exit_code)
    except KeyboardInterrupt:
        raise RunError(f"interrupted while the traces were collected. They are kept: {_go_on(output)}") from None


def _judged(ended: Followed) -> tuple[str | None, int]:
    """What is to be said of the command's end, and the exit code that a shell would give."""
    if ended.asked_by is not None:
        by = "" if ended.asked_by == 2 else f" by {signal_name(ended.asked_by)}"
        return f"the command was interrupted{by}", 128 + ended.asked_by
    if ended.exit_code:
        code = ended.exit_code
        return f"the command {how(code)}", code if code > 0 else 128 - code
    return None, 0


def _saved(cell: CellFolder, entry: dict[str, Any], ended: Followed, problem: str | None, exit_code: int) -> Traced:
    raw, output, framework = cell.raw_dir(entry["run"]), cell.path.parent, str(cell.read()["config"]["backend"])
    recorded = endings.recorded_by(raw)
    serving.forget(raw)
    found: list[endings.RoleEnding] = []
    missing: list[str] = []  # whose trace is not whole, in the words of who read it
    left_out: list[str] = []  # why steps are not in the tables that were found

    def tell(tables: Tables, report: CollectReport) -> None:
        left_out.extend(report.steps_left_out)
        missing.extend(text for text in entry["warnings"] if f"{raw}/" in text)
        found.extend(endings.endings(ended.processes, ended.ended_here, recorded, tables, entry["run"]))
        entry["processes"] = endings.saved(found)
        entry["warnings"] += endings.sentences(found)

    entry["warnings"] += [problem] if problem else []
    entry["exit_code"] = exit_code
    try:
        tables = save(cell, entry, tell)
    except TraceError as error:
        why = _nothing(framework, raw, output, error)
        if not any(raw.glob("*.trace")):
            _take_back(ExperimentFolder(output))
        if problem is None:
            raise RunError(why) from error
        raise CommandError(f"{problem}, and {why}", exit_code) from error
    if problem:
        told = (f"\n  {text}." for text in endings.sentences(found))
        problem = "".join((f"{problem}. What was recorded until then is in {output}.", *told))
    if not len(tables.steps):
        problem = "\n".join((*([problem] if problem else []), no_step(framework, cell, missing, left_out)))
    return Traced(output, len(tables.steps), int((~tables.steps["warm_up"]).sum()), problem, exit_code)


def _nothing(framework: str, raw: Path, output: Path, error: TraceError) -> str:
    """Why there is no result, though the command has run."""
    if any(raw.glob("*.trace")):
        return f"its traces cannot be collected: {error} They are kept in {raw}: {_go_on(output)}"
    if not raw.is_dir():
        return f"nothing was recorded: the folder for the traces, {raw}, is gone. The command must leave it alone."
    stop = disk.shortage(raw, 1 << 20, disk.BEGIN)
    if stop is not None:
        return f"nothing was recorded: {stop.why}. {stop.remedy}"
    try:
        (raw / ".try").touch()
        (raw / ".try").unlink()
    except OSError as problem:
        return f"nothing was recorded: {raw} cannot be written to: {reason(problem)}. {remedy(problem)}"
    return f"nothing was recorded: no process of the command trained with {framework}."


def _take_back(folder: ExperimentFolder) -> None:
    """Removes what was begun, as there is nothing in it: the same command may write there once its fault is put right."""
    shutil.rmtree(folder.cell(CELL).path, ignore_errors=True)
    (folder.path / "experiment.json").unlink(missing_ok=True)


def _go_on(output: Path) -> str:
    return f"`breakdown collect {shlex.quote(str(output))}` goes on with them."


def _node(traces: Path, pid: int) -> str | None:
    """The role of a process that records."""
    found = endings.recorded_by(traces).get(pid)
    return None if found is None else found.node
