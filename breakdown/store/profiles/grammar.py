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

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

from breakdown.model.identity import NO_REQUEST, Node, Role, operation_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.messages import NO_STEP
from breakdown.store.profiles.names import key_of, names_of_tensors, owners
from breakdown.store.profiles.pairs import Pair, pairs
from breakdown.store.profiles.profile import Operation, Part, Profile, Step, Watch, lost, received_name
from breakdown.store.profiles.rows import Rows, What
from breakdown.store.tensorflow.graphs import FETCH, RECEIVE, SEND, TAKES
from breakdown.store.tensorflow.messages import DISPATCH
from breakdown.store.tensorflow.run import ASK
from breakdown.store.tensorflow.work import SENDING
from breakdown.store.tensorflow.written import End

PYTHON, TRANSFER = "python", "transfer"

_READY, _OPERATIONS = "ready", "operations"
_UNNAMED = received_name("")
_GRADIENTS = ("gradients/", "gradient_tape/")
_DEQUEUE = "Dequeue"
_WAITING = (_DEQUEUE, "TakeGradient")
"""What the types of operations hold that wait for other workers; at a worker the former takes a batch, mostly."""
_COUNTS = ("Assign", "Identity", "NoOp", SEND)
"""How the types of operations begin that need a token: nothing is computed of it."""


@dataclass(frozen=True)
class Numbered:
    """A step as its worker counts it."""

    number: int
    step: Step


def write(profile: Profile, watch: Watch) -> tuple[Mapping[Node, Rows], Mapping[Node, list[Numbered]]]:
    """The rows of all processes, and the steps of each worker."""
    written = {node: Rows() for node in profile.nodes}
    steps: dict[Node, list[Numbered]] = defaultdict(list)
    counts: dict[Node, count[int]] = defaultdict(lambda: count(1))
    for done, step in enumerate(sorted(profile.steps, key=lambda one: one.start_ns)):
        watch("steps", done, len(profile.steps))
        number = len(steps[step.worker])
        steps[step.worker].append(Numbered(number, step))
        _Writing(written, step, number, counts[step.worker]).write()
    for node, beside in profile.beside.items():
        for work in beside:
            what = What(work.stage, work.op, work.key, NO_STEP, NO_REQUEST)
            written[node].did(work.thread, work.start_ns, work.end_ns, what)
    return written, steps


