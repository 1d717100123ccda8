"""The main thread of a process that trains by itself: for how long its calls did nothing but wait for a batch.

worker  main         load, cut out of the call that waited (a function's run, or a session's without a server)

What else lies within such a call stays the call's own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from breakdown.model.identity import NO_REQUEST, Role
from breakdown.model.stages import Op, Stage
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.messages import NO_STEP
from breakdown.store.tensorflow.eager import RUN
from breakdown.store.tensorflow.raw import Activity, Process
from breakdown.store.tensorflow.run import Run
from breakdown.store.tensorflow.steps import Operation, Part
from breakdown.store.tensorflow.written import What

SESSION = "DirectSession::RunInternal"
"""What a session without a server does for the thread that called it; its row has the number of TensorFlow's step."""

_Stretch = tuple[int, int]


def write(run: Run, process: Process) -> None:
    """Writes when a worker's main thread waited for batches, and for nothing else."""
    if process.node.role is not Role.WORKER:
        return
    mine = [one for one in process.activities if one.thread == MAIN_THREAD]
    calls = sorted((one for one in mine if one.kind == "other" and one.name in (RUN, SESSION)), key=lambda one: one.start_ns)
    begun = sorted((one.start_ns, one.number) for one in mine if one.kind == "drive")
    for part in run.parts[process.node].values():
        takes = [one for one in part.runs() if run.is_batch(part, one)]
        call = _call(part, calls) if takes else None
        if call is None:
            continue
        works = sorted((one.start_ns, _end_ns(one)) for one in part.runs() if not run.is_batch(part, one))
        place = bisect_right(begun, (call.start_ns, call.end_ns)) - 1
        step = begun[place][1] if place >= 0 else NO_STEP
        what = What(Stage.INPUT, Op.LOAD, takes[0].name, step, NO_REQUEST)
        for waited in _joined(sorted((one.start_ns, min(_end_ns(one), call.end_ns)) for one in takes)):
            for start_ns, end_ns in _without(waited, works):
                run.written[process.node].did(MAIN_THREAD, start_ns, end_ns, what)


def _end_ns(operation: Operation) -> int:
    return operation.end_ns if operation.done_ns is None else operation.done_ns


def _call(part: Part, calls: Sequence[Activity]) -> Activity | None:
    """The main thread's call that a part was run for; None: another thread's."""
    first = min(one.start_ns for one in part.runs())
    place = bisect_right(calls, first, key=lambda one: one.start_ns) - 1
    if place < 0 or first >= calls[place].end_ns or calls[place].number not in (0, part.number):
        return None
    return calls[place]


def _joined(stretches: Iterable[_Stretch]) -> Iterator[_Stretch]:
    """Those that overlap as one; sorted."""
    last: _Stretch | None = None
    for start, end in stretches:
        if last is not None and start <= last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = start, end
    if last is not None:
        yield last


def _without(stretch: _Stretch, others: Iterable[_Stretch]) -> Iterator[_Stretch]:
    """What is left of a stretch beside others, which are sorted."""
    cursor, stop = stretch
    for start, end in others:
        if start >= stop:
            break
        if start > cursor:
            yield cursor, start
        cursor = max(cursor, end)
    if cursor < stop:
        yield cursor, stop
