"""The format version of a saved cell: refused when it is newer than this program, brought up to date when it is older."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from breakdown.errors import TraceError
from breakdown.model.schema import FORMAT_VERSION

Migration = Callable[[Path, dict[str, Any]], dict[str, Any]]
"""Brings a cell's files from one version to the next: (folder, content of cell.json) -> new content of cell.json."""


def _as_it_is(folder: Path, cell: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: a column was added, which `store.arrow` reads as null where it is not there."""
    return cell


MIGRATIONS: Mapping[int, Migration] = {1: _as_it_is}
"""From version -> the migration to the version after it."""


def current(
    folder: Path,
    cell: dict[str, Any],
    version: int = FORMAT_VERSION,
    migrations: Mapping[int, Migration] = MIGRATIONS,
) -> dict[str, Any]:
    """The content of cell.json at `version`, after all migrations that it needs.

    Raises `TraceError` for a newer format, and for one that no migration leads from.
    """
    found = cell.get("format_version")
    if not isinstance(found, int):
        raise TraceError(f"{folder / 'cell.json'} has no format_version. Restore the file, or measure again.")
    if found > version:
        raise TraceError(
            f"{folder} was written in format {found}; this version of breakdown reads up to {version}. Install a newer one."
        )
    while found < version:
        if found not in migrations:
            raise TraceError(f"{folder} was written in format {found}, which nothing leads from. Measure again.")
        cell = {**migrations[found](folder, cell), "format_version": found + 1}
        found += 1
    return cell
