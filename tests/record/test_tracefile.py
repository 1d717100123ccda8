"""A trace file, cut or damaged at any byte, gives all that is whole before it and nothing that was not recorded."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakdown.errors import TraceError
from breakdown.record.layout import COLUMNS, HEAD, MAGIC, ROW_BYTES, Kind, row_struct
from breakdown.record.tracefile import TraceFile, read
from breakdown.record.writer import TraceWriter

INT64 = st.integers(-(2**63), 2**63 - 1)
Row = tuple[int, ...]
Batch = tuple[Kind, int, list[Row]]


def batches() -> st.SearchStrategy[list[Batch]]:
    def batch(kind: Kind) -> st.SearchStrategy[Batch]:
        rows = st.lists(st.tuples(*[INT64] * len(COLUMNS[kind])), max_size=5)
        return st.tuples(st.just(kind), st.integers(0, 3), rows)

    return st.lists(st.sampled_from(sorted(COLUMNS)).flatmap(batch), max_size=5)


@dataclass
class Written:
    """A file, and for each row the byte at which it is whole."""

    data: bytes
    rows: list[tuple[int, Kind, int, Row]] = field(default_factory=list)
    first_block_end: int = 0


def write(folder: Path, recorded: list[Batch]) -> Written:
    path = folder / "a.trace"
    writer = TraceWriter(str(path))
    writer.json(Kind.META, {"run": 0})
    written = Written(b"", first_block_end=len(MAGIC) + HEAD.size + len('{"run": 0}'))
    for kind, thread, rows in recorded:
        writer.json(Kind.NAMES, ["some", "names"])
        writer.text(Kind.THREAD, thread, "näme")
        start = path.stat().st_size + HEAD.size
        writer.rows(kind, thread, [row_struct(kind).pack(*row) for row in rows])
        written.rows += [(start + (place + 1) * ROW_BYTES[kind], kind, thread, row) for place, row in enumerate(rows)]
    writer.json(Kind.END, {"lost": 0})
    writer.close()
    written.data = path.read_bytes()
    return written


def read_bytes(folder: Path, data: bytes) -> TraceFile:
    path = folder / "b.trace"
    path.write_bytes(data)
    return read(str(path))


def rows_of(trace: TraceFile) -> list[tuple[Kind, int, Row]]:
    return [(block.kind, block.thread, row) for block in trace.blocks for row in block]


@given(recorded=batches(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_cut_at_any_byte_gives_every_record_before_the_cut(recorded: list[Batch], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write(Path(name), recorded)
        cut = data.draw(st.integers(0, len(written.data)), "cut")
        whole = [(kind, thread, row) for end, kind, thread, row in written.rows if end <= cut]
        if cut < written.first_block_end:
            with pytest.raises(TraceError, match="the process died while it started"):
                read_bytes(Path(name), written.data[:cut])
            return
        trace = read_bytes(Path(name), written.data[:cut])
        assert rows_of(trace) == whole
        assert all(thread in trace.threads for kind, thread, _ in whole)
        payload_end = len(written.data.rstrip(b"\0"))  # what is cut of the last padding is nothing
        assert len(trace.warnings) == (0 if cut >= payload_end else 1)


@given(recorded=batches(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_byte_never_gives_a_record_that_was_not_recorded(recorded: list[Batch], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write(Path(name), recorded)
        place = data.draw(st.integers(written.first_block_end, len(written.data) - 1), "place")
        damaged = bytearray(written.data)
        damaged[place] ^= data.draw(st.integers(1, 255), "flip")
        trace = read_bytes(Path(name), bytes(damaged))
        found, recorded_rows = rows_of(trace), [(kind, thread, row) for _, kind, thread, row in written.rows]
        assert found == recorded_rows[: len(found)]
        assert found == recorded_rows or len(trace.warnings) == 1


def test_rows_are_views_into_the_file_aligned_for_int64(tmp_path: Path) -> None:
    written = write(tmp_path, [(Kind.SPAN, 1, [tuple(range(11))])])
    trace = read_bytes(tmp_path, written.data)
    (block,) = trace.blocks
    assert block.rows.readonly
    assert written.data.index(bytes(block.rows)) % 8 == 0
    assert block.rows.cast("q").tolist() == list(range(11))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the process died while it started, or the disk was full"),
        (MAGIC[:3], "the process died while it started, or the disk was full"),
        (MAGIC, "holds no whole first block"),
        (MAGIC[:-2] + b"99", "has trace layout 99, this version reads 03"),
        (b"PAR1 something else", "is not a trace file"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(TraceError, match=text):
        read_bytes(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot read the trace file .*none\.trace: No such file"):
        read(str(tmp_path / "none.trace"))
