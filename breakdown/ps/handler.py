"""A server's handler thread: decodes, sums and updates the keys it owns, and decides who is answered when."""

from __future__ import annotations

from breakdown.clock.clocks import now_ns
from breakdown.clock.thread_time import NOTHING_KNOWN, ThreadTime
from breakdown.errors import WireError
from breakdown.model.identity import NO_REQUEST
from breakdown.model.stages import Op, Stage
from breakdown.ps.consistency import Pull
from breakdown.ps.pool import Buffer
from breakdown.ps.serving import Answer, Inbox, Key, Request, Shared
from breakdown.ps.state import Reply, Sum
from breakdown.ps.timed import time_at_start, time_used
from breakdown.record.api import NOT_MEASURED, ThreadRecorder


class Handler:
    """One handler thread."""

    def __init__(self, index: int, inbox: Inbox, shared: Shared) -> None:
        self._index = index
        self._inbox = inbox
        self._shared = shared
        ops = (Op.QUEUE, Op.DECODE, Op.SUM, Op.UPDATE)
        self._queue, self._decode, self._sum, self._update = map(shared.recorder.intern, ops)
        self._record: ThreadRecorder

    def run(self) -> None:
        """Until None comes. A request that breaks the protocol is rejected, and the server ends."""
        self._record = self._shared.recorder.thread(f"handle-{self._index}")
        while (request := self._inbox.get()) is not None:
            taken_ns = now_ns()
            key, pull = request.key, None
            if request.pull_id:
                pull = Pull(request.worker, request.step, request.pull_id)
                key.held_ns[request.pull_id] = taken_ns
            try:
                if request.buffer is not None:
                    self._on_push(request, request.buffer, pull, taken_ns)
                elif pull is not None:
                    self._on_pull(request, pull, taken_ns)
            except WireError as error:
                self._shared.reject(request.worker, WireError(f"{key.shard.name}: {error}"))

    def _on_pull(self, request: Request, pull: Pull, taken_ns: int) -> None:
        key = request.key
        self._record.span(
            Stage.AGGREGATE, self._queue, key.record, request.step, 0, request.last_byte_ns, taken_ns, request.pull_id
        )  # fmt: skip
        for reply in key.state.on_pull(pull):
            del key.held_ns[pull.request_id]
            self._answer(key, reply, NOT_MEASURED, NO_REQUEST)

    def _on_push(self, request: Request, buffer: Buffer, pull: Pull | None, taken_ns: int) -> None:
        key, step, push_id = request.key, request.step, request.push_id
        start_ns, work_time = taken_ns, time_at_start(key.timed)
        codec = self._shared.codec_of_push(step)
        if not codec.straight:
            buffer = self._decoded(request, buffer, start_ns, work_time)
            start_ns, work_time = now_ns(), time_at_start(key.timed)
        op = self._update
        end_ns = updated_ns = NOT_MEASURED
        used = update_used = NOTHING_KNOWN
        for action in key.state.on_push(request.worker, step, buffer, pull):
            if isinstance(action, Reply):
                self._answer(key, action, key.held_ns.pop(action.pull.request_id), push_id)
                continue
            key.state.perform(action)
            done_used, done_ns = time_used(work_time), now_ns()
            if end_ns == NOT_MEASURED:
                op, end_ns, used = (self._sum if type(action) is Sum else self._update), done_ns, done_used
            else:
                updated_ns, update_used = done_ns, done_used
            work_time = time_at_start(key.timed)
        self._record.served(
            op, key.record, step, request.size_bytes, push_id, request.pull_id, request.sender, request.receiver,
            request.first_byte_ns, request.last_byte_ns, taken_ns, start_ns, end_ns, key.nbytes, *used, updated_ns,
            *update_used,
        )  # fmt: skip

    def _decoded(self, request: Request, buffer: Buffer, start_ns: int, start_time: ThreadTime) -> Buffer:
        key = request.key
        plain = self._shared.pool.take(key.nbytes)
        self._shared.codec_of_push(request.step).decode([buffer.view], [plain.values])
        self._shared.pool.give(buffer)
        cpu_ns, runnable_ns = time_used(start_time)
        self._record.span(
            Stage.SERIALIZE, self._decode, key.record, request.step, key.nbytes, start_ns, now_ns(), request.push_id,
            cpu_ns=cpu_ns, runnable_ns=runnable_ns,
        )  # fmt: skip
        return plain

    def _answer(self, key: Key, reply: Reply, held_ns: int, cause_id: int) -> None:
        """Hands a reply to its sender."""
        answer = Answer(key, key.state.lend(reply), reply.pull, now_ns(), held_ns, cause_id)
        self._shared.replies[reply.pull.worker].put(key.shard.key, answer)
