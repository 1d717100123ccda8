"""Intervals over repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from breakdown.analysis import bootstrap
from breakdown.analysis.findings import Interval


def test_a_single_repetition_has_no_interval() -> None:
    assert bootstrap.over(1, lambda at: at[:, 0].astype(float)) == Interval(None, None)
    assert bootstrap.over_two([0], [0, 1], lambda a, b: a[:, 0] - b[:, 0] + 0.0) == Interval(None, None)
    assert bootstrap.over_two([0], [0, 1], lambda a, b: a[:, 0] - b[:, 0] + 0.0, paired=False) == Interval(None, None)


def test_the_same_input_gives_the_same_interval() -> None:
    values = np.array([1.0, 5.0, 2.0, 4.0])
    first, second = (bootstrap.over(4, lambda at: bootstrap.medians(values, at)) for _ in range(2))
    assert first == second
    assert first.low is not None
    assert first.high is not None
    assert 1.0 <= first.low < 3.0 < first.high <= 5.0


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    # 400 draws of a normal distribution: the standard error of the mean is 10 / 20 = 0.5, so 1.96 of it on either side.
    values = np.random.default_rng(3).normal(100, 10, 400)
    found = bootstrap.over(400, lambda at: values[at].mean(axis=1))
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1)


def test_means_are_pooled_by_the_number_of_steps() -> None:
    picked = np.array([[0, 1], [1, 1]])
    found = bootstrap.means(np.array([10, 90]), np.array([1, 3]), picked)
    assert found.tolist() == [100 / 4, 180 / 6]


def test_paired_rounds_take_out_what_both_cells_met() -> None:
    # Round by round b is 3 above a, whatever the machine did to the round: the interval of the difference is a point.
    a = np.array([10.0, 200.0, 35.0])
    b = a + 3
    paired = bootstrap.over_two([0, 1, 2], [0, 1, 2], lambda x, y: b[y].mean(axis=1) - a[x].mean(axis=1))
    apart = bootstrap.over_two([0, 1, 2], [0, 1, 2], lambda x, y: b[y].mean(axis=1) - a[x].mean(axis=1), paired=False)
    assert paired.low == pytest.approx(3)
    assert paired.high == pytest.approx(3)
    assert apart.low is not None
    assert apart.low < -50


def test_rounds_that_one_cell_lacks_are_left_out_of_pairs() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([11.0, 13.0])  # b failed in round 1
    found = bootstrap.over_two([0, 1, 2], [0, 2], lambda x, y: b[y].mean(axis=1) - a[x].mean(axis=1))
    assert found == Interval(10.0, 10.0)
