"""The client of the parameter server: pushes and pulls wire keys, straight from and into the caller's tensors.

All calls come from one thread ("main"). One sender and one receiver thread a server do the rest. A request has an id of its
own; a push has no answer. A key is in use from its pull to the end of `wait`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

from torch import Tensor

from breakdown.clock.clocks import now_ns
from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError, WireError
from breakdown.model.identity import NO_REQUEST, Node, Role, request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.ps import protocol
from breakdown.ps.codec import Codec, byte_view, push_codec, reply_codec
from breakdown.ps.consistency import INITIAL_STEP
from breakdown.ps.failure import Failure
from breakdown.ps.outbox import Outbox, outbox
from breakdown.ps.plan import Plan, Shard
from breakdown.ps.pool import Buffer, Pool
from breakdown.ps.timed import is_timed, time_at_start, time_used
from breakdown.record.api import Recorder, ThreadRecorder
from breakdown.wire.api import Buffer as Bytes
from breakdown.wire.api import Connection, Header, Kind

JOIN_BOUND_S = 3.0
"""For a thread of this client to end once its connection is closed."""


class _Memory:
    """The memory of tensors that travel. Given the same list again, it gives the same views."""

    __slots__ = ("tensors", "views")

    def __init__(self) -> None:
        self.tensors: Sequence[Tensor] = ()
        self.views: list[memoryview] = []

    def of(self, tensors: Sequence[Tensor]) -> list[memoryview]:
        if tensors is not self.tensors:
            self.tensors = tensors
            self.views = [byte_view(tensor) for tensor in tensors]
        return self.views


class _Slot:
    """One wire key at this worker. Main sets `pull_id` and the places before the pull is sent; the receiver reads them."""

    __slots__ = (
        "answered", "compressor", "nbytes", "numel", "places", "pull_id", "pull_step", "record", "shard", "timed",
        "values",
    )  # fmt: skip

    def __init__(self, shard: Shard, recorder: Recorder, codec: Codec) -> None:
        self.shard = shard
        self.nbytes = shard.nbytes
        self.numel = shard.numel
        self.record = recorder.intern(shard.name)
        self.timed = is_timed(recorder, shard.nbytes)
        self.compressor = codec.compressor()
        self.pull_id = NO_REQUEST
        self.pull_step = INITIAL_STEP
        self.values = _Memory()  # the sender's: what it sends from
        self.places = _Memory()  # main's: where the answer goes
        self.answered: SimpleQueue[bool] = SimpleQueue()  # one item an answer: main sleeps in it


class _Job(NamedTuple):
    """A frame to send: a push, a pull, or both. An id of NO_REQUEST: that half is not there."""

    kind: Kind
    slot: _Slot
    step: int
    push_id: int
    pull_id: int
    values: Sequence[Tensor]
    submitted_ns: int


class Client:
    """Needs a connection to each server, in order of rank."""

    def __init__(
        self, cell: Cell, node: Node, plan: Plan, connections: Sequence[Connection], recorder: Recorder, failure: Failure
    ) -> None:
        self._node = node
        self._code = node.code
        self._recorder = recorder
        self._failure = failure
        self._connections = connections
        self._push_codec = push_codec(cell.serializer, cell.compression, cell.compression_threshold)
        self._initial_codec = Codec("raw", "none")
        self._reply_codec = reply_codec(cell.serializer, cell.compression)
        self._pool = Pool()
        self._slots = [_Slot(shard, recorder, self._push_codec) for shard in plan.shards]
        self._ids = itertools.count(request_id(node, 1))
        self._outboxes: list[Outbox[_Job]] = [outbox(cell.priority) for _ in connections]
        self._encode, self._decode, self._block = map(recorder.intern, (Op.ENCODE, Op.DECODE, Op.BLOCK))
        self._leaving = False
        self._senders: list[threading.Thread] = []
        self._receivers: list[threading.Thread] = []
        failure.on_failure(self._wake)
        for server, connection in enumerate(connections):
            protocol.send_control(connection, node, "hello", plan=plan.digest)
            self._senders.append(_started(f"send-server-{server}", partial(self._send, server, connection)))
            self._receivers.append(_started(f"recv-server-{server}", partial(self._receive, server, connection)))

    def push(self, key: int, step: int, values: Sequence[Tensor]) -> None:
        """Sends the flat tensors `values`, which must keep their values until this key's next pull is answered."""
        slot = self._slots[key]
        self._submit(_Job(Kind.PUSH, slot, step, next(self._ids), NO_REQUEST, values, now_ns()))

    def pull(self, key: int, step: int, places: Sequence[Tensor]) -> None:
        """Asks for the values after `step`. They arrive in `places` some time before `wait` returns."""
        slot = self._slots[key]
        self._submit(_Job(Kind.PULL, slot, step, NO_REQUEST, self._expect(slot, step, places), (), now_ns()))

    def push_pull(self, key: int, step: int, values: Sequence[Tensor], places: Sequence[Tensor]) -> None:
        """A push and its pull, in one frame. `places` may be `values`: the answer comes when they have left."""
        slot, push_id = self._slots[key], next(self._ids)
        self._submit(_Job(Kind.PUSH_PULL, slot, step, push_id, self._expect(slot, step, places), values, now_ns()))

    def wait(self, key: int, main: ThreadRecorder) -> None:
        """Returns when the last pull of this key is answered. Records a span if it slept. Raises the run's failure."""
        slot = self._slots[key]
        if slot.answered.empty():
            start_ns = now_ns()
            slot.answered.get()
            main.span(
                Stage.WAIT, self._block, slot.record, slot.pull_step, 0, start_ns, now_ns(), cause_id=slot.pull_id
            )  # fmt: skip
        else:
            slot.answered.get()
        self._failure.check()

    def close(self, orderly: bool = True) -> None:
        """Ends the threads; `orderly`: all is done, so the servers hear a goodbye first."""
        self._leaving = True
        if not orderly:
            for connection in self._connections:
                connection.close()
        for box in self._outboxes:
            box.end()
        for thread in self._senders:
            thread.join(JOIN_BOUND_S)
        for connection in self._connections:
            connection.close()
        for thread in self._receivers:
            thread.join(JOIN_BOUND_S)

    def _expect(self, slot: _Slot, step: int, places: Sequence[Tensor]) -> int:
        slot.places.of(places)
        slot.pull_step = step
        slot.pull_id = next(self._ids)
        return slot.pull_id

    def _submit(self, job: _Job) -> None:
        self._failure.check()
        shard = job.slot.shard
        self._outboxes[shard.server].put(shard.key, job)

    def _wake(self) -> None:
        """After a failure: nobody sleeps on."""
        for slot in self._slots:
            slot.answered.put(False)
        for connection in self._connections:
            connection.close()

    # Sending: one thread a server.

    def _send(self, server: int, connection: Connection) -> None:
        record = self._recorder.thread(f"send-server-{server}")
        peer = Node(Role.SERVER, server).code
        take = self._outboxes[server].take
        try:
            while (job := take()) is not None:
                self._send_job(job, connection, peer, record)
            protocol.send_control(connection, self._node, "bye")
        except WireError as error:
            if not self._leaving:
                self._lost(server, error)

    def _send_job(self, job: _Job, connection: Connection, peer: int, record: ThreadRecorder) -> None:
        slot, step, push_id, pull_id = job.slot, job.step, job.push_id, job.pull_id
        payload: Sequence[Bytes] = ()
        flags = size_bytes = 0
        start_ns = taken_ns = now_ns()
        if push_id:
            codec = self._initial_codec if step == INITIAL_STEP else self._push_codec
            flags = codec.flags
            if codec.straight:
                payload, size_bytes = slot.values.of(job.values), slot.nbytes
            else:
                payload = self._encoded(job, codec, record)
                size_bytes = sum(memoryview(part).nbytes for part in payload)
                start_ns = now_ns()
        connection.send(Header(job.kind, flags, self._code, slot.shard.key, step, push_id or pull_id, size_bytes), payload)
        record.asked(
            slot.record, step, size_bytes, push_id, pull_id, peer, job.submitted_ns, taken_ns, start_ns, now_ns()
        )  # fmt: skip

    def _encoded(self, job: _Job, codec: Codec, record: ThreadRecorder) -> list[Bytes]:
        slot = job.slot
        start_ns, start_time = now_ns(), time_at_start(slot.timed)
        payload = codec.encode(slot.compressor, job.values)
        cpu_ns, runnable_ns = time_used(start_time)
        record.span(
            Stage.SERIALIZE, self._encode, slot.record, job.step, slot.nbytes, start_ns, now_ns(), job.push_id,
            cpu_ns=cpu_ns, runnable_ns=runnable_ns,
        )  # fmt: skip
        return payload

    # Receiving: one thread a server.

    def _receive(self, server: int, connection: Connection) -> None:
        record = self._recorder.thread(f"recv-server-{server}")
        arrival = _Arrival(self._slots, self._reply_codec, self._pool)
        try:
            while True:
                received = connection.recv(arrival.place)
                if received is None:
                    raise WireError("it closed its connection")
                if received.header.kind == Kind.ERROR:
                    raise WireError(protocol.read_error(received))
                self._on_reply(received.header, received.first_byte_ns, received.last_byte_ns, arrival, record)
        except WireError as error:
            if not self._leaving:
                self._lost(server, error)

    def _on_reply(
        self, header: Header, first_byte_ns: int, last_byte_ns: int, arrival: _Arrival, record: ThreadRecorder
    ) -> None:
        slot, buffer = self._slots[header.key], arrival.buffer
        record.received(
            Verb.PULL, Direction.REPLY, slot.record, header.step, header.size_bytes, header.request_id, header.sender,
            first_byte_ns, last_byte_ns,
        )  # fmt: skip
        if buffer is not None:
            start_ns, start_time = now_ns(), time_at_start(slot.timed)
            self._reply_codec.decode([buffer.view], slot.places.tensors)
            self._pool.give(buffer)
            cpu_ns, runnable_ns = time_used(start_time)
            record.span(
                Stage.SERIALIZE, self._decode, slot.record, header.step, slot.nbytes, start_ns, now_ns(), header.request_id,
                cpu_ns=cpu_ns, runnable_ns=runnable_ns,
            )  # fmt: skip
        slot.answered.put(True)

    def _lost(self, server: int, error: BreakdownError) -> None:
        self._failure.suspect(RunError(f"{self._node} lost server-{server}: {error}"))


def _started(name: str, work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


class _Arrival:
    """Where the frame that is being received goes: straight into the caller's tensors when the codec does no work."""

    def __init__(self, slots: Sequence[_Slot], codec: Codec, pool: Pool) -> None:
        self._slots = slots
        self._codec = codec
        self._pool = pool
        self.buffer: Buffer | None = None

    def place(self, header: Header) -> Sequence[memoryview] | None:
        """The sink. Raises `WireError` for a frame that nobody asked for."""
        self.buffer = None
        if header.kind != Kind.PULL_REPLY:
            protocol.control_sink(header)
            return None
        if not 0 <= header.key < len(self._slots) or header.request_id != self._slots[header.key].pull_id:
            raise WireError(f"it sent an answer for key {header.key} that nobody asked for")
        slot = self._slots[header.key]
        self._codec.check(header.flags, header.size_bytes, slot.numel)
        if self._codec.straight:
            return slot.places.views
        self.buffer = self._pool.take(header.size_bytes)
        return [self.buffer.view]
