"""95 % intervals over repetitions: what further repetitions like these would show, from as few as two.

A repetition is one draw of what a run can bring on this machine; the steps within it are not independent of one another, so
they never count as draws. Each interval covers one stated quantity in at least 93 % of cases at 3, 5 and 10 repetitions; the
tests simulate it, for normal, log-normal and contaminated repetitions. With a single one there is no interval: both ends are
None. With two it rests wholly on the distribution that it takes for granted, and is more than ten times as wide as their
distance.

- Rates, and ratios of rates, are medians over repetitions. Covered is the median of all repetitions that could be: half of
  them are above it, however skewed they are and however far some go astray. From 6 repetitions on the interval reaches from
  one order statistic to another (the sign test: Conover 1999, section 3.2) and takes nothing for granted. Fewer cannot do
  that: there it is Student's, of the logarithms.
- Times are pooled means, since means add up. Covered is the mean of all repetitions that could be. The interval is
  Student's, with the standard error of the jackknife (Tukey 1958; Miller 1974), which is right for a ratio of sums too.
  Student's t is exact for normal repetitions and covers less for skewed ones. So it has the quantile of `MEAN_LEVEL`: that
  leaves 93 % for log-normal ones with a standard deviation of up to half their size. No interval of a mean can answer for
  repetitions so rare that hardly any was seen (Bahadur and Savage 1956): where one of ten is twice as slow, look at rates.

Rounds of an experiment are interleaved, so that two cells of one round met the same machine: where two cells are put in
relation, they are compared round by round, in the rounds that both have. Else the interval is Welch's (1947).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import atan, comb, cos, exp, floor, pi, sin, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from breakdown.analysis.codes import Long
from breakdown.analysis.findings import Interval

LEVEL: Final = 0.95
MEAN_LEVEL: Final = 0.975
"""The level of Student's intervals of means, which skewed repetitions bring down to no less than 93 %."""
NO_INTERVAL: Final = Interval(None, None)

_HIGHEST_LOGARITHM: Final = 700.0
"""Just below that of the greatest float."""

Floats = NDArray[np.float64]


def median(values: Floats) -> Interval:
    """The interval of the median, in the unit of the values: one a repetition."""
    rank = _sign_test_rank(len(values))
    if rank:
        ordered = np.sort(values)
        return Interval(float(ordered[rank - 1]), float(ordered[-rank]))
    if np.all(values > 0):
        return _exponential(_student(np.log(values), LEVEL))
    return _student(values, LEVEL)


def ratio(a: Floats, b: Floats, a_runs: Sequence[int], b_runs: Sequence[int], paired: bool = True) -> tuple[float, Interval]:
    """By how much `b` is more than `a`, as a factor, and its interval. Both are above 0: one value a repetition.

    `paired`: they are of one interleaved experiment. Then it is the median over the rounds that both have of the round's
    ratio. Else, or where no round is common, it is the ratio of both medians.
    """
    a_at, b_at = _common(a_runs, b_runs)
    if paired and len(a_at):
        by_round = b[b_at] / a[a_at]
        return float(np.median(by_round)), median(by_round)
    value = float(np.median(b) / np.median(a))
    return value, NO_INTERVAL if paired else _exponential(_welch(np.log(a), np.log(b), LEVEL))


def mean(totals: Long, counts: Long) -> Interval:
    """The interval of a pooled mean that cannot be negative: of the sum of `totals` by that of `counts`."""
    if len(totals) < 2:
        return NO_INTERVAL
    found = _around(_pooled(totals, counts), _jackknife_error(_left_out(totals, counts)), len(totals) - 1, MEAN_LEVEL)
    return Interval(max(found.low or 0.0, 0.0), found.high)


