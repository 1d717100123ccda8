"""Raw traces become tables: every record, both ends of a message in one row, nothing lost that can be read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_traces import SCHEDULER, SERVER, WORKERS, cell, open_recorder, record_server, record_worker, write_trace

from breakdown.errors import TraceError
from breakdown.model.identity import request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.schema import MESSAGE_COLUMNS, SPAN_COLUMNS, STEP_COLUMNS
from breakdown.model.stages import Stage
from breakdown.record.api import THREAD_NOTE
from breakdown.record.layout import COLUMNS, Kind
from breakdown.store import arrow
from breakdown.store.check import check
from breakdown.store.collect import collect
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.folder import CellFolder
from breakdown.store.messages import message_table
from breakdown.store.tables import load


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return cell(tmp_path / "cell")


def record_run(folder: CellFolder, run: int) -> None:
    record_server(folder, run, WORKERS)
    for node in WORKERS:
        record_worker(folder, run, node)


def test_a_run_of_three_processes_becomes_three_tables(folder: CellFolder) -> None:
    record_run(folder, 0)
    report = collect(folder, 0)
    tables = load(folder.path)
    assert report.warnings == ()
    assert sorted(report.recorder_cost_ns_per_span) == ["server-0", "worker-0", "worker-1"]
    assert check(tables) == []
    assert (len(tables.spans), len(tables.messages), len(tables.steps)) == (6, 6, 2)
    assert tables.spans[["role", "rank", "thread", "end_ns"]].astype({"role": str, "thread": str}).values.tolist() == [
        ["server", 0, "recv-worker-0", 1280],
        ["server", 0, "recv-worker-1", 1280],
        ["worker", 0, "main", 1100],
        ["worker", 0, "main", 1400],
        ["worker", 1, "main", 1100],
        ["worker", 1, "main", 1400],
    ]
    reply = tables.messages[(tables.messages["direction"] == "reply") & (tables.messages["receiver_rank"] == 1)]
    assert reply.iloc[0].to_dict() == {
        "run": 0,
        "request_id": request_id(WORKERS[1], 2),
        "verb": "pull",
        "direction": "reply",
        "sender_role": "server",
        "sender_rank": 0,
        "sender_thread": "recv-worker-1",
        "receiver_role": "worker",
        "receiver_rank": 1,
        "receiver_thread": "recv-server-0",
        "key": "fc1.weight",
        "step": 0,
        "size_bytes": 4096,
        "send_start_ns": 1340,
        "send_end_ns": 1370,
        "recv_start_ns": 1350,
        "recv_end_ns": 1390,
    }
    assert tables.steps.iloc[1].to_dict() == {
        "run": 0,
        "rank": 1,
        "thread": "main",
        "step": 0,
        "start_ns": 1000,
        "end_ns": 1400,
        "samples": 64,
        "warm_up": True,
        "loss": 0.5,
    }
    noted = {node: [note for note in notes if note[0] != THREAD_NOTE] for node, notes in tables.notes["0"].items()}
    assert noted == {"server-0": [], "worker-0": [["plan", [1]]], "worker-1": [["plan", [1]]]}
    names = {node: [value[0] for name, value in notes if name == THREAD_NOTE] for node, notes in tables.notes["0"].items()}
    assert set(names["worker-0"]) == {"main", "send-server-0", "recv-server-0"}


def test_the_tables_have_the_columns_and_types_of_the_schema(folder: CellFolder) -> None:
    record_run(folder, 0)
    collect(folder, 0)
    tables = load(folder.path)
    types = {
        "int32": "int32",
        "int64": "int64",
        "int64?": "Int64",
        "double?": "Float64",
        "bool": "bool",
        "text": "category",
    }
    for frame, columns in ((tables.spans, SPAN_COLUMNS), (tables.messages, MESSAGE_COLUMNS), (tables.steps, STEP_COLUMNS)):
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            name: types[kind] for name, kind in columns.items()
        }
    assert list(tables.spans["op"].cat.categories) == ["sum", "forward", "block"]
    assert pq.ParquetFile(folder.table("spans")).metadata.row_group(0).column(0).compression == "ZSTD"


def test_not_measured_stays_apart_from_zero(folder: CellFolder) -> None:
    recorder = open_recorder(folder, 0, WORKERS[0])
    main = recorder.thread("main")
    main.span(Stage.OTHER, 0, 0, 0, 0, 0, 1, cpu_ns=0, runnable_ns=0)
    main.span(Stage.OTHER, 0, 0, 0, 0, 1, 2)
    for step, loss in enumerate([None, 0.0, float("nan")]):
        recorder.step(step, step, step + 1, 1, loss=loss)
    recorder.close()
    collect(folder, 0)
    tables = load(folder.path)
    assert tables.spans["cpu_ns"].tolist() == tables.spans["runnable_ns"].tolist() == [0, pd.NA]
    assert tables.steps["loss"].isna().tolist()[:2] == [True, False]
    assert np.isnan(pq.read_table(folder.table("steps"))["loss"][2].as_py())


def test_repetitions_are_added_and_a_repeated_collection_replaces_its_own(folder: CellFolder) -> None:
    cell(folder.path, runs=(0, 1))
    for run in (0, 1):
        record_run(folder, run)
        collect(folder, run)
    once = load(folder.path)
    record_run(folder, 0)
    collect(folder, 0)
    again = load(folder.path)
    assert sorted(set(once.spans["run"])) == [0, 1]
    for name in ("spans", "messages", "steps"):
        before, after = getattr(once, name), getattr(again, name)
        assert len(after) == len(before)
        assert sorted(after["run"]) == sorted(before["run"])
    assert sorted(again.clock["runs"]) == ["0", "1"]


def test_raw_traces_are_gone_after_collection(folder: CellFolder) -> None:
    record_run(folder, 0)
    collect(folder, 0)
    assert sorted(os.listdir(folder.path)) == sorted(
        ["cell.json", "clock.json", "messages.parquet", "notes.json", "spans.parquet", "steps.parquet"]
    )


def test_a_trace_that_is_cut_off_gives_what_is_whole_and_a_warning(folder: CellFolder) -> None:
    record_run(folder, 0)
    path = folder.raw_file(0, WORKERS[1])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    report = collect(folder, 0)
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith(f"{path}: the last ")
    assert set(load(folder.path).spans["rank"]) == {0, 1}


def test_a_trace_that_cannot_be_read_stays_and_is_said(folder: CellFolder) -> None:
    record_run(folder, 0)
    path = folder.raw_file(0, WORKERS[1])
    path.write_bytes(b"")
    report = collect(folder, 0)
    assert any(f"{path} ends within its first bytes" in warning for warning in report.warnings)
    assert "3 of 6 messages were recorded at one end only" in report.warnings
    assert os.listdir(folder.raw_dir(0)) == [path.name]
    assert len(load(folder.path).steps) == 1


@pytest.mark.parametrize(
    ("content", "text"), [(None, "no process got as far as recording"), (b"nonsense", "is not a trace file")]
)
def test_nothing_to_collect_is_an_error(folder: CellFolder, content: bytes | None, text: str) -> None:
    folder.raw_dir(0).mkdir(parents=True)
    if content is not None:
        folder.raw_file(0, SERVER).write_bytes(content)
    with pytest.raises(TraceError, match=text):
        collect(folder, 0)
    assert not folder.table("spans").exists()


def test_records_whose_numbers_have_no_name_are_left_out_and_counted(folder: CellFolder) -> None:
    span = dict.fromkeys(COLUMNS[Kind.SPAN], 0)
    half = dict.fromkeys(COLUMNS[Kind.SENT], 0)
    rows = [(Kind.SPAN, tuple(row.values())) for row in (span, {**span, "stage": 8}, {**span, "op": 2}, {**span, "key": -1})]
    rows += [(Kind.SENT, tuple(row.values())) for row in ({**half, "peer": 3 << 16}, {**half, "verb": 3})]
    write_trace(folder, WORKERS[0], "kernel", rows)
    report = collect(folder, 0)
    assert report.warnings == ("worker-0: 5 records were left out: their stage, op, key or peer has no name",)
    assert (len(load(folder.path).spans), len(load(folder.path).messages)) == (1, 0)


def test_a_process_s_own_warnings_reach_the_report(folder: CellFolder) -> None:
    write_trace(folder, WORKERS[0], "kernel", [], [("warning", "no affinity")])
    assert collect(folder, 0).warnings == ("worker-0: no affinity",)
    assert load(folder.path).spans.empty


COLLECT = """
import sys
from pathlib import Path
from breakdown.errors import TraceError
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder
try:
    collect(CellFolder(Path(sys.argv[1])), 1)
