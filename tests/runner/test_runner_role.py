"""The entry of a role process: exit codes, messages, and a trace that is closed in all cases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from breakdown.config.cell import Cell
from breakdown.record.tracefile import read

pytestmark = pytest.mark.e2e

TINY = {"features": 8, "hidden": 8, "layers": 1}


def spec(folder: Path, **changes: Any) -> Path:
    cell = Cell(backend="single", workload_options=TINY, batch_size=2, steps=3, warmup_steps=1)
    content = {
        "cell": {**asdict(cell), **changes.pop("cell", {})},
        "run": 4,
        "rendezvous": "",
        "token": "t",
        "role": "worker",
        "rank": 0,
        "threads": 1,
        "trace": str(folder / "worker-0.trace"),
        **changes,
    }
    path = folder / "worker-0.json"
    path.write_text(json.dumps(content))
    return path


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "breakdown.runner.role", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_it_runs_its_role_and_leaves_a_whole_trace(tmp_path: Path) -> None:
    assert finish(start(spec(tmp_path))) == (0, "")
    trace = read(str(tmp_path / "worker-0.trace"))
    assert trace.warnings == ()
    assert (trace.meta["run"], trace.meta["role"], trace.meta["rank"]) == (4, "worker", 0)


def test_without_recording_there_is_no_trace(tmp_path: Path) -> None:
    assert finish(start(spec(tmp_path, cell={"record": False}))) == (0, "")
    assert not (tmp_path / "worker-0.trace").exists()


def test_what_we_can_explain_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    code, out = finish(start(spec(tmp_path, cell={"workload": "mpl"})))
    assert code == 1
    assert out.startswith("worker-0: unknown workload 'mpl'")
    assert out.count("\n") == 1
    assert read(str(tmp_path / "worker-0.trace")).warnings == ()  # closed all the same


def test_what_we_cannot_explain_is_a_traceback(tmp_path: Path) -> None:
    code, out = finish(start(spec(tmp_path, cell={"learning_rate": "fast"})))
    assert code == 1
    assert "Traceback" in out
    assert read(str(tmp_path / "worker-0.trace")).warnings == ()


def test_a_spec_that_is_not_there(tmp_path: Path) -> None:
    code, out = finish(start(tmp_path / "worker-7.json"))
    assert code == 1
    assert out.startswith("worker-7: cannot read the spec ")
    assert "Traceback" not in out


def test_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    code, out = finish(start(spec(tmp_path, trace=str(tmp_path / "none" / "worker-0.trace"))))
    assert code == 1
    assert "worker-0.trace" in out
    assert "Traceback" not in out


def test_sigterm_flushes_the_trace(tmp_path: Path) -> None:
    process = start(spec(tmp_path, cell={"steps": 10**9}))
    trace = tmp_path / "worker-0.trace"
    deadline = time.monotonic() + 60
    # Past the file's first block: records have come in.
    while not (trace.exists() and os.path.getsize(trace) > 10_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (128 + signal.SIGTERM, "")
    assert read(str(trace)).warnings == ()
