"""Loads a saved cell: its three tables as pandas frames, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from breakdown.store import arrow
from breakdown.store.align import align
from breakdown.store.files import read_json
from breakdown.store.folder import SAMPLES, TABLES, CellFolder
from breakdown.store.frames import frame


@dataclass(frozen=True)
class Tables:
    """One cell as saved. Columns of the frames: `model.schema`; text is categorical, `int64?` is Int64, `double?` Float64.

    `notes`: run -> node -> [name, value] of each further fact that a process noted. `samples`: None where nothing was
    sampled; its times are on the clock of the machine that sampled, and not aligned.
    """

    spans: pd.DataFrame
    messages: pd.DataFrame
    steps: pd.DataFrame
    cell: Mapping[str, Any]
    clock: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    samples: pd.DataFrame | None = None


def load(cell_dir: Path, aligned: bool = True) -> Tables:
    """The tables of a saved cell. `aligned`: all times on the clock of each run's reference node; else as recorded.

    Raises `UsageError` when the folder is no saved cell, `TraceError` when a file is missing, broken, or of a newer format.
    """
    folder = CellFolder(Path(cell_dir))
    cell = folder.read()
    frames = {name: frame(arrow.read(folder.table(name), name)) for name in TABLES}
    clock = read_json(folder.clock, "a saved cell")
    notes = read_json(folder.notes, "a saved cell")["runs"] if folder.notes.exists() else {}
    warnings = align(frames, clock) if aligned else ()
    sampled = folder.table(SAMPLES)
    samples = frame(arrow.read(sampled, SAMPLES)) if sampled.exists() else None
    return Tables(frames["spans"], frames["messages"], frames["steps"], cell, clock, warnings, notes, samples)