def difference(
    a: tuple[Long, Long], b: tuple[Long, Long], a_runs: Sequence[int], b_runs: Sequence[int], paired: bool = True
) -> Interval:
    """The interval of b's pooled mean less a's: each (totals, counts), an entry a repetition. `paired`: as for `ratio`."""
    if not paired:
        errors = [_jackknife_error(_left_out(*one)) if len(one[0]) > 1 else 0.0 for one in (a, b)]
        return _apart(_pooled(*b) - _pooled(*a), (errors[0], errors[1]), (len(a[0]), len(b[0])), MEAN_LEVEL)
    a_at, b_at = _common(a_runs, b_runs)
    if len(a_at) < 2:
        return NO_INTERVAL
    first, second = (a[0][a_at], a[1][a_at]), (b[0][b_at], b[1][b_at])
    error = _jackknife_error(_left_out(*second) - _left_out(*first))
    return _around(_pooled(*second) - _pooled(*first), error, len(a_at) - 1, MEAN_LEVEL)


@cache
def student_quantile(level: float, freedom: int) -> float:
    """How many standard errors Student's distribution has on either side of its middle within `level` of all cases."""
    low, high = 0.0, 1.0
    while _student_within(high, freedom) < level:
        high *= 2
    for _ in range(60):  # bisection: the last bits of a float
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < level else (low, middle)
    return high


def _student_within(t: float, freedom: int) -> float:
    """The share of Student's distribution between -t and t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(freedom))
    term = total = cos(angle) if freedom % 2 else 1.0
    for n in range(2 + freedom % 2, freedom - 1, 2):
        term *= cos(angle) ** 2 * (n - 1) / n
        total += term
    if freedom % 2 == 0:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if freedom > 1 else 0.0))


@cache
def _sign_test_rank(count: int) -> int:
    """The greatest k for which the k-th smallest and the k-th largest of so many values hold the median between them.

    They do so but where fewer than k values are on one side of it: each is so with probability 1/2. 0: no k reaches `LEVEL`.
    """
    outside, rank = 0, 0
    while 2 * (outside := outside + comb(count, rank)) <= (1 - LEVEL) * 2**count:
        rank += 1
    return rank


def _student(values: Floats, level: float) -> Interval:
    if len(values) < 2:
        return NO_INTERVAL
    return _around(float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values)), len(values) - 1, level)


def _welch(a: Floats, b: Floats, level: float) -> Interval:
    errors = [float(one.std(ddof=1)) / sqrt(len(one)) if len(one) > 1 else 0.0 for one in (a, b)]
    return _apart(float(b.mean() - a.mean()), (errors[0], errors[1]), (len(a), len(b)), level)


def _apart(middle: float, errors: tuple[float, float], counts: tuple[int, int], level: float) -> Interval:
    """Of a difference of two that have nothing to do with each other. Degrees of freedom are rounded down: wider."""
    if min(counts) < 2:
        return NO_INTERVAL
    parts = [error**2 for error in errors]
    whole = sum(parts)
    shares = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    return _around(middle, sqrt(whole), max(floor(whole**2 / shares), 1) if shares else 1, level)


def _around(middle: float, error: float, freedom: int, level: float) -> Interval:
    reach = student_quantile(level, freedom) * error
    return Interval(middle - reach, middle + reach)


def _exponential(found: Interval) -> Interval:
    if found.low is None or found.high is None:
        return found
    return Interval(exp(found.low), exp(min(found.high, _HIGHEST_LOGARITHM)))


def _pooled(totals: Long, counts: Long) -> float:
    return float(totals.sum() / counts.sum())


def _left_out(totals: Long, counts: Long) -> Floats:
    """The pooled mean without each of the repetitions in turn."""
    found: Floats = (totals.sum() - totals) / (counts.sum() - counts)
    return found


def _jackknife_error(left_out: Floats) -> float:
    return sqrt((len(left_out) - 1) * float(left_out.var()))


def _common(a_runs: Sequence[int], b_runs: Sequence[int]) -> tuple[Long, Long]:
    """Where the repetitions that both have stand in each."""
    common = [run for run in a_runs if run in b_runs]
    a_at, b_at = (np.array([list(runs).index(run) for run in common], dtype=np.int64) for runs in (a_runs, b_runs))
    return a_at, b_at
