"""Activities that lie within each other, or side by side, are taken apart: in the grammar a thread does one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    free: list[int] = []  # by lane: until when it is taken
    found = [0] * len(intervals)
    for place in sorted(range(len(intervals)), key=lambda at: intervals[at]):
        start, end = intervals[place]
        lane = next((number for number, until in enumerate(free) if until <= start), len(free))
        if lane == len(free):
            free.append(0)
        free[lane] = end
        found[place] = lane
    return found
