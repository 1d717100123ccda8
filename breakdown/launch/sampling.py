"""py-spy as a second sight on running roles: attached from outside when a role records, ended with it.

A role is up when its process has a trace file open, so the same works for processes that this tool launched and for those of
a user's own command. Whatever py-spy cannot do is said, and the run goes on without.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from breakdown.clock.clocks import now_ns
from breakdown.launch.outcome import tail
from breakdown.model.identity import Node, Role

VARIABLE = "BREAKDOWN_SAMPLED"
"""Tells a role that it is sampled: the native recorder then shows its threads to py-spy, which sees only Python's."""

LOOK_S = 0.5
"""How often new roles are looked for: a look at all processes takes some 5 ms of a core that they share."""

FINISH_S = 15.0
"""From the end of a role to the end of its py-spy, which writes its file then: 1 s for a long run."""

REMEDY = "run as root, or sysctl kernel.yama.ptrace_scope=0; in a container allow CAP_SYS_PTRACE"

_TRACE_NAME = re.compile(r"(scheduler|server|worker)-(\d+)\b.*\.trace")


def program() -> str | None:
    """py-spy's path: beside this Python, or else on the PATH; None where it is not installed."""
    return shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def command(py_spy: str, pid: str, rate_hz: int, output: Path) -> list[str]:
    """Every thread, also where it sleeps, Python's and native frames; a file that has times."""
    what = ["--native", "--idle", "--threads", "--nolineno", "--format", "chrometrace"]
    return [py_spy, "record", "--pid", pid, "--rate", str(rate_hz), *what, "--output", str(output)]


@dataclass(frozen=True)
class Capture:
    """What py-spy saw of one role. Its times count from `start_ns` of the monotonic clock."""

    node: Node
    output: Path
    start_ns: int


@dataclass(frozen=True)
class Places:
    """The folders that roles record to, that py-spy's files go to, and its logs."""

    traces: Path
    samples: Path
    logs: Path


class Sampling:
    """Samples all roles that appear while its block runs. Afterwards: `captures`, and `warnings` for what did not work."""

    def __init__(
        self,
        places: Places,
        rate_hz: int,
        processes: Callable[[], Iterable[int]],
        nodes: Collection[Node] = (),
    ) -> None:
        """`processes`: the ids of those that may be roles. `nodes`: once all of these are found, no more is looked for."""
        self.captures: tuple[Capture, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self._places = places
        self._rate_hz = rate_hz
        self._nodes = frozenset(nodes)
        self._processes = processes
        self._started: dict[int, _Sampler] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_until_stopped, name="sampling", daemon=True)
        self._py_spy = program()

    def __enter__(self) -> Sampling:
        if self._py_spy is None:
            self.warnings = ("nothing was sampled: py-spy is not installed (pip install py-spy)",)
        else:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._py_spy is None:
            return
        self._stop.set()
        self._thread.join()
        ended = [(sampler, sampler.finish()) for sampler in self._started.values()]
        self.captures = tuple(sampler.capture for sampler, problem in ended if problem is None)
        self.warnings += tuple(f"{sampler.capture.node} was not sampled: {problem}" for sampler, problem in ended if problem)

    def _look_until_stopped(self) -> None:
        while not self._stop.wait(LOOK_S):
            if self._nodes and self._nodes <= {sampler.capture.node for sampler in self._started.values()}:
                return
            for pid in self._processes():
                node = None if pid in self._started else recorded_by(pid, self._places.traces)
                if node is None:
                    continue
                try:
                    self._started[pid] = self._start(pid, node)
                except OSError as error:
                    self.warnings += (f"{node} was not sampled: {error}",)
                    return

    def _start(self, pid: int, node: Node) -> _Sampler:
        samples, logs = self._places.samples, self._places.logs
        for folder in (samples, logs):
            folder.mkdir(parents=True, exist_ok=True)
        again = sum(sampler.capture.node == node for sampler in self._started.values())
        name = f"{node}-{again}" if again else str(node)
        assert self._py_spy is not None
        return _Sampler(self._py_spy, pid, node, self._rate_hz, samples / f"{name}.json", logs / f"{name}.py-spy.log")


def recorded_by(pid: int, traces: Path) -> Node | None:
    """The node whose trace in this folder a process has open; None where it has none, or is gone."""
    with suppress(OSError):
        for link in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # closed meanwhile
                path = Path(os.readlink(f"/proc/{pid}/fd/{link}"))
                found = _TRACE_NAME.fullmatch(path.name)
                if found and path.parent == traces.absolute():
                    return Node(Role[found.group(1).upper()], int(found.group(2)))
    return None


class _Sampler:
    """One py-spy at work. It ends by itself when its role does."""

    def __init__(self, py_spy: str, pid: int, node: Node, rate_hz: int, output: Path, log: Path) -> None:
        self._log = log
        self.capture = Capture(node, output, now_ns())
        with log.open("wb") as file:
            self._popen = subprocess.Popen(
                command(py_spy, str(pid), rate_hz, output),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for the roles
            )
        # It must look when it is due: one that waits for a free core sees only what goes on while cores are free.
        with suppress(OSError):  # no right to: still better than nothing
            os.sched_setscheduler(self._popen.pid, os.SCHED_FIFO, os.sched_param(1))

    def finish(self) -> str | None:
        """Waits for its end, then asks for it, then forces it. What went wrong; None: its file is there."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(FINISH_S)
                break
            self._popen.send_signal(number)
        code = self._popen.wait()
        if code == 0 and self.capture.output.is_file():
            return None
        said = tail(self._log)
        why = f"{said[-1].strip()} ({REMEDY})" if said and "ermission" in said[-1] else said[-1].strip() if said else ""
        return why or f"py-spy ended with {code}"
