"""What a span costs the thread that records it, against other recorders that are installed.

    python benchmarks/recorder.py [--rounds 9] [--spans 200000] [--out results/benchmarks/recorder.json]

A sample is the time of a loop that records spans, divided by their number: the two clock readings of each span and the
loop's own turn are inside. `clock` is that loop without a recorder. `flushing` is our recorder with a flush every 5 ms, a
hundred times as often as it is by default: what the flusher takes from the recording thread by holding the interpreter's
lock. Others are measured by their own ways to record a piece of work: a call that viztracer traces, torch's
`record_function` under its running profiler, an OpenTelemetry span that goes to no exporter. Every round measures
every recorder once, in rotating order. The file holds all samples, medians with bootstrap 95 % intervals, and the paired
difference of each recorder to `clock`. The goal is 0.6 us a span for `breakdown`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from breakdown.clock.clocks import now_ns, thread_cpu_ns
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder

GOAL_NS = 600
RESAMPLES = 2000
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


def interval(samples: list[float]) -> dict[str, float]:
    """The median with its bootstrap 95 % interval (fixed seed)."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    low, high = medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]
    return {name: round(value, 1) for name, value in (("median", statistics.median(samples)), ("low", low), ("high", high))}


def row(taken: list[Sample], clocks: list[Sample]) -> dict[str, Any]:
    """What the file holds of one recorder; `clocks` are the samples of the same rounds without one."""
    return {
        "ns_per_span": interval([one.wall_ns for one in taken]),
        "cpu_ns_per_span": interval([one.cpu_ns for one in taken]),
        "over_clock_ns": interval([one.wall_ns - base.wall_ns for one, base in zip(taken, clocks, strict=True)]),
        "samples_ns": [round(one.wall_ns, 1) for one in taken],
        "samples_cpu_ns": [round(one.cpu_ns, 1) for one in taken],
    }


def text(found: dict[str, float]) -> str:
    return f"{found['median']:8.0f} [{found['low']:.0f}, {found['high']:.0f}]"


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": list(os.getloadavg()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 7")
    parser.add_argument("--spans", type=int, default=200_000, help="spans a sample")
    parser.add_argument("--out", type=Path, help="JSON file; printed only, when left out")
    options = parser.parse_args()
    if options.rounds < 7:
        parser.error("fewer than 7 rounds say too little")
    present = [name for name in OTHERS if find_spec(name if name != "opentelemetry" else "opentelemetry.sdk")]
    facts = machine()
    samples = measure([*OURS, *present], options.rounds, options.spans)
    rows = {name: row(taken, samples["clock"]) for name, taken in samples.items()}
    print("ns a span: median [95 % interval]")
    for name, found in rows.items():
        columns = ("ns_per_span", "cpu_ns_per_span", "over_clock_ns")
        print(
            f"{name:14s}",
            *(
                f"{label} {text(found[column])}"
                for label, column in zip(("time", "CPU", "over clock"), columns, strict=True)
            ),
        )
    met = rows["breakdown"]["ns_per_span"]["high"] <= GOAL_NS
    print(f"goal: at most {GOAL_NS} ns a span, with its two clock readings: {'met' if met else 'missed'}")
    if options.out:
        result = {
            "goal_ns_per_span": GOAL_NS,
            "goal_met": met,
            "rounds": options.rounds,
            "spans_a_sample": options.spans,
            "machine": {**facts, "load_average_after": list(os.getloadavg())},
            "versions": {"python": platform.python_version(), **{name: version(DISTRIBUTIONS[name]) for name in present}},
            "recorders": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
