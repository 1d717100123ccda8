"""MXNet as a backend: what is started, that it trains the same thing on one node and on several, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_home import mxnet_home, run_there

from breakdown.backends.api import Home, Start
from breakdown.backends.mxnet import backend
from breakdown.backends.mxnet.backend import WORKLOADS, MxnetBackend
from breakdown.config import validate
from breakdown.config.cell import Cell, Experiment
from breakdown.errors import ConfigError
from breakdown.model.identity import Node, Role
from breakdown.runner import matrix
from breakdown.runner.output import Existing
from breakdown.runner.plan import check
from breakdown.store.folder import ExperimentFolder
from breakdown.store.tables import Tables, load
from breakdown.workloads.names import complete
from breakdown.workloads.registry import build

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"features": 12, "hidden": 16, "layers": 2, "classes": 3},
    "cnn": {"image_size": 8, "width": 2, "classes": 3},
    "vgg16": {"image_size": 32, "classes": 3},
    "matrix_factorisation": {"users": 9, "items": 7, "rank": 4},
}
HOME = Home(Path("/env/bin/python"), Path("/env/injected"), Path("/env/lib/native.so"))


def start(cell: Cell, node: Node) -> Start:
    return Start(cell, 3, node, Path("/x/spec.json"), Path("/x/raw"), "127.0.0.1", 5000, 6000, 2, HOME)


def measure(folder: Path, *cells: Cell) -> list[Tables]:
    """Runs each cell once."""
    mxnet_home()
    outcome = matrix.run(Experiment("trial", "", 1, cells), folder / "out", Existing.REFUSE, lambda _: None)
    assert outcome.failures == ()
    experiment = ExperimentFolder(folder / "out")
    return [load(experiment.path / name) for name in experiment.read()["cells"]]


def small(**fields: Any) -> Cell:
    given = {"batch_size": 4, "steps": 6, "warmup_steps": 1, "learning_rate": 0.1, "timeout_s": 60.0} | fields
    return Cell(backend="mxnet", workload_options=SMALL[fields.get("workload", "mlp")], **given)


def tell(monkeypatch: pytest.MonkeyPatch, node: Node, **variables: str) -> None:
    """Gives one role further variables."""
    real = backend._job
    monkeypatch.setattr(backend, "_job", lambda start: {**real(start), **(variables if start.node == node else {})})


def losses(tables: Tables) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean over workers, by step."""
    return tables.steps.groupby("step")["loss"].mean().to_numpy(dtype=np.float64)


def test_a_single_node_is_one_process_that_knows_of_no_servers() -> None:
    cell = Cell(backend="mxnet", kvstore="local")
    (node,) = MxnetBackend().nodes(cell)
    command = MxnetBackend().command(start(cell, node))
    assert command.argv == ("/env/bin/python", "-m", "breakdown.backends.mxnet.role", "/x/spec.json")
    assert not [name for name in command.env if name.startswith("DMLC")]
    assert command.env["PYTHONPATH"] == "/env/injected"
    assert (command.env["LD_PRELOAD"], command.env["BREAKDOWN_TRACE_DIR"]) == ("/env/lib/native.so", "/x/raw")
    assert command.env["BREAKDOWN_RUN"] == "3"


def test_a_job_is_told_its_shape_and_where_its_scheduler_is() -> None:
    cell = Cell(backend="mxnet", workers=2, servers=3, split_bound_bytes=4000)
    nodes = MxnetBackend().nodes(cell)
    assert [str(node) for node in nodes] == ["scheduler-0", "server-0", "server-1", "server-2", "worker-0", "worker-1"]
    env = MxnetBackend().command(start(cell, nodes[1])).env
    assert {name: value for name, value in env.items() if name.startswith(("DMLC", "MXNET_KV")) or name == "PORT"} == {
        "DMLC_ROLE": "server", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "5000", "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_NUM_SERVER": "3", "DMLC_NUM_WORKER": "2", "MXNET_KVSTORE_BIGARRAY_BOUND": "1000", "PORT": "6000",
    }  # fmt: skip
    assert "PORT" not in MxnetBackend().command(start(cell, nodes[0])).env


