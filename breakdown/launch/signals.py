"""What the tool does with the signals that ask it to end: Ctrl-C, SIGTERM, and SIGHUP of a terminal that closes.

A signal that is ignored as the tool starts (SIGHUP under `nohup`, SIGINT behind `&` in a script) stays ignored, by the tool
and by what it starts: whoever ignored it wants that. Only the main thread may take signals: in any other, nothing here
changes anything.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """A signal asked the tool to end. `number`: which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Holding:
    """How deep the block is in which no signal may interrupt, and the first that came meanwhile."""

    depth = 0
    came: int | None = None


class Asked:
    """The signals that asked the tool to end while a `noted` block runs, in their order."""

    def __init__(self) -> None:
        self.by: list[int] = []
        self._wakes, self._woken_by = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Becomes readable when a signal comes."""
        return self._wakes

    def calm(self) -> None:
        """Not readable any more, until the next signal."""
        with suppress(BlockingIOError):
            while os.read(self._wakes, 64):
                pass

    def note(self, number: int, frame: FrameType | None) -> None:
        """Is the signals' handler."""
        self.by.append(number)
        with suppress(BlockingIOError):
            os.write(self._woken_by, b"!")

    def close(self) -> None:
        os.close(self._wakes)
        os.close(self._woken_by)


@contextmanager
def raising() -> Iterator[None]:
    """Each ending signal raises `Interrupted` in the block, so that `finally` and `with` clean up."""
    with _handled_by(_interrupt):
        yield


@contextmanager
def noted() -> Iterator[Asked]:
    """Ending signals are noted in the block, for one that looks after them itself."""
    asked = Asked()
    try:
        with _handled_by(asked.note):
            yield asked
    finally:
        asked.close()


@contextmanager
def held() -> Iterator[None]:
    """No ending signal raises within the block; one that came is raised at its end. For what must not be left half done."""
    _Holding.depth += 1
    try:
        yield
    finally:
        _Holding.depth -= 1
        if not _Holding.depth and _Holding.came is not None:
            number, _Holding.came = _Holding.came, None
            raise Interrupted(number)


def ignore() -> None:
    """From here on nothing ends the tool, which is about to: Python's own end would turn a signal into the exit code."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _Holding.depth:
        _Holding.came = _Holding.came or number
    else:
        raise Interrupted(number)


@contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
