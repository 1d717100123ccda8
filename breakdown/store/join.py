"""Several traces of one node become one: their rows side by side, and threads that both recorded made flat.

A process can be recorded from two sides, in Python and by a native library that is loaded into it. What the native recorder
saw lies within what Python saw from outside (a call that turns out to be mostly sleep), so where both name the same thread,
Python's spans give way: each keeps the stretches in which the native recorder saw nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from breakdown.model.stages import REQUEST_OPS
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import USED, Kind
from breakdown.record.tracefile import TraceFile
from breakdown.store.decode import Ints, Mask, Rows, Vocabulary, joined

NATIVE = "native"
"""What a native recorder's first block says of itself, under the name `recorder`."""

ByKind = Mapping[Kind, Rows]
_HALVES = (Kind.SENT, Kind.RECEIVED)


def is_native(trace: TraceFile) -> bool:
    """Whether a native recorder wrote it."""
    return trace.meta.get("recorder") == NATIVE


def join(traces: Sequence[TraceFile], rows: Sequence[ByKind], vocabulary: Vocabulary) -> ByKind:
    """The rows of all traces of one node, ordered by thread name, then end."""
    fine = [found for trace, found in zip(traces, rows, strict=True) if is_native(trace)]
    coarse = [found for trace, found in zip(traces, rows, strict=True) if not is_native(trace)]
    if fine and coarse:
        inner = _activity(fine, vocabulary)
        coarse = [{**found, Kind.SPAN: cut(found[Kind.SPAN], inner, vocabulary)} for found in coarse]
    together = [*coarse, *fine]
    if len(together) == 1:
        return together[0]
    return {kind: joined(*[found[kind] for found in together]).ordered(vocabulary) for kind in together[0]}


def cut(spans: Rows, inner: Mapping[int, tuple[Ints, Ints]], vocabulary: Vocabulary) -> Rows:
    """Spans without the stretches of `inner` (by thread: starts and ends, sorted). Of a cut one, `USED` is unknown."""
    request_ops = set(vocabulary.codes(REQUEST_OPS).tolist())
    columns = spans.columns
    pieces: list[tuple[int, int, int]] = []  # row, start, end
    for row, (thread, op, start, end) in enumerate(
        zip(*(columns[name].tolist() for name in ("thread", "op", "start_ns", "end_ns")), strict=True)
    ):
        if thread not in inner or op in request_ops:
            pieces.append((row, start, end))
            continue
        starts, ends = inner[thread]
        cursor = start
        for at in range(int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end, side="left"))):
            if starts[at] > cursor:
                pieces.append((row, cursor, int(starts[at])))
            cursor = max(cursor, int(ends[at]))
        if cursor < end or start == end:
            pieces.append((row, cursor, end))
    source, start_ns, end_ns = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    kept = {name: values[source] for name, values in columns.items()}
    whole = (start_ns == kept["start_ns"]) & (end_ns == kept["end_ns"])
    kept |= {name: np.where(whole, kept[name], NOT_MEASURED) for name in USED}
    kept |= {"start_ns": start_ns, "end_ns": end_ns}
    return Rows(kept, len(source), spans.left_out)


def _activity(traces: Sequence[ByKind], vocabulary: Vocabulary) -> dict[int, tuple[Ints, Ints]]:
    """By thread, the times at which it was seen to do something. Activities of one thread do not overlap."""
    request_ops = vocabulary.codes(REQUEST_OPS)
    threads, starts, ends = [], [], []
    for found in traces:
        for kind in (Kind.SPAN, *_HALVES):
            columns = found[kind].columns
            active: Mask = columns["end_ns"] > columns["start_ns"]
            if kind == Kind.SPAN:
                active &= ~np.isin(columns["op"], request_ops)
            threads.append(columns["thread"][active])
            starts.append(columns["start_ns"][active])
            ends.append(columns["end_ns"][active])
    thread, start, end = np.concatenate(threads), np.concatenate(starts), np.concatenate(ends)
    order = np.lexsort((start, thread))
    thread, start, end = thread[order], start[order], end[order]
    return {int(one): (start[thread == one], end[thread == one]) for one in np.unique(thread)}
