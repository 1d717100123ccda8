"""The watcher of a program that trains over a kvstore, whose bare calls can bound steps too.

Where a step ends, in order of preference: at the program's own marks; at the end of each `Trainer.step` or `Module.update`;
in a bare loop over a kvstore, when a key is pushed a second time: then the step ended with the last call before it.
"""

from __future__ import annotations

import enum
from typing import Any, List, Set

from breakdown.backends import watcher
from breakdown.clock.clocks import now_ns


class Finder(enum.IntEnum):
    """Who finds the steps; a higher one takes over from a lower one."""

    STORE = 0
    TRAINER = 1
    MARK = watcher.MARK


class Watcher(watcher.Watcher):
    """Records one worker, whose steps a kvstore may bound."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pushed: Set[Any] = set()
        self._store_end_ns = 0

    def pushes(self, keys: List[Any]) -> None:
        """A kvstore is about to be given values of these keys, by the program itself."""
        if self._over or not self._finds(Finder.STORE):
            return
        if self._pushed.intersection(keys):
            self._end(self._store_end_ns)
        self._pushed.update(keys)

    def store_returns(self) -> None:
        """A call of a kvstore, by the program itself, has returned."""
        self._store_end_ns = now_ns()

    def close(self) -> None:
        """The program ends. A bare loop's last step has ended with its last call."""
        if not self._over and self._finder is Finder.STORE and self._pushed:
            self._end(self._store_end_ns)
        super().close()

    def _end(self, end_ns: int) -> None:
        super()._end(end_ns)
        self._pushed.clear()
