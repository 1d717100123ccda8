"""What is known of all processes of a run together: whose work each step is, what it is called, who did what for whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from breakdown.model.identity import NO_REQUEST, Node, Role, operation_id, request_id
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.messages import NO_STEP
from breakdown.store.tensorflow.eager import Eager, Function
from breakdown.store.tensorflow.graphs import QUEUED, TAKES
from breakdown.store.tensorflow.raw import Activity, Process
from breakdown.store.tensorflow.steps import Operation, Part, parts
from breakdown.store.tensorflow.written import Written

ASK, TAKE, ENCODE, DECODE = "ask", "take", "encode", "decode"
FETCHED = "fetch"
"""What a value is called that the coordinator fetches from a worker."""

_DISPATCH, _RUN = ("dispatch",), ("run",)  # in the place of an operation's name, which is a text


class Run:
    """All processes of one run, and the rows that are made of them.

    A step of TensorFlow is run by one worker's master, and all that any process does for it has ids in that worker's name.
    So the critical path goes through a server's operations as through the handling of a request, and only what was done
    for another worker's step is waiting for others.
    """

    def __init__(self, processes: Sequence[Process]) -> None:
        self.parts: Mapping[Node, Mapping[int, Part]] = {process.node: parts(process) for process in processes}
        self.written = {process.node: Written() for process in processes}
        self.eager = Eager(processes)
        self._names = _names_of_tensors(processes)
        self._made = {process.node: (process.variables, process.arguments) for process in processes}
        self._named: dict[int, Mapping[str, str]] = {}
        # (who asked, step, tensor, turn) -> the id of what brings it, and when it had been read
        self.brought: dict[tuple[Node, int, str, int], tuple[int, int]] = {}
        # step -> id and arrival of the answers of other processes: they have run their parts; they have forgotten it
        self.ran: dict[int, list[tuple[int, int]]] = {}
        self.cleaned: dict[int, list[tuple[int, Activity, int]]] = {}  # with the writing down of what they answer
        self.asked: set[int] = set()  # the ids of the operations that were asked for
        self._masters = {
            part.number: (node, part.run.cause) for node, own in self.parts.items() for part in own.values() if part.run
        }
        for number, function in self.eager.functions.items():
            drive = self.eager.drive(number)
            self._masters[number] = (function.node, NO_STEP) if drive is None else (drive.worker, drive.step)
        self._before = {part.number: before for own in self.parts.values() for before, part in _one_by_one(own.values())}
        self._ids: dict[tuple[object, ...], int] = {}
        self._counts: dict[tuple[Node, bool], int] = {}
        self._tensors = {
            (process.node, activity.kind, activity.number, activity.name): activity
            for process in processes
            for activity in process.activities
            if activity.kind in (ASK, TAKE, ENCODE, DECODE)
        }

        self._turns = _turns(processes)

    def part(self, node: Node, number: int) -> Part | None:
        """A process's part in a step."""
        return self.parts[node].get(number)

    def before(self, part: Part) -> Part | None:
        """What the thread that asked for this run had asked for before; None: nothing, or it is a main thread."""
        return self._before.get(part.number)

    def tensor(self, node: Node, kind: str, number: int, rendezvous: str) -> Activity | None:
        """When a process asked for a tensor, was asked, encoded or decoded it."""
        return self._tensors.get((node, kind, number, rendezvous))

    def turn(self, node: Node, number: int, rendezvous: str) -> int:
        """The place of this asking among all of a process for one tensor in one step: a loop asks in each round."""
        return self._turns.get((node, number, rendezvous), 0)

    def step(self, number: int) -> int:
        """The program's number of a step; NO_STEP of what its main thread did not ask for."""
        return self._masters[number][1] if number in self._masters else NO_STEP

    def name(self, number: int, tensor: str, otherwise: str) -> str:
        """What a tensor on the wire is called: by its variable, where that is known."""
        if number not in self._named:
            self._named[number] = {
                tensor: name
                for node, own in self.parts.items()
                if node.role is Role.SERVER and number in own
                for tensor, name in self._names_of_arguments(own[number])
            }
        return self._named[number].get(tensor) or self._names.get(tensor, otherwise)

    def _names_of_arguments(self, part: Part) -> Iterator[tuple[str, str]]:
        variables, arguments = self._made[part.node]
        given = arguments.get(part.function, ())
        for tensor, place in (part.graph.arguments_of_tensors if part.graph is not None else {}).items():
            if place < len(given) and given[place] in variables:
                yield tensor, variables[given[place]]

    def request(self, node: Node, number: int, *what: object) -> int:
        """The id of a request; the same for the same arguments."""
        return self._id(node, number, False, what)

    def operation(self, node: Node, number: int, operation: Operation) -> int:
        """The id of a run of an operation in a process's part of a step."""
        return self._id(node, number, True, (node, operation.name, operation.turn))

    def dispatch(self, node: Node, number: int) -> int:
        """The id of a process's part of a step being told to run: of a function's run, where this process runs it."""
        part = self.part(node, number)
        if self.function(node, number) is not None:
            return self.master(number)
        return self._id(node, number, True, (node, _DISPATCH)) if part is not None and part.dispatch else NO_REQUEST

    def told_ns(self, node: Node, number: int) -> int | None:
        """From when on a process had told its own part of a step to run, or handed a function out; None: not known.

        A master without a part of its own goes on to tell the others.
        """
        part, function = self.part(node, number), self.function(node, number)
        if function is not None:
            return function.issue.end_ns
        if part is None:
            return None
        if part.dispatch is not None:
            return part.dispatch.end_ns
        return None if part.partitions is None else part.partitions.start_ns

    def master(self, number: int) -> int:
        """The id of the running of a step as a whole."""
        return self._id(self._masters[number][0], number, True, _RUN) if number in self._masters else NO_REQUEST

    def function(self, node: Node, number: int) -> Function | None:
        """The function of this number, if it was this process that ran it."""
        function = self.eager.functions.get(number)
        return function if function is not None and function.node == node else None

    def is_fetched(self, number: int) -> bool:
        """Whether a step is the coordinator's own: it brings a value from a worker."""
        function = self.eager.functions.get(number)
        return function is not None and function.node.role is Role.SCHEDULER

    def is_input(self, part: Part) -> bool:
        """Whether a part is of no step, but makes batches ahead: of a worker's dataset's functions, or a queue runner's."""
        if part.number not in self._masters:
            return bool(self.eager.functions) and part.node.role is not Role.SERVER
        kinds = {one.kind for one in part.runs()}
        return self.step(part.number) == NO_STEP and _enqueues(kinds) and not any("Apply" in kind for kind in kinds)

    def is_batch(self, part: Part, operation: Operation) -> bool:
        """Whether an operation takes a batch: from a queue also where it lies in another process than what is computed."""
        if operation.kind.startswith(TAKES):
            return True
        if part.graph is None or not operation.kind.startswith(QUEUED):
            return False
        sent: set[str] = set()
        if part.graph.is_computed([operation.name], sent):
            return True
        others = (own[part.number].graph for own in self.parts.values() if sent and part.number in own)
        return any(graph.is_computed(graph.receivers(sent)) for graph in others if graph is not None)

    def place(self, function: Function) -> tuple[Written, str]:
        """Where the rows of the thread that runs a function belong: the coordinator's for a worker is its main one."""
        drive = self.eager.drive(function.number) if function.node.role is Role.SCHEDULER else None
        if drive is None or drive.worker not in self.written:
            return self.written[function.node], function.run.thread
        return self.written[drive.worker], MAIN_THREAD

    def _id(self, node: Node, number: int, is_operation: bool, what: tuple[object, ...]) -> int:
        owner = self._masters[number][0] if number in self._masters else node
        key = (owner, number, is_operation, what)
        if key not in self._ids:
            count = self._counts[owner, is_operation] = self._counts.get((owner, is_operation), 0) + 1
            self._ids[key] = operation_id(owner, count) if is_operation else request_id(owner, count)
        return self._ids[key]


