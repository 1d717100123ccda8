"""Watches the disk that results go to, so that a run ends while its traces, tables and message can still be written."""

from __future__ import annotations

import os
from pathlib import Path

from breakdown.errors import RunError
from breakdown.launch.outcome import Stop

RESERVE_BYTES = 32 << 20
"""Kept free: the tables of a run of a million spans take about this, next to the traces that they are made from."""

GO_ON = "Free some space, then go on with --resume, or choose another --output."
BEGIN = "Free some space, or choose another --output."


def shortage(folder: Path, reserve_bytes: int = RESERVE_BYTES, remedy: str = GO_ON) -> Stop | None:
    """A reason to stop, with what to do then, when less than the reserve is free where `folder` lies, or would."""
    found = os.statvfs(next(one for one in (folder, *folder.absolute().parents) if one.exists()))
    free = found.f_bavail * found.f_frsize
    if free >= reserve_bytes or not found.f_blocks:  # /proc and its like have no size: they refuse what is written
        return None
    reserve = f"{reserve_bytes >> 20} are kept for tables and messages"
    return Stop(f"the disk of {folder} is full ({free / 2**20:.1f} MiB free, {reserve})", remedy)


def check(folder: Path, remedy: str = BEGIN) -> None:
    """Raises `RunError` when the disk of `folder` is too full to start."""
    stop = shortage(folder, remedy=remedy)
    if stop is not None:
        raise RunError(f"{stop.why}. {stop.remedy}")
