"""What recording costs a training step: trainings with recording on and off, in pairs, by two witnesses.

    python benchmarks/recording_overhead.py [--pairs 0] [--only single-5ms] [--out FILE.json]

The roles of a case are started once, as `breakdown run` starts them: processes of their own, pinned cores. There they
train again and again, each time from the rendezvous to the goodbye, with recording on or off, in pairs that lie next to each
other and change which goes first. So both halves of a pair have the same processes, the same memory and the same neighbours
on the machine. Only the recorder is wrapped, so that the steps' time is known without recording too.

The first witness is the time of a worker's step, what lies between two steps included; of several workers, their mean. Where
three processes share two cores, it depends on how the system's scheduler places them, and a pair says little. So there is a
second one, which waiting does not touch: the processor time that all roles together used in those steps, user and system.
Overhead is the median over pairs of the ratio, with a bootstrap 95 % interval. Goals: 1 % of a step of about 50 ms, 2 % of
one of about 5 ms, by either witness.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common import MIN_ROUNDS, Claim, finish, load_average, measured

from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder

TRAINING_SECONDS = 1.6
"""How long the measured steps of a training take, about: several flushes of the recorder, and yet a pair within 4 s."""

CASE_PAIRS = {"single": 9, "torch_ps": 21}
"""Pairs a case; more where each holds how the scheduler placed three processes on two cores. In all some 5 minutes."""

Marks = dict[str, list[float]]
"""Of a measure, in ms a step: training by training."""


@dataclass(frozen=True)
class Case:
    """A cell with steps of about `step_ms`, and the overhead that recording may have."""

    name: str
    cell: Cell
    step_ms: float
    goal: float

    @property
    def training(self) -> Cell:
        return replace(self.cell, steps=round(TRAINING_SECONDS * 1000 / self.step_ms))


def mlp(hidden: int, batch_size: int, **fields: Any) -> Cell:
    """Four hidden layers: 10 parameters, 20 spans a step on a single node."""
    return Cell(workload_options={"features": hidden, "hidden": hidden}, batch_size=batch_size, **fields)


CASES = (
    Case("single-5ms", mlp(512, 128, backend="single", warmup_steps=20), 5, 0.02),
    Case("single-50ms", mlp(1024, 400, backend="single", warmup_steps=5), 50, 0.01),
    Case("torch_ps-1s2w-5ms", mlp(192, 128, backend="torch_ps", workers=2, warmup_steps=20), 5, 0.02),
    Case("torch_ps-1s2w-50ms", mlp(1024, 220, backend="torch_ps", workers=2, warmup_steps=5), 50, 0.01),
)


def processor_ns(pid: int) -> int:
    """CPU time that all threads of a process have used, those that ended included, to the nanosecond."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise RunError(f"process {pid} has no CPU clock: it is gone, or this is not Linux.")
    return time.clock_gettime_ns(clock.value)


class Stopwatch:
    """Passes everything on to a recorder; notes time and processor time from the last warm-up step to the last step."""

    def __init__(self, inner: Recorder, cell: Cell, pids: list[int]) -> None:
        self.inner = inner
        self.enabled = inner.enabled
        self.intern, self.thread, self.note, self.close = inner.intern, inner.thread, inner.note, inner.close
        self._cell = cell
        self._pids = pids  # of the processes whose processor time is noted
        self._marks: list[tuple[int, int]] = []

    def step(
        self, step: int, start_ns: int, end_ns: int, samples: int, warm_up: bool = False, loss: float | None = None
    ) -> None:
        if step in (self._cell.warmup_steps - 1, self._cell.total_steps - 1):
            self._marks.append((end_ns, sum(map(processor_ns, self._pids))))
        self.inner.step(step, start_ns, end_ns, samples, warm_up, loss)

    @property
    def ms_a_step(self) -> tuple[float, float]:
        """Time, processor time."""
        (begin_ns, begin_cpu_ns), (end_ns, end_cpu_ns) = self._marks
        return (end_ns - begin_ns) / self._cell.steps / 1e6, (end_cpu_ns - begin_cpu_ns) / self._cell.steps / 1e6


def play_role(name: str, raw: Path) -> None:
    """The entry of a role process: what `breakdown.runner.role` does, training after training."""
    from breakdown.backends.registry import backend

    (raw / f"{name}.pid").write_text(str(os.getpid()))
    marks = []
    for spec_path in sorted(raw.glob(f"run-*/{name}.json"), key=lambda path: int(path.parent.name.removeprefix("run-"))):
        spec = json.loads(spec_path.read_text())
        cell = Cell(**spec["cell"])
        marks.append(train(backend(cell.backend), cell, spec, raw))
        gc.collect()
    (raw / f"{name}.ms").write_text(json.dumps(marks))


