"""Turns what py-spy wrote (Chrome's trace events) into rows of a cell's `samples` table: which stack, from when to when.

py-spy writes an event where a frame appears in a thread's stack or vanishes from it, at the time of the sample that saw it.
So a row lasts from the first sample that saw a stack to the first one that saw another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from breakdown.model.identity import Node
from breakdown.store import arrow
from breakdown.store.folder import SAMPLES, CellFolder

_THREAD = re.compile(r"thread \((\d+)\)(?:: (.*))?")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_PACKAGES = re.compile(r".*/(?:site-packages|dist-packages|lib/python3\.\d+)/|.*/(?=breakdown/)")


@dataclass(frozen=True)
class Sampled:
    """One role's file. Its times count from `start_ns` of the monotonic clock."""

    node: Node
    file: Path
    start_ns: int


def collect(folder: CellFolder, run: int, sampled: Sequence[Sampled]) -> tuple[str, ...]:
    """Adds the files to the table and removes them; returns a warning for each that cannot be read.

    Raises `TraceError` when the table cannot be written; then all files stay.
    """
    columns: dict[str, list[Any]] = {name: [] for name in arrow.COLUMNS[SAMPLES]}
    warnings = []
    for one in sampled:
        try:
            found = list(stretches(json.loads(one.file.read_text("utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.append(f"{one.node}: the samples in {one.file} cannot be read: {error!r}")
            continue
        for thread_id, thread, stack, start_us, end_us in found:
            row = (run, one.node.role.label, one.node.rank, thread, thread_id, stack)
            times = (one.start_ns + 1000 * start_us, one.start_ns + 1000 * end_us)
            for column, value in zip(columns.values(), (*row, *times), strict=True):
                column.append(value)
    kinds = {name: pa.array(values, arrow.schema(SAMPLES).field(name).type) for name, values in columns.items()}
    arrow.append(folder.table(SAMPLES), SAMPLES, arrow.table(SAMPLES, kinds), run)
    for one in sampled:
        one.file.unlink(missing_ok=True)
    with suppress(OSError):  # what cannot be read stays
        folder.sample_dir(run).rmdir()
        folder.sample_dir(run).parent.rmdir()
    return tuple(warnings)


@dataclass
class _Thread:
    """A thread's stack as far as the events are read, outermost frame first."""

    since_us: int = 0
    frames: list[str] = field(default_factory=list)


def stretches(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, str, str, int, int]]:
    """(thread id, thread's name, stack, start, end) in us, by their ends. py-spy's outermost frame names the thread."""
    threads: dict[int, _Thread] = {}
    for event in events:
        thread = threads.setdefault(event["tid"], _Thread())
        if thread.frames and event["ts"] > thread.since_us:
            found = _THREAD.fullmatch(thread.frames[0])
            if found:
                yield int(found[1]), found[2] or "", ";".join(thread.frames[1:]), thread.since_us, event["ts"]
        thread.since_us = event["ts"]
        if event["ph"] == "B":
            thread.frames.append(frame_text(event["name"], event["args"]["filename"]))
        elif thread.frames:
            thread.frames.pop()


def frame_text(name: str, file: str) -> str:
    """`name (file)`: the file within its package, or a library's name. What has no name is "?": its address says nothing."""
    short = _PACKAGES.sub("", file) if file.endswith(".py") else file.rpartition("/")[2]
    text = f"{_ADDRESS.sub('?', name)} ({short})" if short else name
    return text.replace(";", ",")
