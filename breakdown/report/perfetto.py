"""A saved cell as a trace that Perfetto (ui.perfetto.dev) opens: one process a role, one track a thread, flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from breakdown.errors import UsageError
from breakdown.report import trackevents as events
from breakdown.report.flows import Slice, rows, slices
from breakdown.store.files import replacing
from breakdown.store.tables import Tables

REQUESTS = "requests: queue, hold"
"""Name of the tracks for states of requests. They overlap, so a process has as many as are needed at one time."""

WOKEN = "woken"
"""Name of the moment at which a wait ends, before the key."""

_TIDS = 1_000  # thread ids of one process lie this far from those of the next


def write(tables: Tables, path: Path, run: int | None = None) -> Path:
    """Writes the trace of one repetition, or of all, in Perfetto's protobuf format.

    Raises `UsageError` when the cell has no such repetition, or nothing was recorded; `TraceError` when the file cannot be
    written.
    """
    spans, messages = tables.spans, tables.messages
    if run is not None:
        known = sorted({int(found) for found in spans["run"].unique()})
        if run not in known:
            names = ", ".join(map(str, known)) or "none"
            raise UsageError(f"this cell has no repetition {run} to export. Recorded repetitions: {names}.")
        spans, messages = spans[spans["run"] == run], messages[messages["run"] == run]
    if not len(spans) and not len(messages):
        raise UsageError(_nothing(tables.cell))
    content = encode(slices(rows(spans), rows(messages)))
    with replacing(Path(path)) as new:
        new.write_bytes(content)
    return Path(path)


def _nothing(cell: Mapping[str, Any]) -> str:
    """Why there is nothing to export, and what to do."""
    label, entries = cell.get("label"), cell.get("runs", ())
    failed = [f"repetition {one['run']}: {str(one['error']).partition(chr(10))[0]}" for one in entries if one.get("error")]
    why = "".join(f"\n  {text}" for text in failed)
    return (
        f"nothing was recorded of '{label}', so there is nothing to export. Measure it again, or export another cell.{why}"
    )


def encode(found: Iterable[Slice]) -> bytes:
    """The trace file: descriptors of all tracks, then events in the order of time."""
    processes: dict[tuple[int, str, int], dict[str, list[Slice]]] = {}
    for one in found:
        processes.setdefault(one.process, {}).setdefault(one.thread, []).append(one)
    several = len({run for run, _, _ in processes}) > 1
    head, timed = [events.start()], list[tuple[int, bytes]]()
    for number, (process, threads) in enumerate(sorted(processes.items(), key=lambda item: _process_order(item[0])), 1):
        run, role, rank = process
        pid = number * _TIDS
        head.append(events.process_track(pid, pid, f"{role}-{rank}, repetition {run}" if several else f"{role}-{rank}"))
        tid = pid
        for thread in sorted(threads, key=_thread_order):
            for lane, boxes in enumerate(_lanes(threads[thread])):
                tid += 1
                if thread and lane == 0:
                    head.append(events.thread_track(tid, pid, pid, tid, thread))
                else:
                    head.append(events.child_track(tid, pid, f"{thread} (overlapping)" if thread else REQUESTS))
                timed += _events(tid, boxes)
    timed.sort(key=itemgetter(0))  # stable: at one time, an end stays before the start that follows it on its track
    return b"".join([*head, *(content for _, content in timed)])


def _process_order(process: tuple[int, str, int]) -> tuple[int, bool, str, int]:
    run, role, rank = process
    return run, role != "worker", role, rank


def _thread_order(thread: str) -> tuple[bool, bool, str]:
    return thread == "", thread != "main", thread


def _lanes(boxes: list[Slice]) -> list[list[Slice]]:
    """Boxes in as few rows as keep them apart, each in the order of time. A thread's own work never overlaps: one row."""
    lanes: list[list[Slice]] = []
    for box in sorted(boxes, key=lambda box: (box.start_ns, box.end_ns)):
        free = next((lane for lane in lanes if lane[-1].end_ns <= box.start_ns), None)
        if free is None:
            lanes.append([box])
        else:
            free.append(box)
    return lanes


def _events(track: int, boxes: list[Slice]) -> Iterator[tuple[int, bytes]]:
    for box in boxes:
        yield box.start_ns, events.slice_begin(track, box.start_ns, box.name, box.stage, box.arguments, box.flows)
        yield box.end_ns, events.slice_end(track, box.end_ns)
        if box.woken_by:
            # Perfetto lets a flow run from the slice that starts first, and a wait starts before the answer to it does.
            yield box.end_ns, events.instant(track, box.end_ns, f"{WOKEN} {box.key}".strip(), box.stage, box.woken_by)
