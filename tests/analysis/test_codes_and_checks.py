"""The small-integer codes beneath the analysis, and the checks that would find a fault in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from golden import S0, W0, W1, Golden, ask
from hypothesis import given
from hypothesis import strategies as st

from breakdown.analysis.account import account
from breakdown.analysis.codes import compact, order_by
from breakdown.analysis.critical_path import Path, Steps, check_tiling, walk
from breakdown.analysis.stages import totals
from breakdown.analysis.waterfall import waterfall
from breakdown.errors import TraceError
from breakdown.model.stages import Op, Stage

Pairs = list[tuple[int, int]]


@given(st.lists(st.integers(0, 9) | st.integers(0, 2**60), max_size=20))
def test_compact_numbers_the_distinct_values_in_order(values: list[int]) -> None:
    distinct, code = compact(np.array(values, dtype=np.int64))
    assert distinct.tolist() == sorted(set(values))
    assert [distinct[at] for at in code.tolist()] == values


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-(2**40), 2**40) | st.integers(-(2**61), 2**61)), max_size=20))
def test_order_by_sorts_by_group_then_time_and_keeps_ties(rows: Pairs) -> None:
    group, time = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    assert order_by(group, time).tolist() == sorted(range(len(rows)), key=lambda at: (rows[at], at))


def test_request_ids_may_be_far_apart() -> None:
    # As another framework's hook may number them. The answer is joined all the same.
    pull = ask(W0, 2**40 - 1)
    golden = Golden()
    golden.main(W0, Stage.COMPUTE, Op.BACKWARD, 0, 10, "k")
    golden.of(W0, "send-server-0", Stage.SERIALIZE, Op.QUEUE, 10, 10, pull, "k")
    golden.pull(W0, S0, pull, "k", (10, 11), (11, 20))
    golden.reply(W0, S0, pull, "k", (20, 21), (22, 30))
    golden.pull(W1, S0, ask(W1, 1), "k", (0, 1), (2, 3))
    golden.block(W0, 10, 30, pull, "k")
    golden.step(W0, 0, 30)
    assert walk(golden.tables())["stage"].tolist() == ["compute", "pull", "pull"]


def steps(start: int, end: int) -> Steps:
    run, begin, finish = (np.array([value], dtype=np.int64) for value in (0, start, end))
    return Steps(run, run, run, begin, finish, run + 1)


@pytest.mark.parametrize(
    "segments",
    [
        [(0, 5), (6, 10)],  # a gap
        [(0, 6), (5, 10)],  # an overlap
        [(1, 10)],  # late
        [(0, 9)],  # short
        [(0, 5), (5, 5), (5, 10)],  # an empty one
        [],
    ],
)
def test_segments_that_do_not_tile_a_step_are_a_fault(segments: Pairs) -> None:
    start, end = np.array(segments, dtype=np.int64).reshape(-1, 2).T
    with pytest.raises(TraceError, match="do not add up"):
        check_tiling(steps(0, 10), np.zeros(len(segments), dtype=np.int64), start, end)


def test_segments_that_tile_a_step_are_none() -> None:
    check_tiling(steps(0, 10), np.array([0, 0]), np.array([0, 4]), np.array([4, 10]))


def test_stages_that_do_not_add_up_are_a_fault() -> None:
    zero = np.zeros(1, dtype=np.int64)
    path = Path(steps(0, 10), zero, zero, zero + 9, zero, zero, zero, zero, zero - 1, zero - 1, *[zero] * 3)
    with pytest.raises(TraceError, match="stages of a step do not add up"):
        totals(path, path.steps)


def test_bars_that_do_not_add_up_are_a_fault() -> None:
    golden = Golden()
    golden.main(W0, Stage.COMPUTE, Op.FORWARD, 0, 5)
    golden.step(W0, 0, 5)
    right = account(golden.tables())

    class Wrong(type(right.totals)):  # type: ignore[misc]
        @property
        def stage_ns(self) -> list[int]:
            return [1] * 8

    sums = right.totals
    wrong = replace(right, totals=Wrong(sums.runs, sums.steps, sums.exposed_ns))
    with pytest.raises(TraceError, match=r"bars of .* do not add up"):
        waterfall(right, wrong)
