"""The end of a user's own command under `breakdown trace`: what was said and kept, and that nothing is left running."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from breakdown.store.tables import Tables, load


@dataclass(frozen=True)
class Ended:
    """What `breakdown trace` said, and what it kept."""

    code: int
    out: str
    err: str
    tables: Tables

    @property
    def nodes(self) -> set[str]:
        return set(self.tables.clock["runs"]["0"]["nodes"])

    @property
    def warnings(self) -> list[str]:
        found: list[str] = self.tables.cell["runs"][0]["warnings"]
        return found


def ended(process: subprocess.Popen[str], folder: Path, timeout_s: float) -> Ended:
    """Nothing may be left running."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    assert left_running(folder) == []
    return Ended(process.returncode, out, err, load(folder / "out" / "command"))


def left_running(folder: Path) -> list[int]:
    """The processes that record below this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("BREAKDOWN_TRACE_DIR", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
