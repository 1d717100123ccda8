"""Runs a user's own command, with variables that make it record, and sees to all processes that inherit them.

The command keeps the terminal: its input, its output, and Ctrl-C reach it as without this tool. A process belongs to it when
the folder for the traces stands in its environment, however it was started.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from breakdown.errors import UsageError

GRACE_S = 5.0
"""From asking a process to end (Ctrl-C, SIGTERM) to the next, harder means: time to flush a trace."""

LOOK_S = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Followed:
    """How the command ended: its exit code (negative: the signal), and whether it was interrupted."""

    exit_code: int
    interrupted: bool


def follow(
    command: Sequence[str], env: Mapping[str, str], mark: str, say: Say, serves: Callable[[int], bool] = lambda pid: False
) -> Followed:
    """Runs the command to its end, and waits for all that it started; Ctrl-C or a failure ends what is left of that.

    `mark`: the variable in `env` by which its processes are known. `serves`: whether a process (by its id) only serves the
    others: it is ended once these have ended. Raises `UsageError` when the command cannot be started.
    """
    try:
        child = subprocess.Popen(command, env=env)
    except OSError as error:
        raise UsageError(
            f"cannot start {command[0]}: {error.strerror}. Give the command as in a shell, behind --."
        ) from error
    interrupted = False
    try:
        child.wait()
    except KeyboardInterrupt:
        interrupted = True
        _end(child)

    def working() -> list[psutil.Process]:
        return [process for process in _inheritors(mark, env[mark]) if not serves(process.pid)]

    left = working()
    if left and child.returncode == 0 and not interrupted:
        say(f"the command has ended; waiting for what it started: {', '.join(map(_named, left))}. Ctrl-C ends them.")
        try:
            while left := working():
                psutil.wait_procs(left, timeout=LOOK_S)
        except KeyboardInterrupt:
            interrupted = True
    _end_all(_inheritors(mark, env[mark]))
    return Followed(child.returncode, interrupted)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The terminal has told it already; here it is waited for, then told harder."""
    for harder in (child.terminate, child.kill):
        try:
            child.wait(GRACE_S)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            harder()
    child.wait()


def _end_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        _unless_gone(process.terminate)
    for process in psutil.wait_procs(processes, timeout=GRACE_S)[1]:
        _unless_gone(process.kill)


def _inheritors(mark: str, value: str) -> list[psutil.Process]:
    """The processes that have the mark, and run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(mark) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return found


def _named(process: psutil.Process) -> str:
    return f"process {process.pid}"


def inheritors(mark: str, value: str) -> list[int]:
    """The ids of the processes that have the mark."""
    return [process.pid for process in _inheritors(mark, value)]


def _unless_gone(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return
