"""One job that records in some turns and in others does not: what recording costs a framework, within one life of it.

A training loop runs in turns, some steps back to back; between two turns all roles rest, and are told how to record in the
next one. Two jobs, one of them with `record: false`, would not do: jobs of one and the same cell differ from each other by
several percent for as long as they live.

A sample is a turn. Its time is from the first worker's start to the last one's end, its processor time that of all roles,
user and system. The turns end with a rest in which the recorders write what they hold, and that processor time counts too.
Every round of turns, one a mode, begins with another mode.
Roles import this in a framework's environment: at run time standard library and breakdown's injected rooms only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from breakdown.config.cell import Cell

OFF = "off"
"""The mode in which nothing is recorded: its turns are what those of the others are compared with."""

END_TIMEOUT_S = 60
REST_S = 0.6
"""Longer than the recorders wait before they write."""

CPU_CLOCK = 2  # of a process, all its threads: Linux's CPUCLOCK_SCHED


# --- a role (runs in the framework's environment) ---------------------------------------------------------------------


def in_turn(modes: Sequence[str], rounds: int) -> Iterator[str]:
    """All modes once a round, each time another one first."""
    for number in range(rounds):
        first = number % len(modes)
        yield from (*modes[first:], *modes[:first])


def pause(library: ctypes.CDLL, mode: str) -> None:
    """Switches a native recorder off or on. What is left of it is a jump and a flag where a record would be."""
    library.breakdown_pause(int(mode == OFF))


class Turns:
    """A worker's recorder, and that of its main thread. At the end of each turn it waits for the word for the next one."""

    def __init__(
        self,
        inner: Any,
        steps_a_turn: int,
        turns: int,
        switch: Callable[[str], None],
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """`switch` is told the mode of each turn; `settle` returns when all work of the last one is done."""
        self.inner = inner
        self.intern, self.note, self.close = inner.intern, inner.note, inner.close
        self.steps_a_turn, self.turns = steps_a_turn, turns
        self.switch, self.settle = switch, settle
        self.on = True
        self.start_ns = time.monotonic_ns()

    def thread(self, name: str) -> Turns:
        self.main = self.inner.thread(name)
        return self

    def span(self, *row: int) -> None:
        if self.on:
            self.main.span(*row)

    def step(self, step: int, start_ns: int, end_ns: int, samples: int, warm_up: bool, loss: float) -> None:
        if self.on:
            self.inner.step(step, start_ns, end_ns, samples, warm_up, loss)
        turn, place = divmod(step + 1, self.steps_a_turn)
        if place:
            return
        self.settle()
        print(self.start_ns, time.monotonic_ns(), flush=True)
        if turn < self.turns:
            mode = sys.stdin.readline().strip()
            self.on = mode != OFF
            self.switch(mode)
            print("switched", flush=True)
            sys.stdin.readline()
        self.start_ns = time.monotonic_ns()


def obey(switch: Callable[[str], None]) -> None:
    """What a role that has no steps does, in a thread of its own."""
    for line in sys.stdin:
        switch(line.strip())
        print("switched", flush=True)


# --- the job ---------------------------------------------------------------------------------------------------------


class Job:
    """The processes of one cell, each started as `FILE --role SPEC... --turns N`. The first turn is its warm-up."""

    def __init__(self, cell: Cell, modes: Sequence[str], rounds: int, folder: Path, file: str) -> None:
        from breakdown.launch import child
        from breakdown.model.identity import Role
        from breakdown.runner.plan import prepare, write_specs
        from breakdown.store.folder import CellFolder

        self.raw = CellFolder(folder).raw_dir(0)
        self.steps_a_turn = cell.warmup_steps
        self.modes, self.rounds = tuple(modes), rounds
        self.time_ms: dict[str, list[float]] = {mode: [] for mode in modes}
        self.cpu_ms: dict[str, list[float]] = {mode: [] for mode in modes}
        prepared = prepare(cell, "overhead", 0, CellFolder(folder), sorted(os.sched_getaffinity(0)))
        write_specs(prepared.specs)
        self._processes: list[subprocess.Popen[str]] = []
        self._workers: list[subprocess.Popen[str]] = []
        self._serving: list[subprocess.Popen[str]] = []
        turns = str(1 + len(self.modes) * rounds)
        for one in prepared.plan.processes:
            spec = one.argv[one.argv.index("-m") + 2 :]
            role = (one.argv[0], os.path.abspath(file), "--role", *spec, "--turns", turns)
            cores = "-" if one.cores is None else ",".join(map(str, one.cores))
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(child.__file__)), str(os.getpid()), cores, *role],
                env={**os.environ, **one.env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(started)
            if one.node.role is Role.WORKER:
                self._workers.append(started)
            if one.serves:
                self._serving.append(started)

    def run(self) -> None:
        """All turns, until all roles have ended."""
        for worker in self._workers:  # the warm-up
            self._hear(worker)
        for mode in in_turn(self.modes, self.rounds):
            self._turn(mode)
        for process in sorted(self._processes, key=self._serving.__contains__):
            if process in self._serving:
                process.terminate()
            if process.wait(END_TIMEOUT_S):
                raise SystemExit(f"{process.args} ended with exit code {process.returncode}")

    def _turn(self, mode: str) -> None:
        """One sample."""
        for process in self._processes:
            self._say(process, mode)
        for process in self._processes:
            self._hear(process)
        before_s = self._cpu_s()
        for worker in self._workers:
            self._say(worker, "go")
        times = [tuple(map(int, self._hear(worker).split())) for worker in self._workers]
        time.sleep(REST_S)
        self.cpu_ms[mode].append((self._cpu_s() - before_s) / self.steps_a_turn * 1e3)
        elapsed_ns = max(end for _, end in times) - min(start for start, _ in times)
        self.time_ms[mode].append(elapsed_ns / self.steps_a_turn / 1e6)

    def kill(self) -> None:
        """Whatever still runs."""
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()

    def _cpu_s(self) -> float:
        return sum(time.clock_gettime(~process.pid << 3 | CPU_CLOCK) for process in self._processes)

    @staticmethod
    def _say(process: subprocess.Popen[str], word: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{process.args} ended early, with exit code {process.wait(END_TIMEOUT_S)}")
        return line
