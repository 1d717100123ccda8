"""The folder that a matrix writes to: refused, emptied or gone on with when results are there already."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Set
from pathlib import Path

from breakdown.config.cell import Experiment
from breakdown.config.identity import cell_id
from breakdown.errors import RunError, TraceError, UsageError, reason, remedy
from breakdown.store.folder import CellFolder, ExperimentFolder, listed
from breakdown.store.lock import is_empty


class Existing(enum.Enum):
    """What to do with results that are there."""

    REFUSE = "refuse"
    RESUME = "resume"
    FRESH = "fresh"


SUMMARIES = ("summary.parquet", "report.html", "plots")
"""What the commands write beside the cells."""


def check_output(experiment: Experiment, output: Path, existing: Existing) -> None:
    """Whether the results may go there. Nothing is changed, so `plan` asks it as well.

    Raises `UsageError` when results are there and `existing` does not fit them, `TraceError` when they are damaged or of a
    newer version.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"{output} is a file. Choose another --output.")
    if is_empty(output):
        return
    if not (output / "experiment.json").is_file():
        raise UsageError(f"{output} holds files, but no results of this tool. Choose another --output.")
    if existing is Existing.REFUSE:
        raise UsageError(
            f"{output} holds results already. Go on with them: --resume (skips what is done). "
            "Measure anew: --fresh (deletes them)."
        )
    if existing is Existing.RESUME:
        _check_cells(ExperimentFolder(output), {cell_id(cell) for cell in experiment.cells})


def open_output(experiment: Experiment, output: Path, existing: Existing) -> dict[str, CellFolder]:
    """The folders of the experiment's cells by id, in the order of the matrix; experiment.json is written.

    Raises what `check_output` does, and `TraceError` when nothing can be written.
    """
    check_output(experiment, output, existing)
    folder = ExperimentFolder(output)
    if existing is Existing.FRESH and folder.exists():
        _delete(folder)
    cells = [cell_id(cell) for cell in experiment.cells]
    folder.write({"name": experiment.name, "description": experiment.description, "cells": cells})
    return {name: folder.cell(name) for name in cells}


def _check_cells(folder: ExperimentFolder, wanted: Set[str]) -> None:
    from breakdown.store.sound import must_know_all  # brings pandas along, which a plan of new results does not need

    _, gone = listed(folder)
    if gone:  # a repetition would take the number, and the rows, of one that is there
        raise TraceError("\n".join(("cannot go on with these results:", *gone)))
    for saved in folder.cells():
        must_know_all(saved)
    others = [saved.path.name for saved in folder.cells() if saved.path.name not in wanted]
    if others:
        raise UsageError(
            f"{folder.path} holds cells that are not in this experiment: {', '.join(others)}. "
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
