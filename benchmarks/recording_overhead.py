"""What recording costs a training step: one job that records in every second turn, and in the others does not.

    python benchmarks/recording_overhead.py [--rounds 0] [--only single-5ms] [--out FILE.json]

The roles of a case are started as `breakdown run` starts them: processes of their own, pinned cores. Their real training
loop runs in turns (`turns.py`). Turns, since two trainings of a cell can differ for as long as they live: by how their
threads fall into step, by where the system's scheduler places three processes on two cores. Turns beside each other share
that, lie a second apart, and cost less time than two trainings, so that there can be more of them. What the machine itself
does from one second to the next they do not share: on a virtual machine of two cores, pairs of turns scatter no less than
pairs of whole trainings did. So read the interval and not the median alone: a bound within it is neither kept nor broken
for sure.

A turn without recording is one as `record: false` makes it: every role's records go to the null recorder's calls, the model
is watched for gradients alone, CPU clocks are read only where they are without recording, and the flusher finds nothing.

The first witness is the time of a step. It holds part of the writing; the rest of it falls between two turns. The second is
one that waiting does not touch: the processor time that all roles together used for the turn, user and system, all writing
of its records included. Overhead is the median over rounds of the ratio, with its 95 % interval. Goals: 1 % of a
step of about 50 ms, 2 % of one of about 5 ms, by either witness.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

from common import MIN_ROUNDS, Claim, finish, load_average, measured
from turns import OFF, Job, Turns, obey

from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError
from breakdown.record.api import Recorder
from breakdown.record.ending import leave
from breakdown.record.null import NullRecorder, NullThreadRecorder
from breakdown.record.recorder import FileRecorder

ON = "on"
TURN_SECONDS = 0.4
"""How long the steps of a turn take, about."""

CASE_ROUNDS = {"single": 10, "torch_ps": 36}
"""Rounds a case; more where three processes share two cores. In all some 4 minutes."""

CALLS = ("span", "chain", "sent", "received", "asked", "served", "replied")
"""All that a thread records with."""


@dataclass(frozen=True)
class Case:
    """A cell with steps of about `step_ms`, and the overhead that recording may have."""

    name: str
    cell: Cell
    step_ms: float
    goal: float

    def training(self, rounds: int) -> Cell:
        """A turn to warm up, then one a mode in each round."""
        steps = round(TURN_SECONDS * 1000 / self.step_ms)
        return replace(self.cell, warmup_steps=steps, steps=2 * rounds * steps)


def mlp(hidden: int, batch_size: int, **fields: Any) -> Cell:
    """Four hidden layers: 10 parameters, 20 spans a step on a single node."""
    return Cell(workload_options={"features": hidden, "hidden": hidden}, batch_size=batch_size, **fields)


CASES = (
    Case("single-5ms", mlp(512, 128, backend="single"), 5, 0.02),
    Case("single-50ms", mlp(1024, 400, backend="single"), 50, 0.01),
    Case("torch_ps-1s2w-5ms", mlp(192, 128, backend="torch_ps", workers=2), 5, 0.02),
    Case("torch_ps-1s2w-50ms", mlp(1024, 220, backend="torch_ps", workers=2), 50, 0.01),
)


# --- a role ----------------------------------------------------------------------------------------------------------


class Switched:
    """A role's recorder. Between two turns it is switched, in all places at once that ask whether there is one."""

    enabled = True  # of what is made in the first turn

    def __init__(self, inner: FileRecorder) -> None:
        self.inner = inner
        self.intern, self.step, self.note, self.close = inner.intern, inner.step, inner.note, inner.close
        self.cpu_timed = [True]  # true as long as something is in it
        self._calls: list[tuple[Any, dict[str, Any]]] = []  # a thread's recorder and what it does while recording is on
        self._instruments: list[tuple[Any, tuple[Any, ...]]] = []  # and what it was made with: model, parameters, ...

    def thread(self, name: str) -> Any:
        thread = self.inner.thread(name)
        self._calls.append((thread, {call: getattr(thread, call) for call in CALLS}))
        return thread

    def watch(self, instrument: Any, *made_with: Any) -> Any:
        """The instrument of a model, to be switched too."""
        self._instruments.append((instrument, made_with))
        return instrument

    def switch(self, mode: str) -> None:
        """While all roles rest."""
        self.cpu_timed[:] = [True] if mode == ON else []
        null = NullThreadRecorder()
        for thread, calls in self._calls:
            for call, record in calls.items():
                setattr(thread, call, record if mode == ON else getattr(null, call))
        for instrument, (model, parameters, _, *others) in self._instruments:
            instrument.close()
            instrument.__init__(model, parameters, self if mode == ON else NullRecorder(), *others)


