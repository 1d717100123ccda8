"""What every trace keeps to, checked on plain records: golden traces and tests use it. Each broken rule is one sentence.

1. A span, each half of a message and a step end at or after they start.
2. Activity of one thread never overlaps: its spans, but for the states of requests (`stages.REQUEST_OPS`), and its halves of
   messages.
3. Requests join: a message has both ends, and is not received before it was sent; the request that a span names, as its own
   or as its cause, was asked by a message. An operation has no message: one that is a cause has a span of its own. Messages
   of no request (joining and leaving a job, before ids are known) cannot be joined, and each end stands for itself.
4. A worker's steps follow on from each other: in order of their numbers, none twice, none before the last one's end.

`breakdown.store.check` checks the same on whole tables.
"""

from __future__ import annotations

from collections import defaultdict
from typing import DefaultDict, Iterator, List, Sequence, Tuple, TypeVar

from breakdown.model.identity import NO_REQUEST, Node, is_operation
from breakdown.model.records import Direction, Message, Span, Step
from breakdown.model.stages import REQUEST_OPS

_Item = TypeVar("_Item")
_Thread = Tuple[int, Node, str]
_Activity = Tuple[int, int, str]  # start, end, what


def violations(spans: Sequence[Span], messages: Sequence[Message], steps: Sequence[Step]) -> List[str]:
    """All broken rules, as sentences; empty when the trace is sound. Times must be on one clock."""
    return [*_backward(spans, messages, steps), *_overlaps(spans, messages), *_loose(spans, messages), *_disordered(steps)]


def _backward(spans: Sequence[Span], messages: Sequence[Message], steps: Sequence[Step]) -> Iterator[str]:
    for span in spans:
        if span.end_ns < span.start_ns:
            yield f"{_of(span)} ends {span.start_ns - span.end_ns} ns before it starts"
    for message in messages:
        for end, start_ns, end_ns in (
            ("sending", message.send_start_ns, message.send_end_ns),
            ("receiving", message.recv_start_ns, message.recv_end_ns),
        ):
            if start_ns is not None and end_ns is not None and end_ns < start_ns:
                yield f"{end} {_message(message)} ends {start_ns - end_ns} ns before it starts"
    for step in steps:
        if step.end_ns < step.start_ns:
            yield f"{_step(step)} ends {step.start_ns - step.end_ns} ns before it starts"


def _overlaps(spans: Sequence[Span], messages: Sequence[Message]) -> Iterator[str]:
    threads: DefaultDict[_Thread, List[_Activity]] = defaultdict(list)
    for span in spans:
        if span.op not in REQUEST_OPS:
            threads[span.run, span.node, span.thread].append((span.start_ns, span.end_ns, _of(span)))
    for message in messages:
        what = _message(message)
        if message.send_start_ns is not None and message.send_end_ns is not None:
            sender = (message.run, message.sender, message.sender_thread)
            threads[sender].append((message.send_start_ns, message.send_end_ns, f"sending {what}"))
        if message.recv_start_ns is not None and message.recv_end_ns is not None:
            receiver = (message.run, message.receiver, message.receiver_thread)
            threads[receiver].append((message.recv_start_ns, message.recv_end_ns, f"receiving {what}"))
    for (run, node, thread), activities in sorted(threads.items()):
        activities.sort()
        for (_, end_ns, before), (start_ns, _, after) in _pairs(activities):
            if start_ns < end_ns:
                yield f"run {run}, {node}, thread {thread}: {before} and {after} overlap by {end_ns - start_ns} ns"


def _loose(spans: Sequence[Span], messages: Sequence[Message]) -> Iterator[str]:
    asked = {(message.run, message.request_id) for message in messages if message.direction == Direction.REQUEST}
    for message in messages:
        if message.request_id == NO_REQUEST:
            continue
        if message.send_start_ns is None:
            yield f"{_message(message)} was received, but nobody recorded its sending"
        elif message.recv_start_ns is None:
            yield f"{_message(message)} was sent, but nobody recorded its receiving"
        elif message.recv_start_ns < message.send_start_ns:
            early_ns = message.send_start_ns - message.recv_start_ns
            yield f"{_message(message)} was received {early_ns} ns before it was sent"
        if message.direction == Direction.REPLY and (message.run, message.request_id) not in asked:
            yield f"{_message(message)} answers a request that nobody sent"
    done = {(span.run, span.request_id) for span in spans}
    for span in spans:
        for name, request in (("request", span.request_id), ("cause", span.cause_id)):
            if is_operation(request):
                if (span.run, request) not in done:
                    yield f"{_of(span)} names the {name} {request}, an operation that nobody recorded"
            elif request != NO_REQUEST and (span.run, request) not in asked:
                yield f"{_of(span)} names the {name} {request}, which nobody sent"


def _disordered(steps: Sequence[Step]) -> Iterator[str]:
    workers: DefaultDict[Tuple[int, int], List[Step]] = defaultdict(list)
    for step in steps:
        workers[step.run, step.rank].append(step)
    for _, own in sorted(workers.items()):
        own.sort(key=lambda step: step.step)
        for before, after in _pairs(own):
            if before.step == after.step:
                yield f"{_step(after)} is recorded twice"
            elif after.start_ns < before.end_ns:
                yield f"{_step(after)} starts {before.end_ns - after.start_ns} ns before step {before.step} ends"


def _pairs(items: Sequence[_Item]) -> Iterator[Tuple[_Item, _Item]]:
    """Each item with the one behind it."""
    for place in range(1, len(items)):
        yield items[place - 1], items[place]


def _of(span: Span) -> str:
    key = f" {span.key}" if span.key else ""
    return f"run {span.run}, {span.node}, thread {span.thread}, step {span.step}: {span.stage.label}/{span.op}{key}"


def _message(message: Message) -> str:
    ends = f"{message.sender} -> {message.receiver}"
    return f"run {message.run}, {ends}: {message.verb.label} {message.direction.label} {message.request_id}"


def _step(step: Step) -> str:
    return f"run {step.run}, worker-{step.rank}: step {step.step}"
