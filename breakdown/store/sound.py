"""What must hold between the files of a cell, looked at whenever it is read: no file may lack what another one tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from breakdown.errors import TraceError
from breakdown.model.identity import Role
from breakdown.store import arrow
from breakdown.store.folder import TABLES, CellFolder
from breakdown.store.frames import integers

_LAST_RANK = 0xFFFF  # of `Node.code`
_MOST_NS = 1 << 62  # from one such time to another fits an int64
_LONGEST_NS = 1 << 53  # 104 days: the times of a thousand such steps still add up

_PLACES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "spans": (("role", "rank", ""),),
    "messages": (("sender_role", "sender_rank", "send_start_ns"), ("receiver_role", "receiver_rank", "recv_start_ns")),
    "steps": (("", "rank", ""),),
}
"""By table, the columns of who recorded a row, and the one that is null where it did not. No role: a worker."""

_PERIODS = {
    "spans": (("start_ns", "end_ns"),),
    "messages": (("send_start_ns", "send_end_ns"), ("recv_start_ns", "recv_end_ns")),
    "steps": (("start_ns", "end_ns"),),
}


def must_agree(
    folder: CellFolder,
    cell: Mapping[str, Any],
    frames: Mapping[str, pd.DataFrame],
    clock: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> tuple[str, ...]:
    """Warnings for repetitions that were done and have no rows.

    Raises `TraceError` where a table holds what cannot be, or where a file knows nothing of a repetition or a node that
    another one tells of.
    """
    for name, frame in frames.items():
        wrong = next(_impossible(name, frame), None)
        if wrong:
            raise TraceError(
                f"{folder.table(name)} holds {wrong}. Restore the file, or remove its folder and measure again."
            )
    known = {entry["run"] for entry in cell["runs"]}
    for name, frame in frames.items():
        runs = {int(run) for run in frame["run"].unique()}
        _must_know(folder.path / "cell.json", known, runs, folder.table(name).name)
        for path, content in ((folder.clock, clock), (folder.notes, notes)):
            _must_know(path, {int(run) for run in content["runs"]}, runs, folder.table(name).name)
        for run, node in _nodes(name, frame):
            if node not in clock["runs"][str(run)]["nodes"]:
                raise TraceError(
                    f"{folder.clock} knows no {node} in repetition {run}, of which {folder.table(name).name} has rows. "
                    "Restore the file, or remove its folder and measure again."
                )
    done = [entry["run"] for entry in cell["runs"] if entry["status"] == "done"]
    empty = {run: [name for name in ("spans", "steps") if not (frames[name]["run"] == run).any()] for run in done}
    return tuple(
        f"repetition {run} was done, but has no row in {' and '.join(f'{name}.parquet' for name in names)}"
        for run, names in empty.items()
        if names
    )


def must_know_all(folder: CellFolder) -> None:
    """Raises `TraceError` where a table that is there has rows of a repetition that cell.json does not know.

    A new repetition would take its number, and replace its rows.
    """
    known = {entry["run"] for entry in folder.read()["runs"]}
    for path, name in ((folder.table(name), name) for name in TABLES):
        if path.exists():
            runs = pc.unique(arrow.read(path, name)["run"]).to_pylist()
            _must_know(folder.path / "cell.json", known, set(runs), path.name)


def _must_know(path: Any, known: set[int], runs: set[int], table: str) -> None:
    for run in sorted(runs - known):
        raise TraceError(
            f"{path} knows no repetition {run}, of which {table} has rows. "
            "Restore the file, or remove its folder and measure again."
        )


def _impossible(name: str, frame: pd.DataFrame) -> Iterator[str]:
    """What no recorder writes, and what sums could not hold."""
    if not len(frame):
        return
    for _, rank, _ in _PLACES[name]:
        yield from _beyond(frame, rank, 0, _LAST_RANK)
    for column in ("run", "size_bytes", "samples"):
        if column in frame:
            yield from _beyond(frame, column, 0, _LONGEST_NS)
    for column in ("request_id", "cause_id"):
        if column in frame:
            yield from _beyond(frame, column, 0, (1 << 63) - 1)
    yield from _beyond(frame, "step", -1 if name != "steps" else 0, 1 << 31)
    for start, end in _PERIODS[name]:
        for column in (start, end):
            yield from _beyond(frame, column, -_MOST_NS, _MOST_NS)
        longest = int(np.max(integers(frame[end]) - integers(frame[start])))
        if longest > _LONGEST_NS and not frame[[start, end]].isna().to_numpy().any():
            yield f"a time of {longest} ns from {start} to {end}"
    known = [role.label for role in Role]
    for role, _, _ in _PLACES[name]:
        if role:
            strange = [text for text in frame[role].unique() if text not in known]
            if strange:
                yield f"the {role} {strange[0]!a}, which is none of {', '.join(known)}"


def _beyond(frame: pd.DataFrame, column: str, low: int, high: int) -> Iterator[str]:
    values = integers(frame[column])
    for value in (int(values.min()), int(values.max())):
        if not low <= value <= high:
            yield f"{value} in {column}, which is not within {low} and {high}"


def _nodes(name: str, frame: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """(repetition, "worker-0") of all that recorded rows."""
    for role, rank, recorded in _PLACES[name]:
        mine = frame[frame[recorded].notna().to_numpy()] if recorded else frame
        columns = ["run", *([role] if role else []), rank]
        for values in mine[columns].drop_duplicates().itertuples(index=False):
            yield int(values[0]), f"{values[1] if role else Role.WORKER.label}-{values[-1]}"
