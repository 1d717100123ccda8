"""A process's recorder, closed exactly once: at the end of its work, or when SIGTERM ends it first."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Callable, NoReturn, Optional, Protocol

from breakdown.errors import BreakdownError


class Closable(Protocol):
    """A recorder, or several."""

    def close(self) -> None:
        """Raises `RecordError` if records were lost."""


class Trace:
    """Holds the recorder, once there is one. Closed by the main thread, or by the one that waits for SIGTERM."""

    def __init__(self, before_leaving: Callable[[], None] = lambda: None) -> None:
        """`before_leaving` is called before SIGTERM ends the process: what its exit handlers would do otherwise."""
        self.recorder: Optional[Closable] = None
        self._lock = threading.Lock()
        self._before_leaving = before_leaving

    def close(self) -> None:
        """Raises `RecordError` if records were lost."""
        with self._lock:
            if self.recorder is not None:
                self.recorder.close()
                self.recorder = None

    def close_after(self, work: Callable[[], None], name: str) -> int:
        """Does a process's work and closes the recorder in all cases. Gives its exit code: 0 done; 1 failed.

        The reason goes to stderr, behind the process's `name` where it is one of ours.
        """
        code = 1
        try:
            work()
            code = 0
        except BreakdownError as error:
            say(f"{name}: {error}")
        except Exception:
            with suppress(OSError):
                traceback.print_exc()
        try:
            self.close()
        except BreakdownError as error:
            say(f"{name}: {error}")
            code = 1
        return code

    def close_on_sigterm(self) -> None:
        """A thread of its own takes the signal: it works while the main thread is deep in native code.

        Call it before any other thread is started, so that all inherit the mask.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait, name="sigterm", daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        try:
            self.close()
        except BreakdownError as error:
            say(str(error))
        finally:
            self._before_leaving()
            leave(128 + signal.SIGTERM)


def at_the_end(close: Callable[[], None], stop: Callable[[], None]) -> None:
    """Has `close` called when this program ends, by os._exit too; then `stop` as well, in place of native exit handlers."""
    leave_at_once, process = os._exit, os.getpid()

    def leave_after_closing(status: int) -> NoReturn:
        if os.getpid() == process:  # a forked child has nothing to close
            close()
            stop()
        leave_at_once(status)

    atexit.register(close)
    os._exit = leave_after_closing


def say(text: str) -> None:
    """To the log."""
    with suppress(OSError):  # the log's disk may be full: the exit code still tells
        print(text, file=sys.stderr, flush=True)


def leave(code: int) -> NoReturn:
    """Ends the process without waiting for threads that a failure may have left blocked on a peer."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
