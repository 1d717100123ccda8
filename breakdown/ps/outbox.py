"""What a sender thread has to send: in order of arrival, or the layer that is needed first.

No timeouts and no polling: `take` sleeps in one lock until there is something.
"""

from __future__ import annotations

import heapq
import threading
from abc import ABC, abstractmethod
from queue import SimpleQueue
from typing import Generic, TypeVar

from breakdown.errors import unknown_name

Item = TypeVar("Item")


class Outbox(ABC, Generic[Item]):
    """A queue with one taker and any number of putters."""

    @abstractmethod
    def put(self, priority: int, item: Item) -> None:
        """Adds an item; a smaller priority is sent first where the outbox knows priorities."""

    @abstractmethod
    def end(self) -> None:
        """The taker gets None once it has taken all that was put before."""

    @abstractmethod
    def take(self) -> Item | None:
        """The next item; sleeps until there is one. None: `end` was called."""


class Fifo(Outbox[Item]):
    """In order of arrival."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self.take = self._queue.get  # type: ignore[method-assign]  # one call less on the hot path

    def put(self, priority: int, item: Item) -> None:
        self._queue.put(item)

    def end(self) -> None:
        self._queue.put(None)

    def take(self) -> Item | None:
        return self._queue.get()


class ByLayer(Outbox[Item]):
    """The smallest priority first, and in order of arrival among equals: P3, Jayarajan et al., MLSys 2019.

    A frame on its way is not interrupted; how long an urgent key waits behind it is set by the size of a wire key.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Item]] = []
        self._count = 0
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one True an item

    def put(self, priority: int, item: Item) -> None:
        with self._lock:
            self._count += 1
            heapq.heappush(self._heap, (priority, self._count, item))
        self._tokens.put(True)

    def end(self) -> None:
        self._tokens.put(False)

    def take(self) -> Item | None:
        if not self._tokens.get():
            return None
        with self._lock:
            return heapq.heappop(self._heap)[2]


def outbox(priority: str) -> Outbox[Item]:
    """An empty outbox: `fifo` or `layer`."""
    kinds: dict[str, type[Outbox[Item]]] = {"fifo": Fifo, "layer": ByLayer}
    if priority not in kinds:
        raise unknown_name("priority", priority, kinds)
    return kinds[priority]()
