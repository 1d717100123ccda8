"""Reads a saved result for the commands that explain or draw it: an experiment's folder or one cell's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.analysis.experiment import analyse
from breakdown.analysis.findings import ExperimentFinding, Timeline
from breakdown.analysis.timeline import window
from breakdown.errors import UsageError
from breakdown.store.folder import CellFolder, ExperimentFolder
from breakdown.store.tables import Tables, load

TIMELINE_STEPS = 3
"""How many steps a timeline shows: enough to see one step's pulls meet the next one's forward pass."""


@dataclass(frozen=True)
class Result:
    """A saved result. `root` is the folder that summaries are written to."""

    root: Path
    tables: tuple[Tables, ...]
    finding: ExperimentFinding


def read(path: Path) -> Result:
    """The tables that are there, in the order of the matrix, and what the analysis finds in them.

    Raises `UsageError` when the folder is no result, or nothing of it was measured.
    """
    cells, about = _cells(path)
    measured = [cell for cell in cells if cell.table("steps").is_file()]
    failures = _failures([cell for cell in cells if cell not in measured])
    if not measured:
        raise UsageError("\n".join((f"{path} holds no measured cell.", *failures)))
    tables = tuple(load(cell.path) for cell in measured)
    finding = analyse(tables, about["name"], about["description"], failures=failures)
    return Result(path, tables, finding)


def cell_tables(path: Path) -> Tables:
    """One cell's tables. Raises `UsageError` that lists the cells when `path` is an experiment with several."""
    cells, _ = _cells(path)
    if len(cells) != 1:
        names = ", ".join(cell.path.name for cell in cells)
        raise UsageError(f"{path} holds {len(cells)} cells. Give the folder of one of them: {names}.")
    return load(cells[0].path)


def timelines(result: Result) -> list[Timeline]:
    """For each cell a few steps of worker 0, right after the warm-up, in its first repetition that was done."""
    found = []
    for tables in result.tables:
        run = _first_done(tables)
        if run is not None:
            found.append(window(tables, run, 0, int(tables.cell["config"]["warmup_steps"]), TIMELINE_STEPS))
    return found


def _cells(path: Path) -> tuple[list[CellFolder], dict[str, Any]]:
    if (path / "experiment.json").is_file():
        folder = ExperimentFolder(path)
        about = folder.read()
        order = {name: place for place, name in enumerate(about["cells"])}
        return sorted(folder.cells(), key=lambda cell: order.get(cell.path.name, len(order))), about
    if (path / "cell.json").is_file():
        cell = CellFolder(path)
        return [cell], {"name": cell.read()["label"], "description": ""}
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}. Give one that `breakdown run` wrote, like results/quickstart.")
    raise UsageError(
        f"{path} is no result: it has neither experiment.json nor cell.json. Give a folder like results/quickstart."
    )


def _failures(cells: Sequence[CellFolder]) -> tuple[str, ...]:
    """The repetitions of cells without tables, for the analysis sees tables only: cell, number, first line of the reason."""
    lines = []
    for cell in cells:
        for entry in cell.read()["runs"]:
            if entry["status"] == "failed":
                reason = str(entry["error"]).partition("\n")[0]
                lines.append(f"{cell.path.name}, repetition {entry['run']}: {reason}")
    return tuple(lines)


def _first_done(tables: Tables) -> int | None:
    return next((int(entry["run"]) for entry in tables.cell["runs"] if entry["status"] == "done"), None)
