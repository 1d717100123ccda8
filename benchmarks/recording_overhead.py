"""What recording costs a training step: whole runs with recording on and off, in pairs.

    python benchmarks/recording_overhead.py [--rounds 9] [--steps 0] [--only single-5ms] [--out FILE.json]

A run is started exactly as `breakdown run` starts it: its own processes, pinned cores, the same training loop. Only its
recorder is wrapped, so that the time of the measured steps is known without recording too. A run's sample is the mean time
of a worker's step, what lies between two steps included; of several workers, their mean. Every round runs each case with
recording on and off, next to each other, and changes which goes first; the overhead is the median over rounds of the
paired ratio, with a bootstrap 95 % interval. Goals: 1 % of a step of about 50 ms, 2 % of one of about 5 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import Claim, finish, load_average, measured

from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder

RUN_SECONDS = 6.0
"""How long the measured steps of a run take, about: a dozen flushes of the recorder, yet a pair is done within a minute."""

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """A cell with steps of about `step_ms`, and the overhead that recording may have."""

    name: str
    cell: Cell
    step_ms: float
    goal: float


def mlp(hidden: int, batch_size: int, **fields: Any) -> Cell:
    """Four hidden layers: 10 parameters, 20 spans a step on a single node."""
    return Cell(workload_options={"features": hidden, "hidden": hidden}, batch_size=batch_size, warmup_steps=20, **fields)


CASES = (
    Case("single-5ms", mlp(512, 128, backend="single"), 5, 0.02),
    Case("single-50ms", mlp(1024, 400, backend="single"), 50, 0.01),
    Case("torch_ps-1s2w-5ms", mlp(192, 128, backend="torch_ps", workers=2), 5, 0.02),
    Case("torch_ps-1s2w-50ms", mlp(1024, 220, backend="torch_ps", workers=2), 50, 0.01),
)


class Stopwatch:
    """A recorder that passes everything on, and keeps the times of the measured steps."""

    def __init__(self, inner: Recorder) -> None:
        self.inner = inner
        self.enabled = inner.enabled
        self.intern, self.thread, self.note, self.close = inner.intern, inner.thread, inner.note, inner.close
        self.first_start_ns = self.last_end_ns = self.steps = 0

    def step(
        self, step: int, start_ns: int, end_ns: int, samples: int, warm_up: bool = False, loss: float | None = None
    ) -> None:
        if not warm_up:
            self.first_start_ns = self.first_start_ns or start_ns
            self.last_end_ns = end_ns
            self.steps += 1
        self.inner.step(step, start_ns, end_ns, samples, warm_up, loss)

    @property
    def step_ms(self) -> float:
        return (self.last_end_ns - self.first_start_ns) / self.steps / 1e6


def play_role(spec_path: Path) -> None:
    """The entry of a role process: what `breakdown.runner.role` does, with the stopwatch around the recorder."""
    from breakdown.backends.api import RoleContext
    from breakdown.backends.registry import backend

    spec = json.loads(spec_path.read_text())
    cell, node = Cell(**spec["cell"]), Node(Role[spec["role"].upper()], spec["rank"])
    recorder = Stopwatch(FileRecorder(spec["trace"], spec["run"], node) if cell.record else NullRecorder())
    backend(cell.backend).run_role(RoleContext(cell, spec["run"], node, spec["rendezvous"], spec["token"], recorder))
    recorder.close()
    if node.role is Role.WORKER:
        spec_path.with_suffix(".ms").write_text(str(recorder.step_ms))


def measure(cell: Cell) -> float:
    """One run: ms a step. Raises `BreakdownError` when it fails."""
    from breakdown.launch import local
    from breakdown.runner.plan import prepare, write_specs
    from breakdown.store.folder import CellFolder

    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(cell, "overhead", 0, CellFolder(Path(scratch)), sorted(os.sched_getaffinity(0)))
        write_specs(prepared.specs)
        processes = [
            replace(one, argv=(sys.executable, os.path.abspath(__file__), "--role", one.argv[-1]))
            for one in prepared.plan.processes
        ]
        outcome = local.run(replace(prepared.plan, processes=tuple(processes)))
        if outcome.error is not None:
            raise BreakdownError(outcome.error)
        return statistics.mean(float(path.read_text()) for path in Path(scratch).glob("raw/run-0/*.ms"))


def run_rounds(cases: list[Case], rounds: int, steps: int) -> dict[str, Samples]:
    """ms a step of every case, round by round, with recording on and off."""
    samples: dict[str, Samples] = {case.name: {"on": [], "off": []} for case in cases}
    for number in range(rounds):
        for case in cases:
            cell = replace(case.cell, steps=steps or int(RUN_SECONDS * 1000 / case.step_ms))
            for mode in ("off", "on") if number % 2 else ("on", "off"):
                samples[case.name][mode].append(measure(replace(cell, record=mode == "on")))
            print(f"round {number + 1}/{rounds} {case.name}: {samples[case.name]['off'][-1]:.3f} ms", file=sys.stderr)
    return samples


def overhead(case: Case, samples: Samples) -> Claim:
    """The median over rounds of the paired ratio, in % of the step."""
    ratios = [100 * (on / off - 1) for on, off in zip(samples["on"], samples["off"], strict=True)]
    step_ms = statistics.median(samples["off"])
    return Claim(
        f"recording on against off, {case.name}, step of {step_ms:.1f} ms", "%", measured(ratios), at_most=100 * case.goal
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--steps", type=int, default=0, help=f"measured steps of a run; 0: as many as take {RUN_SECONDS:.0f} s"
    )
    parser.add_argument("--only", default="", help="comma-separated cases: " + ", ".join(case.name for case in CASES))
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/recording_overhead.json")
    parser.add_argument("--role", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        play_role(options.role)
        return 0
    cases = [case for case in CASES if not options.only or case.name in options.only.split(",")]
    load_before = load_average()
    try:
        samples = run_rounds(cases, options.rounds, options.steps)
    except BreakdownError as error:
        print(error, file=sys.stderr)
        return 1
    detail = {
        "what": "time of a training step with recording on, over the time with recording off, minus one",
        "rounds": options.rounds,
        "cells": {case.name: vars(case.cell) | {"workload_options": dict(case.cell.workload_options)} for case in cases},
        "samples_ms": samples,
    }
    claims = [overhead(case, samples[case.name]) for case in cases]
    return finish("recording_overhead", claims, detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
