"""When a thread's time is read around work on a key: where the work is long enough that it can tell something.

A reading (`clock.thread_time`) is two system calls, a microsecond. A sum or an update moves some 5 bytes in a nanosecond, so
for `TIMED_BYTES` it takes 200 us, of which the two readings are one in a hundred; for fewer bytes they would be more of the
work than the chance that the system's scheduler takes the core away within it.
"""

from __future__ import annotations

from breakdown.clock.thread_time import NOTHING_KNOWN, ThreadTime, spent, thread_time
from breakdown.record.api import Recorder

TIMED_BYTES = 1 << 20


def is_timed(recorder: Recorder, size_bytes: int) -> bool:
    """Whether spans of work on so many bytes say what became of their thread's time."""
    return recorder.enabled and size_bytes >= TIMED_BYTES


def time_at_start(timed: bool) -> ThreadTime:
    """To be given to `time_used` at the end of the work."""
    return thread_time() if timed else NOTHING_KNOWN


def time_used(start: ThreadTime) -> ThreadTime:
    """CPU time and time without a core since then; NOT_MEASURED both where it is not timed."""
    return start if start is NOTHING_KNOWN else spent(start, thread_time())
