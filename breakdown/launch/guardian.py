"""Ends the processes of a user's command should the tool die before it could, and holds the result's lock until then.

The tool runs this file as `python -I -S guardian.py VARIABLE VALUE` with a pipe as its input. Whatever ends the tool,
SIGKILL too, closes the pipe; then all processes in whose environment VARIABLE has VALUE are ended. Standard library only,
and nothing of this package. Also used by the tool itself, to find these processes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

GRACE_S = 4.0
"""From SIGTERM to SIGKILL: time to flush a trace."""

GIVE_UP_S = 9.0
"""A process that SIGKILL does not end by then hangs in the kernel."""

DISMISSED = b"."
"""What the tool writes to say that there is nothing to do."""

_LOOK_S = 0.05
_EMPTY_LOOKS = 5
"""So often nothing must be found: a process that is just being started does not have its environment yet."""


def marked(variable: str, value: str) -> set[int]:
    """The ids of the running processes that have the variable with this value."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and is_marked(int(name), variable, value)}


def is_marked(pid: int, variable: str, value: str) -> bool:
    """Whether a process has the variable with this value. One that is gone, a zombie, or another user's has not."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return os.fsencode(f"{variable}={value}") in file.read().split(b"\0")
    except OSError:
        return False


def send(pids: set[int], number: int) -> None:
    """Signals all of them that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end(variable: str, value: str) -> None:
    """SIGTERM, then SIGKILL, until none is left. Those that appear meanwhile get their signal too."""
    begin, told, empty_looks = time.monotonic(), set[int](), 0
    while empty_looks < _EMPTY_LOOKS and (spent_s := time.monotonic() - begin) < GIVE_UP_S:
        left = marked(variable, value)
        empty_looks = 0 if left else empty_looks + 1
        if spent_s > GRACE_S:
            send(left, signal.SIGKILL)
        else:
            send(left - told, signal.SIGTERM)
        told |= left
        time.sleep(_LOOK_S)


def main(arguments: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1) != DISMISSED:
        end(*arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
