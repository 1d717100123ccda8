"""What must hold when things go wrong in a real parameter-server run.

Each time: a message that names the role, its rank and its log; all other roles ended within 10 s; nothing left running;
traces kept and readable; the next cell goes on; exit code 1.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from running_tool import ENDLESS, Tool, experiment, wait_until
from support.signals import defaults

from breakdown.runner.disk import RESERVE_BYTES
from breakdown.store.folder import CellFolder
from breakdown.store.tables import load

pytestmark = pytest.mark.e2e

NODES = ("server-0", "worker-0", "worker-1")
ENDLESS_THEN_SINGLE = f"include: [{{workers: 2, steps: {ENDLESS}}}, {{backend: single}}]"


def started(folder: Path) -> Tool:
    path = experiment(folder, ENDLESS_THEN_SINGLE)
    return Tool(["run", path, "--output", folder / "results"], folder)


def cell(folder: Path, backend: str) -> CellFolder:
    (found,) = (folder / "results").glob(f"{backend}-*")
    return CellFolder(found)


@pytest.mark.parametrize("node", ["worker-1", "server-0", "scheduler-0"])
def test_a_role_is_killed(tmp_path: Path, node: str) -> None:
    with started(tmp_path) as tool:
        roles = tool.wait_for_training(tmp_path / "results", *NODES)
        roles[node].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        psutil.wait_procs(list(roles.values()), timeout=10)
        assert time.monotonic() - killed < 10
        code, out, err = tool.finish()
        assert tool.left_running() == []
    failed = cell(tmp_path, "torch_ps")
    log = failed.log_dir(0) / f"{node}.log"
    assert code == 1
    assert f"{node} was killed by SIGKILL after " in out
    assert f"Log: {log}" in out
    assert f"breakdown: 1 repetition failed:\n{failed.path.name}, round 1: {node} was killed by SIGKILL" in err
    assert "Traceback" not in out + err
    (entry,) = failed.read()["runs"]
    assert (entry["status"], entry["log"]) == ("failed", f"log/run-0/{node}.log")
    assert log.is_file()
    tables = load(failed.path)
    assert {"worker", "server"} <= set(tables.spans["role"])
    assert len(tables.steps) > 10
    assert [entry["status"] for entry in cell(tmp_path, "single").read()["runs"]] == ["done"]
    assert (tmp_path / "results" / "report.html").is_file()


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGINT] * 8, [signal.SIGTERM], [signal.SIGHUP]],
    ids=["Ctrl-C", "many Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_the_tool_is_interrupted(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    with defaults(signal.SIGHUP):
        tool = started(tmp_path)
    with tool:
        tool.wait_for_training(tmp_path / "results", *NODES)
        sent = time.monotonic()
        for number in numbers:
            tool.popen.send_signal(number)
            time.sleep(0.1)  # whatever the tool is at when the next comes, all must hold
        wait_until(lambda: not tool.left_running(), 10, "the roles to end")
        assert time.monotonic() - sent < 10
        code, out, err = tool.finish(timeout_s=60)
    failed = cell(tmp_path, "torch_ps")
    assert code == 1
    assert err.startswith("breakdown: interrupted")
    if len(numbers) == 1:  # a further one may come as the message is made
        assert f"interrupted during repetition 0 of {failed.path.name}; all its processes are ended. Logs: " in err
        assert str(failed.log_dir(0)) in err
    assert "Traceback" not in out + err
    assert [(entry["status"], entry["error"]) for entry in failed.read()["runs"]] == [("failed", "interrupted")]
    assert len(load(failed.path).steps) > 10


def test_the_tool_is_killed(tmp_path: Path) -> None:
    with started(tmp_path) as tool:
        tool.wait_for_training(tmp_path / "results", *NODES)
        tool.popen.kill()
        wait_until(lambda: not tool.left_running(), 10, "the roles to end")
    failed = cell(tmp_path, "torch_ps")
    assert [entry["status"] for entry in failed.read()["runs"]] == ["failed"]
    assert all((failed.raw_dir(0) / f"{node}.trace").stat().st_size > 20_000 for node in NODES)
    path = experiment(tmp_path, ENDLESS_THEN_SINGLE)
    with Tool(["run", path, "--output", tmp_path / "results", "--resume"], tmp_path) as tool:
        tool.wait_for_training(tmp_path / "results", *NODES, run=1)
        assert not list(failed.raw_dir(0).parent.glob("run-0"))  # collected
        assert len(load(failed.path).steps) > 10
        tool.popen.send_signal(signal.SIGINT)
        tool.finish()


def test_a_role_that_cannot_answer_is_ended_all_the_same(tmp_path: Path) -> None:
    path = experiment(tmp_path, ENDLESS_THEN_SINGLE)
    with Tool(["run", path, "--output", tmp_path / "results"], tmp_path) as tool:
        roles = tool.wait_for_training(tmp_path / "results", *NODES)
        roles["server-0"].suspend()
        roles["worker-1"].send_signal(signal.SIGKILL)  # the suspended server can neither notice this nor handle SIGTERM
        psutil.wait_procs(list(roles.values()), timeout=10)
        code, _, err = tool.finish()
        assert tool.left_running() == []
    assert code == 1
    assert "worker-1 was killed by SIGKILL" in err


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        path = experiment(tmp_path, f"include: [{{port: {port}}}, {{backend: single}}]")
        with Tool(["run", path, "--output", tmp_path / "results"], tmp_path) as tool:
            code, out, err = tool.finish()
    assert code == 1
    assert f"port {port} on 127.0.0.1 cannot be used: Address already in use" in err
    assert "Traceback" not in out + err
    assert [entry["status"] for entry in cell(tmp_path, "single").read()["runs"]] == ["done"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, not much bigger than the reserve."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={RESERVE_BYTES + (4 << 20)}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    """The run ends while there is room for its message; the next cell is tried, and says the same."""
    path = experiment(tmp_path, ENDLESS_THEN_SINGLE)
    with Tool(["run", path, "--output", small_disk / "results"], tmp_path) as tool:
        tool.wait_for_training(small_disk / "results", *NODES)
        (small_disk / "filler").write_bytes(bytes(4 << 20))
        filled = time.monotonic()
        wait_until(lambda: not tool.roles(), 10, "the roles to end")
        assert time.monotonic() - filled < 10
        code, out, err = tool.finish()
        assert tool.left_running() == []
    (failed,) = (CellFolder(found) for found in (small_disk / "results").glob("torch_ps-*"))
    assert code == 1
    assert f"the disk of {failed.path} is full" in out
    assert f"worker-1 (log: {failed.log_dir(0) / 'worker-1.log'}). Free some space, then go on with --resume" in out
    assert err.startswith("breakdown: 2 repetitions failed:\n")
    assert "Traceback" not in out + err
    assert [entry["status"] for entry in failed.read()["runs"]] == ["failed"]
    assert len(load(failed.path).steps) > 10


def test_a_disk_without_any_room(tmp_path: Path, small_disk: Path) -> None:
    with open(small_disk / "filler", "wb") as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    path = experiment(tmp_path, "include: [{backend: single}]")
    with Tool(["run", path, "--output", small_disk / "results"], tmp_path) as tool:
        code, out, err = tool.finish()
    assert (code, out) == (1, "")
    assert err.startswith(f"breakdown: the disk of {small_disk / 'results'} is full (0.0 MiB free, ")
    assert err.count("\n") == 1
