"""`--sample`: py-spy beside the trace, from the plan to the report, for a backend of the tool and for a user's command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from breakdown.analysis.sampling.compare import sampled_roles
from breakdown.cli.main import cli
from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments, sampling
from breakdown.model.identity import Role
from breakdown.model.stages import Stage
from breakdown.store.folder import ExperimentFolder
from breakdown.store.tables import Tables, load

EXPERIMENT = """
name: trial
repetitions: 1
defaults: {workload_options: {features: 256, hidden: 512, layers: 2}, batch_size: 64, warmup_steps: 2}
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
    file = experiment(tmp_path, "{backend: torch_ps, servers: 1, workers: 2, steps: 150}")
    said = breakdown(tmp_path, "run", file, "--output", "out", "--sample")
    assert "py-spy beside the trace, torch_ps 1s2w bsp: " in said
    tables = only_cell(tmp_path / "out")
    assert tables.cell["runs"][0]["warnings"] == []
    assert tables.cell["runs"][0]["sample_rate_hz"] == 50
    roles = sampled_roles(tables)
    assert [str(role.node) for role in roles] == ["scheduler-0", "server-0", "worker-0", "worker-1"]
    for role in roles:
        if role.node.role == Role.WORKER:
            main = next(thread for thread in role.threads if thread.name == "main")
            shares = {share.stage: share.sampled for share in main.shares}
            assert shares[Stage.COMPUTE] > shares.get(Stage.OTHER, 0.0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="second-sight"' in page
    assert page.count('<svg class="flame"') >= 3
    assert len(list((tmp_path / "out" / "plots").glob("flame-*.svg"))) == 4
    assert not list((tmp_path / "out").glob("*/samples"))


SCRIPT = """
import mxnet as mx
kv = mx.kv.create("local")
x = mx.nd.ones((2000, 2000))
kv.init(3, x)
for _ in range(20):
    kv.push(3, mx.nd.dot(x, x))
    kv.pull(3, out=x)
    x = x / x.sum()
    x.wait_to_read()
"""


@pytest.mark.e2e
def test_a_users_own_command_is_sampled(tmp_path: Path) -> None:
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    try:
        python = environments.find("mxnet").python
    except EnvironmentMissingError as error:
        pytest.skip(str(error))
    (tmp_path / "script.py").write_text(SCRIPT)
    said = breakdown(tmp_path, "trace", "mxnet", "--sample", "--output", "out", "--", python, "script.py")
    assert "py-spy beside the trace" in said
    (role,) = sampled_roles(load(tmp_path / "out" / "command"))
    threads = {thread.name: thread for thread in role.threads}
    assert {"main", "engine"} <= set(threads)
    shares = {share.stage: share.sampled for share in threads["engine"].shares}
    assert shares[Stage.COMPUTE] > 0.2


@pytest.mark.e2e
@pytest.mark.timeout(150)
def test_tensorflows_own_threads_are_sampled(tmp_path: Path) -> None:
    """A process that computes in one thread of TensorFlow's, while its main thread waits for that."""
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    try:
        environments.find("tensorflow")
    except EnvironmentMissingError as error:
        pytest.skip(str(error))
    path = tmp_path / "trial.yaml"
    cell = "{backend: tensorflow, tf_mode: local, batch_size: 256, steps: 60, warmup_steps: 5, trace_every: 1}"
    path.write_text(f"name: trial\nrepetitions: 1\ninclude:\n  - {cell}\n")
    breakdown(tmp_path, "run", path, "--output", "out", "--sample", "--sample-rate", "4")
    (role,) = sampled_roles(only_cell(tmp_path / "out"))
    threads = {thread.name: {share.stage: share.sampled for share in thread.shares} for thread in role.threads}
    assert threads["main"][None] > 0.5
    assert threads["tf_Compute"].get(Stage.COMPUTE, 0.0) > 0.4
    assert threads["tf_Compute"].get(None, 0.0) < 0.4
