"""What a span costs the thread that records it, measured here and now by doing it."""

from __future__ import annotations

from statistics import median
from typing import List

from breakdown.clock.clocks import now_ns
from breakdown.model.stages import Stage
from breakdown.record.threads import FileThreadRecorder

_ROUNDS = 9
_SPANS_A_ROUND = 500  # 9 x 500 spans take some 2 ms of a process's start


def cost_ns_per_span() -> float:
    """Nanoseconds a span costs its thread, its two clock readings and the loop's own turn included; median of rounds."""
    rounds = []
    rejected: List[str] = []
    for _ in range(_ROUNDS):
        thread = FileThreadRecorder(0, "cost", rejected.append)
        span = thread.span
        begin = now_ns()
        for step in range(_SPANS_A_ROUND):
            start = now_ns()
            span(Stage.OTHER, 0, 0, step, 0, start, now_ns())
        rounds.append((now_ns() - begin) / _SPANS_A_ROUND)
    return median(rounds)
