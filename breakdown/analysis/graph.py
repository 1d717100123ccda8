"""The dependency graph of a run, as indexes over its rows: what the critical path is walked back on.

Its edges, each from a moment to the one that had to come before it:

- program order: what a thread did before this (`threads`: main threads, and those that serve a queue)
- submit: the worker's main thread hands a request over (the start of the first row of its chain), or other work does
  (that row is a queue with a `cause`)
- chain: what happened to the same request before this (`chains`)
- link: a message arrives after the messages that were sent before it on the same connection (`ahead`). Held up by one
  that is of no stage, it is still on its own way
- answer: a sleeping main thread wakes when its answer is complete (a block's `cause`)
- release: a held request goes on when another request is aggregated, an operation when what it depends on is complete (a
  hold's `cause`)
- pair: a pull is sent with, or right behind, the push of the same key, step and server (`push_of`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from breakdown.analysis.codes import NONE, Ints, Long, compact, order_by
from breakdown.analysis.rows import AT_SERVER, Rows
from breakdown.model.identity import Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op

WORK, BLOCK, QUEUE, HOLD, WIRE = 0, 1, 2, 3, 4
"""The shapes of rows: how the walk passes through one."""
_SHAPES: Final = {Op.BLOCK: BLOCK, Op.QUEUE: QUEUE, Op.HOLD: HOLD, Op.WIRE: WIRE}


@dataclass(frozen=True)
class Sequences:
    """Rows in the order in which they happened, group by group. Group g has the entries first[g] ... stop[g] - 1."""

    start_ns: Long
    end_ns: Long
    row: Ints
    first: Ints
    stop: Ints


@dataclass(frozen=True)
class Graph:
    """All edges; `rows` are the nodes."""

    rows: Rows
    shape: Ints  # by row
    threads: Sequences  # by thread: its activity. A message's half stands for its wire
    chains: Sequences  # by request or operation: what happened to it
    ahead: Ints  # by wire: the row of the message that arrived before it on its connection; NONE
    push_of: Ints  # by request: of a pull its push, else itself; one more entry, for NONE
    main_of: Ints  # by request: the main thread of the worker that made it; NONE
    mains: dict[tuple[int, int], int]  # (run, worker) -> main thread


def build(rows: Rows, steps: pd.DataFrame) -> Graph:
    """Indexes the rows of a run. `steps` says which thread of a worker is its main thread."""
    shape = np.array([_SHAPES.get(op, WORK) for op in rows.ops], dtype=np.int8)[rows.op]
    mains = main_threads(rows, steps)
    main_of_place = np.full((1 + max((run for run, _ in mains), default=0), len(rows.places) + 1), NONE, dtype=np.int32)
    for (run, rank), thread in mains.items():
        main_of_place[run, rows.places.index(Node(Role.WORKER, rank))] = thread
    known = rows.request_run < len(main_of_place)
    return Graph(
        rows=rows,
        shape=shape,
        threads=_threads(rows, shape, list(mains.values())),
        chains=(chains := _chains(rows, shape)),
        ahead=_ahead(rows),
        push_of=_push_of(rows, shape, chains),
        main_of=np.where(known, main_of_place[np.where(known, rows.request_run, 0), rows.requester], NONE).astype(np.int32),
        mains=mains,
    )


def main_threads(rows: Rows, steps: pd.DataFrame) -> dict[tuple[int, int], int]:
    """(run, worker) -> code of its main thread, for the workers that have steps and records."""
    named = {(run, rows.places[place], name): code for code, (run, place, name) in enumerate(rows.threads)}
    workers = zip(steps["run"].tolist(), steps["rank"].tolist(), steps["thread"].tolist(), strict=True)
    found = {(run, rank): named.get((run, Node(Role.WORKER, rank), name), NONE) for run, rank, name in set(workers)}
    return {worker: thread for worker, thread in found.items() if thread != NONE}


def _threads(rows: Rows, shape: Ints, mains: list[int]) -> Sequences:
    """Only threads that the walk can come to, main threads and those that serve a queue, and records with a duration.

    A message of no stage explains nothing: what waits while its thread sends or receives one waits for that thread.
    """
    wanted = np.zeros(len(rows.threads) + 1, dtype=bool)  # the last entry, for NONE, stays False
    wanted[rows.thread[shape == QUEUE]] = True
    wanted[mains] = True
    wanted[NONE] = False
    active = np.flatnonzero(wanted[rows.thread] & (shape != QUEUE) & (shape != HOLD) & (rows.end_ns > rows.start_ns))
    told = rows.verb != int(Verb.CONTROL)
    halves = [(h, np.flatnonzero(told & h.known & wanted[h.thread] & (h.end_ns > h.start_ns))) for h in rows.halves]
    thread = np.concatenate([rows.thread[active], *(half.thread[at] for half, at in halves)])
    start = np.concatenate([rows.start_ns[active], *(half.start_ns[at] for half, at in halves)])
    end = np.concatenate([rows.end_ns[active], *(half.end_ns[at] for half, at in halves)])
    row = np.concatenate([active, *(at + rows.spans for _, at in halves)])
    order = order_by(thread, start)
    first, stop = _ranges(thread[order], len(rows.threads))
    return Sequences(start[order], end[order], row[order].astype(np.int32), first, stop)


def _chains(rows: Rows, shape: Ints) -> Sequences:
    sent, received = rows.halves
    wires = np.flatnonzero((sent.known | received.known) & (rows.request[rows.spans :] != NONE)) + rows.spans
    spans = np.flatnonzero((rows.request[: rows.spans] != NONE) & (shape[: rows.spans] != BLOCK))
    row = np.concatenate((wires, spans)).astype(np.int32)  # wires first: they come before spans that end at the same ns
    request = rows.request[row]
    order = order_by(request, rows.end_ns[row])
    row = row[order]
    return Sequences(rows.start_ns[row], rows.end_ns[row], row, *_ranges(request[order], len(rows.requester)))


def _ranges(group: Ints, groups: int) -> tuple[Ints, Ints]:
    """Where each group starts and stops in a sorted array of group numbers."""
    stop = np.cumsum(np.bincount(group, minlength=groups))
    return np.concatenate(([0], stop[:-1])) if groups else stop, stop


def _ahead(rows: Rows) -> Ints:
    sent, received = rows.halves
    whole = np.flatnonzero(sent.known & received.known & (rows.verb != int(Verb.CONTROL)))
    whole = whole[np.argsort(rows.request[rows.spans :][whole], kind="stable")]  # a pull comes behind the push of its frame
    sender, places = rows.place[rows.spans :][whole].astype(np.int64), len(rows.places)
    _, connection = compact((rows.run[rows.spans :][whole] * places + sender) * places + rows.receiver[whole])
    order = order_by(connection, received.end_ns[whole])
    same = connection[order[1:]] == connection[order[:-1]]
    ahead = np.full(len(rows.receiver), NONE, dtype=np.int32)
    ahead[whole[order[1:][same]]] = whole[order[:-1][same]] + rows.spans
    return ahead


def _push_of(rows: Rows, shape: Ints, chains: Sequences) -> Ints:
    """Pairs a pull with the push of the same worker, step, key and server."""
    requests, spans = len(rows.requester), rows.spans
    verb = np.zeros(requests + 1, dtype=np.int8)  # the last entries take what belongs to NONE
    verb[rows.cause[shape == BLOCK]] = Verb.PULL
    verb[rows.request[shape == HOLD]] = Verb.PULL
    verb[rows.request[rows.op == rows.ops.index(Op.SUM)]] = Verb.PUSH
    verb[rows.request[spans:]] = rows.verb
    server = np.full(requests + 1, NONE, dtype=np.int64)
    at_server = np.flatnonzero(rows.leg_start[:spans] == AT_SERVER)
    server[rows.request[at_server]] = rows.place[at_server]
    server[rows.request[spans:]] = np.where(rows.direction == Direction.REQUEST, rows.receiver, rows.place[spans:])

    known = np.flatnonzero((chains.stop > chains.first) & (server[:-1] != NONE))
    row = chains.row[chains.first[known]]
    word = rows.request_run[known].astype(np.int64)
    for part, size in (
        (rows.requester[known], len(rows.places)),
        (rows.step[row], int(rows.step.max(initial=0))),
        (server[known], len(rows.places)),
        (rows.key[row], len(rows.keys)),
    ):
        word = word * (size + 1) + part + 1  # + 1: NONE is a number too
    is_push, is_pull = verb[known] == Verb.PUSH, verb[known] == Verb.PULL
    pushes, pulls = known[is_push], known[is_pull]
    push_of = np.arange(requests + 1, dtype=np.int32)
    push_of[NONE] = NONE
    if len(pushes) and len(pulls):
        order = np.argsort(word[is_push], kind="stable")
        at = np.searchsorted(word[is_push][order], word[is_pull])
        at = np.minimum(at, len(pushes) - 1)
        push = pushes[order][at]
        match = word[is_push][order][at] == word[is_pull]
        push_of[pulls[match]] = push[match]
    return push_of
