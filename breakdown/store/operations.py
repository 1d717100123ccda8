"""Brings what a native recorder saw of a framework's engine into the trace grammar, once the traces of a run are decoded.

A native recorder writes one process's view: its engine's operations are numbered for that process alone, a server does not
know the worker's step, and the completion of an operation by an answer is a row of its own (`release`). Here

- operations get ids that are unique in the run (`model.identity.operation_id`);
- every row of a request or operation gets the step that any row of it knows;
- a `release` becomes an edge of the graph: its operation is held, from the end of its own work to its completion, and the
  cause is the request whose answer completed it;
- the stretches in which a server's updater held Python's lock become activity of its main thread, cut out of `update`;
- what is left in a worker's main thread of a call that reads a result, beside the sleep that the native recorder saw, is
  `read`: the thread's own work in that call.

Traces without such rows are passed on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from breakdown.model.identity import NO_REQUEST, OPERATION, Node, Role, operation_id
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import USED, Kind
from breakdown.store.decode import MAIN_THREAD, Ints, Mask, Rows, Vocabulary, joined
from breakdown.store.join import ByKind, cut
from breakdown.store.messages import NO_STEP

FIRST_LOCAL = 1 << 61
"""In a native trace, ids from here on are those of its own process's operations."""

RELEASE, READ = "release", "read"
LOCK_LANE = f"{MAIN_THREAD}/{Op.LOCK}"

_HALVES = (Kind.SENT, Kind.RECEIVED)
_ASKED = (Kind.SPAN, *_HALVES)


def resolve(by_node: Mapping[Node, ByKind], vocabulary: Vocabulary) -> Mapping[Node, ByKind]:
    """The rows of all nodes of one run, in the grammar."""
    found = {node: {**kinds, Kind.SPAN: _spans(node, kinds[Kind.SPAN], vocabulary)} for node, kinds in by_node.items()}
    return _with_steps(found)


def _spans(node: Node, spans: Rows, vocabulary: Vocabulary) -> Rows:
    parts = _locked_apart(spans, vocabulary)
    columns = parts.columns
    local = {name: columns[name] >= FIRST_LOCAL for name in ("request_id", "cause_id")}
    if any(mask.any() for mask in local.values()):
        first = operation_id(node, 0)
        own = {name: np.where(mask, columns[name] - FIRST_LOCAL + first, columns[name]) for name, mask in local.items()}
        parts = _reading(_completed(replace(parts, columns={**columns, **own}), vocabulary), node, vocabulary)
    return spans if parts is spans else parts.ordered(vocabulary)


def _locked_apart(spans: Rows, vocabulary: Vocabulary) -> Rows:
    """Moves the lane of Python's lock into the main thread, whose updates it interrupts."""
    lane, main, update = vocabulary.codes((LOCK_LANE, MAIN_THREAD, Op.UPDATE)).tolist()
    columns = spans.columns
    locked = columns["thread"] == lane
    if not locked.any():
        return spans
    start, end = columns["start_ns"][locked], columns["end_ns"][locked]
    order = np.argsort(start, kind="stable")
    updating = (columns["thread"] == main) & (columns["op"] == update)
    moved = replace(spans, columns={**columns, "thread": np.where(locked, main, columns["thread"])})
    updates, others = moved.parted(updating)
    return joined(others, cut(updates, {main: (start[order], end[order])}, vocabulary))


def _completed(spans: Rows, vocabulary: Vocabulary) -> Rows:
    """Adds a `hold` to each operation that an answer completed. Its cause is the request that was answered."""
    columns = spans.columns
    release, hold, queue = vocabulary.codes((RELEASE, Op.HOLD, Op.QUEUE)).tolist()
    done = np.flatnonzero((columns["op"] == release) & (columns["request_id"] != NO_REQUEST))
    operation = columns["cause_id"][done]
    own = np.isin(columns["request_id"], operation) & ~np.isin(columns["op"], (hold, queue))
    order = np.flatnonzero(own)[np.lexsort((columns["end_ns"][own], columns["request_id"][own]))]
    ids = columns["request_id"][order]
    at = np.searchsorted(ids, operation, side="right") - 1
    known = (at >= 0) & (ids[np.maximum(at, 0)] == operation) if len(ids) else np.zeros(len(done), dtype=bool)
    done, last = done[known], order[at[known]]
    added = {name: values[last] for name, values in columns.items()}
    end_ns = columns["end_ns"][done]
    added |= {
        "stage": columns["stage"][done],
        "op": np.full(len(done), hold),
        "size_bytes": np.zeros(len(done), dtype=np.int64),
        "start_ns": np.minimum(columns["end_ns"][last], end_ns),  # the answer may come before the sending has returned
        "end_ns": end_ns,
        "cause_id": columns["request_id"][done],
        **{name: np.full(len(done), NOT_MEASURED) for name in USED},
    }
    return joined(spans, Rows(added, len(done), 0))


def _reading(spans: Rows, node: Node, vocabulary: Vocabulary) -> Rows:
    if node.role is not Role.WORKER:
        return spans
    columns = spans.columns
    main, block, read = vocabulary.codes((MAIN_THREAD, Op.BLOCK, READ)).tolist()
    awake = (columns["thread"] == main) & (columns["op"] == block) & (columns["cause_id"] == NO_REQUEST)
    renamed = {
        "op": np.where(awake, read, columns["op"]),
        "stage": np.where(awake, int(Stage.COMPUTE), columns["stage"]),
    }
    return Rows({**columns, **renamed}, spans.count, spans.left_out)


def _with_steps(by_node: Mapping[Node, ByKind]) -> Mapping[Node, ByKind]:
    tables = [kinds[kind].columns for kinds in by_node.values() for kind in _ASKED]
    if not any(_lacks_step(columns).any() for columns in tables):
        return by_node
    told = [(columns["request_id"], columns["step"], columns["step"] != NO_STEP) for columns in tables]
    known = _steps_of(told)
    for kinds in by_node.values():  # a request is part of the step of the operation that made it
        columns = kinds[Kind.SPAN].columns
        made = _lacks_step(columns) & (columns["cause_id"] & OPERATION == OPERATION)
        step = _looked_up(columns["cause_id"], known)
        told.append((columns["request_id"], step, made & (step != NO_STEP)))
    known = _steps_of(told)
    return {
        node: {kind: _filled(rows, known) if kind in _ASKED else rows for kind, rows in kinds.items()}
        for node, kinds in by_node.items()
    }


def _steps_of(told: Sequence[tuple[Ints, Ints, Mask]]) -> tuple[Ints, Ints]:
    """Ids, ascending, and the step of each, from columns of ids and steps and masks of the entries that count."""
    request = np.concatenate([ids[mask] for ids, _, mask in told])
    step = np.concatenate([steps[mask] for _, steps, mask in told])
    ids, place = np.unique(request, return_index=True)
    return ids, step[place]


def _looked_up(wanted: Ints, known: tuple[Ints, Ints]) -> Ints:
    ids, steps = known
    if not len(ids):
        return np.full(len(wanted), NO_STEP)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[at] == wanted, steps[at], NO_STEP)


def _filled(rows: Rows, known: tuple[Ints, Ints]) -> Rows:
    columns, lacks = rows.columns, _lacks_step(rows.columns)
    step = columns["step"].copy()
    step[lacks] = _looked_up(columns["request_id"][lacks], known)
    return Rows({**columns, "step": step}, rows.count, rows.left_out)


def _lacks_step(columns: Mapping[str, Ints]) -> Mask:
    lacks: Mask = (columns["step"] == NO_STEP) & (columns["request_id"] != NO_REQUEST)
    return lacks
