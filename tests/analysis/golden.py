"""Builds the tables of a run from the model's own records: for traces whose answers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from breakdown.model.identity import NO_REQUEST, Node, Role, request_id
from breakdown.model.records import Direction, Message, Span, Step, Verb
from breakdown.model.schema import MESSAGE_COLUMNS, SPAN_COLUMNS, STEP_COLUMNS
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import Tables

W0, W1, W2 = (Node(Role.WORKER, rank) for rank in range(3))
S0, S1 = (Node(Role.SERVER, rank) for rank in range(2))
Times = tuple[int, int] | None

_DTYPES = {"text": "category", "int64?": "Int64", "double?": "Float64"}


def ask(worker: Node, counter: int) -> int:
    """The id of a worker's request."""
    return request_id(worker, counter)


@dataclass
class Golden:
    """Records of one cell, added one by one. Everything not given is what the trace grammar says."""

    cell: Mapping[str, Any] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    run: int = 0

    def main(
        self, worker: Node, stage: Stage, op: str, start: int, end: int, key: str = "", step: int = 0,
        cpu: int | None = None, runnable: int | None = None,
    ) -> None:  # fmt: skip
        self.spans.append(Span(self.run, worker, "main", step, stage, op, start, end, key, cpu_ns=cpu, runnable_ns=runnable))

    def block(self, worker: Node, start: int, end: int, pull: int, key: str, step: int = 0) -> None:
        self.spans.append(Span(self.run, worker, "main", step, Stage.WAIT, Op.BLOCK, start, end, key, cause_id=pull))

    def of(
        self, node: Node, thread: str, stage: Stage, op: str, start: int, end: int,
        request: int, key: str, step: int = 0, cause: int = NO_REQUEST,
    ) -> None:  # fmt: skip
        """A span that belongs to a request."""
        self.spans.append(Span(self.run, node, thread, step, stage, op, start, end, key, 0, request, cause))

    def message(
        self, verb: Verb, direction: Direction, worker: Node, server: Node, request: int, key: str,
        sent: Times, received: Times, step: int = 0, size: int = 0,
    ) -> None:  # fmt: skip
        asks = direction == Direction.REQUEST
        sender, receiver = (worker, server) if asks else (server, worker)
        self.messages.append(
            Message(
                self.run, request, verb, direction, sender, receiver, key, step, size, *(sent or (None, None)),
                *(received or (None, None)), f"send-{receiver}", f"recv-{sender}",
            )
        )  # fmt: skip

    def push(self, worker: Node, server: Node, request: int, key: str, sent: Times, received: Times, **more: int) -> None:
        self.message(Verb.PUSH, Direction.REQUEST, worker, server, request, key, sent, received, **more)

    def pull(self, worker: Node, server: Node, request: int, key: str, sent: Times, received: Times, **more: int) -> None:
        self.message(Verb.PULL, Direction.REQUEST, worker, server, request, key, sent, received, **more)

    def reply(self, worker: Node, server: Node, request: int, key: str, sent: Times, received: Times, **more: int) -> None:
        self.message(Verb.PULL, Direction.REPLY, worker, server, request, key, sent, received, **more)

    def step(self, worker: Node, start: int, end: int, step: int = 0, samples: int = 10, warm_up: bool = False) -> None:
        self.steps.append(Step(self.run, worker.rank, step, start, end, samples, warm_up))

    def tables(self) -> Tables:
        spans = [
            (s.run, s.node.role.label, s.node.rank, s.thread, s.step, s.stage.label, s.op, s.key, s.size_bytes, s.start_ns,
             s.end_ns, s.cpu_ns, s.runnable_ns, s.request_id, s.cause_id)
            for s in self.spans
        ]  # fmt: skip
        messages = [
            (m.run, m.request_id, m.verb.label, m.direction.label, m.sender.role.label, m.sender.rank, m.sender_thread,
             m.receiver.role.label, m.receiver.rank, m.receiver_thread, m.key, m.step, m.size_bytes, m.send_start_ns,
             m.send_end_ns, m.recv_start_ns, m.recv_end_ns)
            for m in self.messages
        ]  # fmt: skip
        steps = [(s.run, s.rank, s.thread, s.step, s.start_ns, s.end_ns, s.samples, s.warm_up, s.loss) for s in self.steps]
        return Tables(
            _frame(spans, SPAN_COLUMNS), _frame(messages, MESSAGE_COLUMNS), _frame(steps, STEP_COLUMNS), self.cell, {}
        )


def _frame(rows: list[tuple[Any, ...]], columns: Mapping[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    return frame.astype({name: _DTYPES.get(kind, kind) for name, kind in columns.items()})
