"""The folder that a matrix writes to: refused, emptied or gone on with when results are there already."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Mapping
from pathlib import Path

from breakdown.config.cell import Cell, Experiment
from breakdown.config.identity import cell_id
from breakdown.errors import RunError, TraceError, UsageError, reason, remedy
from breakdown.store.folder import CellFolder, ExperimentFolder, listed
from breakdown.store.lock import is_empty
from breakdown.store.sound import must_know_all


class Existing(enum.Enum):
    """What to do with results that are there."""

    REFUSE = "refuse"
    RESUME = "resume"
    FRESH = "fresh"


SUMMARIES = ("summary.parquet", "report.html", "plots")
"""What the commands write beside the cells."""


def open_output(experiment: Experiment, output: Path, existing: Existing) -> dict[str, CellFolder]:
    """The folders of the experiment's cells by id, in the order of the matrix; experiment.json is written.

    Raises `UsageError` when results are there and `existing` does not fit them, `TraceError` when they are damaged, or when
    nothing can be written.
    """
    cells = {cell_id(cell): cell for cell in experiment.cells}
    folder = ExperimentFolder(output)
    if output.exists():
        _make_room(folder, cells, existing)
    folder.write({"name": experiment.name, "description": experiment.description, "cells": list(cells)})
    return {name: folder.cell(name) for name in cells}


def _make_room(folder: ExperimentFolder, cells: Mapping[str, Cell], existing: Existing) -> None:
    path = folder.path
    if not path.is_dir():
        raise UsageError(f"{path} is a file. Choose another --output.")
    if is_empty(path):
        return
    if not (path / "experiment.json").is_file():
        raise UsageError(f"{path} holds files, but no results of this tool. Choose another --output.")
    if existing is Existing.REFUSE:
        raise UsageError(
            f"{path} holds results already. Go on with them: --resume (skips what is done). "
            "Measure anew: --fresh (deletes them)."
        )
    if existing is Existing.FRESH:
        _delete(folder)
        return
    _, gone = listed(folder)
    if gone:  # a repetition would take the number, and the rows, of one that is there
        raise TraceError("\n".join(("cannot go on with these results:", *gone)))
    for saved in folder.cells():
        must_know_all(saved)
    others = [saved.path.name for saved in folder.cells() if saved.path.name not in cells]
    if others:
        raise UsageError(
            f"{path} holds cells that are not in this experiment: {', '.join(others)}. "
            "Choose another --output, or measure anew with --fresh (deletes them)."
        )


def _delete(folder: ExperimentFolder) -> None:
    """The results of this tool and nothing else."""
    try:
        for saved in folder.cells():
            shutil.rmtree(saved.path)
        for name in SUMMARIES:
            path = folder.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (folder.path / "experiment.json").unlink()
    except OSError as error:
        raise RunError(f"cannot delete {error.filename}: {reason(error)}. {remedy(error)}") from error
