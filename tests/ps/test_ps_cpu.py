"""The CPU clock is read around long work only, and its time is never more than the work's."""

from __future__ import annotations

from pathlib import Path

from breakdown.clock.clocks import now_ns
from breakdown.model.identity import Node, Role
from breakdown.ps.cpu import CPU_CLOCK_BYTES, cpu_start_ns, cpu_timed, cpu_used_ns
from breakdown.record.api import NOT_MEASURED
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder


def test_only_big_keys_are_timed_and_only_while_recording(tmp_path: Path) -> None:
    recorder = FileRecorder(str(tmp_path / "a.trace"), 0, Node(Role.SERVER, 0))
    assert cpu_timed(recorder, CPU_CLOCK_BYTES)
    assert not cpu_timed(recorder, CPU_CLOCK_BYTES - 1)
    assert not cpu_timed(NullRecorder(), CPU_CLOCK_BYTES)
    recorder.close()


def test_what_is_timed_has_its_cpu_time_and_what_is_not_has_none() -> None:
    begin_ns, start_ns = now_ns(), cpu_start_ns(True)
    sum(range(100_000))
    assert 0 < cpu_used_ns(start_ns) <= now_ns() - begin_ns
    assert cpu_used_ns(cpu_start_ns(False)) == NOT_MEASURED
