"""Loads a saved cell: its three tables as pandas frames, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from breakdown.errors import TraceError
from breakdown.store import arrow, contents
from breakdown.store.align import align
from breakdown.store.files import read_json
from breakdown.store.folder import SAMPLES, TABLES, CellFolder
from breakdown.store.frames import frame
from breakdown.store.sound import must_agree


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

    Raises `UsageError` when the folder is no saved cell, `TraceError` when a file is missing, broken, of a newer format, or
    does not know what another one tells of. Samples are a witness: a warning says where those cannot be had.
    """
    folder = CellFolder(Path(cell_dir))
    cell = folder.read()
    frames = {name: frame(arrow.read(folder.table(name), name)) for name in TABLES}
    clock, notes = read_json(folder.clock, contents.Clock), read_json(folder.notes, contents.Notes)
    empty = must_agree(folder, cell, frames, clock, notes)
    warnings = align(frames, clock) if aligned else ()
    samples, missing = _samples(folder, cell)
    spans, messages, steps = (frames[name] for name in TABLES)
    return Tables(spans, messages, steps, cell, clock, (*warnings, *empty, *missing), notes["runs"], samples)


def _samples(folder: CellFolder, cell: Mapping[str, Any]) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """What py-spy saw, None where there is nothing; and a warning where something should be."""
    path = folder.table(SAMPLES)
    try:
        if path.exists():
            return frame(arrow.read(path, SAMPLES)), ()
    except TraceError as error:
        return None, (f"nothing of what py-spy saw is shown: {error}",)
    rates = [entry["sample_rate_hz"] for entry in cell["runs"] if "sample_rate_hz" in entry]
    return None, (f"nothing of what py-spy saw is shown: there is no {path.name}",) if rates else ()