class _Writing:
    """The rows of one step."""

    def __init__(self, written: Mapping[Node, Rows], step: Step, number: int, counts: count[int]) -> None:
        self._written, self._step, self._number = written, step, number
        self._names = names_of_tensors(step)
        self._owners = {node: owners(part) for node, part in step.parts.items()}
        self._came = {id(pair.receive): pair for pair in pairs(step)}
        # all that is done for a step has an id in its worker's name
        first = operation_id(step.worker, 0)
        self._ids = {id(one): first | next(counts) for part in step.parts.values() for one in part.operations}
        self._told = {node: first | next(counts) for node in step.parts if node != step.worker}
        self._asked = sorted(asked_ns for asked_ns, _ in step.runs)

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
            told_ns = self._told_ns(part)
            for one in part.operations:
                self._operation(part, one, history, by_name, told_ns)

    def _main(self) -> None:
        step, written = self._step, self._written[self._step.worker]
        own = What(Stage.SERIALIZE, step.call_op, "", self._number, NO_REQUEST)
        if step.calls and step.calls != [(step.start_ns, step.end_ns)]:
            written.did(MAIN_THREAD, step.start_ns, step.end_ns, own._replace(stage=Stage.OTHER, op=PYTHON))
        for start_ns, end_ns in step.calls:
            written.did(MAIN_THREAD, start_ns, end_ns, own)
        order = sorted((one for part in step.parts.values() for one in part.operations), key=lambda one: one.done_ns)
        done_ns = [one.done_ns for one in order]
        for asked_ns, woken_ns in step.runs:
            # a server may end the step's last run after the worker itself has done all of its own
            at = bisect_right(done_ns, woken_ns) - 1
            within = at >= 0 and done_ns[at] > asked_ns
            cause = self._ids[id(order[bisect_left(done_ns, done_ns[at])])] if within else NO_REQUEST
            written.did(MAIN_THREAD, asked_ns, woken_ns, own._replace(stage=Stage.WAIT, op=Op.BLOCK, cause=cause))

    def _asked_ns(self, before_ns: int) -> int:
        """When the run of a graph was asked for that something at this moment is part of."""
        at = bisect_right(self._asked, before_ns)
        return self._asked[at - 1] if at else before_ns

    def _told_ns(self, part: Part) -> int:
        """When a process knew what it had to do."""
        return part.start_ns if part.told_ns is None else part.told_ns[1]

    def _dispatch(self, part: Part) -> None:
        told_ns, end_ns = part.told_ns or (part.start_ns, part.start_ns)
        what = What(Stage.PULL, Op.QUEUE, DISPATCH, self._number, self._told[part.node])
        self._written[part.node].state(_READY, self._asked_ns(told_ns), told_ns, what)
        if part.told_ns is not None:
            work = What(Stage.AGGREGATE, DISPATCH, "", self._number, self._told[part.node])
            self._written[part.node].did_somewhere(DISPATCH, told_ns, end_ns, work)

    def _operation(
        self, part: Part, one: Operation, history: _History, by_name: Mapping[str, list[Operation]], told_ns: int
    ) -> None:
        written, what = self._written[part.node], self._meaning(part, one)
        stage, _, key, number, own, _ = what
        needed = _needed(one, history, by_name)
        start_ns = part.start_ns if one.sent_ns is not None else one.start_ns
        if needed is not None:
            cause, ready_ns = self._ids[id(needed)], needed.done_ns
        elif part.node == self._step.worker:
            cause, ready_ns = NO_REQUEST, self._asked_ns(start_ns)
        else:
            cause, ready_ns = self._told[part.node], told_ns
        ready_ns = min(ready_ns, start_ns)
        if lost(one, by_name):
            written.state(_READY, ready_ns, ready_ns, What(stage, Op.QUEUE, key, number, own, cause))
            until_ns = start_ns if one.ready_ns is None else min(max(ready_ns, one.ready_ns), start_ns)
            written.state(_READY, ready_ns, until_ns, What(Stage.OTHER, Op.HOLD, key, number, own))
            ready_ns, cause = until_ns, NO_REQUEST
        written.state(one.thread or _READY, ready_ns, start_ns, What(stage, Op.QUEUE, key, number, own, cause))
        if one.receives:
            self._received(part, one, what)
        elif one.thread:
            written.did(one.thread, one.start_ns, one.end_ns, what)
            self._until_done(part, one, what, history)
        else:
            written.did_somewhere(_OPERATIONS, one.start_ns, one.end_ns, what)

    def _until_done(self, part: Part, one: Operation, what: What, history: _History) -> None:
        """An asynchronous operation ends with what its process did last until then; or it waits for others, or a batch."""
        if one.done_ns <= one.end_ns:
            return
        if what.stage in (Stage.WAIT, Stage.INPUT):
            self._written[part.node].did_somewhere("waiting", one.end_ns, one.done_ns, what)
            return
        last = history.before(one.done_ns, one)
        within = last is not None and last.done_ns > one.end_ns
        hold = what._replace(op=Op.HOLD, cause=self._ids[id(last)] if last is not None and within else NO_REQUEST)
        self._written[part.node].state(one.thread, one.end_ns, one.done_ns, hold)

    def _received(self, part: Part, one: Operation, what: What) -> None:
        written, pair = self._written[part.node], self._came.get(id(one)) or self._likely(part, one)
        if one.sent_ns is None:
            written.did(one.thread, one.start_ns, one.end_ns, what._replace(op=ASK))
            since_ns = one.end_ns
            sent_ns = since_ns if pair is None else max(since_ns, pair.maker.end_ns)
        else:
            since_ns, sent_ns = part.start_ns, one.sent_ns
        sent_ns = min(sent_ns, one.done_ns)
        if pair is not None and sent_ns > since_ns:
            hold = what._replace(op=Op.HOLD, cause=self._ids[id(pair.maker)])
            written.state(one.thread or _READY, since_ns, sent_ns, hold)
        sender = one.peer or (pair.sender if pair is not None else None)
        size = one.size_bytes or 0
        if one.done_ns > sent_ns:
            name = f"{TRANSFER}-{sender}" if sender is not None else TRANSFER
            written.did_somewhere(name, sent_ns, one.done_ns, what)
        if one.size_bytes is not None and sender is not None:
            verb, direction = (
                (Verb.PUSH, Direction.REQUEST) if part.node.role is Role.SERVER else (Verb.PULL, Direction.REPLY)
            )
            # of no request: its halves cannot be joined, for only this one was recorded
            end = End(verb, direction, what.key, self._number, size, NO_REQUEST, sender.code, one.done_ns, one.done_ns)
            written.received(f"recv-{sender}", end)

    def _likely(self, part: Part, one: Operation) -> Pair | None:
        """Where the profile does not name the tensor: of the only other process what it did last before it was sent."""
        others = [other for other in self._step.parts.values() if other is not part]
        if one.tensor or one.sent_ns is None or len(others) != 1:
            return None
        done = [other for other in others[0].operations if other.done_ns <= one.sent_ns and not other.receives]
        last = max(done, key=lambda other: other.done_ns, default=None)
        return Pair(others[0].node, last, part.node, one) if last is not None else None

    def _meaning(self, part: Part, one: Operation) -> What:
        at_server = part.node.role is Role.SERVER
        stage, op = _stage_and_op(at_server, one.kind, one.name)
        if _DEQUEUE in one.kind and (self._is_batch_of_others(part, one) if at_server else not _is_token(part, one)):
            stage, op = Stage.INPUT, Op.LOAD
        key = key_of(one, self._names, self._owners[part.node])
        return What(stage, op, key, self._number, self._ids[id(one)])

    def _is_batch_of_others(self, part: Part, one: Operation) -> bool:
        """Whether something is computed of what a server takes from a queue, there or where it is sent to."""
        users = [other for other in part.operations if one.name in (other.needs or ())]
        sent = {received_name(one.name), *(received_name(other.tensor) for other in users if other.sends)}
        for other in (every for own in self._step.parts.values() if own is not part for every in own.operations):
            if sent.intersection(other.needs or ()):
                users.append(other)
        return any(not other.kind.startswith(_COUNTS) for other in users)


