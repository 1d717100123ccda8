"""Reads all nodes' times on the reference node's clock, and checks that no message arrives before it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from breakdown.clock.offset import SAME_KERNEL, Offset
from breakdown.store.clocks import offset_of
from breakdown.store.frames import integers, nullable_integers

_PPB = 1_000_000_000
_UNKNOWN_NS = 1 << 62  # the slack of a clock that cannot be compared: no message of it is judged

# table -> (role column, rank column, time columns of that node)
_OWNERS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "spans": (("role", "rank", ("start_ns", "end_ns")),),
    "steps": (("", "rank", ("start_ns", "end_ns")),),
    "messages": (
        ("sender_role", "sender_rank", ("send_start_ns", "send_end_ns")),
        ("receiver_role", "receiver_rank", ("recv_start_ns", "recv_end_ns")),
    ),
}


def align(frames: Mapping[str, pd.DataFrame], clock: Mapping[str, Any]) -> tuple[str, ...]:
    """Moves the times in these frames (the files stay as they are) to the reference's clock; returns warnings.

    Account 4: messages whose first byte arrives before their sending starts, by more than the bounds of both clocks
    together, are counted in a warning. None such should exist.
    """
    warnings: list[str] = []
    messages = frames["messages"]
    slack_ns = np.zeros(len(messages), dtype=np.int64)
    for run, entry in clock["runs"].items():
        for node, values in entry["nodes"].items():
            offset = offset_of(values)
            if offset == SAME_KERNEL:
                continue
            for role_column, rank_column, (start, _) in _OWNERS["messages"]:
                mine = _rows_of(messages, int(run), node, role_column, rank_column)
                slack_ns[mine] += _UNKNOWN_NS // 2 if offset is None else bounds(offset, integers(messages[start])[mine])
            if offset is None:
                warnings.append(f"run {run}: the times of {node} stay on its own clock, which could not be aligned")
            else:
                _move(frames, int(run), node, offset)
    early = _early(messages, slack_ns)
    if early:
        warnings.append(
            f"{early} of {len(messages)} messages arrive before they were sent, beyond the bounds of the clocks: their "
            "times on the wire are wrong"
        )
    return tuple(warnings)


def offsets(offset: Offset, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`Offset.offset_at` of many times."""
    drifted = np.rint(offset.drift_ppb * (times_ns - offset.at_ns) / _PPB)
    return offset.offset_ns + drifted.astype(np.int64)


def bounds(offset: Offset, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`Offset.bound_at` of many times."""
    outside = np.maximum(np.maximum(offset.at_ns - times_ns, times_ns - offset.until_ns), 0)
    return offset.bound_ns + np.ceil(offset.drift_bound_ppb * outside / _PPB).astype(np.int64)


def _move(frames: Mapping[str, pd.DataFrame], run: int, node: str, offset: Offset) -> None:
    for table, owners in _OWNERS.items():
        frame = frames[table]
        for role_column, rank_column, columns in owners:
            mine = _rows_of(frame, run, node, role_column, rank_column)
            for column in columns:
                times = integers(frame[column]).copy()
                times[mine] += offsets(offset, times[mine])
                missing = frame[column].isna().to_numpy()
                frame[column] = nullable_integers(times, missing) if table == "messages" else times


def _rows_of(frame: pd.DataFrame, run: int, node: str, role_column: str, rank_column: str) -> npt.NDArray[np.bool_]:
    """The rows of this node. Without a role column the rows are workers'."""
    role, _, rank = node.rpartition("-")
    mine = (frame["run"] == run) & (frame[rank_column] == int(rank))
    if role_column:
        mine &= frame[role_column] == role
    elif role != "worker":
        mine &= False
    found: npt.NDArray[np.bool_] = mine.to_numpy()
    return found


def _early(messages: pd.DataFrame, slack_ns: npt.NDArray[np.int64]) -> int:
    """How many messages arrive more than their slack before they were sent."""
    both = (messages["send_start_ns"].notna() & messages["recv_start_ns"].notna()).to_numpy()
    lead_ns = integers(messages["send_start_ns"]) - integers(messages["recv_start_ns"])
    return int(np.count_nonzero(both & (lead_ns > slack_ns)))
