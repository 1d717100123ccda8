"""Real failures: a process that is killed, a disk that is full. The program goes on; what was written stays readable."""

from __future__ import annotations

import inspect
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from breakdown.clock.clocks import now_ns
from breakdown.errors import RecordError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.layout import HEAD, Kind
from breakdown.record.recorder import FileRecorder
from breakdown.record.tracefile import read
from breakdown.record.writer import TraceWriter

ENDLESS = """
import sys, time
from breakdown.clock.clocks import now_ns
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.recorder import FileRecorder

recorder = FileRecorder(sys.argv[1], 0, Node(Role.WORKER, 0))
main = recorder.thread("main")
step = 0
while True:
    main.span(Stage.OTHER, recorder.intern(f"op-{step % 100}"), 0, step, 0, now_ns(), now_ns())
    step += 1
    time.sleep(0.0002)
"""

FULL = """
import sys
from breakdown.errors import RecordError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.recorder import FileRecorder

recorder = FileRecorder(sys.argv[1], 0, Node(Role.WORKER, 0), flush_interval_s=0.01)
main = recorder.thread("main")
for step in range(100_000):
    main.span(Stage.OTHER, 0, 0, step, 0, step, step)
try:
    recorder.close()
except RecordError as error:
    print(error)
"""


def test_a_killed_process_loses_at_most_what_came_since_the_last_flush(tmp_path: Path) -> None:
    """Which is within a second: it comes twice in one, where it gets a core."""
    assert inspect.signature(FileRecorder).parameters["flush_interval_s"].default <= 0.5
    path = tmp_path / "worker-0.trace"
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)])
    try:
        deadline = time.monotonic() + 30  # ends a test that hangs
        while not (path.exists() and path.stat().st_size > 100_000):
            assert time.monotonic() < deadline, "nothing was recorded"
            time.sleep(0.01)
        before_ns = now_ns()
        while not any(row[6] > before_ns for _, row in read(str(path)).rows(Kind.SPAN)):
            assert time.monotonic() < deadline, "the flusher does not come any more"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    trace = read(str(path))
    rows = [row for _, row in trace.rows(Kind.SPAN)]
    assert [row[3] for row in rows] == list(range(len(rows)))
    assert all(trace.names[row[1]] == f"op-{row[3] % 100}" for row in rows)
    assert rows[-1][6] > before_ns
    assert len(trace.warnings) == 1


def test_a_disk_that_fills_up_keeps_what_was_written_and_counts_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.trace"
    limit = 1_000_003  # in the middle of a row

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], preexec_fn=limited, capture_output=True, text=True, timeout=60, check=True
    )
    said = re.fullmatch(r"(.*): (\d+) records were lost: File too large \(EFBIG\)\. .*\n", done.stdout)
    assert said is not None, done.stdout
    assert said[1] == str(path)
    assert done.stderr.count("\n") == 1
    assert f"recording stopped, the program goes on. Writing {path} failed: File too large (EFBIG)" in done.stderr
    trace = read(str(path))
    steps = [row[3] for _, row in trace.rows(Kind.SPAN)]
    assert steps == list(range(len(steps)))
    assert len(steps) > 10_000
    assert len(steps) + int(said[2]) == 100_000
    assert path.stat().st_size == limit
    assert len(trace.warnings) == 1


def test_of_chains_too_the_lost_ones_are_counted(tmp_path: Path) -> None:
    """A file that ends within the third of four; then there is one more."""
    whole = [struct.pack("<9q", 2, step, 0, 10, -1, 0, 20, 0, 30) for step in range(4)]
    writer = TraceWriter(str(tmp_path / "a.trace"))
    limit = os.fstat(writer._file).st_size + HEAD.size + 2 * len(whole[0]) + 40
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))  # Python ignores SIGXFSZ
    try:
        writer.rows(Kind.CHAIN, 1, whole)
        writer.rows(Kind.CHAIN, 1, whole[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    writer.close()
    assert writer.lost == 3


def test_a_full_disk_is_survived_logged_once_and_reported_at_close(capfd: pytest.CaptureFixture[str]) -> None:
    recorder = FileRecorder("/dev/full", 0, Node(Role.WORKER, 0), flush_interval_s=0.005)
    main = recorder.thread("main")
    for step in range(5000):
        main.span(Stage.OTHER, 0, 0, step, 0, step, step)
    deadline = time.monotonic() + 10
    while any(rows._rows for rows in main._rows):  # the flusher goes on emptying the buffers
        assert time.monotonic() < deadline, "the buffers keep growing"
        time.sleep(0.01)
    recorder.step(0, 0, 1, 64)
    with pytest.raises(RecordError, match=r"^/dev/full: 5001 records were lost: No space left on device \(ENOSPC\)\."):
        recorder.close()
    assert capfd.readouterr().err.count("No space left on device (ENOSPC)") == 1
