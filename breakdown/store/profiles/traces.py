"""Writes a profile as raw traces, one a process, which `store.collect` takes like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from breakdown.model.identity import Node
from breakdown.record.layout import ROW_BYTES, Kind, row_struct
from breakdown.record.writer import TraceWriter
from breakdown.store.clocks import NOTE
from breakdown.store.decode import Ints
from breakdown.store.folder import CellFolder
from breakdown.store.profiles.clocks import Clock
from breakdown.store.profiles.grammar import Numbered
from breakdown.store.profiles.rows import Rows, Texts

CLOCK_NAME = "wall clock of the profile"


def write(
    folder: CellFolder,
    written: Mapping[Node, Rows],
    steps: Mapping[Node, Sequence[Numbered]],
    clocks: Mapping[Node, Clock],
    samples: int,
    warmup_steps: int,
) -> None:
    """Writes the traces of repetition 0. Raises `RecordError` where a file cannot be created."""
    folder.raw_dir(0).mkdir(parents=True, exist_ok=True)
    for node, rows in written.items():
        rows_of_steps = [
            (one.number, one.step.start_ns, one.step.end_ns, samples, one.number < warmup_steps, 0, 0)
            for one in steps.get(node, ())
        ]
        _write(folder.raw_file(0, node), node, rows, rows_of_steps, clocks[node])


def _write(path: Path, node: Node, rows: Rows, steps: Sequence[tuple[int, ...]], clock: Clock) -> None:
    names, threads = Texts(), Texts()
    tables = list(rows.columns(names, threads))
    writer = TraceWriter(str(path))
    about = {"run": 0, "role": node.role.label, "rank": node.rank, "kernel_id": clock.kernel, "clock": CLOCK_NAME}
    writer.json(Kind.META, {**about, "cost_ns_per_span": 0.0})
    writer.json(Kind.NAMES, names.all)
    for number, name in enumerate(threads.all, start=1):
        writer.text(Kind.THREAD, number, name)
    for note in clock.notes:
        writer.json(Kind.NOTE, [NOTE, note])
    for kind, of, table in tables:
        order = np.argsort(of, kind="stable")
        first = np.flatnonzero(np.diff(of[order], prepend=-1))
        for own in np.split(order, first[1:]):
            writer.rows(kind, int(of[own[0]]), _packed(kind, table[own]))
    writer.rows(Kind.STEP, 0, [row_struct(Kind.STEP).pack(*step) for step in steps])
    writer.json(Kind.END, {"lost": writer.lost})
    writer.close()


def _packed(kind: Kind, table: Ints) -> list[bytes]:
    packed, size = np.ascontiguousarray(table, dtype="<i8").tobytes(), ROW_BYTES[kind]
    return [packed[at : at + size] for at in range(0, len(packed), size)]
