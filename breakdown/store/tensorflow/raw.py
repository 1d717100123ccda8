"""What the native recorder of TensorFlow wrote, as Python objects: one process's view, with TensorFlow's own numbers.

`breakdown/backends/tensorflow/native/hooks.h` says what its rows mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from breakdown.model.identity import Node
from breakdown.model.records import Direction
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import Kind
from breakdown.record.tracefile import TraceFile
from breakdown.store.decode import node_of_trace
from breakdown.store.tensorflow.graphs import Graph

NATIVE, TENSORFLOW = "native", "tensorflow"
"""The note by which a native trace says what it was written for, and its value."""

GRAPH, CONNECTION, VARIABLE, ARGUMENTS = "graph", "connection", "variable", "arguments"
NOTES = (NATIVE, GRAPH, CONNECTION, VARIABLE, ARGUMENTS)
"""Notes that only this conversion needs."""

TRACED_NOW = "traced-now"
"""The file by which the roles of a run told each other whether they are in a step that is to be traced."""

RUN_GRAPH = "RunGraph"
"""The method by which a process is told to run its part of a step."""


@dataclass(frozen=True)
class Activity:
    """A row of a thread. `number`: TensorFlow's of the step, 0 where the row does not say."""

    kind: str  # kernel, start, done, other, ask, take, encode, decode, run, partitions, drive, request, serve, wait
    name: str  # of the operation, the activity, or the rendezvous key
    number: int
    thread: str
    start_ns: int
    end_ns: int
    cause: int
    size: int
    cpu_ns: int = NOT_MEASURED
    runnable_ns: int = NOT_MEASURED


@dataclass(frozen=True)
class Half:
    """One end of a message. `what`: "<method> <rendezvous key>" of a request, "" of an answer."""

    sent: bool
    direction: Direction
    what: str
    number: int
    size_bytes: int
    stream: int
    connection: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Process:
    """All that was recorded in one process.

    `connections`: (own address, the other's), by number. `variables`: the names of those that were made here, by the number
    of the operation that made them. `arguments`: by function, the numbers of the operations that made what it is given.
    """

    node: Node
    activities: tuple[Activity, ...]
    halves: tuple[Half, ...]
    graphs: tuple[Graph, ...]
    connections: Mapping[int, tuple[str, str]]
    variables: Mapping[int, str] = field(default_factory=dict)
    arguments: Mapping[str, Sequence[int]] = field(default_factory=dict)


def is_tensorflow(trace: TraceFile) -> bool:
    """Whether the native recorder of TensorFlow wrote it."""
    return (NATIVE, TENSORFLOW) in trace.notes


def read(trace: TraceFile) -> Process:
    """One process, from its native trace."""
    names = trace.names
    activities = tuple(
        Activity(names[op], names[key], number, trace.threads[thread], start, end, cause, size, cpu, runnable)
        for thread, (_, op, key, _, size, start, end, number, cause, cpu, runnable) in trace.rows(Kind.SPAN)
    )
    halves = tuple(
        Half(kind == Kind.SENT, Direction(direction), names[key], number, size, stream, connection, start, end)
        for kind in (Kind.SENT, Kind.RECEIVED)
        for _, (_, direction, key, number, size, stream, connection, start, end) in trace.rows(kind)
    )
    return Process(
        node_of_trace(trace),
        activities,
        halves,
        tuple(Graph(nodes) for name, nodes in trace.notes if name == GRAPH),
        {value[0]: (value[1], value[2]) for name, value in trace.notes if name == CONNECTION},
        {value[0]: value[1].rstrip("/") for name, value in trace.notes if name == VARIABLE},  # a scope's name
        {value[0]: value[1] for name, value in trace.notes if name == ARGUMENTS},
    )
