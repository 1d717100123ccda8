"""Where the files of a result lie: `results/<experiment>/<cell-id>/`. Every other module asks here for a path.

experiment.json              name, description, cells in the order of the matrix
<cell-id>/cell.json          format_version, configuration, machine, versions, runs
<cell-id>/*.parquet          spans, messages, steps of all repetitions
<cell-id>/samples.parquet    what py-spy saw, where roles were sampled
<cell-id>/clock.json         per run and node: kernel, offset, bound, drift, raw pings
<cell-id>/notes.json         per run and node: further facts that a process noted, such as its shard plan
<cell-id>/log/run-<n>/       <role>-<rank>.log
<cell-id>/raw/run-<n>/       <role>-<rank>.trace, while a run goes on
<cell-id>/samples/run-<n>/   <role>-<rank>.json of py-spy, while a run goes on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.errors import UsageError
from breakdown.model.identity import Node
from breakdown.store.files import read_json, write_json
from breakdown.store.version import current

TABLES = ("spans", "messages", "steps")
SAMPLES = "samples"
"""A table that is there only where roles were sampled."""


@dataclass(frozen=True)
class CellFolder:
    """One cell's files. The folder need not be there before something is written."""

    path: Path

    def read(self) -> dict[str, Any]:
        """The content of cell.json, brought to the current format.

        Raises `UsageError` when this is no saved cell, `TraceError` when the file is broken or newer than this program.
        """
        return current(self.path, read_json(self.path / "cell.json", "a saved cell"))

    def write(self, cell: Mapping[str, Any]) -> None:
        """Replaces cell.json at once. Raises `TraceError` when it cannot be written."""
        write_json(self.path / "cell.json", cell)

    def exists(self) -> bool:
        return (self.path / "cell.json").is_file()

    def table(self, name: str) -> Path:
        """The Parquet file of one of `TABLES`, or of `SAMPLES`."""
        return self.path / f"{name}.parquet"

    @property
    def clock(self) -> Path:
        return self.path / "clock.json"

    @property
    def notes(self) -> Path:
        return self.path / "notes.json"

    def log_dir(self, run: int) -> Path:
        return self.path / "log" / f"run-{run}"

    def raw_dir(self, run: int) -> Path:
        return self.path / "raw" / f"run-{run}"

    def sample_dir(self, run: int) -> Path:
        return self.path / SAMPLES / f"run-{run}"

    def raw_file(self, run: int, node: Node) -> Path:
        """Where the process of this node records to."""
        return self.raw_dir(run) / f"{node}.trace"


@dataclass(frozen=True)
class ExperimentFolder:
    """One experiment's files."""

    path: Path

    def read(self) -> dict[str, Any]:
        """The content of experiment.json. Raises `UsageError` when this is no experiment, `TraceError` when it is broken."""
        return read_json(self.path / "experiment.json", "a saved experiment")

    def write(self, experiment: Mapping[str, Any]) -> None:
        """Replaces experiment.json at once. Raises `TraceError` when it cannot be written."""
        write_json(self.path / "experiment.json", experiment)

    def cell(self, cell_id: str) -> CellFolder:
        return CellFolder(self.path / cell_id)

    def cells(self) -> list[CellFolder]:
        """The saved cells, sorted by id. Raises `UsageError` when there is no such folder."""
        if not self.path.is_dir():
            raise UsageError(
                f"there is no folder {self.path}. Give one that `breakdown run` wrote, like results/quickstart."
            )
        return [CellFolder(file.parent) for file in sorted(self.path.glob("*/cell.json"))]
