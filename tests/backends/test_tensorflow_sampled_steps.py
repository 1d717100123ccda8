"""Real training of which every n-th step is traced: those steps are whole, and the others leave next to nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.unexplained import unexplained
from test_tensorflow_account import MLP, MOST_UNEXPLAINED, run

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.config.cell import Cell
from breakdown.model.stages import Op
from breakdown.store.check import check
from breakdown.store.tables import load

STEPS, WARM_UP, EVERY, WORKERS = 24, 3, 6, 2
TRACED = set(range(WARM_UP, WARM_UP + STEPS, EVERY))
OPERATIONS = (Op.FORWARD, Op.BACKWARD, Op.SUM, Op.UPDATE)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from tensorflow_home import tensorflow_home

    tensorflow_home()
    cell = {
        "backend": "tensorflow", "tf_mode": "graph", "workload_options": MLP, "batch_size": 32, "steps": STEPS,
        "warmup_steps": WARM_UP, "servers": 1, "workers": WORKERS, "timeout_s": 100.0, "trace_every": EVERY,
    }  # fmt: skip
    return run([Cell(**cell, consistency=name) for name in ("bsp", "async")], tmp_path_factory)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["bsp", "async"])
def cell(cells: list[Path], request: pytest.FixtureRequest) -> Path:
    return cells[["bsp", "async"].index(request.param)]


def test_a_traced_step_is_whole(cell: Path) -> None:
    found = account(load(cell)).finding
    assert unexplained(load(cell)) < MOST_UNEXPLAINED
    assert sum(stage.exposed_ns for stage in found.stages) == found.step_ns
    path = walk(load(cell))
    assert set(path["step"]) == TRACED
    assert {"compute", "push", "pull"} <= set(path["stage"])


def test_every_operation_of_a_traced_step_is_there(cell: Path) -> None:
    """Not all lie on its path: a gradient may be ready long before its server asks for it."""
    spans = load(cell).spans
    own = spans[(spans["role"] == "worker") & spans["op"].isin([Op.FORWARD, Op.BACKWARD]) & spans["step"].isin(TRACED)]
    ran = (
        own.astype({"op": str, "key": str})
        .groupby(["rank", "step"])[["op", "key"]]
        .apply(lambda one: set(map(tuple, one.to_numpy())))
    )
    assert len(ran) == WORKERS * len(TRACED)
    assert all(operations == ran.iloc[0] for operations in ran)
    assert len(ran.iloc[0]) > len(MLP)


def test_the_trace_is_sound(cell: Path) -> None:
    assert check(load(cell)) == []


def test_all_steps_count_for_the_speed(cell: Path) -> None:
    tables = load(cell)
    found = account(tables).finding
    measured = tables.steps[~tables.steps["warm_up"]]
    assert found.steps == len(measured) == WORKERS * STEPS
    assert found.step_ns == pytest.approx((measured["end_ns"] - measured["start_ns"]).mean(), abs=1)
    assert found.warnings[0].startswith(f"{WORKERS * len(TRACED)} of {WORKERS * STEPS} steps were traced")


def test_steps_in_step_are_left_out_in_all_roles(cells: list[Path]) -> None:
    """The workers begin one and the same step within moments, so nothing of the steps between is recorded."""
    spans = load(cells[0]).spans
    operations = spans[spans["op"].isin(OPERATIONS) & (spans["step"] >= 0)]
    assert set(operations["step"]) >= TRACED
    assert operations["step"].isin(TRACED).mean() > 0.9
    by_step = operations.groupby("step").size().to_dict()
    assert min(by_step[step] for step in TRACED) > 2 * max((by_step[step] for step in by_step.keys() - TRACED), default=0)


def test_messages_are_recorded_in_each_step(cell: Path) -> None:
    tables = load(cell)
    per_step = tables.messages[tables.messages["size_bytes"] > 1000].groupby("step").size()
    assert set(per_step.index) >= set(range(WARM_UP, WARM_UP + STEPS))
    assert per_step.loc[WARM_UP : WARM_UP + STEPS - 1].nunique() == 1


def test_the_roles_left_nothing_behind_but_the_rule(cell: Path) -> None:
    notes = json.loads((cell / "notes.json").read_text())["runs"]["0"]
    assert {node: dict(found)["traced_steps"] for node, found in notes.items()} == {
        node: {"every": EVERY, "first": WARM_UP} for node in ("server-0", "worker-0", "worker-1")
    }
    assert not (cell / "raw").exists()
