"""What one process did for one of TensorFlow's steps, or for one run of a function, which has a number of the same kind: its
operations, when each was ready, ran and was done, and its part in handing the step out and taking it back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from breakdown.model.identity import Node
from breakdown.record.api import NOT_MEASURED
from breakdown.store.tensorflow.graphs import Graph
from breakdown.store.tensorflow.nesting import Enclosing
from breakdown.store.tensorflow.raw import RUN_GRAPH, Activity, Process

COMPONENT = "RunComponentFunction"
"""The method by which a process is told to run its part of a function."""

BATCH, TAKING_A_BATCH = "IteratorGetNext", "IteratorGetNextOp::DoCompute"
"""The operation that takes a batch from a dataset, and what a thread of its own does for it."""


FINISHED = ("RunGraphDone", "ComponentDone")
"""What a process does once all of its part has run: of a step, of a function."""


@dataclass
class Operation:
    """One run of one operation. An asynchronous one is `done` later than it returns; None: its end was not recorded.

    `turn`: which of its part's runs of this operation; a loop has several, in the order of its rounds.
    """

    name: str
    kind: str
    thread: str
    start_ns: int
    end_ns: int
    done_ns: int | None
    turn: int = 0
    waits_for: Operation | None = None  # the last of those that it needs; None: none was marked
    released_by: tuple[int, Operation] | None = None  # the (step, operation) within which it was done
    worked: Activity | None = None  # what a thread of its own did for it after it returned, up to its end
    cpu_ns: int = NOT_MEASURED
    runnable_ns: int = NOT_MEASURED


@dataclass
class Part:
    """A process's part in a step."""

    node: Node
    number: int
    graph: Graph | None = None
    operations: dict[str, list[Operation]] = field(default_factory=dict)  # all runs of each, by name, in order
    dispatch: Activity | None = None  # its graph, or its part of a function, is told to run
    finish: Activity | None = None  # all of it has run
    function: str = ""  # which its part is of, where it was told so by name
    run: Activity | None = None  # the master's own thread; only in the process that asked for the step
    partitions: Activity | None = None

    def runs(self) -> Iterator[Operation]:
        """All runs of all operations."""
        return chain.from_iterable(self.operations.values())

    def operation(self, name: str, turn: int) -> Operation | None:
        """One run of an operation."""
        runs = self.operations.get(name, ())
        return runs[turn] if turn < len(runs) else None

    def last_done(self, until_ns: int) -> Operation | None:
        """The operation that ended the part."""
        return last_done(self.runs(), until_ns)


def last_done(operations: Iterable[Operation], until_ns: int) -> Operation | None:
    """The one that was done last, at this moment or before."""
    done = [one for one in operations if one.done_ns is not None and one.done_ns <= until_ns]
    return max(done, key=lambda one: one.done_ns or 0, default=None)


def parts(process: Process) -> dict[int, Part]:
    """By TensorFlow's number of the step."""
    found: dict[int, Part] = {}

    def part(number: int) -> Part:
        return found.setdefault(number, Part(process.node, number))

    by_kind: Mapping[str, list[Activity]] = defaultdict(list)
    for activity in process.activities:
        by_kind[activity.kind].append(activity)
    for kernel in by_kind["kernel"]:
        name, _, kind = kernel.name.rpartition(":")
        operation = Operation(name, kind, kernel.thread, kernel.start_ns, kernel.end_ns, kernel.end_ns)
        operation.cpu_ns, operation.runnable_ns = kernel.cpu_ns, kernel.runnable_ns
        part(kernel.number).operations.setdefault(name, []).append(operation)
    for start in by_kind["start"]:
        name, _, kind = start.name.rpartition(":")
        operation = Operation(name, kind, start.thread, start.start_ns, start.end_ns, None)
        part(start.number).operations.setdefault(name, []).append(operation)
    for one in found.values():
        for runs in one.operations.values():
            _in_turn(runs)
    _before_tracing(by_kind["done"], process, part)
    batches = Enclosing(one for one in by_kind["other"] if one.name == TAKING_A_BATCH)
    _ends(by_kind["done"], Enclosing([*by_kind["kernel"], *by_kind["start"]]), batches, part)
    told = {one.number: one for one in by_kind["serve"] if one.name.startswith(COMPONENT)}
    for number, activity in told.items():
        part(number).dispatch = activity
        part(number).function = activity.name.partition(" ")[2]
    for activity in by_kind["other"]:
        if activity.name == RUN_GRAPH:
            part(activity.number).dispatch = activity
        elif activity.name in FINISHED:
            part(activity.number).finish = activity
    for activity in by_kind["run"]:
        part(activity.number).run = activity
    for activity in by_kind["partitions"]:
        part(activity.number).partitions = activity
    for one in found.values():
        one.graph = graph_of(one, process.graphs)
        if one.graph is not None:
            link(one)
    return found


def graph_of(part: Part, graphs: Sequence[Graph]) -> Graph | None:
    """The smallest graph that holds all operations that ran; of equals the latest."""
    ran = {(one.name, one.kind) for one in part.runs()}
    fitting = [graph for graph in reversed(graphs) if ran and graph.holds(ran)]
    return min(fitting, key=len, default=None)


def link(part: Part) -> None:
    """Finds for each operation the one that it waited for: of those that it needs the last that was done.

    In a loop that is of this round or of the one before: whatever was done later than it began is of a later one.
    """
    assert part.graph is not None
    for name, runs in part.operations.items():
        names = sorted(part.graph.waits_for(name, part.operations), reverse=True)  # of those done at once, always the same
        needed = [one for other in names for one in part.operations[other]]
        for run in runs:
            run.waits_for = last_done(needed, run.start_ns)


def _in_turn(runs: list[Operation]) -> None:
    runs.sort(key=lambda one: one.start_ns)
    for turn, one in enumerate(runs):
        one.turn = turn


def _before_tracing(ends: Iterable[Activity], process: Process, part: Callable[[int], Part]) -> None:
    """Asynchronous operations that began while none were recorded: by what is known, when their process was told to."""
    told_ns = {half.number: half.end_ns for half in process.halves if half.what == RUN_GRAPH and not half.sent}
    for end in ends:
        name, _, kind = end.name.rpartition(":")
        since_ns = told_ns.get(end.number, end.start_ns)
        part(end.number).operations.setdefault(name, [Operation(name, kind, end.thread, since_ns, since_ns, None)])


def _ends(ends: Iterable[Activity], running: Enclosing, batches: Enclosing, part: Callable[[int], Part]) -> None:
    """Asynchronous operations are done where something calls them back: where that is another one, it released them.

    In a loop the first round's is done first.
    """
    for end in sorted(ends, key=lambda one: one.start_ns):
        runs = part(end.number).operations[_name(end)]
        operation = next((one for one in runs if one.done_ns is None), runs[-1])
        operation.done_ns = end.start_ns
        if operation.kind == BATCH:
            operation.worked = batches.latest(end.thread, end.start_ns)
            continue
        around = running.of(end.thread, end.start_ns)
        if around is None or (around.name, around.number) == (end.name, end.number):
            continue
        runs = part(around.number).operations.get(_name(around), [])
        released = next((one for one in runs if one.start_ns == around.start_ns), None)
        operation.released_by = (around.number, released) if released is not None else None


def _name(activity: Activity) -> str:
    return activity.name.rpartition(":")[0]
