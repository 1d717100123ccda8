"""From a cell to processes, and what is told to them."""

from __future__ import annotations

import json
import socket
import stat
import sys
from pathlib import Path

import pytest

from breakdown.backends import registry
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError, EnvironmentMissingError, RunError
from breakdown.runner import machine
from breakdown.runner.implementation import backend
from breakdown.runner.plan import Prepared, check, prepare, remove_specs, write_specs
from breakdown.store.folder import CellFolder


def prepared(folder: Path, cell: Cell, run: int = 0) -> Prepared:
    return prepare(cell, "the-cell", run, CellFolder(folder), [0, 1])


def test_a_single_node(tmp_path: Path) -> None:
    found = prepared(tmp_path, Cell(backend="single", timeout_s=9.0), run=2)
    (process,) = found.plan.processes
    spec = tmp_path / "raw" / "run-2" / "worker-0.json"
    assert (found.plan.cell_id, found.plan.run, found.plan.timeout_s) == ("the-cell", 2, 9.0)
    assert process.argv == (sys.executable, "-m", "breakdown.runner.role", str(spec))
    assert process.cores == (0,)
    assert process.log == tmp_path / "log" / "run-2" / "worker-0.log"
    assert {process.env[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"1"}
    content = found.specs[spec]
    assert Cell(**content["cell"]) == Cell(backend="single", timeout_s=9.0)
    assert (content["role"], content["rank"], content["run"], content["rendezvous"]) == ("worker", 0, 2, "")
    assert content["trace"] == str(tmp_path / "raw" / "run-2" / "worker-0.trace")
    assert not list(tmp_path.iterdir())  # nothing is written by planning


def test_a_parameter_server(tmp_path: Path) -> None:
    found = prepared(tmp_path, Cell(workers=2, servers=2, transport="zmq"))
    names = [str(process.node) for process in found.plan.processes]
    assert names == ["scheduler-0", "server-0", "server-1", "worker-0", "worker-1"]
    specs = list(found.specs.values())
    assert len({spec["rendezvous"] for spec in specs}) == 1
    assert specs[0]["rendezvous"].startswith("zmq://127.0.0.1:")
    assert len({spec["token"] for spec in specs}) == 1
    assert len(specs[0]["token"]) == 32
    assert prepared(tmp_path, Cell()).specs.keys() != {}
    assert next(iter(prepared(tmp_path, Cell()).specs.values()))["token"] != specs[0]["token"]


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            RunError, match=rf"port {port} on 127\.0\.0\.1 cannot be used: Address already in use\. .*port: 0"
        ):
            prepared(tmp_path, Cell(port=port))
        prepared(tmp_path, Cell(backend="single", port=port))  # it needs no port
    specs = prepared(tmp_path, Cell(port=port)).specs
    assert next(iter(specs.values()))["rendezvous"] == f"tcp://127.0.0.1:{port}"


def test_specs_are_for_their_owner_only_and_go_away(tmp_path: Path) -> None:
    found = prepared(tmp_path, Cell(backend="single"))
    write_specs(found.specs)
    (path,) = found.specs
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == found.specs[path]
    remove_specs(path.parent)
    assert not (tmp_path / "raw").exists()


def test_traces_stay_when_specs_go(tmp_path: Path) -> None:
    found = prepared(tmp_path, Cell(backend="single"))
    write_specs(found.specs)
    trace = tmp_path / "raw" / "run-0" / "worker-0.trace"
    trace.write_bytes(b"")
    remove_specs(trace.parent)
    assert list(trace.parent.iterdir()) == [trace]
    remove_specs(tmp_path / "nowhere")


def test_specs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("in the way")
    found = prepared(tmp_path, Cell(backend="single"))
    with pytest.raises(RunError, match=r"cannot write .*worker-0\.json: Not a directory\. A part of this path is a file"):
        write_specs(found.specs)


def test_workloads_are_checked_before_anything_starts() -> None:
    check(Cell(workload="mlp", workload_options={"hidden": 8}))
    with pytest.raises(ConfigError, match=r"unknown workload 'mpl'.*Did you mean 'mlp'\?"):
        check(Cell(workload="mpl"))
    with pytest.raises(ConfigError, match=r"unknown option 'hiden'.*Did you mean 'hidden'\?"):
        check(Cell(workload="mlp", workload_options={"hiden": 8}))


def test_a_framework_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_a_framework.py").write_text("class Other:\n    framework = 'no_such_framework'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.BACKENDS, "other", "needs_a_framework:Other")
    with pytest.raises(
        EnvironmentMissingError, match=r"backend 'other' needs no_such_framework, .*pip install no_such_framework"
    ):
        backend("other")
    with pytest.raises(ConfigError, match=r"unknown backend 'tensorflw'"):
        backend("tensorflw")


def test_a_fault_of_our_own_is_not_called_a_missing_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "other", "breakdown.backends.nothing:Other")
    with pytest.raises(ModuleNotFoundError):
        backend("other")


def test_machine_and_versions() -> None:
    about = machine.describe()
    assert about["cores"] >= 1
    assert about["memory_bytes"] > 2**28
    assert about["cpu_model"]
    assert about["kernel"]
    found = machine.versions()
    assert found["python"] == sys.version.split()[0]
    assert all(found[name] for name in ("breakdown", "torch", "numpy"))
    commit = machine.commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40
