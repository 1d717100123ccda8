"""When the thread's CPU clock is read around work on a key: where the work is long enough that it can tell something.

A reading is a system call of a quarter to half a microsecond. A sum or an update moves some 10 bytes in a nanosecond, so for
`CPU_CLOCK_BYTES` it takes 50 us, of which the two readings are one in a hundred; for fewer bytes they would be more of the
work than the chance that the system's scheduler takes the core away within it.
"""

from __future__ import annotations

from breakdown.clock.clocks import thread_cpu_ns
from breakdown.record.api import NOT_MEASURED, Recorder

CPU_CLOCK_BYTES = 256 << 10


def cpu_timed(recorder: Recorder, size_bytes: int) -> bool:
    """Whether spans of work on so many bytes carry CPU time."""
    return recorder.enabled and size_bytes >= CPU_CLOCK_BYTES


def cpu_start_ns(timed: bool) -> int:
    """To be given to `cpu_used_ns` at the end of the work."""
    return thread_cpu_ns() if timed else NOT_MEASURED


def cpu_used_ns(start_ns: int) -> int:
    """CPU time since then; NOT_MEASURED where it is not timed."""
    return NOT_MEASURED if start_ns == NOT_MEASURED else thread_cpu_ns() - start_ns
