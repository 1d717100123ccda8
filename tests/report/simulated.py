"""A small deterministic parameter server on paper: gives the records of a run, for the timeline and Perfetto tests.

It follows the trace grammar of a real run (threads, request ids, holds, blocks), in integer ns, without any clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.model.identity import Node, Role, request_id
from breakdown.model.records import Direction, Message, Span, Step, Verb
from breakdown.model.stages import REQUEST_OPS, Op, Stage

US = 1_000
LATENCY = 40 * US
BYTES_PER_US = 1_200
KEYS = {
    "conv1.weight": 30_000,
    "conv1.bias": 512,
    "fc1.weight": 2_400_000,
    "fc1.bias": 2_048,
    "fc2.weight": 600_000,
    "fc2.bias": 40,
}


@dataclass
class Trace:
    """The records of one simulated run."""

    spans: list[Span] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    pull_of: dict[tuple[int, int, str], int] = field(default_factory=dict)  # (worker, step, key) -> request
    push_of: dict[tuple[int, int, str], int] = field(default_factory=dict)


class _Simulation:
    def __init__(self, workers: int, servers: int, keys: dict[str, int], slow: int) -> None:
        self.workers, self.servers, self.keys, self.slow = workers, servers, keys, slow
        self.trace = Trace()
        self.free: dict[tuple[Node, str], int] = {}
        self.counter = dict.fromkeys(range(workers), 0)

    def server_of(self, key: str) -> int:
        return list(self.keys).index(key) % self.servers

    def request(self, worker: int) -> int:
        self.counter[worker] += 1
        return request_id(Node(Role.WORKER, worker), self.counter[worker])

    def take(self, node: Node, thread: str, ready: int) -> int:
        return max(ready, self.free.get((node, thread), 0))

    def span(
        self,
        node: Node,
        thread: str,
        step: int,
        stage: Stage,
        op: str,
        start: int,
        end: int,
        key: str = "",
        size: int = 0,
        request: int = 0,
        cause: int = 0,
    ) -> int:
        cpu = end - start if op in (Op.FORWARD, Op.BACKWARD, Op.SUM, Op.UPDATE) else None
        self.trace.spans.append(Span(0, node, thread, step, stage, op, start, end, key, size, request, cause, cpu))
        if op not in REQUEST_OPS:
            self.free[node, thread] = end
        return end

    def message(
        self,
        verb: Verb,
        direction: Direction,
        sender: Node,
        receiver: Node,
        key: str,
        step: int,
        size: int,
        request: int,
        start: int,
        send_thread: str,
        recv_thread: str,
    ) -> tuple[int, int]:
        busy = 8 * US + size * US // BYTES_PER_US
        send_end = start + busy
        first = self.take(receiver, recv_thread, start + LATENCY)
        last = max(first + busy // 2, send_end + LATENCY)
        self.free[sender, send_thread], self.free[receiver, recv_thread] = send_end, last
        self.trace.messages.append(
            Message(
                0,
                request,
                verb,
                direction,
                sender,
                receiver,
                key,
                step,
                size,
                start,
                send_end,
                first,
                last,
                send_thread,
                recv_thread,
            )
        )
        return send_end, last

    def compute(self, worker: int, step: int, start: int) -> tuple[int, list[tuple[int, str]]]:
        """The main thread up to the end of backward; and when which gradient was ready."""
        node = Node(Role.WORKER, worker)
        pace = 100 + (15 if worker == self.slow else 0)
        now = self.span(node, "main", step, Stage.INPUT, Op.LOAD, start, start + 120 * US)
        for key, size in self.keys.items():
            now = self.span(node, "main", step, Stage.COMPUTE, Op.FORWARD, now, now + pace * (3 * US + size // 250), key)
        ready = []
        for key, size in reversed(self.keys.items()):
            now = self.span(node, "main", step, Stage.COMPUTE, Op.BACKWARD, now, now + pace * (4 * US + size // 120), key)
            ready.append((now, key))
        return now, ready

    def step(self, step: int, starts: list[int]) -> list[int]:
        arrivals: list[tuple[int, int, str, Verb, int, int]] = []
        back_end = []
        for worker, start in enumerate(starts):
            end, ready = self.compute(worker, step, start)
            back_end.append(end)
            node = Node(Role.WORKER, worker)
            for moment, key in ready:
                server = self.server_of(key)
                thread, receiver = f"send-server-{server}", Node(Role.SERVER, server)
                push, pull = self.request(worker), self.request(worker)
                self.trace.push_of[worker, step, key], self.trace.pull_of[worker, step, key] = push, pull
                size = self.keys[key]
                for verb, request, count in ((Verb.PUSH, push, size), (Verb.PULL, pull, 64)):
                    taken = self.take(node, thread, moment + 15 * US)
                    self.span(node, thread, step, Stage.SERIALIZE, Op.QUEUE, moment, taken, key, count, request)
                    if verb is Verb.PUSH:
                        taken = self.span(
                            node,
                            thread,
                            step,
                            Stage.SERIALIZE,
                            Op.ENCODE,
                            taken,
                            taken + 10 * US + size // 40,
                            key,
                            size,
                            request,
                        )
                    _, last = self.message(
                        verb,
                        Direction.REQUEST,
                        node,
                        receiver,
                        key,
                        step,
                        count,
                        request,
                        taken,
                        thread,
                        f"recv-worker-{worker}",
                    )
                    arrivals.append((last, server, key, verb, worker, request))
        answered = self.serve(step, sorted(arrivals, key=lambda item: item[0]))
        return [self.wait(worker, step, starts[worker], back_end[worker], answered) for worker in range(self.workers)]

    def serve(self, step: int, arrivals: list[tuple[int, int, str, Verb, int, int]]) -> dict[tuple[int, str], int]:
        """The servers' handler threads, first come first served; when each worker holds which key."""
        got: dict[tuple[int, str], int] = {}
        held: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
        done: set[tuple[int, str]] = set()
        answers: dict[tuple[int, str], int] = {}
        for last, server, key, verb, worker, request in arrivals:
            node, thread, size = Node(Role.SERVER, server), "handle-0", self.keys[key]
            now = self.take(node, thread, last + 12 * US)
            self.span(node, thread, step, Stage.AGGREGATE, Op.QUEUE, last, now, key, size, request)
            if verb is Verb.PULL:
                if (server, key) in done:
                    answers[worker, key] = self.answer(node, worker, step, key, request, now)
                else:
                    held.setdefault((server, key), []).append((worker, request, now))
                continue
            now = self.span(
                node, thread, step, Stage.SERIALIZE, Op.DECODE, now, now + 8 * US + size // 60, key, size, request
            )
            now = self.span(node, thread, step, Stage.AGGREGATE, Op.SUM, now, now + 10 * US + size // 12, key, size, request)
            got[server, key] = got.get((server, key), 0) + 1
            if got[server, key] == self.workers:
                now = self.span(
                    node, thread, step, Stage.AGGREGATE, Op.UPDATE, now, now + 15 * US + size // 9, key, size, request
                )
                done.add((server, key))
                for waiting, pull, since in held.pop((server, key), []):
                    self.span(node, thread, step, Stage.WAIT, Op.HOLD, since, now, key, 64, pull, request)
                    answers[waiting, key] = self.answer(node, waiting, step, key, pull, now)
        return answers

    def answer(self, node: Node, worker: int, step: int, key: str, request: int, now: int) -> int:
        thread, size, receiver = f"send-worker-{worker}", self.keys[key], Node(Role.WORKER, worker)
        taken = self.take(node, thread, now + 10 * US)
        self.span(node, thread, step, Stage.PULL, Op.QUEUE, now, taken, key, size, request)
        taken = self.span(
            node, thread, step, Stage.SERIALIZE, Op.ENCODE, taken, taken + 6 * US + size // 50, key, size, request
        )
        inbox = f"recv-server-{node.rank}"
        _, last = self.message(Verb.PULL, Direction.REPLY, node, receiver, key, step, size, request, taken, thread, inbox)
        return self.span(
            receiver, inbox, step, Stage.SERIALIZE, Op.DECODE, last, last + 7 * US + size // 60, key, size, request
        )

    def wait(self, worker: int, step: int, start: int, now: int, answered: dict[tuple[int, str], int]) -> int:
        node = Node(Role.WORKER, worker)
        for key in self.keys:
            complete = answered[worker, key]
            if complete > now:
                pull = self.trace.pull_of[worker, step, key]
                now = self.span(node, "main", step, Stage.WAIT, Op.BLOCK, now, complete + 20 * US, key, 0, 0, pull)
        self.trace.steps.append(Step(0, worker, step, start, now, 64, False, 0.5 / (step + 1)))
        return now


def simulate(
    workers: int = 2,
    servers: int = 1,
    steps: int = 2,
    keys: dict[str, int] | None = None,
    slow: int = 1,
    origin: int = 5_000_000,
) -> Trace:
    """A BSP run; worker `slow` computes 15 % slower than the others."""
    simulation = _Simulation(workers, servers, KEYS if keys is None else keys, slow)
    starts = [origin + worker * 90 * US for worker in range(workers)]
    for step in range(steps):
        starts = simulation.step(step, starts)
    return simulation.trace


def critical_path(trace: Trace, worker: int, step: int) -> list[Segment]:
    """The step's critical path, walked back; segments tile the step."""
    me = Node(Role.WORKER, worker)
    bounds = next(found for found in trace.steps if found.rank == worker and found.step == step)
    main = [span for span in trace.spans if span.node == me and span.thread == "main" and span.step == step]
    out: list[Segment] = []

    def add(stage: Stage, op: str, start: int, end: int, place: Node, key: str, cause: Stage | None = None) -> None:
        if end > start:
            out.append(Segment(0, worker, step, start, end, stage, op, place, key, cause))

    def back(request: int, now: int, low: int) -> int:
        """The rows of one request, newest first, from `now` down to `low`. Elsewhere than here or at a server: waiting."""
        chain: list[tuple[int, int, Stage, str, Node, str]] = [
            (row.start_ns, row.end_ns, row.stage, row.op, row.node, row.key)
            for row in trace.spans
            if row.request_id == request and row.op != Op.HOLD
        ]
        chain += [
            (row.send_start_ns or 0, row.recv_end_ns or 0, row.verb.stage, Op.WIRE, row.sender, row.key)
            for row in trace.messages
            if row.request_id == request
        ]
        for start, end, stage, op, node, key in sorted(chain, key=lambda row: row[1], reverse=True):
            if end > now or now <= low:
                continue
            for name, begin, until in ((Op.HANDOVER, max(end, low), now), (op, max(start, low), end)):
                other = node.role is Role.WORKER and node != me
                add(Stage.WAIT if other else stage, name, begin, until, node, key, stage if other else None)
            now = max(start, low)
        return now

    now = bounds.end_ns
    for span in sorted(main, key=lambda span: span.end_ns, reverse=True):
        if now <= span.start_ns:
            continue
        if span.op != Op.BLOCK:
            add(span.stage, span.op, span.start_ns, min(now, span.end_ns), me, span.key)
            now = span.start_ns
            continue
        pull = span.cause_id
        chain = [row for row in trace.spans if row.request_id == pull]
        decoded = max(row.end_ns for row in chain if row.op == Op.DECODE)
        add(Stage.PULL, Op.HANDOVER, decoded, now, me, span.key)
        hold = next((row for row in chain if row.op == Op.HOLD), None)
        if hold is None:  # the answer was there already: the pull's own way is all that there is
            now = back(pull, decoded, bounds.start_ns)
            continue
        now = back(pull, decoded, hold.end_ns)
        own = trace.push_of[worker, step, span.key]
        own_done = max(row.end_ns for row in trace.spans if row.request_id == own and row.node.role is Role.SERVER)
        if hold.cause_id != own:
            now = back(hold.cause_id, now, own_done)
        now = back(own, now, bounds.start_ns)
    out.reverse()
    assert out[0].start_ns == bounds.start_ns
    assert out[-1].end_ns == bounds.end_ns
    assert all(a.end_ns == b.start_ns for a, b in pairwise(out))
    return out


def lanes_of(trace: Trace) -> list[tuple[Node, str]]:
    """Worker 0 on top, then the servers, then the other workers; main first."""
    seen = {(span.node, span.thread) for span in trace.spans}
    seen |= {(message.receiver, message.receiver_thread) for message in trace.messages}

    def order(lane: tuple[Node, str]) -> tuple[int, int, int, str]:
        node, thread = lane
        group = 0 if node == Node(Role.WORKER, 0) else 1 if node.role is Role.SERVER else 2
        return group, node.rank, thread != "main", thread

    return sorted(seen, key=order)


def timeline(trace: Trace, label: str, worker: int = 0) -> Timeline:
    """All steps of the trace on one page, with `worker`'s critical path."""
    lanes = lanes_of(trace)
    origin = min(step.start_ns for step in trace.steps)
    spans = tuple(
        TimelineSpan(lanes.index((s.node, s.thread)), s.stage, s.op, s.key, s.step, s.start_ns - origin, s.end_ns - origin)
        for s in trace.spans
    )
    messages = tuple(
        TimelineMessage(
            lanes.index((m.sender, m.sender_thread)),
            lanes.index((m.receiver, m.receiver_thread)),
            m.verb.stage,
            m.key,
            (m.send_start_ns or 0) - origin,
            (m.recv_end_ns or 0) - origin,
        )
        for m in trace.messages
    )
    critical = tuple(
        Segment(s.run, s.worker, s.step, s.start_ns - origin, s.end_ns - origin, s.stage, s.op, s.place, s.key, s.cause)
        for step in sorted({found.step for found in trace.steps})
        for s in critical_path(trace, worker, step)
    )
    bounds = tuple((step.rank, step.start_ns - origin, step.end_ns - origin) for step in trace.steps)
    names = tuple(f"{node} {thread}" for node, thread in lanes)
    return Timeline(label, names, spans, messages, critical, bounds, max(end for _, _, end in bounds))


def rows(records: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans as rows of the spans table."""
    return [
        {
            "run": s.run,
            "role": s.node.role.label,
            "rank": s.node.rank,
            "thread": s.thread,
            "step": s.step,
            "stage": s.stage.label,
            "op": s.op,
            "key": s.key,
            "size_bytes": s.size_bytes,
            "start_ns": s.start_ns,
            "end_ns": s.end_ns,
            "cpu_ns": s.cpu_ns,
            "runnable_ns": s.runnable_ns,
            "request_id": s.request_id,
            "cause_id": s.cause_id,
        }
        for s in records
    ]


def message_rows(records: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as rows of the messages table."""
    return [
        {
            "run": m.run,
            "request_id": m.request_id,
            "verb": m.verb.label,
            "direction": m.direction.label,
            "sender_role": m.sender.role.label,
            "sender_rank": m.sender.rank,
            "sender_thread": m.sender_thread,
            "receiver_role": m.receiver.role.label,
            "receiver_rank": m.receiver.rank,
            "receiver_thread": m.receiver_thread,
            "key": m.key,
            "step": m.step,
            "size_bytes": m.size_bytes,
            "send_start_ns": m.send_start_ns,
            "send_end_ns": m.send_end_ns,
            "recv_start_ns": m.recv_start_ns,
            "recv_end_ns": m.recv_end_ns,
        }
        for m in records
    ]
