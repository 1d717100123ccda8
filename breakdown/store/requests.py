"""Unfolds the rows that say at once what a thread did for one frame into the spans and halves of messages they stand for.

The parameter server's threads write one row a frame (`record.api`: asked, served, replied), because each row costs
the training time. Above this room there are only spans and messages, whoever recorded them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import COLUMNS, Kind
from breakdown.record.tracefile import Block, TraceFile
from breakdown.store import chains
from breakdown.store.decode import Ints

Columns = Mapping[str, Ints | int]
_Unfold = Callable[[Mapping[str, Ints], Callable[[str], int]], Iterator[tuple[Kind, Columns]]]


def unfolded(trace: TraceFile) -> TraceFile:
    """The same trace, in spans and halves of messages only."""
    if not any(block.kind in _UNFOLD or block.kind == Kind.CHAIN for block in trace.blocks):
        return trace
    names = dict(zip(trace.names, range(len(trace.names)), strict=True))

    def name(text: str) -> int:
        return names.setdefault(text, len(names))

    blocks = [part for block in trace.blocks for part in _parts(block, name)]
    return replace(trace, blocks=tuple(blocks), names=(*trace.names, *list(names)[len(trace.names) :]))


def _parts(block: Block, name: Callable[[str], int]) -> Iterable[Block]:
    if block.kind == Kind.CHAIN:
        yield chains.spans(block)
        return
    if block.kind not in _UNFOLD:
        yield block
        return
    table = np.frombuffer(block.rows, dtype="<i8").reshape(block.count, -1)
    row = {column: table[:, place] for place, column in enumerate(COLUMNS[block.kind])}
    for kind, columns in _UNFOLD[block.kind](row, name):
        wanted = [columns[column] for column in COLUMNS[kind]]
        *values, thread = np.broadcast_arrays(*wanted, columns.get("thread", block.thread))
        for one in np.unique(thread).tolist():
            own = np.stack([column[thread == one] for column in values], axis=1).astype("<i8")
            yield Block(kind, one, len(own), memoryview(own.tobytes()))


def _asked(row: Mapping[str, Ints], name: Callable[[str], int]) -> Iterator[tuple[Kind, Columns]]:
    queue = name(Op.QUEUE)
    push, pull = _having(row, "push_id"), _pull(row)
    behind = pull["push_id"] != NO_REQUEST  # a push in the same frame, which takes all of its time
    taken_ns = np.where(behind, pull["start_ns"], pull["taken_ns"])
    sent_ns = np.where(behind, pull["start_ns"], pull["end_ns"])
    yield _state(push, Stage.SERIALIZE, queue, "queued_ns", "taken_ns")
    yield _state({**pull, "taken_ns": taken_ns}, Stage.SERIALIZE, queue, "queued_ns", "taken_ns")
    yield Kind.SENT, {**push, "verb": int(Verb.PUSH), "direction": int(Direction.REQUEST)}
    yield Kind.SENT, {**pull, "verb": int(Verb.PULL), "direction": int(Direction.REQUEST), "end_ns": sent_ns}


def _served(row: Mapping[str, Ints], name: Callable[[str], int]) -> Iterator[tuple[Kind, Columns]]:
    queue = name(Op.QUEUE)
    push, pull = _having(row, "push_id"), _pull(row)
    asked = int(Direction.REQUEST)
    yield Kind.RECEIVED, {**push, **_arrival(push, "first_byte_ns"), "verb": int(Verb.PUSH), "direction": asked}
    yield Kind.RECEIVED, {**pull, **_arrival(pull, "last_byte_ns"), "verb": int(Verb.PULL), "direction": asked}
    yield _state(push, Stage.AGGREGATE, queue, "last_byte_ns", "taken_ns")
    yield _state(pull, Stage.AGGREGATE, queue, "last_byte_ns", "taken_ns")
    work: Columns = {**push, "stage": int(Stage.AGGREGATE), "size_bytes": push["work_bytes"], "cause_id": NO_REQUEST}
    yield Kind.SPAN, work
    done = {column: values[push["updated_ns"] != NOT_MEASURED] for column, values in push.items()}
    update = _state(done, Stage.AGGREGATE, name(Op.UPDATE), "end_ns", "updated_ns")[1]
    used = {"cpu_ns": done["update_cpu_ns"], "runnable_ns": done["update_runnable_ns"]}
    yield Kind.SPAN, {**update, "size_bytes": done["work_bytes"], **used}


def _arrival(row: Mapping[str, Ints], first: str) -> dict[str, Ints]:
    """When and by which thread it was received; a pull behind a push came with its last byte."""
    return {"thread": row["receiver"], "start_ns": row[first], "end_ns": row["last_byte_ns"]}


def _replied(row: Mapping[str, Ints], name: Callable[[str], int]) -> Iterator[tuple[Kind, Columns]]:
    reply = _having(row, "pull_id")
    held = {column: values[reply["held_ns"] != NOT_MEASURED] for column, values in reply.items()}
    kind, hold = _state(held, Stage.WAIT, name(Op.HOLD), "held_ns", "queued_ns")
    yield kind, {**hold, "size_bytes": 0, "cause_id": held["cause_id"]}
    yield _state(reply, Stage.PULL, name(Op.QUEUE), "queued_ns", "taken_ns")
    yield Kind.SENT, {**reply, "verb": int(Verb.PULL), "direction": int(Direction.REPLY)}


_UNFOLD: Mapping[Kind, _Unfold] = {
    Kind.ASKED: _asked,
    Kind.SERVED: _served,
    Kind.REPLIED: _replied,
}


def _having(row: Mapping[str, Ints], column: str) -> dict[str, Ints]:
    """The rows that have this request, which becomes theirs."""
    there = row[column] != NO_REQUEST
    found = {name: values[there] for name, values in row.items()}
    return {**found, "request_id": found[column]}


def _pull(row: Mapping[str, Ints]) -> dict[str, Ints]:
    """A frame's payload is the push's."""
    pull = _having(row, "pull_id")
    return {**pull, "size_bytes": np.zeros_like(pull["pull_id"])}


def _state(row: Mapping[str, Ints], stage: Stage, op: int, start: str, end: str) -> tuple[Kind, Columns]:
    """The span of a request's state."""
    return Kind.SPAN, {
        **row,
        "stage": int(stage),
        "op": op,
        "start_ns": row[start],
        "end_ns": row[end],
        "cause_id": NO_REQUEST,
        "cpu_ns": NOT_MEASURED,
        "runnable_ns": NOT_MEASURED,
    }
