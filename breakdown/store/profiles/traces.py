"""Writes a profile as raw traces, one a process, which `store.collect` takes like any other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from breakdown.model.identity import Node
from breakdown.record.layout import COLUMNS, Kind, row_struct
from breakdown.record.writer import TraceWriter
from breakdown.store.clocks import NOTE
from breakdown.store.folder import CellFolder
from breakdown.store.profiles.clocks import Clock
from breakdown.store.profiles.grammar import Numbered
from breakdown.store.tensorflow.written import Written

CLOCK_NAME = "wall clock of the profile"

_NAMES = ("op", "key")


def write(
    folder: CellFolder,
    written: Mapping[Node, Written],
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
        _write(folder.raw_file(0, node), node, rows.tables(), rows_of_steps, clocks[node])


def _write(
    path: Path,
    node: Node,
    tables: Mapping[Kind, Sequence[tuple[str | int, ...]]],
    steps: Sequence[tuple[int, ...]],
    clock: Clock,
) -> None:
    names, threads = _Numbers([""]), _Numbers([""])  # thread 0 is none
    blocks: dict[tuple[Kind, int], list[bytes]] = defaultdict(list)
    for kind, table in tables.items():
        pack, columns = row_struct(kind).pack, COLUMNS[kind]
        for thread, *values in table:
            numbers = [names.of(str(v)) if c in _NAMES else int(v) for c, v in zip(columns, values, strict=True)]
            blocks[kind, threads.of(str(thread))].append(pack(*numbers))
    writer = TraceWriter(str(path))
    about = {"run": 0, "role": node.role.label, "rank": node.rank, "kernel_id": clock.kernel, "clock": CLOCK_NAME}
    writer.json(Kind.META, {**about, "cost_ns_per_span": 0.0})
    writer.json(Kind.NAMES, names.texts[1:])
    for number, name in enumerate(threads.texts):
        if number:
            writer.text(Kind.THREAD, number, name)
    for note in clock.notes:
        writer.json(Kind.NOTE, [NOTE, note])
    for (kind, thread), rows in blocks.items():
        writer.rows(kind, thread, rows)
    writer.rows(Kind.STEP, 0, [row_struct(Kind.STEP).pack(*step) for step in steps])
    writer.json(Kind.END, {"lost": writer.lost})
    writer.close()


class _Numbers:
    """Numbers that stand for texts."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self._numbers = {text: number for number, text in enumerate(texts)}

    def of(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]
