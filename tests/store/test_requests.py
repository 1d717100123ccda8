"""One row a frame says the same as the spans and halves of messages that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store_traces import SERVER, WORKERS

from breakdown.model.identity import NO_REQUEST, Node, request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import Kind
from breakdown.record.recorder import FileRecorder
from breakdown.record.tracefile import TraceFile, read
from breakdown.store.requests import unfolded

WORKER = WORKERS[0]
PUSH, PULL = request_id(WORKER, 1), request_id(WORKER, 2)
Row = tuple[str, Kind, tuple[int, ...]]


def recorded(path: Path, node: Node, record: Callable[[FileRecorder], None]) -> TraceFile:
    recorder = FileRecorder(str(path / f"{node}.trace"), 0, node)
    assert recorder.intern("weight") == 1
    record(recorder)
    recorder.close()
    return unfolded(read(str(path / f"{node}.trace")))


def rows(trace: TraceFile) -> list[Row]:
    return sorted((trace.threads[block.thread], block.kind, row) for block in trace.blocks for row in block)


def queue(trace: TraceFile, stage: Stage, size_bytes: int, start_ns: int, end_ns: int, request: int) -> tuple[int, ...]:
    op = trace.names.index(Op.QUEUE)
    return (stage, op, 1, 7, size_bytes, start_ns, end_ns, request, NO_REQUEST, NOT_MEASURED, NOT_MEASURED)


def test_a_frame_that_was_asked_with(tmp_path: Path) -> None:
    """A push and its pull, encoded from 20 to 30; then a push and a pull that each have a frame of their own."""

    def record(recorder: FileRecorder) -> None:
        thread = recorder.thread("send-server-0")
        thread.asked(1, 7, 4096, PUSH, PULL, SERVER.code, 10, 20, 30, 50)
        thread.asked(1, 7, 4096, PUSH, NO_REQUEST, SERVER.code, 60, 70, 70, 80)
        thread.asked(1, 7, 0, NO_REQUEST, PULL, SERVER.code, 60, 90, 90, 95)

    trace = recorded(tmp_path, WORKER, record)
    ask = int(Direction.REQUEST)
    expected = [
        (Kind.SPAN, queue(trace, Stage.SERIALIZE, 4096, 10, 20, PUSH)),
        (Kind.SPAN, queue(trace, Stage.SERIALIZE, 0, 10, 30, PULL)),
        (Kind.SPAN, queue(trace, Stage.SERIALIZE, 4096, 60, 70, PUSH)),
        (Kind.SPAN, queue(trace, Stage.SERIALIZE, 0, 60, 90, PULL)),
        (Kind.SENT, (Verb.PUSH, ask, 1, 7, 4096, PUSH, SERVER.code, 30, 50)),
        (Kind.SENT, (Verb.PULL, ask, 1, 7, 0, PULL, SERVER.code, 30, 30)),
        (Kind.SENT, (Verb.PUSH, ask, 1, 7, 4096, PUSH, SERVER.code, 70, 80)),
        (Kind.SENT, (Verb.PULL, ask, 1, 7, 0, PULL, SERVER.code, 90, 95)),
    ]
    assert rows(trace) == sorted(("send-server-0", *row) for row in expected)


def test_a_push_that_was_served(tmp_path: Path) -> None:
    """With its pull from worker 0; alone from worker 1, and then updated. Each was received by a thread of its own."""
    other = request_id(WORKERS[1], 1)

    def record(recorder: FileRecorder) -> None:
        first, second, handler = (recorder.thread(name) for name in ("recv-worker-0", "recv-worker-1", "handle-0"))
        total = recorder.intern(Op.SUM)
        sender, thread = WORKER.code, first.ident
        none = NOT_MEASURED
        handler.served(total, 1, 7, 512, PUSH, PULL, sender, thread, 10, 20, 30, 40, 60, 4096, 15, 3, none, none, none)
        sender, thread = WORKERS[1].code, second.ident
        handler.served(total, 1, 7, 512, other, NO_REQUEST, sender, thread, 50, 55, 60, 60, 70, 4096, none, none, 95, 20, 4)

    trace = recorded(tmp_path, SERVER, record)
    ask, total, update = int(Direction.REQUEST), trace.names.index(Op.SUM), trace.names.index(Op.UPDATE)
    assert rows(trace) == sorted(
        [
            ("recv-worker-0", Kind.RECEIVED, (Verb.PUSH, ask, 1, 7, 512, PUSH, WORKER.code, 10, 20)),
            ("recv-worker-0", Kind.RECEIVED, (Verb.PULL, ask, 1, 7, 0, PULL, WORKER.code, 20, 20)),
            ("recv-worker-1", Kind.RECEIVED, (Verb.PUSH, ask, 1, 7, 512, other, WORKERS[1].code, 50, 55)),
            ("handle-0", Kind.SPAN, queue(trace, Stage.AGGREGATE, 512, 20, 30, PUSH)),
            ("handle-0", Kind.SPAN, queue(trace, Stage.AGGREGATE, 0, 20, 30, PULL)),
            ("handle-0", Kind.SPAN, queue(trace, Stage.AGGREGATE, 512, 55, 60, other)),
            ("handle-0", Kind.SPAN, (Stage.AGGREGATE, total, 1, 7, 4096, 40, 60, PUSH, NO_REQUEST, 15, 3)),
            (
                "handle-0",
                Kind.SPAN,
                (Stage.AGGREGATE, total, 1, 7, 4096, 60, 70, other, NO_REQUEST, NOT_MEASURED, NOT_MEASURED),
            ),
            ("handle-0", Kind.SPAN, (Stage.AGGREGATE, update, 1, 7, 4096, 70, 95, other, NO_REQUEST, 20, 4)),
        ]
    )


def test_a_pull_that_was_replied_to(tmp_path: Path) -> None:
    """Once held until a push released it, once answered at once."""

    def record(recorder: FileRecorder) -> None:
        thread = recorder.thread("send-worker-0")
        thread.replied(1, 7, 4096, PULL, WORKER.code, PUSH, 10, 20, 30, 40, 50)
        thread.replied(1, 7, 4096, PULL, WORKER.code, NO_REQUEST, NOT_MEASURED, 60, 70, 70, 80)

    trace = recorded(tmp_path, SERVER, record)
    hold, answer = trace.names.index(Op.HOLD), int(Direction.REPLY)
    expected = [
        (Kind.SPAN, (Stage.WAIT, hold, 1, 7, 0, 10, 20, PULL, PUSH, NOT_MEASURED, NOT_MEASURED)),
        (Kind.SPAN, queue(trace, Stage.PULL, 4096, 20, 30, PULL)),
        (Kind.SPAN, queue(trace, Stage.PULL, 4096, 60, 70, PULL)),
        (Kind.SENT, (Verb.PULL, answer, 1, 7, 4096, PULL, WORKER.code, 40, 50)),
        (Kind.SENT, (Verb.PULL, answer, 1, 7, 4096, PULL, WORKER.code, 70, 80)),
    ]
    assert rows(trace) == sorted(("send-worker-0", *row) for row in expected)


def test_a_trace_of_plain_rows_is_left_as_it_is(tmp_path: Path) -> None:
    def record(recorder: FileRecorder) -> None:
        recorder.thread("main").span(Stage.COMPUTE, 0, 1, 7, 0, 10, 20)

    trace = recorded(tmp_path, WORKER, record)
    assert trace.names == ("", "weight")
    assert unfolded(trace) is trace