class WorkerTurns(Turns):
    """A worker's recorder, which has several threads. What they record with is switched by `Switched`."""

    enabled = Switched.enabled

    def thread(self, name: str) -> Any:
        return self.inner.thread(name)


def play_role(spec_path: str, turns: int) -> int:
    """What `breakdown.runner.role` does, but in turns."""
    from breakdown.backends import loop
    from breakdown.backends.instrument import StepInstrument
    from breakdown.model.identity import Role
    from breakdown.ps import cpu, exchange, serving, worker
    from breakdown.runner import role

    steps_a_turn = role._read(Path(spec_path))["cell"]["warmup_steps"]

    def recorder(path: str, run: int, node: Any) -> Recorder:
        switched = Switched(FileRecorder(path, run, node))

        def cpu_timed(recorder: Recorder, size_bytes: int) -> Any:
            return switched.cpu_timed if cpu.cpu_timed(recorder, size_bytes) else False

        for module in (exchange, serving, worker):
            module.cpu_timed = cpu_timed  # type: ignore[attr-defined]
        loop.StepInstrument = lambda *about: switched.watch(StepInstrument(*about), *about)  # type: ignore
        if node.role is Role.WORKER:
            return WorkerTurns(switched, steps_a_turn, turns, switched.switch)  # type: ignore[return-value]
        Thread(target=obey, args=(switched.switch,), daemon=True).start()
        return switched

    role.FileRecorder = recorder  # type: ignore
    return role.main([spec_path])


# --- what is claimed -------------------------------------------------------------------------------------------------


def measure(case: Case, rounds: int) -> Job:
    """A job with its samples. Raises `BreakdownError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = Job(case.training(rounds), (ON, OFF), rounds, folder, __file__)
        stack.callback(job.kill)
        job.run()
        return job


def overheads(case: Case, job: Job) -> list[Claim]:
    """By each witness, the median over rounds of the ratio, in %."""
    step_ms = statistics.median(job.time_ms[OFF])
    claims = []
    for what, samples in (("time of a step", job.time_ms), ("processor time of all roles", job.cpu_ms)):
        ratios = [100 * (on / off - 1) for on, off in zip(samples[ON], samples[OFF], strict=True)]
        about = f"recording on against off, {case.name}, step of {step_ms:.1f} ms, {what}"
        claims.append(Claim(about, "%", measured(ratios), at_most=100 * case.goal))
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds a case; 0: by backend, {CASE_ROUNDS}")
    parser.add_argument("--only", default="", help="comma-separated cases: " + ", ".join(case.name for case in CASES))
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/recording_overhead.json")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        leave(play_role(options.role, options.turns))
    if options.rounds and options.rounds < MIN_ROUNDS:
        parser.error(f"fewer than {MIN_ROUNDS} rounds say too little")
    load_before = load_average()
    claims: list[Claim] = []
    cells, samples = {}, {}
    try:
        for case in CASES:
            if options.only and case.name not in options.only.split(","):
                continue
            rounds = options.rounds or CASE_ROUNDS[case.cell.backend]
            job = measure(case, rounds)
            cells[case.name] = asdict(case.training(rounds))
            samples[case.name] = {"step_ms": job.time_ms, "processor_ms": job.cpu_ms}
            claims += overheads(case, job)
            print(*claims[-2:], sep="\n", file=sys.stderr)
    except BreakdownError as error:
        print(error, file=sys.stderr)
        return 1
    detail = {
        "what": "a training step's time and all roles' processor time with recording on, over those with it off, minus one",
        "cells": cells,
        "samples": samples,
    }
    return finish("recording_overhead", claims, detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
