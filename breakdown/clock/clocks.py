"""The only two clocks of the toolkit, and one that tests turn by hand.

`now_ns` is CLOCK_MONOTONIC: one clock for all processes on one kernel, never set back, not comparable between kernels
(`clock.offset` estimates what they differ by). `thread_cpu_ns` is the calling thread's own CPU time: what is missing to the
wall time of a stretch of work is time spent waiting for a core.
"""

from __future__ import annotations

import time
from typing import Callable

now_ns: Callable[[], int] = time.monotonic_ns
"""Integer nanoseconds of the kernel's monotonic clock. The origin is arbitrary (usually the boot)."""

thread_cpu_ns: Callable[[], int] = time.thread_time_ns
"""Integer nanoseconds of CPU time that the calling thread has used, user and system together."""

CLOCK_NAME = time.get_clock_info("monotonic").implementation
"""How the platform names `now_ns`, for the head of a trace file."""


class FakeClock:
    """A clock for tests: it stands still until `advance`, or moves `tick_ns` with every reading. Call it like `now_ns`."""

    def __init__(self, start_ns: int = 0, tick_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._tick_ns = tick_ns

    def __call__(self) -> int:
        reading = self._now_ns
        self._now_ns += self._tick_ns
        return reading

    def advance(self, duration_ns: int) -> None:
        """Moves the clock on. Raises ValueError for a negative duration: a monotonic clock is never set back."""
        if duration_ns < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-duration_ns} ns")
        self._now_ns += duration_ns
