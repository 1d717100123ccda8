"""What goes into a recorder comes out of its file, whole and in order."""

from __future__ import annotations

import math
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breakdown.clock.clocks import CLOCK_NAME
from breakdown.clock.kernel import kernel_id
from breakdown.errors import RecordError
from breakdown.model.identity import Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED, THREAD_NOTE, Recorder
from breakdown.record.layout import Kind, bits_to_loss, link_parts, link_word, loss_to_bits
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.record.threads import Rows
from breakdown.record.tracefile import read

WORKER = Node(Role.WORKER, 3)
SERVER = Node(Role.SERVER, 0)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can, so that a gap between two operations shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "worker-3.trace")


def test_everything_that_is_recorded_is_read_back(path: str) -> None:
    recorder: Recorder = FileRecorder(path, run=2, node=WORKER)
    main, sender = recorder.thread("main"), recorder.thread("send-server-0")
    forward, weight = recorder.intern("forward"), recorder.intern("fc1.weight")
    main.span(Stage.COMPUTE, forward, weight, 7, 4096, 100, 250, cpu_ns=120, runnable_ns=25)
    main.span(Stage.WAIT, 0, weight, -1, 0, 250, 300, request_id=5, cause_id=6)
    links = [link_word(Stage.INPUT, forward, 0), 350, link_word(Stage.COMPUTE, forward, weight), 410]
    main.chain(7, 4096, 300, 90, 20, links)
    sender.sent(Verb.PUSH, Direction.REQUEST, weight, 7, 4096, 5, SERVER.code, 260, 280)
    sender.received(Verb.PULL, Direction.REPLY, weight, 7, 4096, 6, SERVER.code, 290, 299)
    recorder.step(7, 100, 300, 64, warm_up=True, loss=0.1)
    recorder.step(8, 300, 500, 64)
    recorder.note("plan", {"fc1.weight": 0})
    recorder.close()

    trace = read(path)
    assert trace.names == ("", "forward", "fc1.weight")
    assert trace.threads == {1: "main", 2: "send-server-0"}
    assert list(trace.rows(Kind.SPAN)) == [
        (1, (Stage.COMPUTE, forward, weight, 7, 4096, 100, 250, 0, 0, 120, 25)),
        (1, (Stage.WAIT, 0, weight, -1, 0, 250, 300, 5, 6, NOT_MEASURED, NOT_MEASURED)),
    ]
    (chain,) = [block for block in trace.blocks if block.kind == Kind.CHAIN]
    words = [word for (word,) in chain]
    assert (chain.thread, words[:6], words[7::2]) == (1, [2, 7, 4096, 300, 90, 20], [350, 410])
    assert list(map(link_parts, words[6::2])) == [(Stage.INPUT, forward, 0), (Stage.COMPUTE, forward, weight)]
    assert list(trace.rows(Kind.SENT)) == [(2, (Verb.PUSH, Direction.REQUEST, weight, 7, 4096, 5, SERVER.code, 260, 280))]
    assert list(trace.rows(Kind.RECEIVED)) == [(2, (Verb.PULL, Direction.REPLY, weight, 7, 4096, 6, SERVER.code, 290, 299))]
    assert list(trace.rows(Kind.STEP)) == [
        (0, (7, 100, 300, 64, 1, 1, loss_to_bits(0.1))),
        (0, (8, 300, 500, 64, 0, 0, 0)),
    ]
    assert [note for note in trace.notes if note[0] != THREAD_NOTE] == [("plan", {"fc1.weight": 0})]
    assert (THREAD_NOTE, ["main", threading.get_native_id()]) in trace.notes
    assert trace.warnings == ()


def test_the_first_block_says_whose_trace_it_is(path: str) -> None:
    FileRecorder(path, run=2, node=WORKER).close()
    meta = read(path).meta
    assert (meta["run"], meta["role"], meta["rank"]) == (2, "worker", 3)
    assert (meta["kernel_id"], meta["clock"]) == (kernel_id(), CLOCK_NAME)
    assert 0 < meta["cost_ns_per_span"] < 100_000  # some 300; that it is a record's cost, and no other time


