"""The first error of a role, and how its threads come to know of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from breakdown.errors import BreakdownError

ROOT_CAUSE_GRACE_S = 1.0
"""How long a role that lost a peer waits for the scheduler's word. The scheduler knows who was lost first; a loss seen from
the side is often the consequence of another."""


class Failure:
    """Holds the first error; the callbacks wake or close whatever threads may sleep in. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._failed = threading.Event()
        self.error: BreakdownError | None = None
        self.told = False
        """Whether the scheduler told us: then it need not hear of it from us."""

    def on_failure(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once there is an error; at once if there is one already."""
        with self._lock:
            if self.error is None:
                self._callbacks.append(callback)
                return
        callback()

    def set(self, error: BreakdownError, told: bool = False) -> None:
        """Notes the error if it is the first."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            self.told = told
            callbacks = self._callbacks
        self._failed.set()
        for callback in callbacks:
            callback()

    def suspect(self, error: BreakdownError) -> None:
        """A peer was lost: notes the error unless the scheduler gives a better one in time."""
        self._failed.wait(ROOT_CAUSE_GRACE_S)
        self.set(error)

    def check(self) -> None:
        """Raises the error if there is one."""
        if self.error is not None:
            raise self.error
