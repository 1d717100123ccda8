"""The critical path of every measured step, and account 1: its segments tile the step exactly.

The method is that of the DESIGN: from the end of a step back over program order, requests, messages and aggregation, across
processes (see `graph` for the edges and `walker` for the walk). All times are integer ns of the run's aligned clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breakdown.analysis import walker
from breakdown.analysis.codes import MISSING, NONE, Ints, Long
from breakdown.analysis.graph import BLOCK, HOLD, WORK, Graph, build
from breakdown.analysis.rows import Rows, read
from breakdown.analysis.traced import traced
from breakdown.errors import TraceError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import STAGE_LABELS, Op, Stage

if TYPE_CHECKING:
    from breakdown.store.tables import Tables


@dataclass(frozen=True)
class Steps:
    """The measured steps of the repetitions that did not fail, in the order (run, worker, step): parallel arrays."""

    run: Ints
    worker: Ints
    step: Ints
    start_ns: Long
    end_ns: Long
    samples: Long

    @property
    def wall_ns(self) -> Long:
        return self.end_ns - self.start_ns

    def where(self, mask: NDArray[np.bool_]) -> Steps:
        """The steps that the mask picks."""
        run, worker, step, samples = (column[mask] for column in (self.run, self.worker, self.step, self.samples))
        return Steps(run, worker, step, self.start_ns[mask], self.end_ns[mask], samples.astype(np.int64))

    def __len__(self) -> int:
        return len(self.run)


@dataclass(frozen=True)
class Path:
    """The segments of all steps, in time order within a step: parallel arrays of codes (see `rows.Rows` for names)."""

    steps: Steps
    of_step: Long  # index into steps
    start_ns: Long
    end_ns: Long
    stage: Long
    op: Long
    place: Long
    key: Long
    cause: Long  # a stage, where this worker was held for another; else NONE
    behind: Long  # an op, where a request queued behind it: that of the key at the place; else NONE
    known_ns: Long  # of the segment: for how much it is known what became of the thread's time
    contention_ns: Long  # of that: runnable, without a core
    blocked_ns: Long  # and of that: neither running nor ready to run

    @property
    def length_ns(self) -> Long:
        return self.end_ns - self.start_ns


def failed_runs(cell: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The repetitions that failed, by number: their entries in `cell.json`."""
    return {int(run["run"]): run for run in cell.get("runs", ()) if run.get("status") == "failed"}


def measured_steps(tables: Tables) -> Steps:
    """The steps that count: no warm-up, no failed repetition. Raises `TraceError` at a step that ends before it starts."""
    frame = tables.steps
    frame = frame[~frame["warm_up"].to_numpy(dtype=bool) & ~frame["run"].isin(list(failed_runs(tables.cell))).to_numpy()]
    frame = frame.sort_values(["run", "rank", "step"], kind="stable")
    backwards = frame[frame["end_ns"] < frame["start_ns"]]
    if len(backwards):
        bad = backwards.iloc[0]
        raise TraceError(f"step {bad['step']} of worker {bad['rank']} in repetition {bad['run']} ends before it starts")
    columns = ("run", "rank", "step", "start_ns", "end_ns", "samples")
    return Steps(*(frame[name].to_numpy(dtype=np.int64) for name in columns))


def traced_steps(tables: Tables) -> Steps:
    """Those of the measured steps that can be walked: where every n-th was traced, these."""
    steps = measured_steps(tables)
    return steps.where(traced(tables.notes, steps.run, steps.worker, steps.step))


def find(graph: Graph, steps: Steps) -> Path:
    """Walks all steps. Raises `TraceError` if the segments of one do not tile it (a fault of this program)."""
    walk = walker.Walker(graph)
    found = [0]
    whole = zip(steps.run.tolist(), steps.worker.tolist(), steps.start_ns.tolist(), steps.end_ns.tolist(), strict=True)
    for run, worker, start_ns, end_ns in reversed(list(whole)):  # latest first, as the walk does inside each step
        walk.step(graph.mains.get((run, worker), NONE), start_ns, end_ns)
        found.append(len(walk.rows))
    return _labelled(graph, steps, np.diff(found)[::-1], walk)


def _labelled(graph: Graph, steps: Steps, counts: Ints, walk: walker.Walker) -> Path:
    rows = graph.rows
    row, kind, start = (np.frombuffer(column, dtype=np.int64)[::-1] for column in (walk.rows, walk.kinds, walk.starts_ns))
    of_step = np.repeat(np.arange(len(steps)), counts)
    end = np.append(start[1:], 0)
    end[np.cumsum(counts)[counts > 0] - 1] = steps.end_ns[counts > 0]
    check_tiling(steps, of_step, start, end)

    foreign = kind >= walker.FOREIGN
    kind = kind % walker.FOREIGN
    handover, lost = kind == walker.HANDOVER, kind == walker.UNEXPLAINED
    shape = _take(graph.shape, row, WORK)
    stage = _take(rows.stage, row, Stage.OTHER)
    stage[handover & (shape == HOLD) & (stage == Stage.WAIT)] = Stage.AGGREGATE
    stage[handover & (shape == BLOCK)] = Stage.PULL
    woken = np.flatnonzero(handover & (shape == BLOCK) & np.append(rows.operation, False)[_take(rows.cause, row, NONE)])
    stage[woken] = rows.stage[graph.chains.row[graph.chains.stop[rows.cause[row[woken]]] - 1]]
    behind = kind == walker.BEHIND
    stage[lost], stage[behind] = Stage.OTHER, Stage.AGGREGATE
    op = _take(rows.op, row, NONE)
    op[handover], op[lost] = rows.ops.index(Op.HANDOVER), rows.ops.index(Op.UNEXPLAINED)
    busy = np.where(behind, op, NONE)
    op[behind] = rows.ops.index(Op.QUEUE)
    key = _take(rows.key, row, NONE)
    key[lost] = rows.keys.index("")
    own_place = np.array([rows.places.index(Node(Role.WORKER, worker)) for worker in steps.worker.tolist()], dtype=np.int64)
    place = np.where(row == NONE, own_place[of_step], _take(rows.place, row, NONE))

    at_server = np.array([node.role == Role.SERVER for node in rows.places], dtype=bool)[place]
    held = foreign & (lost | ~at_server | (op == rows.ops.index(Op.WIRE)))
    cause = np.where(held, stage, NONE)
    stage[held] = Stage.WAIT
    used = _used(rows, np.where((kind == walker.SELF) & ~held, row, NONE), end - start)
    return _joined(Path(steps, of_step, start, end, stage, op, place, key, cause, busy, *used))


