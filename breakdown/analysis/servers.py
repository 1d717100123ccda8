"""What each server did in a mean step of the run: all workers' requests of one step number."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from breakdown.analysis.codes import Long
from breakdown.analysis.critical_path import Steps
from breakdown.analysis.findings import ServerLoad
from breakdown.analysis.graph import QUEUE, Graph
from breakdown.analysis.intervals import mean
from breakdown.analysis.rows import Rows
from breakdown.model.identity import Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op

_BUSY: Final = (Op.DECODE, Op.SUM, Op.UPDATE, Op.LOCK, Op.LOCK_WAIT, Op.ENCODE)


def loads(graph: Graph, steps: Steps) -> tuple[ServerLoad, ...]:
    """One entry a server, by rank. Bytes are payload bytes as they travelled; busy and queue times are ns."""
    rows, spans = graph.rows, graph.rows.spans
    pairs = len(np.unique(np.stack((steps.run, steps.step)), axis=1).T)
    counted = _counted(rows, steps)
    busy_op = np.isin(np.arange(len(rows.ops)), [code for code, op in enumerate(rows.ops) if op in _BUSY])
    found = []
    for place, node in enumerate(rows.places):
        if node.role != Role.SERVER:
            continue
        here = np.flatnonzero((rows.place[:spans] == place) & counted[:spans])
        length = rows.end_ns[here] - rows.start_ns[here]
        sent = (rows.place[spans:] == place) & counted[spans:]
        received = (rows.receiver == place) & counted[spans:]
        size = rows.size_bytes[spans:]
        found.append(
            ServerLoad(
                server=node.rank,
                bytes_in=mean(int(size[received].sum()), pairs) if len(size) else None,
                bytes_out=mean(int(size[sent].sum()), pairs) if len(size) else None,
                busy_ns=mean(int(length[busy_op[rows.op[here]]].sum()), pairs),
                queue_ns=mean(int(length[graph.shape[here] == QUEUE].sum()), pairs),
                keys=len(np.unique(rows.key[spans:][received | sent])),
            )
        )
    return tuple(sorted(found, key=lambda load: load.server))


def skew(servers: tuple[ServerLoad, ...]) -> float | None:
    """The busiest server's bytes by the mean server's: 1 is even. None where no server moved any that were measured."""
    moved = [(load.bytes_in or 0) + (load.bytes_out or 0) for load in servers]
    return max(moved) * len(moved) / sum(moved) if sum(moved) else None


def bytes_moved(rows: Rows, steps: Steps) -> tuple[int, int] | tuple[None, None]:
    """Bytes pushed and pulled by a worker in a step, as they travelled; None where there are servers, but no message."""
    if not len(rows.receiver) and any(node.role == Role.SERVER for node in rows.places):
        return None, None
    size, counted = rows.size_bytes[rows.spans :], _counted(rows, steps)[rows.spans :]
    pushed = counted & (rows.verb == Verb.PUSH) & (rows.direction == Direction.REQUEST)
    pulled = counted & (rows.verb == Verb.PULL) & (rows.direction == Direction.REPLY)
    return mean(int(size[pushed].sum()), len(steps)), mean(int(size[pulled].sum()), len(steps))


def records(rows: Rows, steps: Steps) -> dict[tuple[int, int], int]:
    """(run, worker) -> how many records this worker wrote in its measured steps."""
    counted = _counted(rows, steps)
    places = len(rows.places)
    spans, halves = counted[: rows.spans], counted[rows.spans :]
    sent, received = rows.halves
    wire_run = rows.run[rows.spans :]
    words: list[Long] = [
        rows.run[: rows.spans][spans].astype(np.int64) * places + rows.place[: rows.spans][spans],
        wire_run[halves & sent.known].astype(np.int64) * places + rows.place[rows.spans :][halves & sent.known],
        wire_run[halves & received.known].astype(np.int64) * places + rows.receiver[halves & received.known],
    ]
    counts = np.bincount(np.concatenate(words), minlength=places)
    found = {divmod(word, places): int(counts[word]) for word in np.flatnonzero(counts).tolist()}
    return {(run, rows.places[at].rank): n for (run, at), n in found.items() if rows.places[at].role == Role.WORKER}


def _counted(rows: Rows, steps: Steps) -> NDArray[np.bool_]:
    """Rows of a step number that is measured in its repetition."""
    if not len(steps):
        return np.zeros(len(rows.run), dtype=bool)
    runs, length = int(steps.run.max()) + 1, int(steps.step.max()) + 1
    table = np.zeros((runs, length), dtype=bool)
    table[steps.run, steps.step] = True
    inside = (rows.run < runs) & (rows.step >= 0) & (rows.step < length)
    counted = table[np.where(inside, rows.run, 0), np.where(inside, rows.step, 0)]
    return np.logical_and(counted, inside)
