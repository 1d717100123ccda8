"""What became of a thread's time: it ran, it was ready and had no core, or it was blocked."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from support.cores import busy_neighbour, one_core

from breakdown.clock import thread_time as module
from breakdown.clock.clocks import now_ns, thread_cpu_ns
from breakdown.clock.thread_time import NOT_KNOWN, ThreadTime, runnable_ns, spent, thread_time

SLEEP_NS = 50_000_000
SPIN_NS = 200_000_000  # some tens of a scheduler's slices
LEAST_SHARE = 0.25
"""Of the time of two busy threads on one core, each lacks it for half; half of that is left to the scheduler's whims."""

MOST_BLOCKED = 0.05
"""Of a busy loop's time: what the kernel does beside threads, interrupts above all, is of neither kind."""


def spin() -> None:
    until = thread_cpu_ns() + SPIN_NS
    while thread_cpu_ns() < until:
        pass


def measured(work: object) -> tuple[int, ThreadTime]:
    """Wall time, and what became of it."""
    start_ns, start = now_ns(), thread_time()
    assert callable(work)
    work()
    return now_ns() - start_ns, spent(start, thread_time())


def test_sleep_is_neither_running_nor_lack_of_a_core() -> None:
    with one_core() as core, busy_neighbour(core):  # so that waking takes its while, too
        wall_ns, (cpu_ns, lacking_ns) = measured(lambda: time.sleep(SLEEP_NS / 1e9))
    assert wall_ns - cpu_ns - lacking_ns >= SLEEP_NS * 0.99


def test_two_busy_processes_on_one_core_lack_it_in_turns() -> None:
    with one_core() as core, busy_neighbour(core):
        wall_ns, (cpu_ns, lacking_ns) = measured(spin)
    assert lacking_ns > LEAST_SHARE * wall_ns
    assert abs(wall_ns - cpu_ns - lacking_ns) < MOST_BLOCKED * wall_ns


def test_each_thread_reads_its_own_and_its_file_ends_with_it() -> None:
    runnable_ns()
    before = len(os.listdir("/proc/self/fd"))
    found: list[ThreadTime] = []

    def read() -> None:
        found.extend((thread_time(), thread_time()))

    with one_core() as core, busy_neighbour(core):
        _, (_, own_ns) = measured(spin)
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert own_ns > LEAST_SHARE * SPIN_NS
    (_, first), (_, second) = found
    assert 0 <= first <= second < own_ns
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_child_reads_its_own() -> None:
    with one_core() as core, busy_neighbour(core):
        spin()
        own_ns = runnable_ns()
        child = os.fork()
        if child == 0:
            os._exit(0 if 0 <= runnable_ns() < own_ns / 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert own_ns > LEAST_SHARE * SPIN_NS


@pytest.mark.parametrize("content", [None, b"0 0 0\n", b"", b"1 2\n"])
def test_where_nothing_counts_nothing_is_known(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such file, and what a kernel that does not count writes to it."""
    path = tmp_path / "schedstat"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(module, "_PATH", str(path))
    found: list[ThreadTime] = []

    def read() -> None:  # in a thread of its own: this one may have opened its file already
        begin = thread_time()
        found.extend((begin, spent(begin, thread_time())))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert [runnable for _, runnable in found] == [NOT_KNOWN] * 2
    assert all(cpu_ns >= 0 for cpu_ns, _ in found)
