"""A repetition whose end the tool did not see: noted as such before it starts, so a killed tool leaves a true cell.json."""

from __future__ import annotations

from typing import Any

_TEXT = "the tool ended before this repetition did"
NOT_ENDED = f"{_TEXT}, or still runs. Once it has ended, `breakdown collect` brings in what was recorded until then"


def is_unfinished(entry: dict[str, Any]) -> bool:
    """Whether the tool has not come back to this entry of cell.json's `runs`."""
    return entry["status"] == "failed" and str(entry["error"]).startswith(_TEXT)


def finished(entry: dict[str, Any]) -> None:
    """The tool has come back to it: what was recorded is in the tables."""
    entry["error"] = _TEXT
