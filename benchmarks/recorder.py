"""What a span costs the thread that records it, against other recorders that are installed.

    python benchmarks/recorder.py [--rounds 11] [--spans 200000] [--out FILE.json]

A sample is the time of a loop that records spans, divided by their number: the two clock readings of each span and the
loop's own turn are inside. `clock` is that loop without a recorder. `flushing` is our recorder with a flush every 5 ms, a
hundred times as often as it is by default: what the flusher takes from the recording thread by holding the interpreter's
lock. Others are measured by their own ways to record a piece of work: a call that viztracer traces, torch's
`record_function` under its running profiler, an OpenTelemetry span that goes to no exporter. Every round measures
every recorder once, in rotating order. The file holds all samples, medians with 95 % intervals, and the paired
difference of each recorder to `clock`. The goal is 0.6 us a span for `breakdown`.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from common import MIN_ROUNDS, Claim, Measured, finish, load_average, measured

from breakdown.clock.clocks import now_ns, thread_cpu_ns
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder

GOAL_NS = 600
SLOW_SHARE = 10  # other recorders keep far more a span: they record this many times fewer in a sample

Loop = Callable[[int], None]
"""Records so many spans."""


@contextmanager
def clock() -> Iterator[Loop]:
    def loop(spans: int) -> None:
        for _ in range(spans):
            now_ns()
            now_ns()

    yield loop


def loop_of(recorder: Recorder) -> Loop:
    main, op, key = recorder.thread("main"), recorder.intern("forward"), recorder.intern("fc1.weight")

    def loop(spans: int) -> None:
        for step in range(spans):
            start_ns = now_ns()
            main.span(Stage.COMPUTE, op, key, step, 4096, start_ns, now_ns())

    return loop


@contextmanager
def null() -> Iterator[Loop]:
    yield loop_of(NullRecorder())


@contextmanager
def breakdown(flush_interval_s: float = 0.5) -> Iterator[Loop]:
    with tempfile.TemporaryDirectory() as folder:
        recorder = FileRecorder(f"{folder}/worker-0.trace", 0, Node(Role.WORKER, 0), flush_interval_s)
        yield loop_of(recorder)
        recorder.close()


@contextmanager
def flushing() -> Iterator[Loop]:
    with breakdown(flush_interval_s=0.005) as loop:
        yield loop


@contextmanager
def viztracer() -> Iterator[Loop]:
    from viztracer import VizTracer

    def work() -> None:
        pass

    def loop(spans: int) -> None:
        for _ in range(spans // SLOW_SHARE):
            work()

    tracer = VizTracer(verbose=0)
    tracer.start()
    yield loop
    tracer.stop()
    tracer.clear()


@contextmanager
def torch() -> Iterator[Loop]:
    from torch.profiler import ProfilerActivity, profile, record_function

    def loop(spans: int) -> None:
        for _ in range(spans // SLOW_SHARE):
            with record_function("forward"):
                pass

    with profile(activities=[ProfilerActivity.CPU]):
        yield loop


@contextmanager
def opentelemetry() -> Iterator[Loop]:
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    tracer = provider.get_tracer("benchmark")

    def loop(spans: int) -> None:
        for step in range(spans // SLOW_SHARE):
            with tracer.start_as_current_span("forward", attributes={"key": "fc1.weight", "step": step}):
                pass

    yield loop
    provider.shutdown()


OURS = {"clock": clock, "null": null, "breakdown": breakdown, "flushing": flushing}
OTHERS = {"viztracer": viztracer, "torch": torch, "opentelemetry": opentelemetry}
DISTRIBUTIONS = {"viztracer": "viztracer", "torch": "torch", "opentelemetry": "opentelemetry-sdk"}


@dataclass(frozen=True)
class Sample:
    """ns a span: of time, and of the recording thread's own CPU time, which other programs on the machine disturb less."""

    wall_ns: float
    cpu_ns: float


def sample(name: str, spans: int) -> Sample:
    with {**OURS, **OTHERS}[name]() as loop:
        loop(spans // 20)  # the caller's code and caches become warm
        gc.collect()
        begin_ns, begin_cpu_ns = now_ns(), thread_cpu_ns()
        loop(spans)
        cpu_ns, wall_ns = thread_cpu_ns() - begin_cpu_ns, now_ns() - begin_ns
    recorded = spans // SLOW_SHARE if name in OTHERS else spans
    return Sample(wall_ns / recorded, cpu_ns / recorded)


def measure(names: list[str], rounds: int, spans: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name].append(sample(name, spans))
    return samples


def row(taken: list[Sample], clocks: list[Sample]) -> dict[str, Measured]:
    """What is told of one recorder; `clocks` are the samples of the same rounds without one."""
    return {
        "ns_per_span": measured([one.wall_ns for one in taken]),
        "cpu_ns_per_span": measured([one.cpu_ns for one in taken]),
        "over_clock_ns": measured([one.wall_ns - base.wall_ns for one, base in zip(taken, clocks, strict=True)]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--spans", type=int, default=200_000, help="spans a sample")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/recorder.json")
    options = parser.parse_args()
    if options.rounds < MIN_ROUNDS:
        parser.error(f"fewer than {MIN_ROUNDS} rounds say too little")
    load_before = load_average()
    present = [name for name in OTHERS if find_spec(name)]
    samples = measure([*OURS, *present], options.rounds, options.spans)
    rows = {name: row(taken, samples["clock"]) for name, taken in samples.items()}
    for name, found in rows.items():
        print(f"{name:14s}", "  ".join(f"{column} {value}" for column, value in found.items()))
    claim = Claim(
        "recording a span, its two clock readings included, in the calling thread",
        "ns",
        rows["breakdown"]["ns_per_span"],
        at_most=GOAL_NS,
    )
    detail = {
        "rounds": options.rounds,
        "spans_a_sample": options.spans,
        "other_versions": {name: version(DISTRIBUTIONS[name]) for name in present},
        "recorders": {name: {column: asdict(value) for column, value in found.items()} for name, found in rows.items()},
        "samples": {name: [asdict(one) for one in taken] for name, taken in samples.items()},
    }
    return finish("recorder", [claim], detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