except TraceError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_tables_and_the_traces_as_they_were(folder: CellFolder) -> None:
    record_run(folder, 0)
    collect(folder, 0)
    record_run(folder, 1)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, str(folder.path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"cannot write {folder.clock}: " in done.stdout
    assert "File too large" in done.stdout
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


HALVES = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(Direction), st.integers(0, 10**6)), max_size=30)


def rows_of(halves: list[tuple[int, Direction, int]], peer: int, vocabulary: Vocabulary) -> Rows:
    columns = {name: np.zeros(len(halves), dtype=np.int64) for name in COLUMNS[Kind.SENT]}
    columns["request_id"] = np.array([request for request, _, _ in halves], dtype=np.int64)
    columns["direction"] = np.array([int(direction) for _, direction, _ in halves], dtype=np.int64)
    columns["verb"] = np.full(len(halves), int(Verb.PUSH))
    columns["start_ns"] = np.array([start for _, _, start in halves], dtype=np.int64)
    columns["end_ns"] = columns["start_ns"] + 1
    columns["peer"] = np.full(len(halves), peer)
    columns["thread"] = np.full(len(halves), vocabulary.codes(["thread"])[0])
    columns["key"] = np.full(len(halves), vocabulary.codes(["key"])[0])
    return Rows(columns, len(halves), 0)


