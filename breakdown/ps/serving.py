"""What a server's threads share: its keys, and the items that pass from thread to thread."""

from __future__ import annotations

from queue import SimpleQueue
from typing import NamedTuple, TypeAlias

from breakdown.config.cell import Cell
from breakdown.errors import WireError
from breakdown.model.identity import Node
from breakdown.ps.codec import Codec, push_codec, reply_codec
from breakdown.ps.consistency import INITIAL_STEP, Pull, consistency
from breakdown.ps.optim import optimizer
from breakdown.ps.outbox import Outbox, outbox
from breakdown.ps.plan import Plan, Shard
from breakdown.ps.pool import Buffer, Pool
from breakdown.ps.state import ShardState, Version
from breakdown.ps.timed import is_timed
from breakdown.record.api import Recorder


class Key:
    """One shard at this server. `state` and `held_ns` belong to the handler whose inbox this is."""

    __slots__ = ("held_ns", "inbox", "nbytes", "numel", "record", "shard", "state", "timed")

    def __init__(self, shard: Shard, recorder: Recorder, state: ShardState, inbox: Inbox) -> None:
        self.shard = shard
        self.nbytes = shard.nbytes
        self.numel = shard.numel
        self.record = recorder.intern(shard.name)
        self.timed = is_timed(recorder, shard.nbytes)
        self.state = state
        self.inbox = inbox
        self.held_ns: dict[int, int] = {}  # request id of a held pull -> when the handler took it


class Request(NamedTuple):
    """A frame on its way from a receiver to a handler: a push, a pull, or both. `buffer` is the payload of the push.

    An id of NO_REQUEST: that half is not there.
    """

    key: Key
    worker: int
    step: int
    push_id: int
    pull_id: int
    size_bytes: int
    buffer: Buffer | None
    sender: int
    receiver: int  # the receiving thread's number in the trace
    first_byte_ns: int
    last_byte_ns: int


class Answer(NamedTuple):
    """A reply on its way from a handler to a sender: held since `held_ns`, until the push `cause_id` was carried out.

    NOT_MEASURED and NO_REQUEST: it was not held.
    """

    key: Key
    version: Version
    pull: Pull
    submitted_ns: int
    held_ns: int
    cause_id: int


Inbox: TypeAlias = "SimpleQueue[Request | None]"
"""Of a handler. None ends it."""

Replies: TypeAlias = "Outbox[Answer | WireError]"
"""Of a sender. An error is told to the worker, and then ends this server."""


class Shared:
    """Made once, before the threads; afterwards nobody changes it."""

    def __init__(self, cell: Cell, node: Node, plan: Plan, recorder: Recorder) -> None:
        self.node = node
        self.workers = cell.workers
        self.recorder = recorder
        self.plan_digest = plan.digest
        self.pool = Pool()
        self.push_codec = push_codec(cell.serializer, cell.compression, cell.compression_threshold)
        self.initial_codec = Codec("raw", "none")
        self.reply_codec = reply_codec(cell.serializer, cell.compression)
        self.inboxes: list[Inbox] = [SimpleQueue() for _ in range(cell.server_threads)]
        self.replies: list[Replies] = [outbox(cell.priority) for _ in range(cell.workers)]
        self.keys = {shard.key: self._key(cell, shard, inbox) for shard, inbox in self._owners(plan.of_server(node.rank))}

    def reject(self, worker: int, error: WireError) -> None:
        """A worker broke the protocol: its sender tells it, then this server fails."""
        self.replies[worker].put(-1, WireError(f"{self.node} refused a frame of worker-{worker}: {error}"))

    def codec_of_push(self, step: int) -> Codec:
        """Initial parameters come as they are, gradients as the cell says."""
        return self.initial_codec if step == INITIAL_STEP else self.push_codec

    def _owners(self, shards: tuple[Shard, ...]) -> list[tuple[Shard, Inbox]]:
        """Gives each key to a handler, balanced by bytes."""
        load = [0] * len(self.inboxes)
        owners = []
        for shard in sorted(shards, key=lambda shard: (-shard.nbytes, shard.key)):
            handler = load.index(min(load))
            load[handler] += shard.nbytes
            owners.append((shard, self.inboxes[handler]))
        return owners

    def _key(self, cell: Cell, shard: Shard, inbox: Inbox) -> Key:
        rule = consistency(cell.consistency, cell.workers, cell.staleness)
        update = optimizer(cell.optimizer, cell.learning_rate) if cell.update_on == "server" else None
        return Key(shard, self.recorder, ShardState(rule, update, self.pool), inbox)
