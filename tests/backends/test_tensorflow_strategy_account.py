"""Real training with ParameterServerStrategy, accounted for: next to nothing unexplained, to the last ns and byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.unexplained import unexplained
from tensorflow_home import tensorflow_home
from test_tensorflow_account import run

from breakdown.analysis.account import CellAccount, account
from breakdown.analysis.critical_path import walk
from breakdown.config.cell import Cell
from breakdown.model.stages import Op, Stage
from breakdown.store.check import check
from breakdown.store.tables import Tables, load

MLP = {"features": 256, "hidden": 512, "layers": 2, "classes": 10}
SHAPES = (256 * 512, 512, 512 * 512, 512, 512 * 10, 10)
FLOAT_BYTES = 4
VALUES_BYTES = FLOAT_BYTES * sum(SHAPES)
MOST_UNEXPLAINED = 0.05
CLOSE = 0.01
STEPS, WARM_UP, WORKERS = 20, 3, 2
CELLS: dict[str, dict[str, Any]] = {
    "whole": {"servers": 1, "trace_every": 1},
    "split": {"servers": 2, "sharding": "split", "split_bound_bytes": 4096, "trace_every": 1},
    "sampled": {"servers": 1, "trace_every": 5},
}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two workers: one server, and two among which the larger variables are cut up; and with every fifth step traced."""
    tensorflow_home()
    small: dict[str, Any] = {
        "backend": "tensorflow", "tf_mode": "strategy", "consistency": "async", "workload_options": MLP, "batch_size": 32,
        "steps": STEPS, "warmup_steps": WARM_UP, "workers": WORKERS, "timeout_s": 100.0,
    }  # fmt: skip
    return dict(zip(CELLS, run([Cell(**{**small, **own}) for own in CELLS.values()], tmp_path_factory), strict=True))


@pytest.fixture(scope="module", params=["whole", "split"])
def cell(cells: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return cells[request.param]


@pytest.fixture(scope="module")
def tables(cell: Path) -> Tables:
    return load(cell)


@pytest.fixture(scope="module")
def found(tables: Tables) -> CellAccount:
    return account(tables)


def test_next_to_nothing_is_unexplained(tables: Tables) -> None:
    assert unexplained(tables) < MOST_UNEXPLAINED


def test_the_steps_that_were_traced_are_explained_as_well(cells: dict[str, Path]) -> None:
    assert unexplained(load(cells["sampled"])) < MOST_UNEXPLAINED
    finding = account(load(cells["sampled"])).finding
    assert [warning for warning in finding.warnings if "steps were traced" not in warning] == []


def test_the_stages_add_up_to_the_step(found: CellAccount) -> None:
    assert sum(stage.exposed_ns for stage in found.finding.stages) == found.finding.step_ns


def test_both_ends_of_every_message_were_seen(tables: Tables, found: CellAccount) -> None:
    """The coordinator stops to record before the others do: what it sends and is sent then belongs to nobody's step."""
    assert found.finding.warnings == ()
    assert check(tables) == []


def test_a_step_moves_each_variable_once_each_way(found: CellAccount) -> None:
    assert VALUES_BYTES < found.finding.bytes_pushed < VALUES_BYTES * (1 + CLOSE)
    assert VALUES_BYTES < found.finding.bytes_pulled < VALUES_BYTES * (1 + CLOSE)


def test_the_messages_are_the_bytes_that_the_calls_moved(tables: Tables, cell: Path) -> None:
    """What the kernel says that it took and gave, against what was found in the streams. HTTP/2's frames are the rest."""
    notes = json.loads((cell / "notes.json").read_text())["runs"]["0"]
    for node in ("server-0", "worker-0", "worker-1"):  # the coordinator's messages are too small beside their frames
        told = dict(map(tuple, notes[node]))
        role, _, rank = node.rpartition("-")
        for side, name in (("sender", "bytes_sent"), ("receiver", "bytes_received")):
            mine = (tables.messages[f"{side}_role"] == role) & (tables.messages[f"{side}_rank"] == int(rank))
            assert tables.messages.loc[mine, "size_bytes"].sum() == pytest.approx(told[name], rel=CLOSE)


def test_the_path_goes_through_coordinator_worker_network_and_servers(tables: Tables) -> None:
    path = walk(tables)
    took = path.assign(ns=path["end_ns"] - path["start_ns"]).groupby(["stage", "op"], observed=True)["ns"].sum()
    for stage, op in (
        ("input", "take"), ("input", Op.LOAD), ("compute", Op.FORWARD), ("compute", Op.BACKWARD), ("push", Op.WIRE),
        ("pull", Op.WIRE), ("aggregate", Op.UPDATE), ("serialize", "submit"), ("serialize", "dispatch"),
    ):  # fmt: skip
        assert took[stage, op] > 0, (stage, op)
    servers = {f"server-{rank}" for rank in range(tables.cell["config"]["servers"])}
    assert {str(place) for place in path["place"]} == {"scheduler-0", "worker-0", "worker-1", *servers}


def test_tensors_are_called_by_their_variables(tables: Tables) -> None:
    in_steps = tables.messages[tables.messages["step"] >= 0]  # before them the batches' samples are moved
    moved = in_steps[in_steps["size_bytes"] > FLOAT_BYTES * 512 * 256 // 2]
    names = {"fc1.weight", "fc2.weight"}
    split = {f"{name}/part_{part}" for name in names for part in range(2)}
    assert set(moved["key"]) == (split if tables.cell["config"]["servers"] > 1 else names)
    assert set(moved.groupby(["verb", "key"], observed=True).size().index.get_level_values("verb")) == {"push", "pull"}


def test_every_step_asks_its_worker_and_fetches_from_it(tables: Tables) -> None:
    messages = tables.messages
    steps = set(tables.steps[["rank", "step"]].itertuples(index=False, name=None))
    assert len(steps) == WORKERS * (STEPS + WARM_UP)
    asked = messages[(messages["sender_role"] == "scheduler") & (messages["key"] == "dispatch")]
    fetched = messages[(messages["receiver_role"] == "scheduler") & (messages["key"] == "fetch")]
    assert set(asked[["receiver_rank", "step"]].itertuples(index=False, name=None)) == steps
    assert set(fetched[["sender_rank", "step"]].itertuples(index=False, name=None)) == steps


def test_the_sleep_in_a_step_is_the_steps_own(tables: Tables) -> None:
    """The step timer, in Python, and the coordinator's thread, as the native recorder saw it: two sleeps a step."""
    blocks = tables.spans[tables.spans["op"] == Op.BLOCK].groupby(["rank", "step"])
    steps = tables.steps.set_index(["rank", "step"])
    assert set(blocks.groups) == set(steps.index)
    assert (blocks.size() == 2).all()
    assert (blocks["start_ns"].min() >= steps["start_ns"]).all()
    assert (blocks["end_ns"].max() <= steps["end_ns"]).all()


def test_workers_do_not_wait_for_each_other(found: CellAccount) -> None:
    assert found.finding.stages[Stage.WAIT].exposed_ns == 0
