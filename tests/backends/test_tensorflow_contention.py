"""Operations carry the processor time of their thread, so an account tells when they lacked a core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorflow_home import tensorflow_home
from test_tensorflow_account import MLP, MOST_UNEXPLAINED, run

from breakdown.analysis.account import account
from breakdown.config.cell import Cell
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import load

LONG_NS = 100_000
"""Operations from here on have their processor time."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def one_core() -> Iterator[None]:
    """All that is started meanwhile shares one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def cells(one_core: None, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A worker alone with its server, and two with one."""
    tensorflow_home()
    cell = {
        "backend": "tensorflow", "tf_mode": "graph", "consistency": "async", "workload_options": MLP, "batch_size": 512,
        "steps": 15, "warmup_steps": 3, "servers": 1, "timeout_s": 100.0, "trace_every": 1,
    }  # fmt: skip
    return run([Cell(**cell, workers=workers) for workers in (1, 2)], tmp_path_factory)  # type: ignore[arg-type]


def test_workers_that_share_a_core_lack_it_within_their_operations(cells: list[Path]) -> None:
    alone, together = (account(load(cell)).finding for cell in cells)
    computing = [found.stages[Stage.COMPUTE] for found in (alone, together)]
    lacking = [stage.contention_ns / stage.exposed_ns for stage in computing]
    assert lacking[1] > 0.2
    assert lacking[1] > 2 * lacking[0]
    assert together.stages[Stage.OTHER].share < MOST_UNEXPLAINED


def test_less_the_time_without_a_core_computing_takes_as_long_as_alone(cells: list[Path]) -> None:
    alone, together = (account(load(cell)).finding.stages[Stage.COMPUTE] for cell in cells)
    with_core = [stage.exposed_ns - stage.contention_ns for stage in (alone, together)]
    assert with_core[1] == pytest.approx(with_core[0], rel=0.35)
    assert together.exposed_ns > 1.35 * with_core[0]


def test_long_operations_have_their_processor_time(cells: list[Path]) -> None:
    spans = load(cells[0]).spans
    work = spans[spans["op"].isin((Op.FORWARD, Op.BACKWARD, Op.UPDATE)) & (spans["end_ns"] - spans["start_ns"] > LONG_NS)]
    assert len(work) > 50
    assert work["cpu_ns"].notna().mean() > 0.99
    assert (work["cpu_ns"] <= work["end_ns"] - work["start_ns"]).all()
