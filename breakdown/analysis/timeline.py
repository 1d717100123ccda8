"""A few steps with all roles on one page: what each thread did, the messages between them, and the critical path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from breakdown.analysis.codes import NONE, Ints, Long
from breakdown.analysis.critical_path import Path, Steps, find, measured_steps
from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.analysis.graph import HOLD, QUEUE, build
from breakdown.analysis.rows import Rows, read
from breakdown.analysis.traced import traced
from breakdown.errors import UsageError
from breakdown.model.identity import Role
from breakdown.model.stages import Stage

if TYPE_CHECKING:
    from breakdown.store.tables import Tables

SEND, RECEIVE = "send", "receive"
"""The ops of boxes that show one half of a message."""
_ROLE_ORDER: Final = (Role.WORKER, Role.SERVER, Role.SCHEDULER)


def window(tables: Tables, run: int, worker: int, first_step: int, steps: int) -> Timeline:
    """The steps `first_step` ... `first_step + steps - 1` of a worker in repetition `run`, with all that overlaps them.

    Where only some steps were traced, it ends with the last of these: of others there is little to see. Times are ns from
    the start of the first of them. Raises `UsageError` where no such step was measured.
    """
    measured = measured_steps(tables)
    of_worker = (measured.run == run) & (measured.worker == worker)
    chosen = measured.where(of_worker & (measured.step >= first_step) & (measured.step < first_step + steps))
    if not len(chosen):
        raise UsageError(_nothing(measured.where(of_worker), run, worker, first_step, steps))
    walked = chosen.where(traced(tables.notes, chosen.run, chosen.worker, chosen.step))
    if len(walked):
        chosen = chosen.where(chosen.step <= walked.step.max())
    origin, end = int(chosen.start_ns.min()), int(chosen.end_ns.max())
    spans, messages = (table[table["run"] == run] for table in (tables.spans, tables.messages))
    rows = read(replace(tables, spans=spans, messages=messages))
    graph = build(rows, tables.steps)
    sent, received = rows.halves
    wires = np.flatnonzero(sent.known & received.known & (received.end_ns > origin) & (sent.start_ns < end))

    def near(start_ns: Long, end_ns: Long) -> Ints:
        return np.flatnonzero((end_ns > origin) & (start_ns < end))

    shape = graph.shape[: rows.spans]
    boxes = near(rows.start_ns[: rows.spans], rows.end_ns[: rows.spans])
    boxes = boxes[(shape[boxes] != QUEUE) & (shape[boxes] != HOLD)]
    halves = [(op, half, near(half.start_ns, half.end_ns)) for op, half in ((SEND, sent), (RECEIVE, received))]
    used = np.unique(np.concatenate([rows.thread[boxes], *(half.thread[at] for _, half, at in halves)]))
    threads = sorted(used.tolist(), key=lambda code: _lane_order(rows, code))
    lane = {code: number for number, code in enumerate(threads)}

    def box(thread: int, row: int, op: str, start_ns: int, end_ns: int) -> TimelineSpan:
        stage, key = Stage(int(rows.stage[row])), rows.keys[rows.key[row]]
        return TimelineSpan(lane[thread], stage, op, key, int(rows.step[row]), start_ns - origin, end_ns - origin)

    drawn = [
        box(int(rows.thread[at]), at, rows.ops[rows.op[at]], int(rows.start_ns[at]), int(rows.end_ns[at]))
        for at in boxes.tolist()
    ]
    for op, half, at_half in halves:
        drawn += [
            box(int(half.thread[at]), at + rows.spans, op, int(half.start_ns[at]), int(half.end_ns[at]))
            for at in at_half.tolist()
        ]
    others = measured.where((measured.run == run) & (measured.end_ns > origin) & (measured.start_ns < end))
    return Timeline(
        label=f"{tables.cell.get('label', '')}, repetition {run}, worker {worker}".removeprefix(", "),
        lanes=tuple(f"{rows.places[rows.threads[code][1]]} {rows.threads[code][2]}" for code in threads),
        spans=tuple(sorted(drawn, key=lambda span: (span.lane, span.start_ns, span.end_ns))),
        messages=tuple(
            TimelineMessage(
                lane[int(sent.thread[at])],
                lane[int(received.thread[at])],
                Stage(int(rows.stage[at + rows.spans])),
                rows.keys[rows.key[at + rows.spans]],
                int(sent.start_ns[at]) - origin,
                int(received.end_ns[at]) - origin,
            )
            for at in wires.tolist()
            if int(sent.thread[at]) in lane and int(received.thread[at]) in lane
        ),
        critical=tuple(_segments(rows, find(graph, walked), origin)) if len(walked) else (),
        step_bounds_ns=tuple(
            (worker, start_ns - origin, end_ns - origin)
            for worker, start_ns, end_ns in zip(
                others.worker.tolist(), others.start_ns.tolist(), others.end_ns.tolist(), strict=True
            )
        ),
        end_ns=end - origin,
    )


def _lane_order(rows: Rows, code: int) -> tuple[int, int, bool, str]:
    """Workers first, then servers; in a process the main thread first."""
    _, place, name = rows.threads[code]
    node = rows.places[place]
    return _ROLE_ORDER.index(node.role), node.rank, name != "main", name


def _segments(rows: Rows, path: Path, origin: int) -> Iterator[Segment]:
    steps, of_step = path.steps, path.of_step.tolist()
    columns = (path.start_ns, path.end_ns, path.stage, path.op, path.place, path.key, path.cause, path.behind)
    whole = zip(of_step, *(column.tolist() for column in columns), strict=True)
    for at, start_ns, end_ns, stage, op, place, key, cause, behind in whole:
        yield Segment(
            run=int(steps.run[at]),
            worker=int(steps.worker[at]),
            step=int(steps.step[at]),
            start_ns=start_ns - origin,
            end_ns=end_ns - origin,
            stage=Stage(stage),
            op=rows.ops[op],
            place=rows.places[place],
            key=rows.keys[key],
            cause=None if cause == NONE else Stage(cause),
            behind="" if behind == NONE else rows.ops[behind],
        )


def _nothing(known: Steps, run: int, worker: int, first_step: int, steps: int) -> str:
    asked = f"repetition {run} has no measured step {first_step} to {first_step + steps - 1} of worker {worker}"
    if not len(known):
        return f"{asked}: it has none of this worker at all. Ask for another repetition or worker."
    return f"{asked}. Measured are {int(known.step.min())} to {int(known.step.max())}."
