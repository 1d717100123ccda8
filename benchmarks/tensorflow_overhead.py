"""What tracing costs TensorFlow's training: one job that traces all steps of a turn, every n-th, or records nothing.

    python benchmarks/tensorflow_overhead.py [--rounds 24] [--every 5] [--only bsp] [--out FILE.json]

The quickstart's MLP, on a single node and with one server and two workers in step (tf_mode graph), started as `breakdown
run` starts it. Its real training loop runs in turns (`turns.py`): `each` traces all of a turn's steps, `sampled` every n-th,
as `trace_every: n` does, and in `off` the native recorder of every role and Python's record nothing, messages included.

An overhead is the median over rounds of the ratio to the round's turn without recording, minus one, with its 95 % interval.
The default of `trace_every` comes from here: tracing each step may cost more than 2 %, so it is a small n with which tracing
does not.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from turns import OFF, Job, Turns, obey, pause

if TYPE_CHECKING:  # at run time only where they are needed: TensorFlow's environment has none of them
    from collections.abc import Mapping, Sequence

    from common import Claim

    from breakdown.config.cell import Cell

EACH, SAMPLED = "each", "sampled"
MODES = (EACH, SAMPLED, OFF)
MOST_SHARE = {EACH: 0.05, SAMPLED: 0.02}
STEPS = {"local": 30, "bsp": 10}
"""Of a turn, about: 0.6 s. It is a multiple of n."""


def play_role(arguments: list[str], turns: int) -> int:
    """What `breakdown.backends.tensorflow.role` does, but in turns. Runs in TensorFlow's environment."""
    from breakdown.backends.tensorflow import role, tracing
    from breakdown.record.recorder import FileRecorder

    cell = json.loads(Path(arguments[0]).read_text())["cell"]
    sampled = tracing.Steps(cell["trace_every"], cell["warmup_steps"])
    chosen = {EACH: tracing.Steps(), SAMPLED: sampled, OFF: tracing.Steps(first=sys.maxsize)}

    def switch(mode: str) -> None:
        assert tracing._library is not None
        tracing._steps = chosen[mode]
        pause(tracing._library, mode)

    if role.SERVE in arguments:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the main thread waits for it
        Thread(target=obey, args=(switch,), daemon=True).start()
    else:
        role.FileRecorder = lambda *about: Turns(FileRecorder(*about), cell["warmup_steps"], turns, switch)  # type: ignore
    return role.main(arguments)


def measure(cell: Cell, rounds: int) -> tuple[Job, dict[str, Any]]:
    """A job with its samples, and what it recorded."""
    with ExitStack() as stack:
        job = Job(cell, MODES, rounds, Path(stack.enter_context(tempfile.TemporaryDirectory())), __file__)
        stack.callback(job.kill)
        job.run()
        return job, recorded(job.raw)


def recorded(raw: Path) -> dict[str, Any]:
    """By process: how many records of each kind it made, and what one costs it."""
    from breakdown.record.layout import Kind
    from breakdown.record.tracefile import read

    found: dict[str, Any] = {}
    for path in sorted(raw.glob("*.trace")):
        trace = read(str(path))
        counts = {
            kind.name.lower(): sum(block.count for block in trace.blocks if block.kind == kind)
            for kind in (Kind.SPAN, Kind.SENT, Kind.RECEIVED)
        }
        found[path.name.removesuffix(".trace")] = {**counts, "ns_a_record": trace.meta["cost_ns_per_span"]}
    return found


def cells(every: int, rounds: int) -> dict[str, Cell]:
    from breakdown.config.cell import Cell

    common: Mapping[str, Any] = {
        "backend": "tensorflow", "workload": "mlp", "batch_size": 64, "cores_per_worker": 1, "trace_every": every,
    }  # fmt: skip
    modes: Mapping[str, Mapping[str, Any]] = {
        "local": {"tf_mode": "local"},
        "bsp": {"tf_mode": "graph", "consistency": "bsp", "servers": 1, "workers": 2},
    }
    turns = {name: max(steps // every, 1) * every for name, steps in STEPS.items()}
    return {
        name: Cell(**common, **mode, warmup_steps=turns[name], steps=len(MODES) * rounds * turns[name])
        for name, mode in modes.items()
    }


def claims_of(
    name: str, every: int, time_ms: Mapping[str, Sequence[float]], cpu_ms: Mapping[str, Sequence[float]]
) -> list[Claim]:
    from common import Claim, measured

    found = []
    for mode, most in MOST_SHARE.items():
        how = "each step" if mode == EACH else f"one step of {every}"
        for what, samples in (("time", time_ms), ("processor time of all roles", cpu_ms)):
            ratios = [100 * (on / off - 1) for on, off in zip(samples[mode], samples[OFF], strict=True)]
            about = f"tracing {how}, tensorflow {name}, {what}, {statistics.median(samples[OFF]):.1f} ms a step"
            found.append(Claim(about, "%", measured(ratios), at_most=100 * most))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--every", type=int, default=0, help="default: that of trace_every")
    parser.add_argument("--only", default="", choices=["", *STEPS])
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/tensorflow_overhead.json")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        return play_role(options.role, options.turns)
    from dataclasses import asdict

    from common import MIN_ROUNDS, finish, load_average

    from breakdown.config.cell import Cell

    every = options.every or Cell().trace_every
    if options.rounds < MIN_ROUNDS:
        parser.error(f"fewer than {MIN_ROUNDS} rounds say too little")
    load_before = load_average()
    claims: list[Claim] = []
    detail: dict[str, Any] = {}
    for name, cell in cells(every, options.rounds).items():
        if options.only not in ("", name):
            continue
        job, wrote = measure(cell, options.rounds)
        claims += claims_of(name, every, job.time_ms, job.cpu_ms)
        detail[name] = {
            "cell": asdict(cell),
            "steps_a_sample": job.steps_a_turn,
            "samples_ms": job.time_ms,
            "cpu_ms": job.cpu_ms,
            "recorded": wrote,
        }
    return finish("tensorflow_overhead", claims, {"rounds": options.rounds, **detail}, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
