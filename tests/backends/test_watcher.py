"""What a thread's watcher makes of what hooks tell it, beside what MXNet's tests show; on a clock of the tests' own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from breakdown.backends import watcher as module
from breakdown.backends.watcher import MARK, Watcher
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind
from breakdown.record.tracefile import TraceFile, read

CALL, BETWEEN = (Stage.COMPUTE, "call"), (Stage.INPUT, Op.LOAD)
CALLS = 0
"""The number of a finder."""


class Clock:
    now = 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "now_ns", lambda: found.now)
    return found


def call(watcher: Watcher, clock: Clock, start: int, end: int) -> None:
    clock.now = start
    assert watcher.enter(*CALL, between=BETWEEN)
    clock.now = end
    watcher.leave()


def spans(trace: TraceFile) -> list[tuple[int, str, int, int]]:
    """(step, op, start, end) of each span."""
    return [(row[3], trace.names[row[1]], row[5], row[6]) for _, row in trace.rows(Kind.SPAN)]


def steps(trace: TraceFile) -> list[tuple[int, ...]]:
    """(step, start, end, samples) of each step."""
    return [row[:4] for _, row in trace.rows(Kind.STEP)]


def test_what_lies_between_two_calls_is_told(tmp_path: Path, clock: Clock) -> None:
    watcher = Watcher(str(tmp_path), 0, lambda step: None)
    call(watcher, clock, 10, 20)  # nothing is known of before
    call(watcher, clock, 25, 30)
    clock.now = 31
    watcher.ends_step(CALLS, 4)
    call(watcher, clock, 50, 60)
    clock.now = 61
    watcher.ends_step(CALLS, 4)
    watcher.close()
    trace = read(str(tmp_path / "worker-0.trace"))
    assert spans(trace) == [
        (0, "call", 10, 20),
        (0, "load", 20, 25),
        (0, "call", 25, 30),
        (1, "load", 31, 50),
        (1, "call", 50, 60),
    ]
    assert steps(trace) == [(0, 10, 31, 4), (1, 31, 61, 4)]


def test_what_comes_before_the_first_step_can_be_left_out(tmp_path: Path, clock: Clock) -> None:
    told: list[int] = []
    watcher = Watcher(str(tmp_path), 0, told.append)
    call(watcher, clock, 10, 20)
    watcher.begin_again()
    call(watcher, clock, 30, 40)
    watcher.ends_step(CALLS, 4)
    call(watcher, clock, 50, 60)
    watcher.begin_again()  # too late: it belongs to the step that goes on
    call(watcher, clock, 70, 80)
    watcher.ends_step(CALLS, 4)
    watcher.close()
    trace = read(str(tmp_path / "worker-0.trace"))
    assert steps(trace) == [(0, 30, 40, 4), (1, 40, 80, 4)]
    assert (1, "call", 50, 60) in spans(trace)
    assert told == [0, 0, 1, 2]


def test_each_watcher_has_a_thread_and_a_file_of_its_own(tmp_path: Path, clock: Clock) -> None:
    def drive(rank: int) -> None:
        watcher = Watcher(str(tmp_path), 0, lambda step: None, threading.current_thread(), ".driver")
        watcher.rank = rank
        watchers.append(watcher)
        call(watcher, clock, 10, 20)
        watcher.ends_step(MARK, 3)

    watchers: list[Watcher] = []
    for rank in range(2):
        thread = threading.Thread(target=drive, args=(rank,))
        thread.start()
        thread.join()
    for watcher in watchers:
        assert not watcher.watches
        assert not watcher.enter(*CALL)
        watcher.close()
    for rank in range(2):
        assert steps(read(str(tmp_path / f"worker-{rank}.driver.trace"))) == [(0, 10, 20, 3)]
