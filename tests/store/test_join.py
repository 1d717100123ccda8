"""A process that was recorded from two sides is one node, and no thread of it is in two places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_traces import WORKERS, cell

from breakdown.model.identity import Node
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED, THREAD_NOTE
from breakdown.record.layout import COLUMNS, USED, Kind, row_struct
from breakdown.record.recorder import FileRecorder
from breakdown.record.tracefile import TraceFile
from breakdown.record.writer import TraceWriter
from breakdown.store.check import check
from breakdown.store.collect import collect
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.folder import CellFolder
from breakdown.store.join import cut
from breakdown.store.keys import names_of_keys
from breakdown.store.tables import load

OPS = ["wait", "queue", "engine-work"]


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return cell(tmp_path / "cell")


def record_python(folder: CellFolder, node: Node) -> None:
    folder.raw_dir(0).mkdir(parents=True, exist_ok=True)
    recorder = FileRecorder(str(folder.raw_file(0, node)), 0, node)
    main = recorder.thread("main")
    main.span(Stage.COMPUTE, recorder.intern(Op.FORWARD), 0, 0, 0, 100, 200, cpu_ns=90, runnable_ns=4)
    main.span(Stage.WAIT, recorder.intern(Op.BLOCK), 0, 0, 0, 200, 500, cpu_ns=10, runnable_ns=4)
    recorder.step(0, 100, 500, 4)
    recorder.note("parameter_names", {"0": "fc1.weight"})
    recorder.close()


def record_native(folder: CellFolder, node: Node, rows: list[tuple[int, int, int, int]]) -> None:
    """`rows`: thread (1 is main, 2 another), op, start, end."""
    writer = TraceWriter(str(folder.raw_dir(0) / f"{node}.native.trace"))
    meta = {"role": "worker", "rank": node.rank, "kernel_id": "kernel", "cost_ns_per_span": 50.0, "recorder": "native"}
    writer.json(Kind.META, meta)
    writer.json(Kind.NAMES, OPS)
    for thread, name in ((1, "main"), (2, "engine")):
        writer.text(Kind.THREAD, thread, name)
    for thread, op, start, end in rows:
        unknown = dict.fromkeys(USED, NOT_MEASURED)
        values = {**dict.fromkeys(COLUMNS[Kind.SPAN], 0), "op": op, "start_ns": start, "end_ns": end, **unknown}
        writer.rows(Kind.SPAN, thread, [row_struct(Kind.SPAN).pack(*values.values())])
    writer.json(Kind.NOTE, ["traffic", 7])
    writer.json(Kind.END, {"lost": 0})
    writer.close()


def test_two_traces_of_a_node_become_one(folder: CellFolder) -> None:
    record_python(folder, WORKERS[0])
    record_native(folder, WORKERS[0], [(2, 3, 150, 260), (1, 1, 210, 300), (1, 1, 350, 490), (1, 2, 220, 450)])
    report = collect(folder, 0)
    tables = load(folder.path)
    assert check(tables) == []
    found = tables.spans[["thread", "op", "start_ns", "end_ns"]].astype({"thread": str, "op": str}).values.tolist()
    assert found == [
        ["engine", "engine-work", 150, 260],
        ["main", "forward", 100, 200],
        ["main", "block", 200, 210],
        ["main", "wait", 210, 300],
        ["main", "block", 300, 350],
        ["main", "queue", 220, 450],  # a state of a request: no activity, so it takes no time from anybody
        ["main", "wait", 350, 490],
        ["main", "block", 490, 500],
    ]
    for name in USED:
        assert tables.spans[name].isna().tolist() == [True, False, *[True] * 6]  # forward was left whole
    noted = [note for note in tables.notes["0"]["worker-0"] if note[0] != THREAD_NOTE]
    assert noted == [["traffic", 7], ["parameter_names", {"0": "fc1.weight"}]]
    assert list(report.recorder_cost_ns_per_span) == ["worker-0"]
    assert report.recorder_cost_ns_per_span["worker-0"] > 50
    assert not folder.raw_dir(0).exists()


def test_other_nodes_threads_are_left_alone(folder: CellFolder) -> None:
    record_python(folder, WORKERS[0])
    record_python(folder, WORKERS[1])
    record_native(folder, WORKERS[0], [(1, 1, 0, 1000)])
    collect(folder, 0)
    spans = load(folder.path).spans
    assert spans.loc[spans["rank"] == 0, "op"].tolist() == ["wait"]
    assert spans.loc[spans["rank"] == 1, "op"].tolist() == ["forward", "block"]


def test_a_native_trace_alone_is_a_node(folder: CellFolder) -> None:
    folder.raw_dir(0).mkdir(parents=True)
    record_native(folder, WORKERS[1], [(1, 1, 0, 10)])
    collect(folder, 0)
    assert load(folder.path).spans["rank"].tolist() == [1]


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 60), max_size=16, unique=True),
)
def test_what_is_cut_is_what_is_inside_and_nothing_else(outer: list[int], inner: list[int]) -> None:
    """Against sets of nanoseconds."""
    vocabulary = Vocabulary()
    thread, op = vocabulary.codes(["main", "work"])
    pairs = [sorted(points)[: len(points) // 2 * 2] for points in (outer, inner)]
    (starts, ends), (in_starts, in_ends) = [np.array([points[0::2], points[1::2]], dtype=np.int64) for points in pairs]
    columns = {name: np.zeros(len(starts), dtype=np.int64) for name in COLUMNS[Kind.SPAN]}
    columns |= {"start_ns": starts, "end_ns": ends, "op": np.full(len(starts), op), "thread": np.full(len(starts), thread)}
    found = cut(Rows(columns, len(starts), 0), {int(thread): (in_starts, in_ends)}, vocabulary)

    def moments(firsts: list[int], lasts: list[int]) -> list[int]:
        return [moment for first, last in zip(firsts, lasts, strict=True) for moment in range(first, last)]

    left = moments(found.columns["start_ns"].tolist(), found.columns["end_ns"].tolist())
    assert left == sorted(set(moments(starts.tolist(), ends.tolist())) - set(moments(in_starts.tolist(), in_ends.tolist())))


def test_keys_of_native_traces_get_their_parameters_names() -> None:
    def trace(names: tuple[str, ...], *notes: tuple[str, object]) -> TraceFile:
        return TraceFile("", {}, ("", *names), {}, (), notes, ())

    def wire(parameter: int, key: int, elements: int) -> tuple[str, object]:
        return ("wire_key", {"wire_key_id": key, "parameter_id": parameter, "elements": elements})

    python = trace((), ("parameter_names", {"0": "fc1.weight", "1": "fc1.bias"}))
    native = trace(
        ("0", "0@0", "0@1", "1", "1@1", "7", "2@0", "8", "8@0", "8@1"),
        wire(1, 3, 40), wire(1, 2, 60), wire(4, 5, 10), wire(6, 7, 1), wire(8, 9, -1), wire(8, 10, 5),
    )  # fmt: skip
    found = names_of_keys([native, python, native])
    assert found == {
        "0": "fc1.weight",
        "0@0": "fc1.weight[0:60]",
        "0@1": "fc1.weight[60:100]",
        "1": "fc1.bias",
        "1@1": "fc1.bias",
        "2@0": "7",  # nobody has named it
        "8@0": "8[1/2]",  # where it is split was not told
        "8@1": "8[2/2]",
    }
