"""Intervals over repetitions: how often they cover the truth, by simulation, and what they are where that is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from breakdown.analysis import repetitions
from breakdown.analysis.findings import Interval
from breakdown.analysis.repetitions import NO_INTERVAL, Floats

TRIALS = 4_000
PROMISED = 0.93
MARGIN = 3 * math.sqrt(PROMISED * (1 - PROMISED) / TRIALS)
"""Three standard errors of a share of so many trials, 1.2 points. A share that is seen above `PROMISED` + `MARGIN` is above
`PROMISED` in truth, but for one time in 700."""

COUNTS = (3, 5, 6, 10)
Draw = Callable[[np.random.Generator, int], Floats]


def normal(of: np.random.Generator, count: int) -> Floats:
    return of.normal(100.0, 10.0, count)


def log_normal(of: np.random.Generator, count: int) -> Floats:
    return 100.0 * np.exp(of.normal(0.0, 0.5, count))


def wild(of: np.random.Generator, count: int) -> Floats:
    """One of ten has five times the spread of the others, to either side."""
    return of.normal(100.0, 5.0 * np.where(of.random(count) < 0.1, 5.0, 1.0))


def sometimes_slow(of: np.random.Generator, count: int) -> Floats:
    """A rate: one of five is half as fast."""
    return of.normal(100.0, 5.0, count) * np.where(of.random(count) < 0.2, 0.5, 1.0)


SYMMETRIC_OR_SKEWED = (normal, log_normal, wild)


def covered(truth: float, count: int, interval: Callable[[np.random.Generator], Interval]) -> float:
    """The share of trials in which an interval covers the truth."""
    of = np.random.default_rng((20261128, count))
    found = [interval(of) for _ in range(TRIALS)]
    return sum(one.low is not None and one.high is not None and one.low <= truth <= one.high for one in found) / TRIALS


def truths(draw: Draw) -> tuple[float, float]:
    """Mean and median, from so many draws that their own errors do not count."""
    many = draw(np.random.default_rng(7), 2_000_000)
    return float(many.mean()), float(np.median(many))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("draw", [*SYMMETRIC_OR_SKEWED, sometimes_slow])
def test_a_medians_interval_covers_the_median(draw: Draw, count: int) -> None:
    median = truths(draw)[1]
    assert covered(median, count, lambda of: repetitions.median(draw(of, count))) > PROMISED + MARGIN


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("draw", SYMMETRIC_OR_SKEWED)
def test_a_pooled_means_interval_covers_the_mean(draw: Draw, count: int) -> None:
    def found(of: np.random.Generator) -> Interval:
        steps = np.full(count, 50)
        return repetitions.mean(np.rint(draw(of, count) * 1e6 * steps).astype(np.int64), steps)

    assert covered(truths(draw)[0] * 1e6, count, found) > PROMISED + MARGIN


def rounds(of: np.random.Generator, count: int) -> Floats:
    """What the machine did to each round, as a factor on all that ran in it."""
    return np.exp(of.normal(0.0, 0.3, count))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("draw", [*SYMMETRIC_OR_SKEWED, sometimes_slow])
def test_a_speedups_interval_covers_the_median_rounds_ratio(draw: Draw, count: int) -> None:
    many = np.random.default_rng(8)
    truth = float(np.median(1.5 * draw(many, 2_000_000) / draw(many, 2_000_000)))

    def found(of: np.random.Generator) -> Interval:
        met = rounds(of, count)
        runs = range(count)
        return repetitions.ratio(draw(of, count) * met, 1.5 * draw(of, count) * met, runs, runs)[1]

    assert covered(truth, count, found) > PROMISED + MARGIN


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("draw", SYMMETRIC_OR_SKEWED)
@pytest.mark.parametrize("paired", [True, False])
def test_a_differences_interval_covers_the_difference_of_means(draw: Draw, count: int, paired: bool) -> None:
    mean = truths(draw)[0]

    def found(of: np.random.Generator) -> Interval:
        steps = np.full(count, 50)
        shift = of.normal(0.0, 30.0, count) if paired else 0.0
        a, b = draw(of, count) + shift + 200, 1.5 * draw(of, count) + shift + 200
        totals = [np.rint(one * 1e6 * steps).astype(np.int64) for one in (a, b)]
        return repetitions.difference((totals[0], steps), (totals[1], steps), range(count), range(count), paired)

    assert covered(0.5 * mean * 1e6, count, found) > PROMISED + MARGIN


@pytest.mark.parametrize("draw", SYMMETRIC_OR_SKEWED)
def test_a_ratio_of_two_results_that_have_no_rounds_in_common_is_covered_too(draw: Draw) -> None:
    def found(of: np.random.Generator) -> Interval:
        return repetitions.ratio(draw(of, 3), 1.5 * draw(of, 5), range(3), range(5), paired=False)[1]

    assert covered(1.5, 3, found) > PROMISED + MARGIN


def test_repetitions_with_unequal_numbers_of_steps_are_pooled_and_covered() -> None:
    def found(of: np.random.Generator) -> Interval:
        steps = of.integers(25, 51, 5)
        return repetitions.mean(np.rint(normal(of, 5) * 1e6 * steps).astype(np.int64), steps)

    assert covered(100e6, 5, found) > PROMISED + MARGIN


def test_a_single_repetition_has_no_interval() -> None:
    one, two = (np.array([5]), np.array([1])), (np.array([5, 6]), np.array([1, 1]))
    assert repetitions.median(np.array([1.0])) == repetitions.mean(*one) == NO_INTERVAL
    assert repetitions.difference(one, two, [0], [0, 1]) == NO_INTERVAL
    assert repetitions.difference(one, two, [0], [0, 1], paired=False) == NO_INTERVAL
    assert repetitions.ratio(np.array([2.0]), np.array([3.0, 4.0]), [0], [0, 1]) == (1.5, NO_INTERVAL)
    assert repetitions.ratio(np.array([2.0]), np.array([3.0, 5.0]), [0], [0, 1], paired=False) == (2.0, NO_INTERVAL)
    assert repetitions.ratio(np.array([2.0]), np.array([3.0]), [0], [1]) == (1.5, NO_INTERVAL)  # no round is common


def test_students_quantiles_are_those_of_the_tables() -> None:
    # Any table of Student's distribution, two-sided.
    printed = {
        (0.95, 1): 12.706,
        (0.95, 2): 4.303,
        (0.95, 5): 2.571,
        (0.95, 30): 2.042,
        (0.975, 2): 6.205,
        (0.975, 9): 2.685,
    }
    assert {key: round(repetitions.student_quantile(*key), 3) for key in printed} == printed
    assert repetitions.student_quantile(0.95, 100_000) == pytest.approx(1.95998, abs=1e-4)


def test_three_values_have_students_interval() -> None:
    # Mean 3, standard deviation 1, standard error 1 / sqrt(3), two degrees of freedom.
    found = repetitions.mean(np.array([20, 30, 40]), np.array([10, 10, 10]))
    assert list(both(found)) == pytest.approx([0.0, 3 + 6.2053 / math.sqrt(3)], abs=1e-3)  # no time is negative
    apart = repetitions.difference((np.array([0, 0, 0]), np.ones(3, dtype=np.int64)),
                                   (np.array([2, 3, 4]), np.ones(3, dtype=np.int64)), range(3), range(3))  # fmt: skip
    assert list(both(apart)) == pytest.approx([3 - 6.2053 / math.sqrt(3), 3 + 6.2053 / math.sqrt(3)], abs=1e-3)
    logs = repetitions.median(np.exp(np.array([2.0, 3.0, 4.0])))
    assert [math.log(bound) for bound in both(logs)] == pytest.approx(
        [3 - 4.3027 / math.sqrt(3), 3 + 4.3027 / math.sqrt(3)], abs=1e-3
    )


def test_from_six_on_a_medians_interval_is_between_two_of_the_values() -> None:
    # Outside the k-th smallest and largest the median lies with 2 * P(fewer than k of n coins show heads): for k = 1 of 6
    # 3.1 %, of 8 0.8 %; for k = 2 of 8 7.0 %, of 10 2.1 %.
    values = np.array([9.0, 1.0, 5.0, 3.0, 2.0, 7.0, 4.0, 8.0, 6.0, -50.0])
    assert repetitions.median(values[:6]) == Interval(1.0, 9.0)
    assert repetitions.median(values[:8]) == Interval(1.0, 9.0)
    assert repetitions.median(values) == Interval(1.0, 8.0)


def test_a_median_always_lies_within_its_interval() -> None:
    of = np.random.default_rng(5)
    for count in range(2, 12):
        for _ in range(200):
            values = np.exp(np.clip(of.standard_cauchy(count), -60, 60))
            low, high = both(repetitions.median(values))
            assert low <= float(np.median(values)) * (1 + 1e-12)
            assert high >= float(np.median(values)) * (1 - 1e-12)


def test_paired_rounds_take_out_what_both_cells_met() -> None:
    # Round by round b is 3 above a, whatever the machine did to the round: the interval of the difference is a point.
    a, ones = np.array([10, 200, 35]), np.ones(3, dtype=np.int64)
    paired, apart = (
        repetitions.difference((a, ones), (a + 3, ones), range(3), range(3), together) for together in (True, False)
    )
    assert list(both(paired)) == pytest.approx([3, 3])
    assert both(apart)[0] < -50
    speeds = a * 1.0
    ratio, bounds = repetitions.ratio(speeds, 2 * speeds, range(3), range(3))
    assert (ratio, list(both(bounds))) == (2.0, pytest.approx([2.0, 2.0]))


def test_rounds_that_one_cell_lacks_are_left_out_of_pairs() -> None:
    a, b = np.array([1, 2, 3]), np.array([11, 13])  # b failed in round 1
    ones = np.ones(3, dtype=np.int64)
    found = repetitions.difference((a, ones), (b, ones[:2]), [0, 1, 2], [0, 2])
    assert list(both(found)) == pytest.approx([10.0, 10.0])
    assert repetitions.ratio(a * 1.0, b * 1.0, [0, 1, 2], [0, 2])[0] == pytest.approx((11 / 1 + 13 / 3) / 2)


def both(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high
