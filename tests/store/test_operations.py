"""What a native recorder saw of an engine comes into the tables in the trace grammar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_traces import cell

from breakdown.model.identity import NO_REQUEST, Node, Role, operation_id, request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import COLUMNS, USED, Kind, row_struct
from breakdown.record.writer import TraceWriter
from breakdown.store.check import check
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder
from breakdown.store.operations import FIRST_LOCAL
from breakdown.store.tables import Tables, load

W0, S0 = Node(Role.WORKER, 0), Node(Role.SERVER, 0)
ASKED = request_id(W0, 5)
STEP = 4


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    found = cell(tmp_path / "cell")
    found.raw_dir(0).mkdir(parents=True)
    return found


class Native:
    """A trace as the native recorder of one process writes it."""

    def __init__(self, folder: CellFolder, node: Node) -> None:
        self._writer = TraceWriter(str(folder.raw_dir(0) / f"{node}.native.trace"))
        meta = {"role": node.role.label, "rank": node.rank, "kernel_id": "kernel", "cost_ns_per_span": 50.0}
        self._writer.json(Kind.META, {**meta, "recorder": "native"})
        self._texts: dict[str, int] = {"": 0}
        self._threads: dict[str, int] = {}
        self._rows: list[tuple[Kind, int, bytes]] = []

    def add(self, kind: Kind, thread: str, **given: Any) -> None:
        values = dict.fromkeys(COLUMNS[kind], 0) | dict.fromkeys(USED, NOT_MEASURED) | {"step": -1} | given
        for name in ("op", "key"):
            if isinstance(values.get(name), str):
                values[name] = self._texts.setdefault(values[name], len(self._texts))
        row = row_struct(kind).pack(*(int(values[name]) for name in COLUMNS[kind]))
        self._rows.append((kind, self._threads.setdefault(thread, 1 + len(self._threads)), row))

    def span(
        self, thread: str, stage: Stage, op: str, start: int, end: int, own: int, cause: int = 0, step: int = -1
    ) -> None:
        times = {"start_ns": start, "end_ns": end, "step": step}
        self.add(Kind.SPAN, thread, stage=stage, op=op, request_id=own, cause_id=cause, **times)

    def half(self, kind: Kind, verb: Verb, direction: Direction, peer: Node, start: int, end: int) -> None:
        what = {"verb": verb, "direction": direction, "peer": peer.code, "request_id": ASKED, "size_bytes": 8}
        self.add(kind, f"{kind.name}-{peer}", start_ns=start, end_ns=end, **what)

    def close(self) -> None:
        self._writer.json(Kind.NAMES, list(self._texts)[1:])
        for name, number in self._threads.items():
            self._writer.text(Kind.THREAD, number, name)
        for kind, thread, row in self._rows:
            self._writer.rows(kind, thread, [row])
        self._writer.json(Kind.END, {"lost": 0})
        self._writer.close()


def recorded(folder: CellFolder) -> Tables:
    """One combined push and pull of worker 0, asked for by operation 3 and completing it; operation 4 is held for that."""
    worker, server = Native(folder, W0), Native(folder, S0)
    store, copy = FIRST_LOCAL + 3, FIRST_LOCAL + 4
    worker.span("engine", Stage.SERIALIZE, Op.QUEUE, 10, 12, store, step=STEP)
    worker.span("engine", Stage.SERIALIZE, "KVStorePushPull", 12, 14, store, step=STEP)
    worker.span("engine", Stage.SERIALIZE, Op.QUEUE, 10, 14, ASKED, store)
    worker.half(Kind.SENT, Verb.PUSH, Direction.REQUEST, S0, 16, 20)
    server.half(Kind.RECEIVED, Verb.PUSH, Direction.REQUEST, W0, 18, 22)
    server.span("main", Stage.AGGREGATE, Op.UPDATE, 25, 45, ASKED)
    server.span("main/python-lock", Stage.AGGREGATE, Op.LOCK_WAIT, 27, 29, ASKED)
    server.span("main/python-lock", Stage.AGGREGATE, Op.LOCK, 29, 35, ASKED)
    server.half(Kind.SENT, Verb.PULL, Direction.REPLY, W0, 50, 52)
    worker.half(Kind.RECEIVED, Verb.PULL, Direction.REPLY, S0, 51, 55)
    worker.span("customer", Stage.SERIALIZE, Op.DECODE, 55, 60, ASKED, store)
    worker.span("customer", Stage.PULL, "release", 60, 64, ASKED, store, step=STEP)
    worker.span("engine", Stage.SERIALIZE, Op.HOLD, 11, 62, copy, store, step=STEP)
    worker.span("engine", Stage.SERIALIZE, Op.DECODE, 66, 70, copy, step=STEP)
    worker.span("main", Stage.WAIT, Op.BLOCK, 15, 75, NO_REQUEST, copy, step=STEP)
    worker.span("main", Stage.WAIT, Op.BLOCK, 75, 78, NO_REQUEST, step=STEP)
    worker.close()
    server.close()
    assert collect(folder, 0).warnings == ()
    return load(folder.path)


def spans(tables: Tables, **wanted: Any) -> list[tuple[Any, ...]]:
    found = tables.spans
    for name, value in wanted.items():
        found = found[found[name] == value]
    return list(found[["op", "start_ns", "end_ns", "request_id", "cause_id"]].itertuples(index=False, name=None))


def test_operations_are_named_by_their_node_and_the_answer_holds_the_one_that_asked(folder: CellFolder) -> None:
    tables = recorded(folder)
    store, copy = operation_id(W0, 3), operation_id(W0, 4)
    assert spans(tables, role="worker", thread="engine") == [
        ("queue", 10, 12, store, 0),
        ("KVStorePushPull", 12, 14, store, 0),
        ("queue", 10, 14, ASKED, store),
        ("hold", 11, 62, copy, store),
        ("hold", 14, 64, store, ASKED),  # from the end of its own work until the answer had completed it
        ("decode", 66, 70, copy, 0),
    ]
    assert spans(tables, role="worker", thread="main") == [("block", 15, 75, 0, copy), ("read", 75, 78, 0, 0)]
    assert check(tables) == []


def test_the_lock_is_cut_out_of_the_update(folder: CellFolder) -> None:
    assert [row[:3] for row in spans(recorded(folder), role="server")] == [
        ("update", 25, 27),
        ("python-lock-wait", 27, 29),
        ("python-lock", 29, 35),
        ("update", 35, 45),
    ]


def test_a_record_without_a_name_is_told_where_the_lock_is_cut_out_too(folder: CellFolder) -> None:
    server = Native(folder, S0)
    server.span("main", Stage.AGGREGATE, Op.UPDATE, 25, 45, ASKED)
    server.span("main/python-lock", Stage.AGGREGATE, Op.LOCK, 29, 35, ASKED)
    server.span("main", len(Stage), Op.UPDATE, 46, 47, ASKED)
    server.close()
    (warning,) = collect(folder, 0).warnings
    assert warning.startswith("server-0: 1 records were left out")


def test_what_belongs_to_a_request_is_of_its_workers_step_at_both_ends(folder: CellFolder) -> None:
    tables = recorded(folder)
    assert set(tables.spans["step"]) == {STEP}
    assert set(tables.messages["step"]) == {STEP}


def test_a_request_is_of_the_step_of_the_operation_that_made_it(folder: CellFolder) -> None:
    worker = Native(folder, W0)
    worker.span("engine", Stage.COMPUTE, "mean", 12, 14, FIRST_LOCAL, step=STEP)
    worker.span("sender", Stage.SERIALIZE, Op.QUEUE, 14, 15, ASKED, FIRST_LOCAL)
    worker.span("sender", Stage.SERIALIZE, Op.ENCODE, 15, 16, ASKED)
    worker.close()
    collect(folder, 0)
    assert load(folder.path).spans["step"].tolist() == [STEP] * 3
