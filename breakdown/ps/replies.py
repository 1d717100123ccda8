"""A server's sending side: one thread a worker answers from the memory of the parameters themselves."""

from __future__ import annotations

import contextlib

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.ps import protocol
from breakdown.ps.intake import RefusedError
from breakdown.ps.serving import Answer, Shared
from breakdown.ps.timed import time_at_start, time_used
from breakdown.record.api import ThreadRecorder
from breakdown.wire.api import Buffer, Connection, Header, Kind


class ReplySender:
    """The replies to one worker."""

    def __init__(self, connection: Connection, worker: int, shared: Shared) -> None:
        self._connection = connection
        self._worker = worker
        self._peer = Node(Role.WORKER, worker).code
        self._shared = shared
        self._code = shared.node.code
        self._codec = shared.reply_codec
        self._compressor = self._codec.compressor()
        self._encode = shared.recorder.intern(Op.ENCODE)

    def run(self) -> None:
        """Until the outbox ends. Raises `WireError` when the worker is gone, `RefusedError` after telling it what it did."""
        record = self._shared.recorder.thread(f"send-worker-{self._worker}")
        take = self._shared.replies[self._worker].take
        while (answer := take()) is not None:
            if isinstance(answer, WireError):
                with contextlib.suppress(WireError):
                    protocol.send_error(self._connection, self._shared.node, str(answer))
                raise RefusedError(str(answer))
            self._send(answer, record)

    def _send(self, answer: Answer, record: ThreadRecorder) -> None:
        start_ns = taken_ns = now_ns()
        key, version, pull, submitted_ns, held_ns, cause_id = answer
        payload: list[Buffer]
        if self._codec.straight:
            payload, size_bytes = [version.buffer.view], key.nbytes
        else:
            start_time = time_at_start(key.timed)
            payload = self._codec.encode(self._compressor, [version.buffer.values])
            size_bytes = sum(memoryview(part).nbytes for part in payload)
            (cpu_ns, runnable_ns), start_ns = time_used(start_time), now_ns()
            record.span(
                Stage.SERIALIZE, self._encode, key.record, pull.step, key.nbytes, taken_ns, start_ns, pull.request_id,
                cpu_ns=cpu_ns, runnable_ns=runnable_ns,
            )  # fmt: skip
        header = Header(
            Kind.PULL_REPLY, self._codec.flags, self._code, key.shard.key, pull.step, pull.request_id, size_bytes
        )
        self._connection.send(header, payload)
        end_ns = now_ns()
        version.done(pull.request_id)
        record.replied(
            key.record, pull.step, size_bytes, pull.request_id, self._peer, cause_id, held_ns, submitted_ns, taken_ns,
            start_ns, end_ns,
        )  # fmt: skip
