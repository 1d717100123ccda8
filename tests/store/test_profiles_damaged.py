"""Whatever stands in a profile, an import ends in a sound result or in a message: nothing else comes out.

`BREAKDOWN_FUZZ=5000` tries so many damaged profiles of each kind, not a hundred.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from profile_fuzz import damaged

from breakdown.analysis.account import account
from breakdown.errors import UsageError
from breakdown.runner.imports import CELL, import_profile
from breakdown.store.check import check
from breakdown.store.tables import load

COUNT = int(os.environ.get("BREAKDOWN_FUZZ", "100"))


@pytest.mark.timeout(max(60, COUNT))
@pytest.mark.parametrize("kind", ["xplane", "metadata", "timeline"])
def test_a_damaged_profile_gives_a_sound_result_or_a_message(kind: str, tmp_path: Path) -> None:
    path, sound = tmp_path / "profile", 0
    for seed in range(COUNT):
        path.write_bytes(damaged(kind, seed))
        try:
            said = _imported(path, tmp_path / "out")
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}") from error
        assert "\n" not in said, f"seed {seed}"
        assert not said or str(path) in said or "two steps of worker" in said, f"seed {seed}: {said}"
        sound += not said
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert sound > COUNT / 10


def _imported(path: Path, out: Path) -> str:
    """Imports a profile and takes it apart. Returns the message by which it was refused; "": it was not."""
    try:
        import_profile([path], out, 0, None, {})
    except UsageError as error:
        return str(error)
    tables = load(out / CELL)
    assert check(tables) == []
    account(tables)
    return ""