def train(implementation: Any, cell: Cell, spec: dict[str, Any], raw: Path) -> tuple[float, float] | None:
    """One training; a worker's ms a step."""
    from breakdown.backends.api import RoleContext

    node = Node(Role[spec["role"].upper()], spec["rank"])
    inner = FileRecorder(spec["trace"], spec["run"], node) if cell.record else NullRecorder()
    pids = [int(path.read_text()) for path in raw.glob("*.pid")] if node == Node(Role.WORKER, 0) else []
    recorder = Stopwatch(inner, cell, pids)
    implementation.run_role(RoleContext(cell, spec["run"], node, spec["rendezvous"], spec["token"], recorder))
    recorder.close()
    return recorder.ms_a_step if node.role is Role.WORKER else None


def measure(case: Case, pairs: int) -> dict[str, Marks]:
    """ms a step and ms of all roles' processor time a step, on and off, pair by pair. Raises `BreakdownError`."""
    from breakdown.launch import local
    from breakdown.runner.plan import prepare, write_specs
    from breakdown.store.folder import CellFolder

    on = [True]  # the first training warms the processes up, and does not count
    for number in range(pairs):
        on += [False, True] if number % 2 else [True, False]
    with tempfile.TemporaryDirectory() as scratch:
        cores = sorted(os.sched_getaffinity(0))
        folder = CellFolder(Path(scratch))
        prepared = [
            prepare(replace(case.training, record=record), "overhead", run, folder, cores) for run, record in enumerate(on)
        ]
        for one in prepared:
            write_specs(one.specs)
        raw = folder.raw_dir(0).parent
        plan = prepared[0].plan
        processes = [
            replace(one, argv=(sys.executable, os.path.abspath(__file__), "--role", str(one.node), "--raw", str(raw)))
            for one in plan.processes
        ]
        outcome = local.run(replace(plan, processes=tuple(processes)))
        if outcome.error is not None:
            raise BreakdownError(outcome.error)
        workers = [json.loads(path.read_text()) for path in raw.glob("worker-*.ms")]
        roles = json.loads((raw / "worker-0.ms").read_text())
    samples = {"step_ms": Marks(on=[], off=[]), "processor_ms": Marks(on=[], off=[])}
    for run, record in list(enumerate(on))[1:]:
        mode = "on" if record else "off"
        samples["step_ms"][mode].append(statistics.mean(marks[run][0] for marks in workers))
        samples["processor_ms"][mode].append(roles[run][1])
    return samples


WITNESSES = {"step_ms": "time of a step", "processor_ms": "processor time of all roles"}


def overheads(case: Case, samples: dict[str, Marks]) -> list[Claim]:
    """By each witness, the median over pairs of the ratio, in %."""
    step_ms = statistics.median(samples["step_ms"]["off"])
    claims = []
    for witness, what in WITNESSES.items():
        of = samples[witness]
        ratios = [100 * (on / off - 1) for on, off in zip(of["on"], of["off"], strict=True)]
        claims.append(
            Claim(
                f"recording on against off, {case.name}, step of {step_ms:.1f} ms, {what}",
                "%",
                measured(ratios),
                at_most=100 * case.goal,
            )
        )
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=0, help=f"pairs a case; 0: by backend, {CASE_PAIRS}")
    parser.add_argument("--only", default="", help="comma-separated cases: " + ", ".join(case.name for case in CASES))
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/recording_overhead.json")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        play_role(options.role, options.raw)
        return 0
    if options.pairs and options.pairs < MIN_ROUNDS:
        parser.error(f"fewer than {MIN_ROUNDS} pairs say too little")
    cases = [case for case in CASES if not options.only or case.name in options.only.split(",")]
    load_before = load_average()
    samples, claims = {}, []
    try:
        for case in cases:
            samples[case.name] = measure(case, options.pairs or CASE_PAIRS[case.cell.backend])
            claims += overheads(case, samples[case.name])
            print(*claims[-len(WITNESSES) :], sep="\n", file=sys.stderr)
    except BreakdownError as error:
        print(error, file=sys.stderr)
        return 1
    detail = {
        "what": "a training step's time and all roles' processor time with recording on, over those with it off, minus one",
        "cells": {case.name: asdict(case.training) for case in cases},
        "samples": samples,
    }
    return finish("recording_overhead", claims, detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
