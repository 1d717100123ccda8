"""The three records of a trace, as plain frozen dataclasses, and the enums of a message.

Contract: times are integer nanoseconds of the recording machine's monotonic clock; `None` means not measured, 0 means
measured zero; sizes are bytes. Records of one thread stand in the order in which they ended. On the hot path the recorder
writes integers, never these objects; analysis works on whole columns. These serve tests, golden traces and documentation.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from breakdown.model.identity import NO_REQUEST, Node
from breakdown.model.stages import Stage


class Verb(enum.IntEnum):
    """What a message is about. The numbers are written to trace files."""

    CONTROL = 0
    PUSH = 1
    PULL = 2

    @property
    def label(self) -> str:
        return self.name.lower()

    @property
    def stage(self) -> Stage:
        """The stage that a message's time on the wire belongs to."""
        return {Verb.PUSH: Stage.PUSH, Verb.PULL: Stage.PULL}.get(self, Stage.OTHER)


class Direction(enum.IntEnum):
    """Whether a message asks or answers. The numbers are written to trace files."""

    REQUEST = 0
    REPLY = 1

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Span:
    """One piece of work of one thread, or one state of one request (`model.stages.REQUEST_OPS`).

    `request_id` joins all records of one request, at both ends. `cause_id` is the request whose answer (op `block`) or
    whose aggregation (op `hold`) ended this wait: a typed edge of the dependency graph, recorded and never guessed. On the
    first record of a request, a `queue`, it is the work that submitted the request (0: the main thread did). Either id may
    also be that of an operation (`identity.operation_id`): work that a node's own engine was given, which is held until the
    operation or the request that it depends on is complete.
    `cpu_ns` is the thread's own CPU time inside the span, `runnable_ns` how long it was ready to run there and had no core.
    In what is missing to its duration beside them it was blocked.
    """

    run: int
    node: Node
    thread: str
    step: int
    stage: Stage
    op: str
    start_ns: int
    end_ns: int
    key: str = ""
    size_bytes: int = 0
    request_id: int = NO_REQUEST
    cause_id: int = NO_REQUEST
    cpu_ns: Optional[int] = None
    runnable_ns: Optional[int] = None


@dataclass(frozen=True)
class Message:
    """One request or reply on the wire, joined from both ends by (`request_id`, `direction`).

    `recv_start_ns` is the arrival of the first byte, `recv_end_ns` of the last. An end that was not recorded is None.
    """

    run: int
    request_id: int
    verb: Verb
    direction: Direction
    sender: Node
    receiver: Node
    key: str
    step: int
    size_bytes: int
    send_start_ns: Optional[int]
    send_end_ns: Optional[int]
    recv_start_ns: Optional[int]
    recv_end_ns: Optional[int]
    sender_thread: str = ""
    receiver_thread: str = ""


@dataclass(frozen=True)
class Step:
    """One iteration of one worker's main thread, from taking a batch to holding the parameters for the next."""

    run: int
    rank: int
    step: int
    start_ns: int
    end_ns: int
    samples: int
    warm_up: bool = False
    loss: Optional[float] = None
    thread: str = "main"

    @property
    def wall_ns(self) -> int:
        return self.end_ns - self.start_ns
