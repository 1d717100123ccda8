"""Activities that lie within each other, or side by side, are taken apart: in the grammar a thread does one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TypeVar

_What = TypeVar("_What")
Piece = tuple[int, int, _What]


def flat(activities: Iterable[Piece[_What]]) -> list[Piece[_What]]:
    """Of (start, end, what) of one thread, the stretches in which each was the innermost."""
    pieces: list[Piece[_What]] = []
    stack: list[Piece[_What]] = []
    cursor = 0

    def close(until: int) -> None:
        nonlocal cursor
        while stack and stack[-1][1] <= until:
            _, end, what = stack.pop()
            if end > cursor:
                pieces.append((cursor, end, what))
            cursor = max(cursor, end)

    for start, end, what in sorted(activities, key=lambda one: (one[0], -one[1])):
        if stack and stack[-1][1] <= start:
            close(start)
        if stack:
            if start > cursor:
                pieces.append((cursor, start, stack[-1][2]))
            end = min(end, stack[-1][1])
        cursor = max(cursor, start) if stack else start
        stack.append((start, end, what))
    close(max((end for _, end, _ in stack), default=0))
    return pieces


def lanes(intervals: Sequence[tuple[int, int]]) -> list[int]:
    """For each (start, end) the number of a lane, the lowest in which it overlaps no other."""
    free: list[int] = []  # lanes, lowest first
    taken: list[tuple[int, int]] = []  # until when, and which lane
    found = [0] * len(intervals)
    count = 0
    for place in sorted(range(len(intervals)), key=intervals.__getitem__):
        start, end = intervals[place]
        while taken and taken[0][0] <= start:
            heappush(free, heappop(taken)[1])
        if not free:
            heappush(free, count)
            count += 1
        lane = heappop(free)
        heappush(taken, (end, lane))
        found[place] = lane
    return found
