"""The rows of the trace grammar, from a profile whose processes share a clock.

main        submit (dispatch, where a coordinator calls), block (cause: the last operation)
operation   queue(cause: the one that it waited for), its work; where that is asynchronous, what it waits for
received    queue, ask (where the profile shows it), hold(cause: the operation that sends or makes the tensor), transfer
a server    dispatch: queue from where the worker ran its graph, its own work; its first operations wait for that

What an operation waited for is the last of those that it needs that was done. Where the profile does not say what it needs
(XPlane never does; RunMetadata and timelines leave out mere order), the last that its process had done for this step by then
stands in its place. Encoding, decoding and sockets are in no such profile: a transfer is all that lies between a sender's
`_Send`, or the beginning of its sending, and the tensor being there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from breakdown.model.identity import NO_REQUEST, Node, Role, operation_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.messages import NO_STEP
from breakdown.store.profiles.names import key_of, names_of_tensors, owners
from breakdown.store.profiles.pairs import Pair, pairs
from breakdown.store.profiles.profile import Operation, Part, Profile, Step, lost, received_name
from breakdown.store.tensorflow.graphs import FETCH, RECEIVE
from breakdown.store.tensorflow.messages import DISPATCH
from breakdown.store.tensorflow.run import ASK
from breakdown.store.tensorflow.threads import lanes
from breakdown.store.tensorflow.work import SENDING
from breakdown.store.tensorflow.written import End, What, Written

PYTHON, TRANSFER = "python", "transfer"

_READY, _OPERATIONS = "ready", "operations"
_GRADIENTS = ("gradients/", "gradient_tape/")
_WAITING = ("Dequeue", "TakeGradient")
"""What the types of operations hold that wait for other workers."""


@dataclass(frozen=True)
class Numbered:
    """A step as its worker counts it."""

    number: int
    step: Step


def write(profile: Profile) -> tuple[Mapping[Node, Written], Mapping[Node, list[Numbered]]]:
    """The rows of all processes, and the steps of each worker."""
    written = {node: Written() for node in profile.nodes}
    steps: dict[Node, list[Numbered]] = defaultdict(list)
    ids: dict[Node, int] = defaultdict(int)
    threads = _Lanes(written)
    for step in sorted(profile.steps, key=lambda one: one.start_ns):
        number = len(steps[step.worker])
        steps[step.worker].append(Numbered(number, step))
        _Writing(written, threads, step, number, ids).write()
    for node, beside in profile.beside.items():
        for work in beside:
            what = What(work.stage, work.op, work.key, NO_STEP, NO_REQUEST)
            written[node].did(work.thread, work.start_ns, work.end_ns, what)
    threads.write()
    return written, steps


class _Lanes:
    """Threads that a profile does not name: what goes side by side gets a lane in which it is alone."""

    def __init__(self, written: Mapping[Node, Written]) -> None:
        self._written = written
        self._work: dict[tuple[Node, str], list[tuple[int, int, What]]] = defaultdict(list)

    def did(self, node: Node, thread: str, start_ns: int, end_ns: int, what: What) -> None:
        self._work[node, thread].append((start_ns, end_ns, what))

    def write(self) -> None:
        for (node, thread), work in self._work.items():
            places = lanes([(start_ns, end_ns) for start_ns, end_ns, _ in work])
            for lane, (start_ns, end_ns, what) in zip(places, work, strict=True):
                self._written[node].did(thread if lane == 0 else f"{thread}#{lane + 1}", start_ns, end_ns, what)


class _Writing:
    """The rows of one step."""

    def __init__(
        self, written: Mapping[Node, Written], threads: _Lanes, step: Step, number: int, ids: dict[Node, int]
    ) -> None:
        self._written, self._threads, self._step, self._number, self._counts = written, threads, step, number, ids
        self._names = names_of_tensors(step)
        self._owners = {node: owners(part) for node, part in step.parts.items()}
        self._came = {id(pair.receive): pair for pair in pairs(step)}
        self._ids = {id(one): self._new_id() for part in step.parts.values() for one in part.operations}
        self._told = {node: self._new_id() for node in step.parts if node != step.worker}

    def write(self) -> None:
        """All rows of the step."""
        self._main()
        for part in self._step.parts.values():
            if part.node != self._step.worker:
                self._dispatch(part)
            order = sorted(part.operations, key=lambda one: one.done_ns)
            history = _History(order, [one.done_ns for one in order])
            by_name: dict[str, list[Operation]] = defaultdict(list)
            for one in order:
                by_name[one.name].append(one)
            for one in part.operations:
                self._operation(part, one, history, by_name)

    def _new_id(self) -> int:
        """All that is done for a step has an id in its worker's name."""
        self._counts[self._step.worker] += 1
        return operation_id(self._step.worker, self._counts[self._step.worker])

    def _main(self) -> None:
        step, written = self._step, self._written[self._step.worker]
        own = What(Stage.SERIALIZE, step.call_op, "", self._number, NO_REQUEST)
        if step.calls and step.calls != [(step.start_ns, step.end_ns)]:
            written.did(MAIN_THREAD, step.start_ns, step.end_ns, replace(own, stage=Stage.OTHER, op=PYTHON))
        for start_ns, end_ns in step.calls:
            written.did(MAIN_THREAD, start_ns, end_ns, own)
        for asked_ns, woken_ns in step.runs:
            # a server may end the step's last run after the worker itself has done all of its own
            last = max(
                (one for part in step.parts.values() for one in part.operations if asked_ns < one.done_ns <= woken_ns),
                key=lambda one: one.done_ns,
                default=None,
            )
            cause = NO_REQUEST if last is None else self._ids[id(last)]
            written.did(MAIN_THREAD, asked_ns, woken_ns, replace(own, stage=Stage.WAIT, op=Op.BLOCK, cause=cause))

    def _asked_ns(self, before_ns: int) -> int:
        """When the run of a graph was asked for that something at this moment is part of."""
        return max((asked for asked, _ in self._step.runs if asked <= before_ns), default=before_ns)

    def _dispatch(self, part: Part) -> None:
        told_ns, end_ns = part.told_ns or (part.start_ns, part.start_ns)
        what = What(Stage.PULL, Op.QUEUE, DISPATCH, self._number, self._told[part.node])
        self._written[part.node].state(_READY, self._asked_ns(told_ns), told_ns, what)
        if part.told_ns is not None:
            self._threads.did(
                part.node, DISPATCH, told_ns, end_ns, replace(what, stage=Stage.AGGREGATE, op=DISPATCH, key="")
            )

    def _operation(self, part: Part, one: Operation, history: _History, by_name: Mapping[str, list[Operation]]) -> None:
        written, what = self._written[part.node], self._meaning(part, one)
        needed = _needed(one, history, by_name)
        start_ns = part.start_ns if one.sent_ns is not None else one.start_ns
        if needed is not None:
            cause, ready_ns = self._ids[id(needed)], needed.done_ns
        elif part.node == self._step.worker:
            cause, ready_ns = NO_REQUEST, self._asked_ns(start_ns)
        else:
            told_ns = part.start_ns if part.told_ns is None else part.told_ns[1]
            cause, ready_ns = self._told[part.node], told_ns
        ready_ns = min(ready_ns, start_ns)
        queue = replace(what, op=Op.QUEUE, cause=cause)
        if lost(one, by_name):
            written.state(_READY, ready_ns, ready_ns, queue)
            hold = replace(what, stage=Stage.OTHER, op=Op.HOLD)
            until_ns = start_ns if one.ready_ns is None else min(max(ready_ns, one.ready_ns), start_ns)
            written.state(_READY, ready_ns, until_ns, hold)
            ready_ns, queue = until_ns, replace(queue, cause=NO_REQUEST)
        written.state(one.thread or _READY, ready_ns, start_ns, queue)
        if one.receives:
            self._received(part, one, what)
        elif one.thread:
            written.did(one.thread, one.start_ns, one.end_ns, what)
            self._until_done(part, one, what, history)
        else:
            self._threads.did(part.node, _OPERATIONS, one.start_ns, one.end_ns, what)

    def _until_done(self, part: Part, one: Operation, what: What, history: _History) -> None:
        """An asynchronous operation ends with what its process did last until then; or it waits for others."""
        if one.done_ns <= one.end_ns:
            return
        if what.stage is Stage.WAIT:
            self._threads.did(part.node, "waiting", one.end_ns, one.done_ns, what)
            return
        last = history.before(one.done_ns, one)
        within = last is not None and last.done_ns > one.end_ns
        hold = replace(what, op=Op.HOLD, cause=self._ids[id(last)] if last is not None and within else NO_REQUEST)
        self._written[part.node].state(one.thread, one.end_ns, one.done_ns, hold)

    def _received(self, part: Part, one: Operation, what: What) -> None:
        written, pair = self._written[part.node], self._came.get(id(one)) or self._likely(part, one)
        if one.sent_ns is None:
            written.did(one.thread, one.start_ns, one.end_ns, replace(what, op=ASK))
            since_ns = one.end_ns
            sent_ns = since_ns if pair is None else max(since_ns, pair.maker.end_ns)
        else:
            since_ns, sent_ns = part.start_ns, one.sent_ns
        sent_ns = min(sent_ns, one.done_ns)
        if pair is not None and sent_ns > since_ns:
            hold = replace(what, op=Op.HOLD, cause=self._ids[id(pair.maker)])
            written.state(one.thread or _READY, since_ns, sent_ns, hold)
        sender = one.peer or (pair.sender if pair is not None else None)
        size = one.size_bytes or 0
        if one.done_ns > sent_ns:
            name = f"{TRANSFER}-{sender}" if sender is not None else TRANSFER
            self._threads.did(part.node, name, sent_ns, one.done_ns, what)
        if one.size_bytes is not None and sender is not None:
            verb, direction = (
                (Verb.PUSH, Direction.REQUEST) if part.node.role is Role.SERVER else (Verb.PULL, Direction.REPLY)
            )
            # of no request: its halves cannot be joined, for only this one was recorded
            end = End(verb, direction, what.key, self._number, size, NO_REQUEST, sender.code, one.done_ns, one.done_ns)
            written.end(Kind.RECEIVED, f"recv-{sender}", end)

    def _likely(self, part: Part, one: Operation) -> Pair | None:
        """Where the profile does not name the tensor: of the only other process what it did last before it was sent."""
        others = [other for other in self._step.parts.values() if other is not part]
        if one.tensor or one.sent_ns is None or len(others) != 1:
            return None
        done = [other for other in others[0].operations if other.done_ns <= one.sent_ns and not other.receives]
        last = max(done, key=lambda other: other.done_ns, default=None)
        return Pair(others[0].node, last, part.node, one) if last is not None else None

    def _meaning(self, part: Part, one: Operation) -> What:
        at_server, kind = part.node.role is Role.SERVER, one.kind
        if one.receives:
            stage, op = (Stage.PUSH if at_server else Stage.PULL), TRANSFER
        elif one.sends and not one.name.startswith(FETCH):
            stage, op = (Stage.PULL if at_server else Stage.PUSH), SENDING
        elif any(text in kind for text in _WAITING):
            stage, op = Stage.WAIT, kind
        elif "Accumulator" in kind and "Apply" in kind:
            stage, op = Stage.AGGREGATE, Op.SUM
        elif "Apply" in kind or kind.startswith("Assign"):
            stage, op = (Stage.AGGREGATE if at_server else Stage.COMPUTE), Op.UPDATE
        elif at_server:
            stage, op = Stage.AGGREGATE, kind or one.name
        elif kind.startswith("IteratorGetNext"):
            stage, op = Stage.INPUT, Op.LOAD
        else:
            backward = any(text in one.name for text in _GRADIENTS)
            stage, op = Stage.COMPUTE, (Op.BACKWARD if backward else Op.FORWARD)
        key = key_of(one, self._names, self._owners[part.node])
        return What(stage, op, key, self._number, self._ids[id(one)])


@dataclass(frozen=True)
class _History:
    """A part's operations in the order in which they were done."""

    order: list[Operation]
    done_ns: list[int]

    def before(self, at_ns: int, one: Operation) -> Operation | None:
        """The last that was done by then, other than `one`."""
        place = bisect_right(self.done_ns, at_ns) - 1
        while place >= 0 and self.order[place] is one:
            place -= 1
        return self.order[place] if place >= 0 else None


def _needed(one: Operation, history: _History, by_name: Mapping[str, list[Operation]]) -> Operation | None:
    """What an operation waited for; None: it could run at once."""
    if one.receives and one.sent_ns is not None:
        return None
    found: list[Operation] = []
    for name in one.needs or ():
        makers = by_name.get(name, [])
        if not makers and name.startswith(RECEIVE):
            makers = by_name.get(received_name(""), [])  # received, but the profile does not say what
        found += [maker for maker in makers if maker.done_ns <= one.start_ns and maker is not one]
    if found:
        return max(found, key=lambda maker: maker.done_ns)
    ready_ns = one.start_ns if one.ready_ns is None else min(one.ready_ns, one.start_ns)
    return history.before(ready_ns, one)
