"""What a launched process does first: ties its life to the launcher's, takes its cores, then becomes the command.

Run as `python -I -S child.py PARENT_PID CORES COMMAND...` (cores "0,2", or "-" for not pinned). Standard library only, and
nothing of this package, so that any interpreter can run it. Doing this in a program of its own instead of between fork and
exec keeps the launcher free to have threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, cores, command = int(arguments[0]), arguments[1], arguments[2:]
    # The kernel kills this process when the launcher dies, however it dies. This outlives exec.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the line above
        sys.exit("the launcher is gone")
    if cores != "-":
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
