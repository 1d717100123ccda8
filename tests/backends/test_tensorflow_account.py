"""Real training with TensorFlow's parameter servers, accounted for: next to nothing unexplained, to the last ns and byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.unexplained import unexplained
from tensorflow_home import tensorflow_home

from breakdown.analysis.account import CellAccount, account
from breakdown.analysis.critical_path import walk
from breakdown.config.cell import Cell, Experiment
from breakdown.model.stages import Op, Stage
from breakdown.runner import matrix
from breakdown.runner.output import Existing
from breakdown.store.check import check
from breakdown.store.folder import CellFolder, ExperimentFolder
from breakdown.store.tables import Tables, load

MLP = {"features": 256, "hidden": 512, "layers": 2, "classes": 10}
SHAPES = (256 * 512, 512, 512 * 512, 512, 512 * 10, 10)
FLOAT_BYTES = 4
MOST_UNEXPLAINED = 0.02
CLOSE = 0.01
STEPS, WARM_UP = 20, 3

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One server and two workers: each at its own pace, and in step."""
    tensorflow_home()
    small: dict[str, Any] = {
        "backend": "tensorflow", "tf_mode": "graph", "workload_options": MLP, "batch_size": 32, "steps": STEPS,
        "warmup_steps": WARM_UP, "servers": 1, "workers": 2, "timeout_s": 100.0, "trace_every": 1,
    }  # fmt: skip
    return run([Cell(**small, consistency=name) for name in ("async", "bsp")], tmp_path_factory)


def run(cells: list[Cell], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of these cells, each measured once."""
    output = tmp_path_factory.mktemp("tensorflow") / "out"
    outcome = matrix.run(Experiment("trial", "", 1, tuple(cells)), output, Existing.REFUSE, lambda _: None)
    assert outcome.failures == ()
    found = ExperimentFolder(output)
    return [found.path / name for name in found.read()["cells"]]


@pytest.fixture(scope="module", params=["async", "bsp"])
def cell(cells: list[Path], request: pytest.FixtureRequest) -> Path:
    return cells[["async", "bsp"].index(request.param)]


@pytest.fixture(scope="module")
def tables(cell: Path) -> Tables:
    return load(cell)


@pytest.fixture(scope="module")
def found(tables: Tables) -> CellAccount:
    return account(tables)


def test_next_to_nothing_is_unexplained(found: CellAccount, tables: Tables) -> None:
    assert found.finding.warnings == ()
    assert unexplained(tables) < MOST_UNEXPLAINED


def test_the_stages_add_up_to_the_step(found: CellAccount) -> None:
    assert sum(stage.exposed_ns for stage in found.finding.stages) == found.finding.step_ns


def test_the_trace_is_sound(tables: Tables) -> None:
    """Both ends of every message were seen, and every id has its record."""
    assert check(tables) == []


def test_a_step_moves_each_parameter_once_each_way(found: CellAccount) -> None:
    values = sum(FLOAT_BYTES * size for size in SHAPES)
    finding = found.finding
    assert values < finding.bytes_pushed < values * (1 + CLOSE)
    assert values < finding.bytes_pulled < values * (1 + CLOSE)


def test_the_messages_are_the_bytes_that_the_calls_moved(tables: Tables, cell: Path) -> None:
    """What the kernel says that it took and gave, against what was found in the streams. HTTP/2's frames are the rest."""
    notes = json.loads((cell / "notes.json").read_text())["runs"]["0"]
    for node, of_node in notes.items():
        told = dict(map(tuple, of_node))
        role, _, rank = node.rpartition("-")
        for side, name in (("sender", "bytes_sent"), ("receiver", "bytes_received")):
            mine = (tables.messages[f"{side}_role"] == role) & (tables.messages[f"{side}_rank"] == int(rank))
            assert tables.messages.loc[mine, "size_bytes"].sum() == pytest.approx(told[name], rel=CLOSE)


def test_the_sleep_in_a_step_is_the_steps_own(tables: Tables) -> None:
    """The step timer, in Python, and the run, as the native recorder saw it."""
    blocks = tables.spans[tables.spans["op"] == Op.BLOCK].groupby(["rank", "step"])[["start_ns", "end_ns"]].sum()
    steps = tables.steps.set_index(["rank", "step"])[["start_ns", "end_ns"]].loc[blocks.index]
    assert len(blocks) == 2 * (STEPS + WARM_UP)
    assert (blocks["start_ns"] >= steps["start_ns"]).all()
    assert (blocks["end_ns"] <= steps["end_ns"]).all()


def test_the_path_goes_through_worker_network_and_server(tables: Tables) -> None:
    path = walk(tables)
    steps = set(path[["stage", "op"]].itertuples(index=False, name=None))
    assert {("compute", Op.FORWARD), ("compute", Op.BACKWARD), ("push", Op.WIRE), ("pull", Op.WIRE)} <= steps
    assert {str(place) for place in path["place"]} == {"worker-0", "worker-1", "server-0"}


def test_tensors_are_called_by_their_variables(tables: Tables) -> None:
    moved = tables.messages[tables.messages["size_bytes"] > FLOAT_BYTES * 512 * 256]
    assert set(moved["key"]) == {"fc1.weight", "fc2.weight"}


def test_only_workers_in_step_wait_for_each_other(cells: list[Path]) -> None:
    alone, in_step = (account(load(cell)).finding.stages[Stage.WAIT].exposed_ns for cell in cells)
    assert alone == 0
    assert in_step > 0


def test_nothing_but_the_conversion_needs_the_graphs(cell: Path) -> None:
    folder = CellFolder(cell)
    assert "graph" not in folder.notes.read_text()
