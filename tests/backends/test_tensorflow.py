"""TensorFlow as a backend: what is started, that it trains the same thing on one node and on several, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorflow_home import run_there, tensorflow_home

from breakdown.backends.api import Home, Start
from breakdown.backends.tensorflow.backend import WORKLOADS, TensorflowBackend
from breakdown.config import validate
from breakdown.config.cell import Cell, Experiment
from breakdown.errors import ConfigError
from breakdown.model.identity import Node
from breakdown.model.stages import Op
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
HOME = Home(Path("/env/bin/python"), Path("/env/injected"))
STRATEGY = {"tf_mode": "strategy", "consistency": "async"}


def start(cell: Cell, node: Node) -> Start:
    ports = {other: 6000 + number for number, other in enumerate(TensorflowBackend().nodes(cell))}
    return Start(cell, 3, node, Path("/x/spec.json"), Path("/x/raw"), "127.0.0.1", 5000, ports[node], 2, HOME, ports)


def small(**fields: Any) -> Cell:
    given = {"batch_size": 4, "steps": 6, "warmup_steps": 1, "learning_rate": 0.1, "timeout_s": 60.0} | fields
    return Cell(backend="tensorflow", workload_options=SMALL[fields.get("workload", "mlp")], **given)


def measure(folder: Path, *cells: Cell) -> list[Tables]:
    """Runs each cell once. A good run says nothing: TensorFlow's noise is kept out of its logs."""
    tensorflow_home()
    outcome = matrix.run(Experiment("trial", "", 1, cells), folder / "out", Existing.REFUSE, lambda _: None)
    assert outcome.failures == ()
    assert {log.read_text() for log in folder.glob("out/*/log/run-0/*.log")} == {""}
    experiment = ExperimentFolder(folder / "out")
    return [load(experiment.path / name) for name in experiment.read()["cells"]]


def losses(tables: Tables) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean over workers, by step."""
    return tables.steps.groupby("step")["loss"].mean().to_numpy(dtype=np.float64)


def test_a_single_node_is_one_process_that_knows_of_no_cluster() -> None:
    cell = Cell(backend="tensorflow", tf_mode="local")
    (node,) = TensorflowBackend().nodes(cell)
    command = TensorflowBackend().command(start(cell, node))
    assert command.argv == ("/env/bin/python", "-m", "breakdown.backends.tensorflow.role", "/x/spec.json")
    assert "TF_CONFIG" not in command.env
    assert command.env["PYTHONPATH"] == "/env/injected"
    assert not command.serves


def test_graph_mode_has_servers_that_serve_and_workers_that_work() -> None:
    cell = Cell(backend="tensorflow", workers=2, servers=2)
    nodes = TensorflowBackend().nodes(cell)
    assert [str(node) for node in nodes] == ["server-0", "server-1", "worker-0", "worker-1"]
    commands = [TensorflowBackend().command(start(cell, node)) for node in nodes]
    assert [command.serves for command in commands] == [True, True, False, False]
    assert [command.argv[4:] for command in commands] == [("serve",), ("serve",), (), ()]
    assert json.loads(commands[3].env["TF_CONFIG"]) == {
        "cluster": {"ps": ["127.0.0.1:6000", "127.0.0.1:6001"], "worker": ["127.0.0.1:6002", "127.0.0.1:6003"]},
        "task": {"type": "worker", "index": 1},
    }


def test_a_strategy_has_a_coordinator_that_the_others_serve() -> None:
    cell = Cell(backend="tensorflow", workers=2, tf_mode="strategy", consistency="async")
    nodes = TensorflowBackend().nodes(cell)
    assert [str(node) for node in nodes] == ["scheduler-0", "server-0", "worker-0", "worker-1"]
    commands = [TensorflowBackend().command(start(cell, node)) for node in nodes]
    assert [command.serves for command in commands] == [False, True, True, True]
    assert json.loads(commands[0].env["TF_CONFIG"])["task"] == {"type": "chief", "index": 0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tf_mode": "local", "workers": 2}, "tf_mode 'local' is one node: workers must be 1, not 2"),
        ({"tf_mode": "strategy"}, "ParameterServerStrategy is asynchronous, not bsp: set consistency: async"),
        ({"consistency": "ssp"}, "TensorFlow has no consistency ssp"),
        ({**STRATEGY, "servers": 2}, "gives variables to the servers in turn: set sharding: round_robin"),
        ({"update_on": "worker"}, "set update_on: server"),
        ({"compression": "2bit"}, "TensorFlow compresses nothing: set compression: none, not 2bit"),
    ],
)
def test_what_tensorflow_cannot_do_is_said_before_it_starts(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate.check(Cell(backend="tensorflow", **fields))


def test_a_workload_that_is_not_there_in_tensorflow_is_named() -> None:
    with pytest.raises(ConfigError, match=r"backend 'tensorflow' has no workload 'ising'\. Known: mlp, cnn,"):
        check(Cell(backend="tensorflow", workload="ising"))


THERE = """
import json, sys
import numpy as np
from breakdown.backends.tensorflow import cluster, function, graph, role, strategy
from breakdown.backends.tensorflow.networks import build, describe

