"""A tiny parameter server, simulated: it writes the records that a real run of such a cluster would, by the trace grammar.

Times come from `draw(kind)`: a whole duration for each kind of work. All clocks agree. Also used by benchmarks/analysis.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from golden import Golden, ask

from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage

Job = Callable[[int], int]  # from the time at which its thread takes it to the time at which the thread is free again


@dataclass
class Thread:
    """Serves jobs in order of arrival; wakes up slowly when it was idle."""

    cluster: Cluster
    jobs: deque[Job] = field(default_factory=deque)
    busy: bool = False

    def submit(self, now: int, job: Job) -> None:
        self.jobs.append(job)
        if not self.busy:
            self.busy = True
            self.cluster.at(now + self.cluster.draw("wake"), self._next)

    def _next(self, now: int) -> None:
        if self.jobs:
            self.cluster.at(self.jobs.popleft()(now), self._next)
        else:
            self.busy = False


class Cluster:
    """`run()` fills `golden` with all steps of all workers."""

    def __init__(
        self, draw: Callable[[str], int], workers: int, servers: int, keys: int, steps: int, bsp: bool,
        push_when_ready: bool = True, warm_up: int = 0, golden: Golden | None = None,
    ) -> None:  # fmt: skip
        self.draw, self.bsp, self.push_when_ready = draw, bsp, push_when_ready
        self.steps, self.warm_up = steps, warm_up
        self.golden = golden or Golden()
        self.workers = [Node(Role.WORKER, rank) for rank in range(workers)]
        self.servers = [Node(Role.SERVER, rank) for rank in range(servers)]
        self.keys = [f"layer{index}.weight" for index in range(keys)]
        self.counters = dict.fromkeys(self.workers, 0)
        self.handlers = {server: Thread(self) for server in self.servers}
        self.senders = {(a, b): Thread(self) for a in self.workers for b in self.servers}
        self.senders |= {(b, a): Thread(self) for a in self.workers for b in self.servers}
        self.link_free: dict[tuple[Node, Node], int] = {}
        self.pushed: dict[tuple[str, int], int] = {}
        self.held: dict[tuple[str, int], list[tuple[Node, int, int]]] = {}
        self.answered: dict[int, int] = {}
        self.sleeping: dict[int, Callable[[int], None]] = {}
        self._events: list[tuple[int, int, Callable[[int], object]]] = []
        self._count = 0

    def at(self, time: int, what: Callable[[int], object]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, what))

    def run(self) -> Golden:
        for worker in self.workers:
            self.at(self.draw("start"), lambda now, worker=worker: self._begin(worker, 0, now))
        while self._events:
            time, _, what = heapq.heappop(self._events)
            what(time)
        return self.golden

    def _begin(self, worker: Node, step: int, start: int) -> None:
        if step == self.steps:
            return
        now = self._compute(worker, Stage.INPUT, Op.LOAD, step, start, "")
        for key in self.keys:
            now = self._compute(worker, Stage.COMPUTE, Op.FORWARD, step, now, key)
        pulls: list[tuple[str, int]] = []
        ready = []
        for key in reversed(self.keys):
            now = self._compute(worker, Stage.COMPUTE, Op.BACKWARD, step, now, key)
            ready.append((key, now))
        for key, moment in ready:
            push, pull = self._ask(worker), self._ask(worker)
            pulls.append((key, pull))
            moment = moment if self.push_when_ready else now
            self.at(moment, lambda t, k=key, a=push, b=pull: self._send(worker, step, k, a, b, t))
        pulls.reverse()
        self.at(now, lambda t: self._wait(worker, step, start, pulls, t))

    def _compute(self, worker: Node, stage: Stage, op: str, step: int, start: int, key: str) -> int:
        end = start + self.draw(op)
        self.golden.main(worker, stage, op, start, end, key, step, cpu=(end - start) * 3 // 4, runnable=(end - start) // 8)
        return end

    def _ask(self, worker: Node) -> int:
        self.counters[worker] += 1
        return ask(worker, self.counters[worker])

    def _wait(self, worker: Node, step: int, start: int, pulls: list[tuple[str, int]], now: int) -> None:
        while pulls and pulls[0][1] in self.answered:
            pulls.pop(0)
        if not pulls:
            end = now + self.draw("tail")
            self.golden.step(worker, start, end, step, warm_up=step < self.warm_up)
            self.at(end, lambda t: self._begin(worker, step + 1, t))
            return
        key, pull = pulls.pop(0)

        def awake(then: int) -> None:
            self.golden.block(worker, now, then, pull, key, step)
            self._wait(worker, step, start, pulls, then)

        self.sleeping[pull] = awake

    def _server_of(self, key: str) -> Node:
        return self.servers[self.keys.index(key) % len(self.servers)]

    def _send(self, worker: Node, step: int, key: str, push: int, pull: int, submitted: int) -> None:
        server = self._server_of(key)
        name, sender = f"send-{server}", self.senders[worker, server]

        def send_push(taken: int) -> int:
            self.golden.of(worker, name, Stage.SERIALIZE, Op.QUEUE, submitted, taken, push, key, step)
            start = taken + self.draw(Op.ENCODE)
            self.golden.of(worker, name, Stage.SERIALIZE, Op.ENCODE, taken, start, push, key, step)
            sent, received = self._transfer(worker, server, start, "push")
            self.golden.push(worker, server, push, key, sent, received, step=step, size=1000)
            self.at(received[1], lambda t: self.handlers[server].submit(t, lambda v: handle_push(t, v)))
            return sent[1]

        def send_pull(taken: int) -> int:
            self.golden.of(worker, name, Stage.SERIALIZE, Op.QUEUE, submitted, taken, pull, key, step)
            sent, received = self._transfer(worker, server, taken, "ask")
            self.golden.pull(worker, server, pull, key, sent, received, step=step, size=0)
            self.at(received[1], lambda t: self.handlers[server].submit(t, lambda v: handle_pull(t, v)))
            return sent[1]

        def handle_push(arrived: int, taken: int) -> int:
            self.golden.of(server, "handle-0", Stage.AGGREGATE, Op.QUEUE, arrived, taken, push, key, step)
            return self._aggregate(server, taken, push, key, step)

        def handle_pull(arrived: int, taken: int) -> int:
            self.golden.of(server, "handle-0", Stage.AGGREGATE, Op.QUEUE, arrived, taken, pull, key, step)
            if self.bsp and self.pushed.get((key, step), 0) < len(self.workers):
                self.held.setdefault((key, step), []).append((worker, pull, taken))
            else:
                self._answer(server, worker, pull, key, step, taken)
            return taken

        sender.submit(submitted, send_push)
        sender.submit(submitted, send_pull)

    def _transfer(self, sender: Node, receiver: Node, start: int, kind: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """The sending and the receiving half of a message. A connection delivers in order."""
        sent = start, start + self.draw(f"{kind} call")
        first = max(start + self.draw("latency"), self.link_free.get((sender, receiver), 0))
        received = first, first + self.draw(f"{kind} wire")
        self.link_free[sender, receiver] = received[1]
        return sent, received

    def _aggregate(self, server: Node, taken: int, push: int, key: str, step: int) -> int:
        decoded = taken + self.draw(Op.DECODE)
        self.golden.of(server, "handle-0", Stage.SERIALIZE, Op.DECODE, taken, decoded, push, key, step)
        now = decoded + self.draw(Op.SUM)
        self.golden.of(server, "handle-0", Stage.AGGREGATE, Op.SUM, decoded, now, push, key, step)
        self.pushed[key, step] = self.pushed.get((key, step), 0) + 1
        if not self.bsp or self.pushed[key, step] == len(self.workers):
            summed, now = now, now + self.draw(Op.UPDATE)
            self.golden.of(server, "handle-0", Stage.AGGREGATE, Op.UPDATE, summed, now, push, key, step)
            for worker, pull, since in self.held.pop((key, step), []):
                now += self.draw("release")
                self.golden.of(server, "handle-0", Stage.WAIT, Op.HOLD, since, now, pull, key, step, cause=push)
                self.at(now, lambda t, w=worker, p=pull: self._answer(server, w, p, key, step, t))
        return now

    def _answer(self, server: Node, worker: Node, pull: int, key: str, step: int, submitted: int) -> None:
        name = f"send-{worker}"

        def send(taken: int) -> int:
            self.golden.of(server, name, Stage.PULL, Op.QUEUE, submitted, taken, pull, key, step)
            start = taken + self.draw(Op.ENCODE)
            self.golden.of(server, name, Stage.SERIALIZE, Op.ENCODE, taken, start, pull, key, step)
            sent, received = self._transfer(server, worker, start, "reply")
            self.golden.reply(worker, server, pull, key, sent, received, step=step, size=1000)
            self.at(received[1], decode)
            return sent[1]

        def decode(arrived: int) -> None:
            done = arrived + self.draw(Op.DECODE)
            self.golden.of(worker, f"recv-{server}", Stage.SERIALIZE, Op.DECODE, arrived, done, pull, key, step)
            self.at(done, finish)

        def finish(now: int) -> None:
            self.answered[pull] = now
            if pull in self.sleeping:
                self.at(now + self.draw("wake"), self.sleeping.pop(pull))

        self.senders[server, worker].submit(submitted, send)
