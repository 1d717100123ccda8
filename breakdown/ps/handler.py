"""A server's handler thread: decodes, sums and updates the keys it owns, and decides who is answered when."""

from __future__ import annotations

from collections.abc import Callable

from breakdown.clock.clocks import now_ns, thread_cpu_ns
from breakdown.errors import WireError
from breakdown.model.stages import Op, Stage
from breakdown.ps.consistency import Pull
from breakdown.ps.pool import Buffer
from breakdown.ps.serving import Answer, Inbox, Key, Request, Shared
from breakdown.ps.state import Action, Reply, Sum
from breakdown.record.api import ThreadRecorder


class Handler:
    """One handler thread."""

    def __init__(self, index: int, inbox: Inbox, shared: Shared) -> None:
        self._index = index
        self._inbox = inbox
        self._shared = shared
        intern = shared.recorder.intern
        self._queue, self._hold, self._decode = intern(Op.QUEUE), intern(Op.HOLD), intern(Op.DECODE)
        self._sum, self._update = intern(Op.SUM), intern(Op.UPDATE)
        self._cpu_ns: Callable[[], int] = thread_cpu_ns if shared.recorder.enabled else _no_clock
        self._record: ThreadRecorder

    def run(self) -> None:
        """Until None comes. A request that breaks the protocol is rejected, and the server ends."""
        self._record = self._shared.recorder.thread(f"handle-{self._index}")
        while (request := self._inbox.get()) is not None:
            taken_ns = now_ns()
            key, pull = request.key, None
            if request.push_id:
                self._queued(request, request.push_id, request.size_bytes, taken_ns)
            if request.pull_id:
                self._queued(request, request.pull_id, 0, taken_ns)
                pull = Pull(request.worker, request.step, request.pull_id)
                key.held_ns[request.pull_id] = taken_ns
            try:
                if request.buffer is not None:
                    self._on_push(request, request.buffer, pull)
                elif pull is not None:
                    self._on_pull(key, pull)
            except WireError as error:
                self._shared.reject(request.worker, WireError(f"{key.shard.name}: {error}"))

    def _on_pull(self, key: Key, pull: Pull) -> None:
        for reply in key.state.on_pull(pull):
            del key.held_ns[pull.request_id]
            self._answer(key, reply)

    def _on_push(self, request: Request, buffer: Buffer, pull: Pull | None) -> None:
        key = request.key
        codec = self._shared.codec_of_push(request.step)
        if not codec.straight:
            start_ns, start_cpu_ns = now_ns(), self._cpu_ns()
            plain = self._shared.pool.take(key.nbytes)
            codec.decode([buffer.view], [plain.values])
            self._shared.pool.give(buffer)
            buffer = plain
            self._span(Stage.SERIALIZE, self._decode, request, start_ns, start_cpu_ns)
        for action in key.state.on_push(request.worker, request.step, buffer, pull):
            self._carry_out(action, request)

    def _carry_out(self, action: Action, request: Request) -> None:
        key = request.key
        if isinstance(action, Reply):
            held_ns = key.held_ns.pop(action.pull.request_id)
            released_ns = self._answer(key, action)
            self._record.span(
                Stage.WAIT, self._hold, key.record, action.pull.step, 0, held_ns, released_ns, action.pull.request_id,
                cause_id=request.push_id,
            )  # fmt: skip
            return
        start_ns, start_cpu_ns = now_ns(), self._cpu_ns()
        key.state.perform(action)
        op = self._sum if type(action) is Sum else self._update
        self._span(Stage.AGGREGATE, op, request, start_ns, start_cpu_ns)

    def _answer(self, key: Key, reply: Reply) -> int:
        """Hands a reply to its sender; gives the time at which it did."""
        version = key.state.lend(reply)
        submitted_ns = now_ns()
        self._shared.replies[reply.pull.worker].put(key.shard.key, Answer(key, version, reply.pull, submitted_ns))
        return submitted_ns

    def _queued(self, request: Request, request_id: int, size_bytes: int, taken_ns: int) -> None:
        self._record.span(
            Stage.AGGREGATE, self._queue, request.key.record, request.step, size_bytes, request.arrived_ns, taken_ns,
            request_id,
        )  # fmt: skip

    def _span(self, stage: Stage, op: int, request: Request, start_ns: int, start_cpu_ns: int) -> None:
        """Work for a push that ends now."""
        cpu_ns = self._cpu_ns() - start_cpu_ns
        key = request.key
        self._record.span(
            stage, op, key.record, request.step, key.nbytes, start_ns, now_ns(), request.push_id, cpu_ns=cpu_ns
        )  # fmt: skip


def _no_clock() -> int:
    return 0
