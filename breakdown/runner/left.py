"""Brings in the raw traces that a tool left behind which was killed, or interrupted as it collected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.errors import BreakdownError, TraceError, UsageError
from breakdown.runner import command
from breakdown.runner.plan import remove_specs
from breakdown.runner.unfinished import NOT_ENDED, finished
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder, ExperimentFolder, listed

_LATE = "collected later, as breakdown could not when it ended: how the command ended is not known"


@dataclass(frozen=True)
class Brought:
    """A repetition whose traces are in the tables now."""

    cell_id: str
    run: int


def collect_left(result: Path) -> tuple[Brought, ...]:
    """Collects all traces that are left in an experiment's or a cell's folder. Call it with the result's lock held.

    Raises `UsageError` when this is no result, `TraceError` when traces cannot be read or saved, or a cell is gone: those
    stay, and all others are collected.
    """
    cells, problems = _cells(result)
    brought = []
    for cell in cells:
        try:
            brought += [_brought(cell, run) for run in _left(cell)]
            _finish(cell)
        except BreakdownError as error:
            problems.append(f"{cell.path.name}: {error}")
    if problems:
        told = [f"collected repetition {one.run} of {one.cell_id}" for one in brought]
        raise TraceError("\n".join((*told, "not all can be collected:", *problems)))
    return tuple(brought)


def _cells(result: Path) -> tuple[list[CellFolder], list[str]]:
    """The cells, and a line for each that is gone."""
    if CellFolder(result).exists():
        return [CellFolder(result)], []
    cells, gone = listed(ExperimentFolder(result))
    return [*cells], [*gone]


def _left(cell: CellFolder) -> Iterator[int]:
    """The repetitions that have raw traces."""
    numbers = {path.name.removeprefix("run-") for path in (cell.path / "raw").glob("run-*") if any(path.glob("*.trace"))}
    yield from sorted(int(number) for number in numbers if number.isascii() and number.isdigit())


def _brought(cell: CellFolder, run: int) -> Brought:
    content = cell.read()
    entry: dict[str, Any] | None = next((one for one in content["runs"] if one["run"] == run), None)
    if entry is None:
        raise UsageError(f"{cell.path / 'cell.json'} knows no repetition {run}, of which {cell.raw_dir(run)} holds traces.")
    if "command" in content["config"]:
        entry["warnings"].append(_LATE)
        command.save(cell, entry)
        return Brought(cell.path.name, run)
    remove_specs(cell.raw_dir(run))
    report = collect(cell, run)
    entry["warnings"] += report.warnings
    entry["recorder_cost_ns_per_span"] = dict(report.recorder_cost_ns_per_span)
    finished(entry)
    cell.write(content)
    return Brought(cell.path.name, run)


def _finish(cell: CellFolder) -> None:
    """Of a repetition that recorded nothing, nothing is to be brought in: cell.json must not ask for it."""
    content = cell.read()
    unseen = [entry for entry in content["runs"] if entry["error"] == NOT_ENDED]
    for entry in unseen:
        finished(entry)
    if unseen:
        cell.write(content)
