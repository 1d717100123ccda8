"""Operations carry the processor time of their thread, so an account tells when they lacked a core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.unexplained import unexplained
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
    computing = account(load(cells[1])).finding.stages[Stage.COMPUTE]
    assert computing.contention_ns is not None
    assert computing.contention_ns > 0.2 * computing.exposed_ns  # half, were both to compute all the time
    assert unexplained(load(cells[1])) < MOST_UNEXPLAINED


@pytest.mark.parametrize("workers", [1, 2])
def test_an_operation_of_one_thread_runs_or_lacks_a_core(cells: list[Path], workers: int) -> None:
    """With one core an operation has one thread, which nothing blocks: the two times that the kernel counts fill it."""
    spans = load(cells[workers - 1]).spans
    work = spans[spans["op"].isin((Op.FORWARD, Op.BACKWARD)) & (spans["end_ns"] - spans["start_ns"] > LONG_NS)]
    whole_ns = (work["end_ns"] - work["start_ns"]).sum()
    assert work["runnable_ns"].notna().all()
    assert (work["cpu_ns"] + work["runnable_ns"]).sum() == pytest.approx(whole_ns, rel=0.1)


def test_long_operations_have_their_processor_time(cells: list[Path]) -> None:
    spans = load(cells[0]).spans
    work = spans[spans["op"].isin((Op.FORWARD, Op.BACKWARD, Op.UPDATE)) & (spans["end_ns"] - spans["start_ns"] > LONG_NS)]
    assert len(work) > 50
    assert work["cpu_ns"].notna().mean() > 0.99
    assert (work["cpu_ns"] <= work["end_ns"] - work["start_ns"]).all()
