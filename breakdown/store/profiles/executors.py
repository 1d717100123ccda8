"""Operations from the events of one process: what its executors ran, each with TensorFlow's number of the run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from breakdown.model.identity import Node
from breakdown.store.profiles.profile import Operation, node_of_job
from breakdown.store.profiles.xplane import Event, Process

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
_DEVICE = re.compile(r"/job:(?P<job>\w+)(?:/replica:\d+)?/task:(?P<task>\d+)")


@dataclass(frozen=True)
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
                    done[_number(event, "step_id"), str(event.stats.get("name", ""))].append(event.start_ns)
                elif event.name == PROCESS and not thread.name.startswith(DATA_THREAD):
                    found += _of(event, thread.name)
    found.sort(key=lambda one: one.operation.start_ns)
    for one in found:
        if one.operation.done_ns < 0:  # asynchronous: of its ends the first that comes after its start
            ends = done[one.number, one.operation.name]
            ends = [end for end in ends if end >= one.operation.start_ns]
            one.operation.done_ns = max(one.operation.end_ns, min(ends, default=one.operation.end_ns))
    return found


def node_of_device(device: str) -> Node | None:
    """The role that a device's name tells; None where it tells none."""
    found = _DEVICE.search(device)
    return node_of_job(found["job"], int(found["task"])) if found else None


def _of(process: Event, thread: str) -> Iterator[Ran]:
    number = _number(process, "id")
    for event in process.inner:
        if event.name == START:
            name, kind = str(event.stats.get("name", "")), str(event.stats.get("kernel_type", ""))
            passed = _PASSED_ON.fullmatch(name)
            tensor = passed["tensor"] if passed and kind == "_Recv" else ""
            yield Ran(number, Operation(name, kind, thread, event.start_ns, event.end_ns, -1, tensor=tensor))
        elif kernel := _KERNEL.fullmatch(event.name):
            tensor = str(event.stats.get("from", "")) if kernel["kind"] == "_Send" else ""
            start_ns, end_ns = event.start_ns, event.end_ns
            yield Ran(number, Operation(kernel["name"], kernel["kind"], thread, start_ns, end_ns, end_ns, tensor=tensor))


def _number(event: Event, stat: str) -> int:
    return int(event.stats.get(stat, 0))
