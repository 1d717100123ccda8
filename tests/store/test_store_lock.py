"""A result's lock: one writer, who is named; free as soon as its holder is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breakdown.errors import UsageError
from breakdown.store.lock import NAME, held, root_of

HOLD = "import sys, pathlib, time; from breakdown.store.lock import held\n"
HOLD += "with held(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_second_writer_is_told_who_holds_it_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = f"written to by process {holder.pid}, since 20.*: -c .*out"
        with pytest.raises(UsageError, match=said), held(tmp_path / "out"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=10)
    assert (tmp_path / "out" / NAME).exists()
    with held(tmp_path / "out") as file:
        assert not os.get_inheritable(file)
    assert not (tmp_path / "out" / NAME).exists()


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with held(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_a_cell_is_guarded_by_its_experiment(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").touch()
    assert root_of(tmp_path / "cell") == tmp_path
    assert root_of(tmp_path) == tmp_path
