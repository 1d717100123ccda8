"""Watches the disk that results go to, so that a run ends while its traces, tables and message can still be written."""

from __future__ import annotations

import os
from pathlib import Path

from breakdown.errors import RunError
from breakdown.launch.outcome import Stop

RESERVE_BYTES = 32 << 20
"""Kept free: the tables of a run of a million spans take about this, next to the traces that they are made from."""


def shortage(folder: Path, reserve_bytes: int = RESERVE_BYTES) -> Stop | None:
    """A reason to stop when less than the reserve is free where `folder` lies."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free >= reserve_bytes:
        return None
    reserve = f"{reserve_bytes >> 20} are kept for tables and messages"
    return Stop(
        f"the disk of {folder} is full ({free / 2**20:.1f} MiB free, {reserve})",
        "Free some space, then go on with --resume, or choose another --output.",
    )


def check(folder: Path) -> None:
    """Raises `RunError` when the disk is too full to start."""
    stop = shortage(folder)
    if stop is not None:
        raise RunError(f"{stop.why}. {stop.remedy}")
