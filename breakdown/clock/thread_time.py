"""What became of the calling thread's time: how long it ran, and how long it was ready to run while it had no core.

Linux counts both for each thread. The second is a number of `/proc/thread-self/schedstat` (ns run, ns runnable without
running, times run), complete whenever the thread itself looks: it runs then, so no such wait is under way. In what is
missing to the wall time beside the two, the thread was blocked: it could not have run, for it slept, or waited for a lock, a
page or another thread.

A reading of both costs a microsecond: the file is opened once a thread and kept open.
"""

from __future__ import annotations

import os
import threading
from typing import Tuple

from breakdown.clock.clocks import thread_cpu_ns

NOT_KNOWN = -1
"""Stands for a time that nothing tells: where the kernel does not count, or another system runs."""

ThreadTime = Tuple[int, int]
"""CPU time, and time runnable without a core, in ns: since the thread began, or within a stretch."""

NOTHING_KNOWN: ThreadTime = (NOT_KNOWN, NOT_KNOWN)

_PATH = "/proc/thread-self/schedstat"
_LONGEST = 80  # bytes: three numbers of at most 20 digits

_own = threading.local()


def thread_time() -> ThreadTime:
    """Of the calling thread, since it began."""
    return thread_cpu_ns(), runnable_ns()


def spent(begin: ThreadTime, end: ThreadTime) -> ThreadTime:
    """Between two readings of one thread."""
    known = begin[1] != NOT_KNOWN and end[1] != NOT_KNOWN
    return end[0] - begin[0], end[1] - begin[1] if known else NOT_KNOWN


def runnable_ns() -> int:
    """For how long the calling thread was ready to run and had no core, since it began; NOT_KNOWN: nothing tells."""
    try:
        file = _own.file
    except AttributeError:
        file = _own.file = _Schedstat()
    try:
        _, runnable, times = os.pread(file.descriptor, _LONGEST, 0).split()
    except (OSError, ValueError):
        return NOT_KNOWN
    return NOT_KNOWN if times == b"0" else int(runnable)  # a thread that looks has run: the kernel does not count


class _Schedstat:
    """One thread's file. Closed when that thread has ended, with all that is its own."""

    def __init__(self) -> None:
        try:
            self.descriptor = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.descriptor = NOT_KNOWN  # which no system call takes for a file

    def __del__(self) -> None:
        if self.descriptor != NOT_KNOWN:
            os.close(self.descriptor)


def _forget() -> None:
    """In a forked child the file is still that of the parent's thread."""
    _own.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
