"""Finds what a thread was in at a moment."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from breakdown.store.tensorflow.raw import Activity


class Enclosing:
    """Activities of one kind, which do not lie within each other."""

    def __init__(self, activities: Iterable[Activity]) -> None:
        self._by_thread: dict[str, list[Activity]] = defaultdict(list)
        for activity in sorted(activities, key=lambda one: one.start_ns):
            self._by_thread[activity.thread].append(activity)
        self._starts = {thread: [one.start_ns for one in own] for thread, own in self._by_thread.items()}

    def of(self, thread: str, at_ns: int) -> Activity | None:
        """The activity of this thread at this moment."""
        found = self.latest(thread, at_ns)
        return found if found is not None and found.end_ns >= at_ns else None

    def latest(self, thread: str, at_ns: int) -> Activity | None:
        """The activity of this thread that began last, at this moment or before."""
        place = bisect_right(self._starts.get(thread, ()), at_ns) - 1
        return self._by_thread[thread][place] if place >= 0 else None