def test_nothing_is_loaded_into_a_process_that_is_not_recorded() -> None:
    env = MxnetBackend().command(start(Cell(backend="mxnet", record=False), Node(Role.WORKER, 0))).env
    assert "LD_PRELOAD" not in env


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kvstore": "local", "workers": 2}, "kvstore 'local' is one node: workers must be 1, not 2"),
        ({"consistency": "async"}, "kvstore says the consistency, and dist_sync is bsp, not async"),
        ({"compression": "fp16"}, "MXNet compresses to 2bit only"),
        ({"kvstore": "dist_async", "update_on": "worker"}, "set update_on: server"),
        ({"kvstore": "p3store_dist"}, "set update_on: worker"),
        ({"kvstore": "p3store_dist", "update_on": "worker", "compression": "2bit"}, "has no compression"),
    ],
)
def test_what_mxnet_cannot_do_is_said_before_it_starts(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate.check(Cell(backend="mxnet", **fields))


def test_a_workload_that_is_not_there_in_gluon_is_named() -> None:
    with pytest.raises(ConfigError, match=r"backend 'mxnet' has no workload 'ising'\. Known: mlp, cnn,"):
        check(Cell(backend="mxnet", workload="ising"))


@pytest.mark.e2e
def test_the_networks_are_those_of_torch() -> None:
    options = {name: complete(name, SMALL[name]) for name in WORKLOADS}
    code = (
        "import json, sys\nfrom breakdown.backends.mxnet.networks import BUILDERS, build\n"
        "from breakdown.backends.mxnet.training import describe\n"
        f"options = json.loads({json.dumps(json.dumps(options))})\n"
        "cell = lambda name: {'workload': name, 'batch_size': 4}\n"
        "found = {name: describe(cell(name), build(name, options[name], 0))['parameters'] for name in BUILDERS}\n"
        "print(json.dumps(found)); print(json.dumps([name for name in sys.modules if name.startswith('breakdown.')]))"
    )
    found, imported = map(json.loads, run_there(code).splitlines())
    assert list(found) == list(WORKLOADS)
    for name in WORKLOADS:
        torch_model = build(name, SMALL[name], 4, 0).model
        assert found[name] == {parameter: list(value.shape) for parameter, value in torch_model.named_parameters()}
    rooms = {".".join(name.split(".")[1:3]) for name in imported}
    assert {room for room in rooms if room.split(".")[0] not in ("errors", "model", "clock", "record")} == {
        "backends", "backends.mxnet",
    }  # fmt: skip


@pytest.mark.e2e
def test_two_workers_in_step_learn_what_one_node_learns_from_both_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MXNet 1.9.1 answers a combined push and pull without waiting for the update, which its engine may still be doing: now
    # and then a worker gets what was there before. A server whose engine does all at once has no such race.
    for rank in (0, 1):
        tell(monkeypatch, Node(Role.SERVER, rank), MXNET_ENGINE_TYPE="NaiveEngine")
    alone, server, worker = measure(
        tmp_path,
        small(kvstore="local", batch_size=8, optimizer="momentum"),
        small(workers=2, optimizer="momentum"),
        small(workers=2, servers=2, optimizer="momentum", update_on="worker", split_bound_bytes=400),
    )
    for tables in (server, worker):
        assert len(tables.steps) == 2 * 7
        np.testing.assert_allclose(losses(tables), losses(alone), rtol=1e-4)
    assert losses(alone)[-1] < losses(alone)[0]
    assert alone.steps["samples"].unique().tolist() == [8]
    assert alone.steps["warm_up"].tolist() == [True] + [False] * 6
    main = alone.spans[(alone.spans["thread"] == "main") & (alone.spans["step"] == 2)]
    assert {"load", "forward", "backward", "update"} <= set(main["op"])


@pytest.mark.e2e
@pytest.mark.parametrize(
    "fields",
    [
        {"kvstore": "dist_async"},
        {"kvstore": "dist_device_sync"},
        {"kvstore": "p3store_dist", "update_on": "worker"},
        {"kvstore": "dist_sync", "compression": "2bit", "compression_threshold": 0.01},
        {"kvstore": "dist_sync", "workload": "matrix_factorisation", "optimizer": "adam"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_every_store_trains(tmp_path: Path, fields: dict[str, Any]) -> None:
    (tables,) = measure(tmp_path, small(workers=2, **fields))
    assert len(tables.steps) == 2 * 7
    assert np.isfinite(losses(tables)).all()
    assert len(set(losses(tables))) > 1


@pytest.mark.e2e
def test_a_worker_that_fails_is_named_and_nobody_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mxnet_home()
    tell(monkeypatch, Node(Role.WORKER, 1), DMLC_PS_VAN_TYPE="nonsense")
    experiment = Experiment("trial", "", 1, (small(workers=2, timeout_s=30.0),))
    (failure,) = matrix.run(experiment, tmp_path / "out", Existing.REFUSE, lambda _: None).failures
    assert "worker-1 ended with exit code 1" in failure
    assert "worker-1.log" in failure


@pytest.mark.e2e
def test_a_run_that_is_ended_keeps_all_that_its_roles_recorded(tmp_path: Path) -> None:
    mxnet_home()
    experiment = Experiment("trial", "", 1, (small(workers=2, steps=1_000_000, timeout_s=12.0),))
    (failure,) = matrix.run(experiment, tmp_path / "out", Existing.REFUSE, lambda _: None).failures
    assert "still running after 12 s" in failure
    folder = ExperimentFolder(tmp_path / "out")
    (name,) = folder.read()["cells"]
    tables = load(folder.path / name)
    assert len(tables.steps) > 10
    assert {"scheduler", "server", "worker"} == set(tables.messages["sender_role"])
    assert not [warning for warning in tables.cell["runs"][0]["warnings"] if "without closing" in warning]