@pytest.mark.usefixtures("hasty")
def test_threads_record_at_once_and_lose_nothing(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER, flush_interval_s=0.0)
    spans, count = 20_000, 6

    def record(number: int) -> None:
        thread = recorder.thread(f"thread-{number}")
        for step in range(spans):
            key = recorder.intern(f"key-{step % 50}")  # the same names from all threads, while the flusher writes them
            thread.span(Stage.OTHER, 0, key, step, 0, step, step + 1)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()

    trace = read(path)
    assert sorted(trace.names) == sorted(["", *(f"key-{number}" for number in range(50))])
    assert sorted(trace.threads.values()) == sorted(f"thread-{number}" for number in range(count))
    steps: dict[int, list[int]] = {ident: [] for ident in trace.threads}
    for ident, row in trace.rows(Kind.SPAN):
        steps[ident].append(row[3])
        assert trace.names[row[2]] == f"key-{row[3] % 50}"
    assert all(found == list(range(spans)) for found in steps.values())


def test_a_row_that_comes_while_the_others_are_taken_stays_for_the_next_time() -> None:
    class Interrupted(list[bytes]):
        """Another thread appends right after the prefix was read."""

        def __getitem__(self, place: Any) -> Any:
            taken = super().__getitem__(place)
            self.append(b"late")
            return taken

    rows = Rows(Kind.SPAN)
    rows._rows = Interrupted([b"early"])
    assert rows.take() == [b"early"]
    assert rows.take() == [b"late"]


def test_records_reach_the_file_without_a_close(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER, flush_interval_s=0.01)
    recorder.thread("main").span(Stage.OTHER, 0, 0, 1, 0, 10, 20)
    deadline = threading.Event()
    for _ in range(6000):  # at most, so that it ends
        if list(read(path).rows(Kind.SPAN)):
            break
        deadline.wait(0.01)
    trace = read(path)
    recorder.close()
    assert len(list(trace.rows(Kind.SPAN))) == 1
    assert len(trace.warnings) == 1
    assert "ended without closing" in trace.warnings[0]


def test_a_name_is_interned_once_and_the_empty_text_is_0(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER)
    assert [recorder.intern(text) for text in ("", "a", "b", "a", "")] == [0, 1, 2, 1, 0]
    recorder.close()


def test_thread_names_are_made_unique(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER)
    assert [recorder.thread("main").name for _ in range(3)] == ["main", "main#2", "main#3"]
    recorder.close()
    assert list(read(path).threads.values()) == ["main", "main#2", "main#3"]


@pytest.mark.parametrize("loss", [0.1, -0.0, 5e-324, math.inf, math.nan])
def test_a_loss_keeps_every_bit(loss: float) -> None:
    assert struct.pack("<d", bits_to_loss(loss_to_bits(loss))) == struct.pack("<d", loss)


def test_a_record_with_wrong_values_does_not_raise_until_close(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER)
    main = recorder.thread("main")
    main.span(Stage.OTHER, 0, 0, 1, 0, 10, 20)
    main.span(Stage.OTHER, 0, 0, 1, 0, 10, 1.5)  # type: ignore[arg-type]
    main.sent(Verb.PUSH, Direction.REQUEST, 0, 0, 1 << 70, 0, 0, 0, 0)
    main.chain(1, 0, 10, 20, 0, [1, 1 << 70])
    recorder.step("one", 0, 1, 64)  # type: ignore[arg-type]
    recorder.note("itself", (loop := [1], loop.append(loop)))  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=r"worker-3\.trace: 5 records were lost: .*\(first: thread main, step 1: required"):
        recorder.close()
    trace = read(path)
    assert len(list(trace.rows(Kind.SPAN))) == 1
    assert trace.warnings == (f"{path}: 5 records could not be written and are missing",)


def test_close_can_be_repeated_and_leaves_no_thread(path: str) -> None:
    recorder = FileRecorder(path, run=0, node=WORKER)
    recorder.close()
    recorder.close()
    assert "breakdown-recorder" not in [thread.name for thread in threading.enumerate()]


def test_a_file_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot create .*gone/worker-3\.trace: No such file or directory \(ENOENT\)"):
        FileRecorder(str(tmp_path / "gone" / "worker-3.trace"), run=0, node=WORKER)


def test_the_null_recorder_takes_the_same_calls() -> None:
    recorder: Recorder = NullRecorder()
    thread = recorder.thread("main")
    thread.span(Stage.OTHER, recorder.intern("op"), 0, 1, 0, 10, 20, request_id=1, cause_id=2, cpu_ns=3, runnable_ns=4)
    thread.chain(1, 0, 10, 20, 0, [0, 20])
    thread.sent(Verb.PUSH, Direction.REQUEST, 0, 0, 1, 0, 0, 0, 0)
    thread.received(Verb.PUSH, Direction.REQUEST, 0, 0, 1, 0, 0, 0, 0)
    recorder.step(0, 0, 1, 64, warm_up=True, loss=1.0)
    recorder.note("a", 1)
    recorder.close()
    assert not recorder.enabled