options, folder = json.loads(sys.argv[1]), sys.argv[2]
found = {}
for name in options:
    task = build(name, options[name], 0)
    given = dict(np.load(f"{folder}/{name}.npz"))
    inputs, targets = given.pop("inputs"), given.pop("targets")
    found[name] = {
        "shapes": describe({"workload": name, "batch_size": 4}, task)["parameters"],
        "inputs": list(task.inputs.shape),
        "loss": float(task.loss(given, inputs, targets)),
    }
print(json.dumps([found, [name for name in sys.modules if name.startswith("breakdown.")]]))
"""


def turned(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A weight or a batch of torch, as it lies in memory in TensorFlow: channels last, inputs before outputs."""
    if values.ndim == 4:
        return values.transpose(0, 2, 3, 1) if name == "inputs" else values.transpose(2, 3, 1, 0)
    return values.T if name.endswith(".weight") and name not in ("users.weight", "items.weight") else values


@pytest.mark.e2e
def test_the_networks_are_those_of_torch(tmp_path: Path) -> None:
    options = {name: complete(name, SMALL[name]) for name in WORKLOADS}
    expected = {}
    for name in WORKLOADS:
        workload = build(name, SMALL[name], 4, 0)
        inputs, targets = workload.batch(0, 0, 1)
        with torch.no_grad():
            expected[name] = workload.loss(workload.model(inputs), targets).item()
        given = {"inputs": inputs, **workload.model.state_dict()}
        given = {key: turned(key, value.numpy()) for key, value in given.items()}
        np.savez(tmp_path / f"{name}.npz", targets=targets.numpy(), **given)
    found, imported = json.loads(run_there(THERE, json.dumps(options), str(tmp_path)))
    for name in WORKLOADS:
        given = dict(np.load(tmp_path / f"{name}.npz"))
        inputs = given.pop("inputs")
        del given["targets"]
        assert found[name]["shapes"] == {parameter: list(value.shape) for parameter, value in given.items()}
        assert found[name]["inputs"][1:] == list(inputs.shape[1:])
        assert found[name]["loss"] == pytest.approx(expected[name], rel=1e-4)
    rooms = {".".join(name.split(".")[1:3]) for name in imported}
    assert {room for room in rooms if room.split(".")[0] not in ("errors", "model", "clock", "record")} == {
        "backends", "backends.tensorflow",
    }  # fmt: skip


