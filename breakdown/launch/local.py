"""Starts a plan's processes on this machine, watches them, and leaves none behind.

Each process leads a session of its own, so a Ctrl-C in the terminal reaches the launcher alone, and a signal to the group
reaches whatever the process started. The first one that fails, the time limit, or an exception in the launcher (Ctrl-C)
ends all others: SIGTERM, then SIGKILL. So are those ended that only serve, once nobody is left to be served. If the launcher
itself is killed, the kernel kills them (`child.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from breakdown.errors import RunError
from breakdown.launch import child, signals
from breakdown.launch.outcome import ProcessOutcome, RunOutcome, Stop, judge
from breakdown.launch.plan import ProcessPlan, RunPlan

POLL_S = 0.05
"""How often the processes are looked at: prompt, and below 0.1 % of one core, for it shares the machine with them."""

GRACE_S = 5.0
"""From SIGTERM to SIGKILL: time to flush a trace. With the kernel's own part it stays below 10 s."""


GUARD_S = 1.0
"""How often the guard is asked."""

Guard = Callable[[], Stop | None]


def run(plan: RunPlan, guard: Guard = lambda: None) -> RunOutcome:
    """Runs one repetition to its end; returns when no process of it is left. Failures are in the outcome, not raised.

    `guard` is asked once a second, and ends the run when it has a reason. Raises `RunError` when a log cannot be written or
    a process cannot be started, and lets KeyboardInterrupt through, both after ending what was started. Call it from the
    thread that waits: the kernel ties the processes to that thread.
    """
    started: list[_Process] = []
    begin = time.monotonic()
    try:
        for process in plan.processes:
            with signals.held():
                started.append(_Process(process))
        stop = _watch(started, begin, plan.timeout_s, guard)
    finally:
        _end(started)
    return judge(tuple(process.outcome() for process in started), time.monotonic() - begin, stop)


def _watch(processes: list[_Process], begin: float, timeout_s: float, guard: Guard) -> Stop | None:
    """Until all but those that serve have ended or one has failed (None), or until there is a reason to stop."""
    next_guard = begin
    while True:
        # A list, not a generator: every process that has ended by now is noted, not only the first that failed.
        running = [process for process in processes if not process.ended()]
        if all(process.plan.serves for process in running) or any(process.exit_code for process in processes):
            return None
        now = time.monotonic()
        if now > begin + timeout_s:
            return Stop(f"still running after {timeout_s:g} s", "Raise timeout_s if the run is only slow.")
        if now >= next_guard:
            next_guard = now + GUARD_S
            stop = guard()
            if stop is not None:
                return stop
        time.sleep(POLL_S)


def _end(processes: Iterable[_Process]) -> None:
    """Ends what still runs. A second signal to the launcher skips the grace."""
    try:
        running = [process for process in processes if not process.ended()]
        for process in running:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while running and time.monotonic() < deadline:
            time.sleep(POLL_S)
            running = [process for process in running if not process.ended()]
    finally:
        with signals.held():
            for process in processes:
                process.finish()


class _Process:
    """One started process. It is not reaped before its group is killed, so no signal can reach a recycled id."""

    def __init__(self, plan: ProcessPlan) -> None:
        self.plan = plan
        self.exit_code: int | None = None
        self.ended_by_launcher = False
        cores = "-" if plan.cores is None else ",".join(map(str, plan.cores))
        argv = [sys.executable, "-I", "-S", str(Path(child.__file__)), str(os.getpid()), cores, *plan.argv]
        try:
            plan.log.parent.mkdir(parents=True, exist_ok=True)
            with plan.log.open("wb") as log:
                self.popen = subprocess.Popen(
                    argv,
                    env={**os.environ, **plan.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise RunError(f"{plan.node} cannot be started: {error.strerror}. Log: {plan.log}") from error
        self.begin = self.end = time.monotonic()

    def ended(self) -> bool:
        """Looks without reaping."""
        if self.exit_code is None:
            found = os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self.end = time.monotonic()
                self.exit_code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return self.exit_code is not None

    def signal(self, number: int) -> None:
        self.ended_by_launcher = True
        self._signal_group(number)

    def finish(self) -> None:
        """Kills the process if it still runs, and what it left in its group, then reaps it."""
        if not self.ended():
            self.ended_by_launcher = True
        self._signal_group(signal.SIGKILL)
        self.popen.wait()
        if self.exit_code is None:
            self.end = time.monotonic()
            self.exit_code = self.popen.returncode

    def outcome(self) -> ProcessOutcome:
        code = 0 if self.exit_code is None else self.exit_code
        end_ns = int(self.end * 1e9)
        return ProcessOutcome(
            self.plan.node, code, self.end - self.begin, self.plan.log, self.ended_by_launcher, self.popen.pid, end_ns
        )

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # in the first instants the group is not there yet, or all have gone
            os.killpg(self.popen.pid, number)
