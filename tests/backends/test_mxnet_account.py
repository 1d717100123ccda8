"""Real MXNet training, accounted for like everything else: next to nothing unexplained, to the last ns and byte."""

from __future__ import annotations

import numpy as np
import pytest
from mxnet_home import mxnet_home
from support.unexplained import unexplained

from breakdown.analysis.account import CellAccount, account
from breakdown.analysis.critical_path import walk
from breakdown.analysis.waterfall import waterfall
from breakdown.config.cell import Cell, Experiment
from breakdown.model.stages import Op, Stage
from breakdown.runner import matrix
from breakdown.runner.output import Existing
from breakdown.store.check import check
from breakdown.store.folder import ExperimentFolder
from breakdown.store.tables import Tables, load

MLP = {"features": 64, "hidden": 256, "layers": 2, "classes": 10}
SHAPES = (256 * 64, 256, 256 * 256, 256, 10 * 256, 10)
FLOAT_BYTES, KEY_BYTES, LENGTH_BYTES = 4, 8, 4
MOST_UNEXPLAINED = 0.05
STEPS, WARM_UP = 20, 3

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, Tables]:
    """A single node, and one server with two workers."""
    mxnet_home()
    small = {"backend": "mxnet", "workload_options": MLP, "batch_size": 32, "steps": STEPS, "warmup_steps": WARM_UP}
    cells = (Cell(**small, kvstore="local"), Cell(**small, kvstore="dist_sync", servers=1, workers=2, timeout_s=60.0))
    output = tmp_path_factory.mktemp("mxnet") / "out"
    outcome = matrix.run(Experiment("trial", "", 1, cells), output, Existing.REFUSE, lambda _: None)
    assert outcome.failures == ()
    experiment = ExperimentFolder(output)
    single, several = (load(experiment.path / name) for name in experiment.read()["cells"])
    return single, several


@pytest.fixture(scope="module")
def accounts(measured: tuple[Tables, Tables]) -> tuple[CellAccount, CellAccount]:
    single, several = measured
    return account(single), account(several)


def test_next_to_nothing_is_unexplained(measured: tuple[Tables, Tables]) -> None:
    for tables in measured:
        assert unexplained(tables) < MOST_UNEXPLAINED


def test_the_stages_add_up_to_the_step(accounts: tuple[CellAccount, CellAccount]) -> None:
    for one in accounts:
        assert sum(stage.exposed_ns for stage in one.finding.stages) == one.finding.step_ns
    single, several = accounts
    steps = waterfall(single, several)
    assert sum(bar.delta_ns for bar in steps.bars) == several.finding.step_ns - single.finding.step_ns


def test_the_path_goes_through_engine_network_and_server(measured: tuple[Tables, Tables]) -> None:
    path = walk(measured[1])
    found = set(path[["stage", "op"]].itertuples(index=False, name=None))
    wanted = {("compute", "FullyConnected"), ("compute", "_backward_FullyConnected"), ("push", Op.WIRE), ("pull", Op.WIRE)}
    assert wanted <= found
    assert {str(place) for place in path["place"]} == {"worker-0", "worker-1", "server-0"}


def test_operators_are_told_by_layer_in_both_passes(measured: tuple[Tables, Tables]) -> None:
    layers = {"fc1", "fc2", "fc3"}
    for tables in measured:
        for op in ("FullyConnected", "_backward_FullyConnected"):
            found = tables.spans[(tables.spans["op"] == op) & (tables.spans["role"] == "worker")]
            assert set(found["key"]) == layers
            assert found.groupby(["rank", "step"], observed=True)["key"].nunique().eq(len(layers)).all()
        others = tables.spans[tables.spans["op"].isin(["_backward_pick", "_mul_scalar"])]  # of the loss: no layer's
        assert len(others) > 0
        assert set(others["key"]) <= {""}


def test_a_single_node_only_computes(accounts: tuple[CellAccount, CellAccount]) -> None:
    used = {stage.stage for stage in accounts[0].finding.stages if stage.exposed_ns}
    assert used <= {Stage.INPUT, Stage.COMPUTE, Stage.OTHER}


def test_every_message_was_seen_at_both_ends_and_every_name_has_its_record(measured: tuple[Tables, Tables]) -> None:
    for tables in measured:
        assert check(tables) == []
        assert tables.cell["runs"][0]["warnings"] == []


def test_a_step_moves_each_parameter_once_each_way(accounts: tuple[CellAccount, CellAccount]) -> None:
    """A key and a length travel with the values of each."""
    expected = sum(FLOAT_BYTES * size + KEY_BYTES + LENGTH_BYTES for size in SHAPES)
    finding = accounts[1].finding
    assert (finding.bytes_pushed, finding.bytes_pulled) == (expected, expected)
    assert finding.servers[0].bytes_in == finding.servers[0].bytes_out == 2 * expected


def test_the_servers_work_is_of_the_workers_steps(measured: tuple[Tables, Tables]) -> None:
    spans = measured[1].spans
    updates = spans[(spans["role"] == "server") & (spans["op"] == Op.LOCK)]
    counted = np.unique(updates["step"])
    assert set(range(WARM_UP, WARM_UP + STEPS)) <= set(counted.tolist())
    assert updates.groupby("step")["key"].nunique().loc[WARM_UP:].eq(len(SHAPES)).all()
