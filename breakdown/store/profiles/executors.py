"""Operations from the events of one process: what its executors ran, each with TensorFlow's number of the run."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from breakdown.store.profiles.profile import Operation
from breakdown.store.profiles.xplane import KIND, NAME, NUMBER, SENT, STEP_ID, Event, Process
from breakdown.store.tensorflow.graphs import RECEIVE, SEND

PROCESS, START, DONE, FUNCTION = (
    "ExecutorState::Process",
    "ExecutorState::ProcessAsync::Start",
    "ExecutorState::ProcessAsync::Done",
    "FunctionRun",
)
DATA_THREAD = "tf_data_"
"""How the names of the threads begin that prepare batches beside the training."""

_KERNEL = re.compile(r"(?P<name>[^:]+):(?P<kind>\w+)")
_PASSED_ON = re.compile(r"(?P<tensor>.+)/_\d+")


@dataclass(eq=False, slots=True)
class Ran:
    """An operation, and the run of a graph that it was part of."""

    number: int
    operation: Operation


def operations(process: Process) -> list[Ran]:
    """All operations of a process but those of the data threads, in the order in which they began."""
    found: list[Ran] = []
    done: dict[tuple[int, str], list[int]] = defaultdict(list)
    for thread in process.threads:
        for outer in thread.events:
            for event in outer.all():
                if event.name == DONE:
                    done[event.number(STEP_ID), str(event.stats.get(NAME, ""))].append(event.start_ns)
                elif event.name == PROCESS and not thread.name.startswith(DATA_THREAD):
                    found += _of(event, thread.name)
    found.sort(key=lambda one: one.operation.start_ns)
    for ends in done.values():
        ends.sort()
    for one in found:
        if one.operation.done_ns < 0:  # asynchronous: of its ends the first that comes after its start
            ends = done[one.number, one.operation.name]
            at = bisect_left(ends, one.operation.start_ns)
            one.operation.done_ns = max(one.operation.end_ns, ends[at] if at < len(ends) else one.operation.end_ns)
    return found


def _of(process: Event, thread: str) -> Iterator[Ran]:
    number = process.number(NUMBER)
    for event in process.inner:
        if event.name == START:
            name, kind = str(event.stats.get(NAME, "")), str(event.stats.get(KIND, ""))
            passed = _PASSED_ON.fullmatch(name)
            tensor = passed["tensor"] if passed and kind == RECEIVE else ""
            yield Ran(number, Operation(name, kind, thread, event.start_ns, event.end_ns, -1, tensor=tensor))
        elif kernel := _kernel(event.name):
            name, kind = kernel
            tensor = str(event.stats.get(SENT, "")) if kind == SEND else ""
            yield Ran(number, Operation(name, kind, thread, event.start_ns, event.end_ns, event.end_ns, tensor=tensor))


@lru_cache(maxsize=1 << 16)
def _kernel(text: str) -> tuple[str, str] | None:
    """Name and type of the operation that an event is the run of."""
    found = _KERNEL.fullmatch(text)
    return (found["name"], found["kind"]) if found else None