def _enqueues(kinds: Iterable[str]) -> bool:
    return any(kind.startswith("QueueEnqueue") for kind in kinds)


def _one_by_one(parts: Iterable[Part]) -> Iterator[tuple[Part, Part]]:
    """Runs that a thread asked for one behind the other, where it has no steps of its own."""
    asked: dict[str, list[tuple[int, Part]]] = defaultdict(list)
    for part in parts:
        if part.run is not None and part.run.cause == NO_STEP:
            asked[part.run.name].append((part.run.start_ns, part))
    for runs in asked.values():
        runs.sort(key=lambda one: one[0])
        yield from pairwise(part for _, part in runs)


def _turns(processes: Iterable[Process]) -> Mapping[tuple[Node, int, str], int]:
    """By who asked, step and rendezvous key: its place among all for that tensor, which differ in frame and round."""
    found: dict[tuple[Node, int, str], int] = {}
    counts: dict[tuple[Node, int, str], int] = defaultdict(int)
    for process in processes:
        for asked in sorted((one for one in process.activities if one.kind == ASK), key=lambda one: one.start_ns):
            edge = process.node, asked.number, asked.name.rpartition(";")[0]
            found[process.node, asked.number, asked.name] = counts[edge]
            counts[edge] += 1
    return found


def _names_of_tensors(processes: Iterable[Process]) -> Mapping[str, str]:
    """The variable that each tensor on the wire is read from or meant for, as the servers' graphs tell."""
    graphs = [graph for process in processes if process.node.role is Role.SERVER for graph in process.graphs]
    accumulated = {name: variable for graph in graphs for name, variable in graph.variables_of_accumulators.items()}
    found = {tensor: variable for graph in graphs for tensor, variable in graph.variables_of_tensors.items()}
    return {tensor: accumulated.get(variable, variable) for tensor, variable in found.items()}