@given(sent=HALVES, received=HALVES)
def test_joining_gives_what_a_plain_loop_gives(
    sent: list[tuple[int, Direction, int]], received: list[tuple[int, Direction, int]]
) -> None:
    vocabulary = Vocabulary()
    joined, _ = message_table(
        [(WORKERS[0], rows_of(sent, SERVER.code, vocabulary))],
        [(SERVER, rows_of(received, WORKERS[0].code, vocabulary))],
        3,
        vocabulary,
    )
    starts: dict[tuple[int, Direction], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    expected: list[tuple[int, str, int | None, int | None]] = []
    for side, halves in enumerate((sent, received)):
        for request, direction, start in halves:
            if request == 0:
                expected.append((0, direction.label, None if side else start, start if side else None))
            else:
                starts[request, direction][side].append(start)
    for (request, direction), (outs, ins) in starts.items():
        outs.sort()
        ins.sort()
        for place in range(max(len(outs), len(ins))):
            out = outs[place] if place < len(outs) else None
            into = ins[place] if place < len(ins) else None
            expected.append((request, direction.label, out, into))
    found = joined.select(["request_id", "direction", "send_start_ns", "recv_start_ns"]).to_pylist()
    assert sorted(map(repr, (tuple(row.values()) for row in found))) == sorted(map(repr, expected))
    assert {(row["sender_role"], row["receiver_role"]) for row in joined.to_pylist()} <= {("worker", "server")}


def test_what_the_join_finds_wrong_is_counted() -> None:
    vocabulary = Vocabulary()
    sent = rows_of(
        [(1, Direction.REQUEST, 5), (1, Direction.REQUEST, 6), (2, Direction.REQUEST, 7)], SERVER.code, vocabulary
    )
    received = rows_of([(1, Direction.REQUEST, 8), (2, Direction.REQUEST, 9)], WORKERS[0].code, vocabulary)
    received.columns["step"][1] = 4
    _, warnings = message_table([(WORKERS[0], sent)], [(SERVER, received)], 0, vocabulary)
    assert warnings == (
        "1 of 3 messages were recorded at one end only",
        "1 of 3 messages have another key, step or size at the receiver than at the sender",
        "1 message ends use a request id again; they were joined in order of time",
    )


def test_a_number_too_big_for_its_column_is_refused_with_its_name(folder: CellFolder) -> None:
    span = {**dict.fromkeys(COLUMNS[Kind.SPAN], 0), "step": 1 << 40}
    write_trace(folder, SCHEDULER, "kernel", [(Kind.SPAN, tuple(span.values()))])
    with pytest.raises(TraceError, match="column step of spans holds a number that does not fit int32"):
        collect(folder, 0)


def test_a_broken_table_is_named_with_the_remedy(folder: CellFolder) -> None:
    record_run(folder, 0)
    folder.table("messages").write_bytes(b"PAR1 not really")
    with pytest.raises(TraceError, match=r"cannot read .*messages\.parquet: .*measure again"):
        collect(folder, 0)
    with pytest.raises(TraceError, match=r"cannot read .*messages\.parquet: .*measure again"):
        arrow.read(folder.table("messages"), "messages")
