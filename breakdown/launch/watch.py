"""Watches the processes of a user's command from outside: which there are, and how each of them ended.

A process belongs to the command when the folder for the traces stands in its environment, however it was started. How one
ended that somebody else started is known from Linux 6.15 on; before that only where its parent leaves it a moment, else it
is None.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from breakdown.clock.clocks import now_ns
from breakdown.launch.guardian import is_marked

_INFO = struct.Struct("<QQ11Ii")
"""struct pidfd_info: its mask, the id of a cgroup, eleven ids, the wait status."""

_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11
_HAS_EXIT = 1 << 3
_TRIES = 4


@dataclass(frozen=True)
class Ended:
    """A process that has ended. `code`: its exit code, negative for a signal, None where that cannot be known."""

    pid: int
    code: int | None
    end_ns: int


class Watch:
    """The running processes that have a mark, by a look every now and then."""

    def __init__(self, variable: str, value: str) -> None:
        self.mark = variable, value
        self._others: set[int] = set()  # looked at, and not ours
        self._fds: dict[int, int] = {}
        self._poll = select.poll()

    @property
    def running(self) -> set[int]:
        """Those seen, and not yet seen to end."""
        return set(self._fds)

    def add(self, pid: int) -> None:
        """Watches a process, if it is still there."""
        with suppress(ProcessLookupError):
            self._fds[pid] = os.pidfd_open(pid)
            self._poll.register(self._fds[pid], select.POLLIN)

    def look(self) -> None:
        """Finds those that have started since. A process is asked once: what it is does not change."""
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._others &= there
        for pid in there - self._others - self._fds.keys():
            if is_marked(pid, *self.mark):
                self.add(pid)
            else:
                self._others.add(pid)

    def wait(self, timeout_s: float, wakes: int) -> list[Ended]:
        """Those that have ended, after `timeout_s` at most, at once when one ends or `wakes` becomes readable."""
        self._poll.register(wakes, select.POLLIN)
        ready = {fd for fd, _ in self._poll.poll(timeout_s * 1000)}
        now = now_ns()
        ended = [Ended(pid, _code(pid, fd), now) for pid, fd in self._fds.items() if fd in ready]
        for one in ended:
            fd = self._fds.pop(one.pid)
            self._poll.unregister(fd)
            os.close(fd)
        return ended

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}


def _code(pid: int, fd: int) -> int | None:
    """Of a process that has ended, by what Linux still says of it."""
    status = None
    for _ in range(_TRIES):
        status = _status_of_zombie(pid)
        if status is None:
            status = _status_of_reaped(fd)
        if status is not None:
            break
        time.sleep(0.005)  # it may just be waited for
    return None if status is None else os.waitstatus_to_exitcode(status)


def _status_of_zombie(pid: int) -> int | None:
    """Of one that nobody has waited for yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[-1]) if fields and fields[0] in "ZX" and fields[-1].isdigit() else None


def _status_of_reaped(fd: int) -> int | None:
    """Of one that has been waited for."""
    info = bytearray(_INFO.pack(_HAS_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(fd, _GET_INFO, info)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(info)
    return status if mask & _HAS_EXIT else None
