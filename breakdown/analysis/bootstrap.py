"""95 % intervals over repetitions: the percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13).

Repetitions are drawn with replacement and the statistic is computed anew, `RESAMPLES` times; the interval reaches from the
2.5th to the 97.5th percentile. With few repetitions it is coarse and rather too narrow (three have only ten different
resamples): it shows the spread that was seen, not more. With a single one there is none, and both ends are None.

Rounds of an experiment are interleaved, so that two cells of one round met the same machine: where two cells are put in
relation, rounds that both have are drawn jointly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from breakdown.analysis.findings import Interval

RESAMPLES: Final = 4000
"""Enough that the percentiles move by less than the last digit that is shown; a few ms of work."""
SEED: Final = 20150518
"""Fixed, so that the same run always gets the same interval."""
LEVEL: Final = 95.0
NO_INTERVAL: Final = Interval(None, None)

Draws = NDArray[np.int64]
"""Positions of repetitions: one row a resample."""
Floats = NDArray[np.float64]


def over(repetitions: int, statistic: Callable[[Draws], Floats]) -> Interval:
    """The interval of a statistic of one cell, in the statistic's unit. It gets resamples and returns a value for each."""
    return _interval(statistic(_draws(repetitions, 0))) if repetitions > 1 else NO_INTERVAL


def over_two(
    a_runs: Sequence[int], b_runs: Sequence[int], statistic: Callable[[Draws, Draws], Floats], paired: bool = True
) -> Interval:
    """The interval of a statistic of two cells with these repetitions, in the statistic's unit.

    `paired`: they are of one interleaved experiment. Rounds that only one of them has then count for nothing.
    """
    if not paired:
        if min(len(a_runs), len(b_runs)) < 2:
            return NO_INTERVAL
        return _interval(statistic(_draws(len(a_runs), 1), _draws(len(b_runs), 2)))
    common = [run for run in a_runs if run in b_runs]
    if len(common) < 2:
        return NO_INTERVAL
    rounds = _draws(len(common), 0)
    a_at, b_at = (np.array([runs.index(run) for run in common]) for runs in (a_runs, b_runs))
    return _interval(statistic(a_at[rounds], b_at[rounds]))


def means(totals: NDArray[np.int64], counts: NDArray[np.int64], picked: Draws) -> Floats:
    """The pooled mean of each resample: the sum over its repetitions by the number of their steps, in the unit of totals."""
    pooled: Floats = totals[picked].sum(axis=1) / counts[picked].sum(axis=1)
    return pooled


def medians(values: Floats, picked: Draws) -> Floats:
    """The median over the repetitions of each resample."""
    return np.asarray(np.median(values[picked], axis=1), dtype=np.float64)


def _draws(repetitions: int, stream: int) -> Draws:
    """Resamples of so many repetitions. Different streams are independent of one another."""
    return np.random.default_rng((SEED, stream)).integers(0, repetitions, (RESAMPLES, repetitions))


def _interval(values: Floats) -> Interval:
    margin = (100 - LEVEL) / 2
    low, high = np.percentile(values, [margin, 100 - margin])
    return Interval(float(low), float(high))
