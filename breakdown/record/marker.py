"""A mark that a traced program can set where its steps cannot be found: `from breakdown.record.marker import step`.

Under `breakdown trace` the package can be imported in every process of the command. Elsewhere the call does nothing.
"""

from __future__ import annotations

from typing import Callable, List

Listener = Callable[[int], None]

_listeners: List[Listener] = []


def step(samples: int = 0) -> None:
    """Ends one step of this worker, of so many samples, and begins the next."""
    for listener in _listeners:
        listener(samples)


def listen(listener: Listener) -> None:
    """For whoever records this process."""
    _listeners.append(listener)