def _is_token(part: Part, one: Operation) -> bool:
    """Whether nothing is computed of what an operation takes from a queue, as far as the profile says what needs it."""
    if all(other.needs is None for other in part.operations):
        return False
    return all(other.kind.startswith(_COUNTS) for other in part.operations if one.name in (other.needs or ()))


@lru_cache(maxsize=1 << 16)
def _stage_and_op(at_server: bool, kind: str, name: str) -> tuple[Stage, str]:
    """What an operation of this type and name does."""
    if kind == RECEIVE:
        return (Stage.PUSH if at_server else Stage.PULL), TRANSFER
    if kind == SEND and not name.startswith(FETCH):
        return (Stage.PULL if at_server else Stage.PUSH), SENDING
    if kind.startswith(TAKES):
        return Stage.INPUT, Op.LOAD
    if any(text in kind for text in _WAITING):
        return Stage.WAIT, kind
    if "Accumulator" in kind and "Apply" in kind:
        return Stage.AGGREGATE, Op.SUM
    if "Apply" in kind or kind.startswith("Assign"):
        return (Stage.AGGREGATE if at_server else Stage.COMPUTE), Op.UPDATE
    if at_server:
        return Stage.AGGREGATE, kind or name
    return Stage.COMPUTE, (Op.BACKWARD if any(text in name for text in _GRADIENTS) else Op.FORWARD)


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
    last: Operation | None = None
    start_ns = one.start_ns
    for name in one.needs or ():
        makers = by_name.get(name)
        if not makers and name.startswith(RECEIVE):
            makers = by_name.get(_UNNAMED)  # received, but the profile does not say what
        for maker in makers or ():
            if maker.done_ns <= start_ns and maker is not one and (last is None or maker.done_ns > last.done_ns):
                last = maker
    if last is not None:
        return last
    ready_ns = start_ns if one.ready_ns is None else min(one.ready_ns, start_ns)
    return history.before(ready_ns, one)
