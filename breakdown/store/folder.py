"""Where the files of a result lie: `results/<experiment>/<cell-id>/`. Every other module asks here for a path.
What stands in the JSON files is told in `store.contents`, what in the tables in `model.schema`.

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
from breakdown.store import contents
from breakdown.store.files import checked, parse_json, read_json, write_json
from breakdown.store.version import current

TABLES = ("spans", "messages", "steps")
SAMPLES = "samples"
"""A table that is there only where roles were sampled."""

_EXAMPLE = "Give a folder like results/quickstart"


@dataclass(frozen=True)
class CellFolder:
    """One cell's files. The folder need not be there before something is written."""

    path: Path

    def read(self) -> dict[str, Any]:
        """The content of cell.json, brought to the current format.

        Raises `UsageError` when this is no saved cell, `TraceError` when the file is broken or newer than this program.
        """
        path = self.path / "cell.json"
        if not self.exists():
            raise UsageError(f"{self.path} is not a saved cell: it has no cell.json. {_EXAMPLE}/<cell>.")
        return checked(path, current(self.path, parse_json(path)), contents.Cell)

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
        return self.path.joinpath("log", f"run-{run}")

    def raw_dir(self, run: int) -> Path:
        return self.path.joinpath("raw", f"run-{run}")

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
        path = self.path / "experiment.json"
        if not self.exists():
            raise UsageError(f"{self.path} is not a saved experiment: it has no experiment.json. {_EXAMPLE}.")
        return read_json(path, contents.Experiment)

    def write(self, experiment: Mapping[str, Any]) -> None:
        """Replaces experiment.json at once. Raises `TraceError` when it cannot be written."""
        write_json(self.path / "experiment.json", experiment)

    def exists(self) -> bool:
        return (self.path / "experiment.json").is_file()

    def cell(self, cell_id: str) -> CellFolder:
        return CellFolder(self.path / cell_id)

    def cells(self) -> list[CellFolder]:
        """The saved cells, sorted by id. Raises `UsageError` when there is no such folder."""
        if not self.path.is_dir():
            raise UsageError(
                f"there is no folder {self.path}. Give one that `breakdown run` wrote, like results/quickstart."
            )
        return [CellFolder(file.parent) for file in sorted(self.path.glob("*/cell.json"))]


def listed(experiment: ExperimentFolder) -> tuple[tuple[CellFolder, ...], tuple[str, ...]]:
    """The saved cells in the order of the matrix, those that it does not name last; and a line for each that is gone.

    Gone is a cell that experiment.json names, and a folder with measurements, which have no cell.json.
    """
    names = experiment.read()["cells"]
    order = {name: place for place, name in reversed([*enumerate(names)])}
    found = sorted(experiment.cells(), key=lambda cell: order.get(cell.path.name, len(order)))
    there = {cell.path.name for cell in found}
    strays = {path.parent.name for path in experiment.path.glob("*/*.parquet")} | {
        path.parent.name for path in experiment.path.glob("*/raw")
    }
    lost = [name for name in (*order, *sorted(strays - {*order})) if name not in there]
    gone = (
        f"{name}: {experiment.path / name} has no cell.json. Restore it, or remove the folder and measure again."
        if (experiment.path / name).is_dir()
        else f"{name}: {experiment.path} has no folder {name}. Restore it, or measure again."
        for name in lost
    )
    return tuple(found), tuple(gone)
