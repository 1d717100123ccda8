"""A server's receiving side: one thread a worker checks frames before their payload is read, and hands them to handlers."""

from __future__ import annotations

from breakdown.errors import WireError
from breakdown.model.identity import Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.ps import protocol
from breakdown.ps.pool import Buffer
from breakdown.ps.serving import Key, Request, Shared
from breakdown.wire.api import Connection, Header, Kind


class RefusedError(WireError):
    """A frame that may not come, from a peer that is there."""


def greet(connection: Connection, shared: Shared) -> int:
    """Receives the first frame, which says who the worker is. Gives its rank; raises `WireError` for anything else."""
    received = connection.recv(protocol.control_sink)
    if received is None:
        raise WireError("a peer closed its connection without a word")
    peer = protocol.sender_of(received.header)
    hello = protocol.read_control(received)
    if hello["type"] != "hello" or peer.role != Role.WORKER or not 0 <= peer.rank < shared.workers:
        raise WireError(f"{peer} opened a connection with '{hello['type']}'; only this run's workers may say hello")
    if hello.get("plan") != shared.plan_digest:
        raise WireError(f"{peer} has another shard plan than {shared.node}")
    return peer.rank


class Intake:
    """The frames of one worker."""

    def __init__(self, connection: Connection, worker: int, shared: Shared) -> None:
        self._connection = connection
        self._worker = worker
        self._sender = Node(Role.WORKER, worker).code
        self._shared = shared
        self._key: Key | None = None  # of the frame that is being received; None: a control frame
        self._buffer: Buffer | None = None

    def run(self) -> None:
        """Until the worker's goodbye. Raises `RefusedError` for a frame that breaks the protocol, `WireError` for a loss."""
        record = self._shared.recorder.thread(f"recv-worker-{self._worker}")
        while True:
            received = self._connection.recv(self._place)
            if received is None:
                raise WireError("it closed its connection without a goodbye")
            header, key = received.header, self._key
            if key is None:
                if header.kind != Kind.CONTROL or protocol.read_control(received)["type"] != "bye":
                    raise RefusedError("an unknown control message")
                return
            push_id, pull_id = protocol.requests_of(header)
            step, size_bytes = header.step, header.size_bytes
            first_ns, last_ns = received.first_byte_ns, received.last_byte_ns
            if not push_id:  # of a push, the handler records it
                record.received(Verb.PULL, Direction.REQUEST, key.record, step, 0, pull_id, header.sender, first_ns, last_ns)
            key.inbox.put(
                Request(
                    key, self._worker, step, push_id, pull_id, size_bytes, self._buffer, header.sender, record.ident,
                    first_ns, last_ns,
                )
            )  # fmt: skip

    def _place(self, header: Header) -> list[memoryview] | None:
        """The sink: where this frame's payload goes, when the frame may come."""
        self._key = self._buffer = None
        if header.sender != self._sender:
            raise RefusedError(f"a frame names another sender ({header.sender:#x})")
        if header.kind in (Kind.CONTROL, Kind.ERROR):
            protocol.control_sink(header)
            return None
        key = self._key = self._shared.keys.get(header.key)
        if key is None:
            raise RefusedError(f"a frame is for key {header.key}, which is not on this server")
        if header.kind == Kind.PULL:
            if header.size_bytes:
                raise RefusedError(f"a pull of {key.shard.name} carries {header.size_bytes} bytes")
            return None
        if header.kind not in (Kind.PUSH, Kind.PUSH_PULL):
            raise RefusedError(f"a worker may not send frames of kind {header.kind}")
        try:
            self._shared.codec_of_push(header.step).check(header.flags, header.size_bytes, key.numel)
        except WireError as error:
            raise RefusedError(f"{key.shard.name}: {error}") from error
        buffer = self._buffer = self._shared.pool.take(header.size_bytes)
        return [buffer.view]
