"""The signals of what tests start: their defaults, whatever pytest itself was started with.

A process that starts another hands down which signals it ignores and which it blocks; `nohup` and a script's `&` make it
ignore some. A signal that it *handles* goes back to its default in the other process. So the tests' own process handles what
it was told to ignore, by doing nothing: it still does not react, and what it starts does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Handed down with their defaults to all that is started. SIGHUP is not: a lost terminal would end tests under `nohup`."""


def hand_down_defaults(*numbers: signal.Signals) -> list[signal.Signals]:
    """From here on what this process starts has the default action for these. Returns those that were ignored."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, _nothing)
    return ignored


@contextmanager
def defaults(*numbers: signal.Signals) -> Iterator[None]:
    """For what is started within the block: `with defaults(signal.SIGHUP): subprocess.Popen(...)`."""
    ignored = hand_down_defaults(*numbers)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