def _joined(path: Path) -> Path:
    """One segment for neighbours of one step that say the same: a wire seen by its sender and then on its own, say."""
    same = (path.of_step, path.stage, path.op, path.place, path.key, path.cause, path.behind)
    changes = [np.append(True, column[1:] != column[:-1]) for column in same if len(column)]
    first = np.flatnonzero(np.logical_or.reduce(changes)) if changes else np.zeros(0, dtype=np.int64)
    last = np.append(first[1:], len(path.of_step))[: len(first)] - 1
    used = (np.add.reduceat(ns, first) if len(first) else ns for ns in (path.known_ns, path.contention_ns, path.blocked_ns))
    of_step, stage, op, place, key, cause, behind = (column[first] for column in same)
    return Path(path.steps, of_step, path.start_ns[first], path.end_ns[last], stage, op, place, key, cause, behind, *used)


def _take(column: Ints, row: Ints, nothing: int) -> Long:
    """The column's entries at these rows, in 64 bits: codes are multiplied with one another later."""
    known = row != NONE
    taken = np.full(len(row), nothing, dtype=np.int64)
    taken[known] = column[row[known]]
    return taken


def _used(rows: Rows, row: Ints, part_ns: Long) -> tuple[Long, Long, Long]:
    """`known_ns`, `contention_ns` and `blocked_ns` of each stretch: those of its whole span, scaled to the stretch."""
    cpu, runnable = _take(rows.cpu_ns, row, MISSING), _take(rows.runnable_ns, row, MISSING)
    known = (cpu != MISSING) & (runnable != MISSING)
    whole = _take(rows.end_ns, row, 0) - _take(rows.start_ns, row, 0)
    lacking = np.where(known, np.clip(runnable, 0, whole), 0)
    blocked = np.where(known, np.clip(whole - cpu - lacking, 0, whole), 0)
    scale = part_ns / np.maximum(whole, 1)
    contention_ns: Long = np.minimum((lacking * scale).astype(np.int64), part_ns)
    blocked_ns: Long = np.minimum((blocked * scale).astype(np.int64), part_ns - contention_ns)
    return np.where(known, part_ns, 0), contention_ns, blocked_ns


def check_tiling(steps: Steps, of_step: Ints, start_ns: Long, end_ns: Long) -> None:
    """Account 1: within each step, segments follow on one another from its start to its end, and none is empty."""
    first = np.append(True, of_step[1:] != of_step[:-1])[: len(of_step)]
    last = np.append(first[1:], True)[: len(of_step)]
    covered = np.bincount(of_step, minlength=len(steps)) > 0
    right = (
        bool(np.all(end_ns > start_ns))
        and np.array_equal(start_ns[first], steps.start_ns[covered])
        and np.array_equal(end_ns[last], steps.end_ns[covered])
        and np.array_equal(start_ns[1:][~first[1:]], end_ns[:-1][~last[:-1]])
        and not steps.wall_ns[~covered].any()
    )
    if not right:
        raise TraceError("a step's segments do not add up to it: a fault of breakdown, please report it with this trace")


def walk(tables: Tables) -> pd.DataFrame:
    """The critical path of every measured step that was traced: one row a segment, with the columns of `findings.Segment`.

    Times are ns. `stage`, `op`, `place` ("server-0"), `key`, `cause` and `behind` are categories; `cause` is null but where
    a worker was held for another, `behind` but where a request queued: the operation, on that `key`, that it queued behind.
    Raises `TraceError` at a trace that breaks the model's labels.
    """
    rows = read(tables)
    path = find(build(rows, tables.steps), traced_steps(tables))
    return frame(rows, path)


def frame(rows: Rows, path: Path) -> pd.DataFrame:
    """A path as a table; see `walk`."""
    steps, of_step = path.steps, path.of_step
    return pd.DataFrame(
        {
            "run": steps.run[of_step],
            "worker": steps.worker[of_step],
            "step": steps.step[of_step],
            "start_ns": path.start_ns,
            "end_ns": path.end_ns,
            "stage": _category(path.stage, STAGE_LABELS),
            "op": _category(path.op, rows.ops),
            "place": _category(path.place, [str(node) for node in rows.places]),
            "key": _category(path.key, rows.keys),
            "cause": _category(path.cause, STAGE_LABELS),
            "behind": _category(path.behind, rows.ops),
        }
    )


def _category(codes: Ints, texts: Sequence[str]) -> pd.Series[Any]:
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(list(texts), dtype=str)))
