"""How a run of processes ended, and the message for a run that failed."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from breakdown.model.identity import Node

LOG_LINES_SHOWN = 8
_LOG_BYTES_READ = 16_384  # more than 8 lines of any traceback


@dataclass(frozen=True)
class ProcessOutcome:
    """One process. `exit_code` is negative for a signal; `ended_by_launcher`: it did not end by itself.

    `end_ns`: when it ended, on the monotonic clock.
    """

    node: Node
    exit_code: int
    duration_s: float
    log: Path
    ended_by_launcher: bool
    pid: int = 0
    end_ns: int = 0

    @property
    def failed(self) -> bool:
        """It ended by itself, and not well."""
        return self.exit_code != 0 and not self.ended_by_launcher

    @property
    def how(self) -> str:
        """For example "ended with exit code 1" or "was killed by SIGKILL"."""
        return how(self.exit_code if self.signal is None else -self.signal)

    @property
    def signal(self) -> int | None:
        """The signal that ended it: by itself (-n), or by a handler that flushed the trace (128 + n, as in shells)."""
        if self.exit_code < 0:
            return -self.exit_code
        return self.exit_code - 128 if self.exit_code > 128 else None


@dataclass(frozen=True)
class RunOutcome:
    """One repetition of one cell. `error` None: every process ended with 0. `log`: of the process to blame, if one is."""

    processes: tuple[ProcessOutcome, ...]
    duration_s: float
    error: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Stop:
    """Why the launcher ended a run in which nothing had failed, and what to do about it."""

    why: str
    remedy: str


def judge(processes: tuple[ProcessOutcome, ...], duration_s: float, stop: Stop | None) -> RunOutcome:
    """The outcome with its message: who failed, how, where its log is, and the log's last lines."""
    failed = sorted((process for process in processes if process.failed), key=_blame)
    if failed:
        first, *others = failed
        message = f"{first.node} {first.how} after {first.duration_s:.1f} s. Log: {first.log}"
        if others:
            message += f"\nThen: {', '.join(f'{other.node} ({other.how})' for other in others)}."
        return RunOutcome(processes, duration_s, message + _tails(failed), first.log)
    ended = [process for process in processes if process.ended_by_launcher]
    if stop is not None and ended:
        names = ", ".join(f"{process.node} (log: {process.log})" for process in ended)
        message = f"{stop.why}, ended: {names}. {stop.remedy}"
        return RunOutcome(processes, duration_s, message + _tails(ended), ended[0].log)
    return RunOutcome(processes, duration_s)


def how(code: int | None) -> str:
    """For example "ended with exit code 1" or "was killed by SIGKILL". `code` is negative for a signal."""
    if code is None:
        return "ended, and how only its parent was told"
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"


def signal_name(number: int) -> str:
    """For example "SIGKILL", or "signal 40" where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail(log: Path, lines: int = LOG_LINES_SHOWN) -> list[str]:
    """The last lines of a log; none when it is empty or gone."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES_READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]


def _blame(process: ProcessOutcome) -> tuple[bool, float]:
    """A killed process comes first: the others saw it go, some before the launcher did. Else who ended first."""
    return (process.signal is None, process.duration_s)


def _tails(processes: list[ProcessOutcome]) -> str:
    """The last lines of the first log that says anything."""
    for process in processes:
        lines = tail(process.log)
        if lines:
            return f"\nLast lines of {process.log}:" + "".join(f"\n  | {line}" for line in lines)
    return ""
