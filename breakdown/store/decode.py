"""The rows of raw traces as checked numpy columns, with one vocabulary for the texts of all processes of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from breakdown.errors import TraceError
from breakdown.model.identity import Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import STAGES
from breakdown.record.layout import COLUMNS, Kind
from breakdown.record.tracefile import TraceFile

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAIN_THREAD = "main"
"""The thread that steps belong to."""


NO_NAMES: Mapping[str, str] = {}


class Vocabulary:
    """Texts and the codes that stand for them in columns."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, texts: Iterable[str]) -> Ints:
        """A code for each text; equal texts share one."""
        return np.array([self._codes.setdefault(text, len(self._codes)) for text in texts], dtype=np.int64)

    def alphabetical(self, codes: Ints) -> Ints:
        """Numbers that sort as the texts of these codes do."""
        ranks = np.empty(len(self._codes), dtype=np.int64)
        ranks[np.argsort(np.array(list(self._codes), dtype=object), kind="stable")] = np.arange(len(self._codes))
        return ranks[codes]

    def column(self, codes: Ints) -> pa.DictionaryArray:
        """The texts of these codes, dictionary-encoded; the dictionary holds those that occur, in order of their codes."""
        texts = list(self._codes)
        used = np.flatnonzero(np.bincount(codes, minlength=len(texts)))
        places = np.zeros(len(texts), dtype=np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        return pa.DictionaryArray.from_arrays(places[codes], pa.array([texts[code] for code in used], pa.string()))


@dataclass(frozen=True)
class Rows:
    """Rows of one kind of one process, ordered by thread name, then end. `thread`, `op` and `key` are vocabulary codes."""

    columns: Mapping[str, Ints]
    count: int
    left_out: int  # rows with a number that stands for nothing

    def taken(self, which: Ints | Mask | slice) -> Rows:
        """These rows, in this order."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return Rows(columns, len(next(iter(columns.values()))), self.left_out)

    def parted(self, mask: Mask) -> tuple[Rows, Rows]:
        """Those of the mask, and the others; what was left out is told once, with the first."""
        return self.taken(mask), replace(self.taken(~mask), left_out=0)

    def ordered(self, vocabulary: Vocabulary) -> Rows:
        """By thread name, then end: the order of the tables."""
        return self.taken(np.lexsort((self.columns["end_ns"], vocabulary.alphabetical(self.columns["thread"]))))


def joined(*parts: Rows) -> Rows:
    """The rows of all parts, part by part."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Rows(columns, sum(part.count for part in parts), sum(part.left_out for part in parts))


def node_of_trace(trace: TraceFile) -> Node:
    """Whose trace it is. Raises `TraceError` when its first block does not say."""
    try:
        return Node(Role[str(trace.meta["role"]).upper()], int(trace.meta["rank"]))
    except (KeyError, ValueError) as error:
        raise TraceError(f"{trace.path} does not say whose it is: {error} in its first block.") from error


def rows(trace: TraceFile, kind: Kind, vocabulary: Vocabulary, names: Mapping[str, str] = NO_NAMES) -> Rows:
    """All rows of one kind in a trace. `names`: what some of its texts are to be called."""
    width = len(COLUMNS[kind])
    parts, threads = [], []
    for thread, name in sorted(_threads(trace, kind).items(), key=lambda item: item[1]):
        blocks = [
            np.frombuffer(block.rows, dtype="<i8").reshape(-1, width)
            for block in trace.blocks
            if block.kind == kind and block.thread == thread
        ]
        if blocks:
            part = np.concatenate(blocks)
            parts.append(part[np.argsort(part[:, COLUMNS[kind].index("end_ns")], kind="stable")])
            threads.append(np.full(len(part), vocabulary.codes([name])[0]))
    table = np.concatenate(parts) if parts else np.empty((0, width), dtype=np.int64)
    columns = {name: table[:, place] for place, name in enumerate(COLUMNS[kind])}
    columns["thread"] = np.concatenate(threads) if threads else np.empty(0, dtype=np.int64)
    texts = [names.get(text, text) for text in trace.names]
    return _named(_checked(columns, len(texts)), texts, vocabulary)


def _threads(trace: TraceFile, kind: Kind) -> Mapping[int, str]:
    return {0: MAIN_THREAD} if kind == Kind.STEP else trace.threads


def _checked(columns: dict[str, Ints], names: int) -> Rows:
    """Leaves out rows whose numbers stand for nothing: a backend recorded them wrongly, and no table could hold them."""
    count = len(columns["thread"])
    limits = {"stage": len(STAGES), "verb": len(Verb), "direction": len(Direction), "op": names, "key": names}
    good = np.ones(count, dtype=bool)
    for name, limit in limits.items():
        if name in columns:
            good &= (columns[name] >= 0) & (columns[name] < limit)
    if "peer" in columns:
        good &= (columns["peer"] >= 0) & (columns["peer"] >> 16 < len(Role))
    kept = int(np.count_nonzero(good))
    if kept < count:
        columns = {name: values[good] for name, values in columns.items()}
    return Rows(columns, kept, count - kept)


def _named(found: Rows, texts: Sequence[str], vocabulary: Vocabulary) -> Rows:
    codes = vocabulary.codes(texts)
    named = {name: codes[found.columns[name]] for name in ("op", "key") if name in found.columns}
    return Rows({**found.columns, **named}, found.count, found.left_out)
