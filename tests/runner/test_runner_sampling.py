"""`--sample`: py-spy beside the trace, from the plan to the report, for a backend of the tool and for a user's command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.homes import home

from breakdown.analysis.sampling.compare import sampled_roles
from breakdown.analysis.sampling.findings import ThreadSamples
from breakdown.cli.main import cli
from breakdown.launch import sampling
from breakdown.model.identity import Role
from breakdown.model.stages import Stage
from breakdown.store.folder import ExperimentFolder
from breakdown.store.tables import Tables, load

AGREES = 0.25
"""How far the sampled share of what a thread mostly does may be from the traced one. A hundred samples or more have a
standard error of 5 points, each taken a little late where cores are busy. A map that knows no such stack is off by more."""

EXPERIMENT = """
name: trial
repetitions: 1
defaults: {workload_options: {features: 256, hidden: 256, layers: 2}, batch_size: 64, warmup_steps: 2}
include:
"""


def breakdown(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "breakdown.cli", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def experiment(folder: Path, cell: str) -> Path:
    path = folder / "trial.yaml"
    path.write_text(f"{EXPERIMENT}  - {cell}\n")
    return path


def both_seen(threads: Iterable[ThreadSamples], name: str, stage: Stage | None) -> tuple[float, float]:
    """The share of a stage in a thread's time, sampled and traced."""
    (thread,) = (thread for thread in threads if thread.name == name)
    found = [share for share in thread.shares if share.stage == stage]
    return sum(share.sampled for share in found), sum(share.traced or 0.0 for share in found)


def only_cell(output: Path) -> Tables:
    (name,) = ExperimentFolder(output).read()["cells"]
    return load(output / name)


def test_the_plan_says_that_roles_would_be_sampled(tmp_path: Path) -> None:
    file = str(experiment(tmp_path, "{backend: single, steps: 5}"))

    def plan(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["plan", file, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert "sampled" not in plan()
    said = plan("--sample", "--sample-rate", "20")
    if sampling.program() is None:
        assert "note: not sampled: py-spy is not installed" in said
    else:
        assert "note: sampled, each role once it records:" in said
        assert "--rate 20" in said
    assert "note: not sampled: record is false" in plan("--sample", "--set", "record=false")


@pytest.mark.e2e
def test_every_role_of_a_parameter_server_is_sampled_and_shown(tmp_path: Path) -> None:
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    # Steps of some 5 ms where a machine is quick: it takes 1.5 s from a role's start until py-spy looks.
    file = experiment(tmp_path, "{backend: torch_ps, servers: 1, workers: 2, steps: 500}")
    said = breakdown(tmp_path, "run", file, "--output", "out", "--sample")
    assert "py-spy beside the trace, torch_ps 1s2w bsp: " in said
    tables = only_cell(tmp_path / "out")
    assert tables.cell["runs"][0]["warnings"] == []
    assert tables.cell["runs"][0]["sample_rate_hz"] == 50
    roles = sampled_roles(tables)
    assert [str(role.node) for role in roles] == ["scheduler-0", "server-0", "worker-0", "worker-1"]
    for role in roles:
        if role.node.role == Role.WORKER:
            assert both_seen(role.threads, "main", Stage.COMPUTE)[0] > both_seen(role.threads, "main", Stage.OTHER)[0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="second-sight"' in page
    assert page.count('<svg class="flame"') >= 3
    assert len(list((tmp_path / "out" / "plots").glob("flame-*.svg"))) == 4
    assert not list((tmp_path / "out").glob("*/samples"))


SCRIPT = """
import glob, time
import mxnet as mx
kv = mx.kv.create("local")
x = mx.nd.ones((1000, 1000))
kv.init(3, x)
end = None
while end is None or time.monotonic() < end:
    kv.push(3, mx.nd.dot(x, x))
    kv.pull(3, out=x)
    x = x / x.sum()
    x.wait_to_read()
    if end is None and any("Sampling process" in open(log).read() for log in glob.glob("out/command/log/*/*.py-spy.log")):
        end = time.monotonic() + 4
"""
"""Works for 4 s from when py-spy looks, whenever that is. Its operations are long against the time that a look takes."""


@pytest.mark.e2e
def test_a_users_own_command_is_sampled(tmp_path: Path) -> None:
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    python = home("mxnet").python
    (tmp_path / "script.py").write_text(SCRIPT)
    said = breakdown(tmp_path, "trace", "mxnet", "--sample", "--output", "out", "--", python, "script.py")
    assert "py-spy beside the trace" in said
    (role,) = sampled_roles(load(tmp_path / "out" / "command"))
    assert {"main", "engine"} <= {thread.name for thread in role.threads}
    seen, recorded = both_seen(role.threads, "engine", Stage.COMPUTE)
    assert recorded > 2 * AGREES
    assert seen == pytest.approx(recorded, abs=AGREES)


@pytest.mark.e2e
@pytest.mark.timeout(150)
def test_tensorflows_own_threads_are_sampled(tmp_path: Path) -> None:
    """A process that computes in one thread of TensorFlow's, while its main thread waits for that."""
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    home("tensorflow")
    path = tmp_path / "trial.yaml"
    cell = "{backend: tensorflow, tf_mode: local, batch_size: 256, steps: 60, warmup_steps: 5, trace_every: 1}"
    path.write_text(f"name: trial\nrepetitions: 1\ninclude:\n  - {cell}\n")
    breakdown(tmp_path, "run", path, "--output", "out", "--sample", "--sample-rate", "4")
    (role,) = sampled_roles(only_cell(tmp_path / "out"))
    # Some 25 samples are too few to compare shares. But the map knows what they show, and who waits is seen to wait.
    assert both_seen(role.threads, "tf_Compute", Stage.COMPUTE)[0] > both_seen(role.threads, "tf_Compute", Stage.OTHER)[0]
    assert both_seen(role.threads, "main", None)[0] > both_seen(role.threads, "main", Stage.OTHER)[0]
