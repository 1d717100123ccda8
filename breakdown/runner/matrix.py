"""The matrix loop: round by round, each cell once: plan, launch, collect, note how it ended. A failure does not stop it.

Every repetition gets a number of its own; one that failed keeps its number, log and readable traces, and `--resume` measures
another. A repetition is noted as failed before it starts, so that even a killed tool leaves a true cell.json behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from breakdown.config.cell import Cell, Experiment
from breakdown.config.identity import cell_id, labels
from breakdown.errors import BreakdownError, RunError
from breakdown.launch import local, signals
from breakdown.launch.outcome import RunOutcome
from breakdown.launch.watch import Ended
from breakdown.model.schema import FORMAT_VERSION
from breakdown.runner import disk, endings, machine, second_sight
from breakdown.runner.output import Existing, open_output
from breakdown.runner.plan import check, check_machine, prepare, remove_specs, write_specs
from breakdown.runner.second_sight import children
from breakdown.runner.unfinished import NOT_ENDED, finished, is_unfinished
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder
from breakdown.store.tables import load

DONE, FAILED = "done", "failed"
_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Event:
    """One step of progress, for whoever watches. `kind`: "start", "done", "failed" or "skipped" (done in an earlier run)."""

    kind: str
    label: str
    cell_id: str
    round: int  # of the matrix, from 1. Run numbers in the files count on after failures
    number: int  # of the whole matrix, from 1
    total: int
    wall_s: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """The whole matrix. `failures`: cell, repetition and first line of the message of each that failed in this call."""

    output: Path
    done: int
    failures: tuple[str, ...]


Watcher = Callable[[Event], None]


def run(
    experiment: Experiment, output: Path, existing: Existing, watch: Watcher, sample_rate_hz: int | None = None
) -> Outcome:
    """Measures what is not measured yet. `sample_rate_hz`: has py-spy look at each role so often; None: not.

    Raises `UsageError` before anything starts, when the experiment or the output folder is wrong, or an environment missing;
    `RunError` when the disk is full then, or when it is interrupted, `TraceError` when the disk takes no more: what was
    measured until then is kept.
    """
    for cell in experiment.cells:
        check(cell)
    check_machine(experiment.cells, output)
    folders = open_output(experiment, output, existing)
    about = {"machine": machine.describe(), "versions": machine.versions(), "commit": machine.commit()}
    try:
        return _measured(experiment, folders, about, watch, sample_rate_hz, output)
    except KeyboardInterrupt:  # between two repetitions, or while traces were collected, which stay then
        raise RunError(f"interrupted. What was measured is kept in {output}: go on with --resume.") from None


def _measured(
    experiment: Experiment,
    folders: Mapping[str, CellFolder],
    about: Mapping[str, Any],
    watch: Watcher,
    sample_rate_hz: int | None,
    output: Path,
) -> Outcome:
    states = [
        _State(cell, label, folders[cell_id(cell)], experiment, about, sample_rate_hz)
        for cell, label in zip(experiment.cells, labels(experiment.cells), strict=True)
    ]
    total = len(states) * experiment.repetitions
    number = done = 0
    failures = []
    for repetition in range(1, experiment.repetitions + 1):
        for state in states:
            number += 1
            event = Event("start", state.label, state.cell_id, repetition, number, total)
            if state.done >= repetition:
                watch(replace(event, kind="skipped"))
                done += 1
                continue
            watch(event)
            begin = time.monotonic()
            error = state.measure()
            wall_s = time.monotonic() - begin
            if error is None:
                done += 1
                watch(replace(event, kind="done", wall_s=wall_s))
            else:
                failures.append(f"{state.cell_id}, round {repetition}: {error.splitlines()[0]}")
                watch(replace(event, kind="failed", wall_s=wall_s, error=error))
    return Outcome(output, done, tuple(failures))


class _State:
    """One cell of a running matrix, and its cell.json."""

    def __init__(
        self,
        cell: Cell,
        label: str,
        folder: CellFolder,
        experiment: Experiment,
        about: Mapping[str, Any],
        sample_rate_hz: int | None,
    ) -> None:
        self.cell = cell
        self.sample_rate_hz = sample_rate_hz
        self.folder = folder
        self.cell_id = cell_id(cell)
        self.label = label
        earlier = folder.read()["runs"] if folder.exists() else []
        self.file: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "cell_id": self.cell_id,
            "label": self.label,
            "experiment": experiment.name,
            "config": asdict(cell),
            **about,
            "cores": {},
            "notes": [],
            "runs": earlier,
        }
        for entry in earlier:
            if is_unfinished(entry):  # the tool was killed; the traces are worth keeping
                remove_specs(folder.raw_dir(entry["run"]))
                self._collect(entry)
                finished(entry)
        self.folder.write(self.file)

    @property
    def done(self) -> int:
        return sum(entry["status"] == DONE for entry in self.file["runs"])

    def measure(self) -> str | None:
        """One repetition. Returns the error's text, None when all went well."""
        run = 1 + max((entry["run"] for entry in self.file["runs"]), default=-1)
        entry: dict[str, Any] = {
            "run": run,
            "status": FAILED,
            "error": NOT_ENDED,
            "log": None,
            "wall_s": 0.0,
            "recorder_cost_ns_per_span": {},
            "warnings": [],
        }
        self.file["runs"].append(entry)
        outcome = None
        try:
            outcome = self._launch(entry)
        except KeyboardInterrupt:
            with signals.noted():  # one more Ctrl-C loses nothing
                entry["error"] = _INTERRUPTED
                self._collect(entry)
                self.folder.write(self.file)
            raise RunError(
                f"interrupted during repetition {run} of {self.cell_id}; all its processes are ended. "
                f"Logs: {self.folder.log_dir(run)}. What was measured is kept: go on with --resume."
            ) from None
        except RunError as error:  # a port that is taken, a log that cannot be written
            entry["error"] = str(error)
        else:
            entry["wall_s"] = round(outcome.duration_s, 3)
            entry["error"] = outcome.error
            entry["log"] = str(outcome.log.relative_to(self.folder.path)) if outcome.log else None
        recorded = endings.recorded_by(self.folder.raw_dir(run))
        self._collect(entry)
        if outcome is not None and outcome.error is not None:
            self._tell_endings(entry, outcome, recorded)
        if entry["error"] is None:
            entry["status"] = DONE
        self.folder.write(self.file)
        return None if entry["error"] is None else str(entry["error"])

    def _launch(self, entry: dict[str, Any]) -> RunOutcome:
        run = entry["run"]
        prepared = prepare(
            self.cell, self.cell_id, run, self.folder, sorted(os.sched_getaffinity(0)), sample_rate_hz=self.sample_rate_hz
        )
        self.file["cores"] = {str(process.node): process.cores for process in prepared.plan.processes}
        self.file["notes"] = list(prepared.plan.notes)
        self.folder.write(self.file)
        disk.check(self.folder.path, disk.GO_ON)
        try:
            write_specs(prepared.specs)
            nodes = [process.node for process in prepared.plan.processes]
            with second_sight.sampling(self.folder, entry, prepared.sample_rate_hz, children, nodes):
                return local.run(prepared.plan, lambda: disk.shortage(self.folder.path))
        finally:
            remove_specs(self.folder.raw_dir(run))

    def _tell_endings(self, entry: dict[str, Any], outcome: RunOutcome, recorded: Mapping[int, endings.Recorded]) -> None:
        """How far each role of a repetition that failed had got."""
        ended = [Ended(process.pid, process.exit_code, process.end_ns) for process in outcome.processes]
        here = {process.pid for process in outcome.processes if process.ended_by_launcher}
        try:
            found = endings.endings(ended, here, recorded, load(self.folder.path), entry["run"])
        except BreakdownError:  # nothing could be collected, which is told already
            return
        entry["processes"] = endings.saved(found)
        entry["error"] = "\n".join((entry["error"], *map("{}.".format, endings.sentences(found))))

    def _collect(self, entry: dict[str, Any]) -> None:
        """Traces to tables. What cannot be read is a failure of the repetition, not of the matrix."""
        if not self.folder.raw_dir(entry["run"]).is_dir():
            return
        try:
            report = collect(self.folder, entry["run"])
        except BreakdownError as error:
            entry["warnings"].append(str(error))
            entry["error"] = entry["error"] or str(error)
        else:
            entry["warnings"] += report.warnings
            entry["recorder_cost_ns_per_span"] = dict(report.recorder_cost_ns_per_span)
