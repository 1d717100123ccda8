"""The clocks that everything is timed with."""

from __future__ import annotations

import threading

import pytest

from breakdown.clock.clocks import FakeClock, now_ns, thread_cpu_ns


def test_monotonic_time_never_goes_back() -> None:
    readings = [now_ns() for _ in range(1000)]
    assert readings == sorted(readings)


def test_cpu_time_is_the_thread_s_own() -> None:
    used = []

    def sleep_once() -> None:
        begin = thread_cpu_ns()
        threading.Event().wait(0.05)
        used.append(thread_cpu_ns() - begin)

    begin_cpu, begin = thread_cpu_ns(), now_ns()
    thread = threading.Thread(target=sleep_once)
    thread.start()
    thread.join()
    assert now_ns() - begin >= 50_000_000
    # Sleeping takes some 20 us of a core: were it counted, it would be the 50 ms.
    assert thread_cpu_ns() - begin_cpu < 40_000_000
    assert used[0] < 40_000_000


def test_a_fake_clock_stands_still_ticks_and_never_goes_back() -> None:
    clock = FakeClock(start_ns=5)
    clock.advance(10)
    assert (clock(), clock()) == (15, 15)
    ticking = FakeClock(tick_ns=2)
    assert [ticking(), ticking(), ticking()] == [0, 2, 4]
    with pytest.raises(ValueError, match="cannot go back by 1 ns"):
        clock.advance(-1)
