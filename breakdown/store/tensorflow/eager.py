"""Remote eager execution, as ParameterServerStrategy's coordinator uses it: which thread asked for what, and who did it.

The coordinator's thread for a worker has it carry out operations, one request each. One that is a function of several
processes is run by the process that has the operation: it tells the others to run their parts, and says when they may forget
it. All parts have TensorFlow's number of that run. The coordinator runs such functions itself to fetch a value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from breakdown.model.identity import Node, Role
from breakdown.store.tensorflow.nesting import Enclosing
from breakdown.store.tensorflow.raw import Activity, Process

OPERATION, TENSOR, CLEANUP = "Enqueue operation", "Enqueue tensor", "Enqueue cleanup"
EXECUTE = "EagerExecute"
RUN, ISSUE, NUMBERED = "KernelAndDeviceFunc::Run", "KernelAndDeviceFunc::RunAsync", "FunctionRun"


@dataclass(frozen=True)
class Drive:
    """A step of a worker, which begins in the coordinator's thread for it. `node`: the coordinator."""

    node: Node
    worker: Node
    step: int


@dataclass(frozen=True)
class Function:
    """A function of several processes, where it was run. `served`: within which request; None: by the program itself."""

    node: Node
    number: int
    run: Activity  # until all parts have run
    issue: Activity  # of that, the handing out
    served: Activity | None


class Eager:
    """What all processes of a run asked of each other."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.functions: dict[int, Function] = {}  # by number
        self.threads: list[tuple[Drive, Activity]] = []  # what the coordinator's threads for workers did in each step
        self._requests: dict[tuple[Node, str, int], list[Activity]] = defaultdict(list)
        self._serves: dict[tuple[Node, str, int], Activity] = {}
        self._drives: dict[int, Drive] = {}  # of an operation, or of a function that the coordinator runs, by number
        self._waits: dict[Node, Enclosing] = {}
        self._within: dict[Activity, list[Function]] = defaultdict(list)
        for process in processes:
            self._read(process)

    def drive(self, number: int) -> Drive | None:
        """The step that an operation was asked for, or a function run; None: none, as far as is known."""
        function = self.functions.get(number)
        if function is None or function.served is None:
            return self._drives.get(number)
        return self._drives.get(function.served.number)

    def request(self, node: Node, what: str, number: int, sent_ns: int) -> Activity | None:
        """The writing down of a request whose first byte was sent at that moment."""
        made = [one for one in self._requests.get((node, what, number), ()) if one.start_ns <= sent_ns]
        return max(made, key=lambda one: one.start_ns, default=None)

    def serve(self, node: Node, what: str, number: int) -> Activity | None:
        """The carrying out of a request."""
        return self._serves.get((node, what, number))

    def within(self, served: Activity) -> list[Function]:
        """The functions that were run as a request was carried out, in order."""
        return sorted(self._within.get(served, ()), key=lambda one: one.run.start_ns)

    def waited(self, node: Node, request: Activity) -> Activity | None:
        """The innermost stretch in which the thread that made a request had it carried out."""
        return self._waits[node].of(request.thread, request.start_ns)

    def _read(self, process: Process) -> None:
        by_kind: Mapping[str, list[Activity]] = defaultdict(list)
        for activity in process.activities:
            by_kind[activity.kind].append(activity)
        serves = Enclosing(by_kind["serve"])
        self._waits[process.node] = Enclosing(_innermost(by_kind["wait"]))
        for activity in by_kind["serve"]:
            self._serves[process.node, activity.name, activity.number] = activity
        for activity in by_kind["request"]:
            self._requests[process.node, activity.name, activity.number].append(activity)
        others: Mapping[str, list[Activity]] = defaultdict(list)
        for activity in by_kind["other"]:
            others[activity.name].append(activity)
        runs, issues = Enclosing(others[RUN]), Enclosing(others[ISSUE])
        for activity in others[NUMBERED]:
            run = runs.of(activity.thread, activity.start_ns)
            issue = issues.of(activity.thread, activity.start_ns)
            if run is not None and issue is not None and issue.start_ns >= run.start_ns:
                function = Function(process.node, activity.number, run, issue, serves.of(run.thread, run.start_ns))
                self.functions[activity.number] = function
                if function.served is not None:
                    self._within[function.served].append(function)
        if process.node.role is Role.SCHEDULER:
            self._follow(process)

    def _follow(self, process: Process) -> None:
        """The coordinator's threads, from the beginning of each step on."""
        for activity, drive in _driven(process):
            self.threads.append((drive, activity))
            operation = activity.kind == "request" and activity.name in (OPERATION, TENSOR)
            if operation or (activity.name == NUMBERED and activity.number in self.functions):
                self._drives[activity.number] = drive


def _driven(process: Process) -> Iterator[tuple[Activity, Drive]]:
    """What the threads that drive workers did, with the step that each did it for."""
    drives: dict[str, Drive] = {}
    for activity in sorted(process.activities, key=lambda one: (one.start_ns, one.kind != "drive")):
        if activity.kind == "drive":
            drives[activity.thread] = Drive(process.node, Node(Role.WORKER, activity.cause), activity.number)
        elif activity.thread in drives:
            yield activity, drives[activity.thread]


def _innermost(activities: Iterable[Activity]) -> Iterator[Activity]:
    """Those within which no other of the same thread lies."""
    last: dict[str, Activity] = {}
    for activity in sorted(activities, key=lambda one: (one.start_ns, -one.end_ns)):
        before = last.get(activity.thread)
        if before is not None and before.end_ns < activity.end_ns:
            yield before
        last[activity.thread] = activity
    yield from last.values()
