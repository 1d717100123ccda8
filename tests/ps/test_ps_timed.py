"""A thread's time is read around long work only, and no more is told than the work took."""

from __future__ import annotations

from pathlib import Path

from breakdown.clock.clocks import now_ns
from breakdown.model.identity import Node, Role
from breakdown.ps.timed import TIMED_BYTES, is_timed, time_at_start, time_used
from breakdown.record.api import NOT_MEASURED
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder


def test_only_big_keys_are_timed_and_only_while_recording(tmp_path: Path) -> None:
    recorder = FileRecorder(str(tmp_path / "a.trace"), 0, Node(Role.SERVER, 0))
    assert is_timed(recorder, TIMED_BYTES)
    assert not is_timed(recorder, TIMED_BYTES - 1)
    assert not is_timed(NullRecorder(), TIMED_BYTES)
    recorder.close()


def test_what_is_timed_tells_what_became_of_its_time_and_what_is_not_tells_nothing() -> None:
    begin_ns, start = now_ns(), time_at_start(True)
    sum(range(100_000))
    cpu_ns, runnable_ns = time_used(start)
    assert cpu_ns > 0
    assert runnable_ns >= 0
    assert cpu_ns + runnable_ns <= now_ns() - begin_ns
    assert time_used(time_at_start(False)) == (NOT_MEASURED, NOT_MEASURED)
