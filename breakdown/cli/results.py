"""Reads a saved result for the commands that explain or draw it: an experiment's folder or one cell's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.analysis import wording as fmt
from breakdown.analysis.critical_path import measured_steps
from breakdown.analysis.experiment import analyse
from breakdown.analysis.findings import ExperimentFinding, Timeline
from breakdown.analysis.overview import condensed
from breakdown.analysis.timeline import window
from breakdown.config.identity import has_no_server
from breakdown.errors import BreakdownError, TraceError, UsageError
from breakdown.store.folder import TABLES, CellFolder, ExperimentFolder, listed
from breakdown.store.tables import Tables, load

TIMELINE_STEPS = 3
"""How many steps a timeline shows: enough to see one step's pulls meet the next one's forward pass."""


MOST_OF_PAGE, MOST_OF_TIMELINE, LEAST_OF_TIMELINE = 60_000, 20_000, 1_000
"""How many boxes, arrows and parts of the critical path a page draws, and a timeline on it. Each is some 200 bytes, and a
page of far more takes a browser seconds to open. The least is for experiments with very many cells."""


@dataclass(frozen=True)
class Result:
    """A saved result. `root` is the folder that summaries are written to. `tables`: of those cells that could be read."""

    root: Path
    tables: tuple[Tables, ...]
    finding: ExperimentFinding


Watch = Callable[[str, int, int], None]
"""Is told what is done now, how much of it is done, and of how much."""


def unwatched(what: str, done: int, total: int) -> None:
    """For whoever shows no progress."""


def read(path: Path, watch: Watch = unwatched) -> Result:
    """The tables that are there, in the order of the matrix, and what the analysis finds in them.

    What cannot be read is told by the finding: `left_out` names each cell of which nothing is shown, with the reason. Raises
    `UsageError` when the folder is no result, or nothing of it was measured; `TraceError` when nothing can be read.
    """
    saved = _saved(path)
    cells = []
    for number, folder in enumerate(saved.folders):
        watch(f"reading {folder.path.name}", number, len(saved.folders))
        cells.append(_read(folder))
    tables = tuple(cell.tables for cell in cells if cell.tables is not None)
    failures = [text for cell in cells for text in cell.failures]
    left_out = [*saved.gone, *(cell.left_out for cell in cells if cell.left_out)]
    errors = [cell.error for cell in cells if cell.error is not None]
    if not tables:
        if errors and len(left_out) == 1:
            raise errors[0]
        kind = TraceError if errors else UsageError
        raise kind("\n".join((f"{path} holds no measured cell.", *failures, *left_out)))
    beside = [_read(folder) for folder in _single_nodes_beside(path)]
    left_out += [f"not compared with {cell.left_out}" for cell in beside if cell.left_out]
    watch("explaining", len(cells), len(cells))
    finding = analyse(
        tables,
        saved.name,
        saved.description,
        failures=failures,
        beside=[cell.tables for cell in beside if cell.tables is not None],
        left_out=left_out,
    )
    return Result(path, tables, finding)


def cell_tables(path: Path) -> Tables:
    """One cell's tables. Raises `UsageError` that lists the cells when `path` is an experiment with several."""
    saved = _saved(path)
    if saved.gone and not saved.folders:
        raise TraceError("\n".join(saved.gone))
    if len(saved.folders) + len(saved.gone) != 1:
        names = ", ".join(folder.path.name for folder in saved.folders)
        raise UsageError(f"{path} holds {len(saved.folders)} cells. Give the folder of one of them: {names}.")
    return load(saved.folders[0].path)


def timelines(result: Result, watch: Watch = unwatched) -> list[Timeline]:
    """For each cell of the finding a few steps of its first worker, right after the warm-up, in its first repetition."""
    shown = {cell.cell_id for cell in result.finding.cells}
    most = min(MOST_OF_TIMELINE, max(MOST_OF_PAGE // max(len(shown), 1), LEAST_OF_TIMELINE))
    found = []
    for number, tables in enumerate(result.tables):
        if tables.cell["cell_id"] in shown:
            watch(f"timeline of {tables.cell['cell_id']}", number, len(result.tables))
            steps = measured_steps(tables)
            run, worker, first = (int(column[0]) for column in (steps.run, steps.worker, steps.step))
            found.append(condensed(window(tables, run, worker, first, TIMELINE_STEPS), most))
    return found


def must_be_result(path: Path) -> None:
    """Raises `UsageError` when the folder is no result."""
    _saved(path)


@dataclass(frozen=True)
class _Saved:
    """A folder of results. `folders`: of the cells that are there; `gone`: a line for each that is not."""

    name: str
    description: str
    folders: tuple[CellFolder, ...]
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cell:
    """A cell as far as it can be read: its tables, or why there are none."""

    tables: Tables | None = None
    failures: tuple[str, ...] = ()
    left_out: str = ""
    error: BreakdownError | None = None


def _saved(path: Path) -> _Saved:
    if ExperimentFolder(path).exists():
        about = ExperimentFolder(path).read()
        folders, gone = listed(ExperimentFolder(path))
        return _Saved(about["name"], about["description"], folders, gone)
    if CellFolder(path).exists():
        return _Saved(str(CellFolder(path).read()["label"]), "", (CellFolder(path),))
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}. Give one that `breakdown run` wrote, like results/quickstart.")
    raise UsageError(
        f"{path} is no result: it has neither experiment.json nor cell.json. Give a folder like results/quickstart."
    )


def _read(folder: CellFolder) -> _Cell:
    try:
        cell = folder.read()
        if any(folder.table(name).exists() for name in TABLES):
            return _Cell(load(folder.path))
    except BreakdownError as error:
        return _Cell(left_out=f"{folder.path.name}: {error}", error=error)
    return _without_tables(folder, cell)


def _without_tables(folder: CellFolder, cell: Mapping[str, Any]) -> _Cell:
    """The analysis sees tables only, so what is known of the others is told here."""
    name, done = folder.path.name, sum(entry["status"] == "done" for entry in cell["runs"])
    if done and cell["config"].get("record") is False:
        return _Cell(None, _failures(name, cell), f"{name}: not recorded (record: false); wall times are in its cell.json")
    if done:
        error = TraceError(
            f"{fmt.counted(done, 'repetition')} of it {'was' if done == 1 else 'were'} done, but {folder.path} has none of "
            "their tables. Restore them, or remove the folder and measure again."
        )
        return _Cell(failures=_failures(name, cell), left_out=f"{name}: {error}", error=error)
    left_out = "" if cell["runs"] else f"{name}: no repetition of it was run yet"
    return _Cell(failures=_failures(name, cell), left_out=left_out)


def _single_nodes_beside(path: Path) -> list[CellFolder]:
    """Where `path` is a distributed cell of an experiment: the single nodes beside it, and what may be one."""
    if not CellFolder(path).exists() or has_no_server(CellFolder(path).read()["config"]):
        return []
    experiment = ExperimentFolder(path.resolve().parent)
    if not experiment.exists():
        return []
    return [folder for folder in experiment.cells() if _may_be_single(folder)]


def _may_be_single(folder: CellFolder) -> bool:
    try:
        cell = folder.read()
    except BreakdownError:
        return True  # whoever reads it whole says so
    return has_no_server(cell["config"]) and bool(cell["runs"])


def _failures(name: str, cell: Mapping[str, Any]) -> tuple[str, ...]:
    """Cell, number, first line of the reason."""
    failed = [entry for entry in cell["runs"] if entry["status"] == "failed"]
    return tuple(f"{name}, repetition {entry['run']}: {str(entry['error']).partition(chr(10))[0]}" for entry in failed)
