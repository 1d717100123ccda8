"""py-spy on real processes: found by the trace that they have open, attached to, ended with them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakdown.launch import sampling
from breakdown.launch.sampling import Places, Sampling, recorded_by
from breakdown.model.identity import Node, Role

WORKER = Node(Role.WORKER, 3)
SCRIPT = """
import sys
with open(sys.argv[1], "w") as trace:
    print("up", flush=True)
    while True:
        sum(range(1000))
"""
END_S = 60
"""For py-spy to say something: it ends a test that hangs."""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "raw", tmp_path / "samples", tmp_path / "log")
    found.traces.mkdir()
    return found


@pytest.fixture
def role(places: Places) -> Iterator[subprocess.Popen[str]]:
    """A process that records as worker 3, and works until it is ended."""
    command = [sys.executable, "-c", SCRIPT, str(places.traces / "worker-3.native.trace")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_role_is_known_by_the_trace_that_it_has_open(places: Places, role: subprocess.Popen[str], tmp_path: Path) -> None:
    assert recorded_by(role.pid, places.traces) == WORKER
    assert recorded_by(role.pid, tmp_path) is None
    role.kill()
    role.wait()
    assert recorded_by(role.pid, places.traces) is None


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + END_S
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, f"py-spy does not say '{text}'"
        time.sleep(0.05)


@pytest.mark.e2e
def test_a_role_is_sampled_until_it_ends(places: Places, role: subprocess.Popen[str]) -> None:
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    with Sampling(places, 100, lambda: [role.pid], [WORKER]) as seen:
        wait_for("Sampling process", places.logs / "worker-3.py-spy.log")
        time.sleep(1)  # a hundred looks, of which one is enough
        role.kill()
        role.wait()
    assert seen.warnings == ()
    (capture,) = seen.captures
    assert capture.node == WORKER
    names = {event["name"] for event in json.loads(capture.output.read_text())}
    assert "<module>" in names
    assert (places.logs / "worker-3.py-spy.log").is_file()


@pytest.mark.e2e
def test_what_cannot_be_attached_to_is_said(places: Places) -> None:
    """A process that is no Python program."""
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    trace = places.traces / "server-0.trace"
    with subprocess.Popen(["sh", "-c", f"exec 3>{trace}; exec sleep 300"]) as other:
        with Sampling(places, 100, lambda: [other.pid]) as seen:
            wait_for("Error", places.logs / "server-0.py-spy.log")
        other.kill()
    assert seen.captures == ()
    (warning,) = seen.warnings
    assert warning.startswith("server-0 was not sampled: ")


def test_without_py_spy_the_block_runs_and_says_so(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "program", lambda: None)
    with Sampling(places, 100, list) as seen:
        pass
    assert seen.warnings == ("nothing was sampled: py-spy is not installed (pip install py-spy)",)
