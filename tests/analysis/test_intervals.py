"""Interval arithmetic against sets of whole nanoseconds, and shares that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.analysis.intervals import Intervals, apportion, grouped_union_ns, length, mean, overlap, subtract, union

pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def made(found: list[tuple[int, int]]) -> Intervals:
    array = np.array(found, dtype=np.int64).reshape(-1, 2)
    return union(array[:, 0], array[:, 1])


def points(intervals: Intervals) -> set[int]:
    return {ns for start, end in zip(*intervals, strict=True) for ns in range(start, end)}


def raw(found: list[tuple[int, int]]) -> set[int]:
    return {ns for start, end in found for ns in range(start, end)}


@given(pairs)
def test_union_covers_the_same_moments_and_is_sorted_and_disjoint(a: list[tuple[int, int]]) -> None:
    merged = made(a)
    assert points(merged) == raw(a)
    assert length(merged) == len(raw(a))
    assert (merged[0][1:] > merged[1][:-1]).all()


@given(pairs, pairs)
def test_overlap_and_subtract_are_those_of_sets(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    assert points(overlap(made(a), made(b))) == raw(a) & raw(b)
    assert points(subtract(made(a), made(b))) == raw(a) - raw(b)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 40)), max_size=20))
def test_grouped_union_is_the_union_of_each_group(rows: list[tuple[int, int, int]]) -> None:
    group, starts, ends = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    found = grouped_union_ns(group, starts, ends, 4)
    assert found.tolist() == [len(raw([(a, b) for g, a, b in rows if g == wanted])) for wanted in range(4)]


def test_grouped_union_refuses_what_does_not_fit_a_word() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        grouped_union_ns(np.array([0]), np.array([0]), np.array([2**61]), 4)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**15), min_size=1, max_size=12))
def test_shares_add_up_and_are_within_one_of_proportional(total: int, weights: list[int]) -> None:
    if not sum(weights):
        return
    shares = apportion(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - total * weight) < sum(weights)


def test_the_largest_remainder_gets_the_unit_and_of_equals_the_first() -> None:
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(7, [5, 3, 2]) == [4, 2, 1]  # 3.5, 2.1, 1.4: the one missing goes to .5
    assert apportion(0, [0, 0]) == [0, 0]


def test_a_total_without_weights_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="all weights are zero"):
        apportion(1, [0, 0])


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(7, 2, 4), (5, 2, 3), (-5, 2, -2), (9, 4, 2), (0, 5, 0), (3, 0, 0)]
)
def test_mean_rounds_to_the_nearest_and_halves_up(total: int, count: int, expected: int) -> None:
    assert mean(total, count) == expected
