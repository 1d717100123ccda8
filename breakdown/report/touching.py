"""Which of many timed things overlap a stretch of time, found without looking at all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from heapq import heappush, heapreplace
from typing import Generic, TypeVar

T = TypeVar("T")


class Touching(Generic[T]):
    """Things with a start and an end. They lie in layers, within which none overlaps another, so two searches in each
    layer find those of a stretch: the cost grows with what is found and with the layers, not with how many things there are.
    """

    def __init__(self, timed: Iterable[tuple[int, int, T]]) -> None:
        """`timed`: (start, end, thing). What took no time overlaps nothing."""
        self._things: list[T] = []
        self._layers: list[tuple[list[int], list[int], list[int]]] = []  # starts, ends, places in `_things`
        ordered = []
        for place, (start_ns, end_ns, thing) in enumerate(timed):
            self._things.append(thing)
            if end_ns > start_ns:
                ordered.append((start_ns, end_ns, place))
        free: list[tuple[int, int]] = []  # (when a layer's last thing ends, layer), the first to be free on top
        for start_ns, end_ns, place in sorted(ordered):
            if free and free[0][0] <= start_ns:
                layer = free[0][1]
                heapreplace(free, (end_ns, layer))
            else:
                layer = len(self._layers)
                self._layers.append(([], [], []))
                heappush(free, (end_ns, layer))
            for column, value in zip(self._layers[layer], (start_ns, end_ns, place), strict=True):
                column.append(value)

    def during(self, start_ns: int, end_ns: int) -> list[T]:
        """What overlaps this stretch by at least 1 ns, in the order in which it was given."""
        if end_ns <= start_ns:
            return []
        found: list[int] = []
        for starts, ends, places in self._layers:
            found += places[bisect_right(ends, start_ns) : bisect_left(starts, end_ns)]
        return [self._things[place] for place in sorted(found)]
