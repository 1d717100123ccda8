"""Arithmetic of time intervals and of whole numbers that must add up. Everything is integer ns, half open: [start, end).

A set of intervals is a pair of integer arrays (starts, ends), sorted and free of overlap: what `union` returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Intervals = tuple[Ints, Ints]


def union(starts: Ints, ends: Ints) -> Intervals:
    """The merged set of any intervals; empty and inverted ones count for nothing, touching ones become one.

    Starts and ends are sorted apart: time is free of intervals before the i-th start exactly if i have ended by then.
    """
    keep = ends > starts
    starts, ends = np.sort(starts[keep]), np.sort(ends[keep])
    if not len(starts):
        return starts, ends
    free = starts[1:] > ends[:-1]
    return starts[np.append(True, free)], ends[np.append(free, True)]


def length(intervals: Intervals) -> int:
    """The time that a set covers, in ns."""
    return int((intervals[1] - intervals[0]).sum())


def overlap(a: Intervals, b: Intervals) -> Intervals:
    """The time that is in both sets."""
    (a_starts, a_ends), (b_starts, b_ends) = a, b
    lo = np.searchsorted(b_ends, a_starts, side="right")  # first of b that ends after a's start
    hi = np.searchsorted(b_starts, a_ends, side="left")  # first of b that starts at or after a's end
    counts = np.maximum(hi - lo, 0)
    of_a = np.repeat(np.arange(len(a_starts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    of_b = np.repeat(lo, counts) + within
    return np.maximum(a_starts[of_a], b_starts[of_b]), np.minimum(a_ends[of_a], b_ends[of_b])


def subtract(a: Intervals, b: Intervals) -> Intervals:
    """The time that is in `a` and not in `b`."""
    if not len(a[0]):
        return a
    low, high = a[0][0], a[1][-1]
    gaps = np.concatenate(([low], b[1])), np.concatenate((b[0], [high]))
    keep = gaps[1] > gaps[0]
    return overlap(a, (gaps[0][keep], gaps[1][keep]))


def grouped_union_ns(group: Ints, starts: Ints, ends: Ints, groups: int) -> Ints:
    """For each group number below `groups`, the length of the union of its intervals, in ns.

    Group number and time share one sortable 64-bit word, so that one union does for all: a group's last end stays below the
    next one's first start. Times are relative to the group's own origin. Raises `ValueError` where they are negative or do
    not fit.
    """
    if not len(starts):
        return np.zeros(groups, dtype=np.int64)
    bits = int(ends.max()).bit_length()
    if bits + groups.bit_length() > 63 or int(starts.min()) < 0:
        raise ValueError(f"times of up to {ends.max()} ns in {groups} groups do not fit one word")
    base = group << bits
    starts, ends = union(base + starts, base + ends)
    covered = np.zeros(groups, dtype=np.int64)
    np.add.at(covered, starts >> bits, ends - starts)
    return covered


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """`total` shared out in proportion to whole weights that are not negative, as whole numbers that add up to it exactly.

    Largest remainder (Hamilton's method); of equal remainders the earlier one gets the unit. Raises `ValueError` where all
    weights are zero and `total` is not.
    """
    whole = sum(weights)
    if whole == 0:
        if total:
            raise ValueError(f"{total} cannot be shared out: all weights are zero")
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    missing = total - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for i in by_remainder[:missing]:
        shares[i] += 1
    return shares


def mean(total: int, count: int) -> int:
    """`total / count` rounded to the nearest whole number (halves up), in exact integer arithmetic. 0 where count is 0."""
    return (2 * total + count) // (2 * count) if count else 0