@pytest.mark.e2e
def test_two_workers_in_step_learn_what_one_node_learns_from_both_batches(tmp_path: Path) -> None:
    alone, whole, split = measure(
        tmp_path,
        small(tf_mode="local", batch_size=8, optimizer="momentum"),
        small(workers=2, optimizer="momentum"),
        small(workers=2, servers=2, optimizer="momentum", sharding="split", split_bound_bytes=400),
    )
    for tables in (whole, split):
        assert len(tables.steps) == 2 * 7
        np.testing.assert_allclose(losses(tables), losses(alone), rtol=1e-4)
        main = tables.spans[(tables.spans["thread"] == "main") & (tables.spans["role"] == "worker")]
        assert {"load", "submit", Op.BLOCK} <= set(main["op"])  # the native recorder tells what lies in session.run
    assert len(set(losses(alone))) == 7
    assert alone.steps["samples"].unique().tolist() == [8]
    assert alone.steps["warm_up"].tolist() == [True] + [False] * 6
    main = alone.spans[(alone.spans["thread"] == "main") & (alone.spans["step"] == 2)]
    assert {"load", "train-step", "read"} <= set(main["op"])


@pytest.mark.e2e
@pytest.mark.parametrize(
    "fields",
    [
        {"consistency": "async", "servers": 2, "sharding": "round_robin"},
        {"consistency": "async", "servers": 2, "workload": "matrix_factorisation", "optimizer": "adam"},
        {"workload": "cnn", "optimizer": "adam"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_graph_mode_trains(tmp_path: Path, fields: dict[str, Any]) -> None:
    (tables,) = measure(tmp_path, small(workers=2, **fields))
    assert tables.steps.groupby("rank").size().tolist() == [7, 7]
    assert np.isfinite(losses(tables)).all()
    assert len(set(losses(tables))) > 1


@pytest.mark.e2e
def test_a_strategy_trains_with_variables_in_pieces(tmp_path: Path) -> None:
    (tables,) = measure(
        tmp_path, small(workers=2, servers=2, optimizer="adam", sharding="split", split_bound_bytes=400, **STRATEGY)
    )
    assert len(tables.steps) == 2 * 7  # the coordinator says who of the two runs how many
    for _, steps in tables.steps.groupby("rank"):
        assert steps["step"].tolist() == list(range(len(steps)))
        # The next step begins as one ends: its thread at the coordinator does nothing else.
        np.testing.assert_array_equal(steps["start_ns"].to_numpy()[1:], steps["end_ns"].to_numpy()[:-1])
    assert np.isfinite(tables.steps["loss"]).all()
    main = tables.spans[tables.spans["thread"] == "main"]
    assert {"take", "submit", "dispatch", "block"} <= set(main["op"])
    assert not {"train-step", "read"} & set(main["op"])  # what lies within them is known


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("fields", "victim"),
    [({}, "worker-1"), ({"consistency": "async"}, "server-0"), (STRATEGY, "worker-0")],
    ids=["worker in step", "server", "worker of a strategy"],
)
def test_a_killed_role_is_named_and_all_others_end(tmp_path: Path, fields: dict[str, Any], victim: str) -> None:
    tensorflow_home()

    def kill() -> None:
        """Kills the victim once steps are on the disk."""
        for _ in range(600):
            time.sleep(0.1)
            traces = [path for path in tmp_path.glob("out/*/raw/run-0/worker-0*.trace") if path.stat().st_size > 20_000]
            if traces:
                os.kill(pid_of(tmp_path, f"{victim}.json"), signal.SIGKILL)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    experiment = Experiment("trial", "", 1, (small(workers=2, steps=100_000, **fields),))
    (failure,) = matrix.run(experiment, tmp_path / "out", Existing.REFUSE, lambda _: None).failures
    thread.join()
    assert f"{victim} was killed by SIGKILL" in failure
    with pytest.raises(StopIteration):
        pid_of(tmp_path, "run-0/")


def pid_of(folder: Path, spec: str) -> int:
    """The role process whose spec file lies in the folder and has this in its path. Raises `StopIteration` without one."""
    found = Path("/proc").glob("[0-9]*/cmdline")
    return next(int(path.parts[2]) for path in found if _runs(path, folder, spec))


def _runs(path: Path, folder: Path, spec: str) -> bool:
    try:
        argv = path.read_text().split("\0")
    except OSError:  # it has ended meanwhile
        return False
    return "breakdown.backends.tensorflow.role" in argv and any(
        argument.startswith(str(folder)) and spec in argument for argument in argv
    )
