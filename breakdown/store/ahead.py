"""Steps of a program that runs ahead of its framework's engine: each lasts until its own last work has ended.

A worker's hooks see that a step was handed over. A loop that waits for results is at most a step behind with its work, so
its steps are as long as those of the work. One that does not wait hands over all of them at once, and its steps say nothing.
Such a worker is known by its rows: for more than half of its steps, work goes on when the step after the next has been
handed over. Then

- step n ends with its own last work (the engine's rows know their step), and begins where step n - 1 ended: steps tile;
- meanwhile the main thread is held for that work: a `block`, whose cause is the operation that ended last. What the thread
  did there in truth, handing over later steps, is moved to a lane of its own, `main/ahead`.

Where a framework hands work over (it notes so) and no row of its engine is there, or the rows end before the work did,
nobody knows how long a step was: such steps are left out, with a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from breakdown.model.identity import NO_REQUEST, OPERATION, Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import USED, Kind
from breakdown.store.decode import MAIN_THREAD, Ints, Rows, Vocabulary, joined
from breakdown.store.join import ByKind, cut

HANDS_OVER_NOTE = "hands_over"
"""The trace note of a process whose framework hands work to an engine of its own."""

LANE = f"{MAIN_THREAD}/ahead"
"""The lane of what a main thread did ahead of the steps."""


@dataclass(frozen=True)
class _Work:
    """What the engine did for each step of a worker, in the steps' order."""

    last: Ints  # row of the operation that ended last; -1: there is none
    end_ns: Ints  # of that
    operations: Ints  # how many


def settled(
    by_node: Mapping[Node, ByKind], handing_over: Collection[Node], vocabulary: Vocabulary
) -> tuple[Mapping[Node, ByKind], list[str]]:
    """The rows of all nodes of a run, with steps that end with their work, and warnings about those that had to be left out.

    `handing_over`: the nodes that noted that their framework does.
    """
    found, warnings = dict(by_node), []
    for node, kinds in by_node.items():
        if node.role is Role.WORKER and node in handing_over and kinds[Kind.STEP].count:
            found[node], said = _worker(kinds, vocabulary)
            warnings += [f"{node}: {text}" for text in said]
    return found, warnings


def _worker(kinds: ByKind, vocabulary: Vocabulary) -> tuple[ByKind, list[str]]:
    steps, spans = kinds[Kind.STEP], kinds[Kind.SPAN]
    steps = steps.taken(np.argsort(steps.columns["step"], kind="stable"))
    work = _work(steps.columns["step"], spans.columns)
    if not work.operations.any():
        text = (
            f"{steps.count} steps were handed over to the engine, but what it did was not recorded, so nobody knows how "
            "long they took: they are left out. The warnings of the native recorder say why; where there are none, "
            "LD_PRELOAD did not reach the process"
        )
        return {**kinds, Kind.STEP: steps.taken(slice(0))}, [text]
    if not _runs_ahead(steps.columns["end_ns"], work):
        return kinds, []
    whole = _whole(work.operations)
    warnings = []
    if whole < steps.count:
        warnings.append(
            f"the last {steps.count - whole} of {steps.count} steps have less work recorded than those before, as where a "
            "process ends before its work has: they are left out. Let the script wait for its work at the end; a last step "
            "that does less than the others is left out all the same"
        )
    return _rewritten(kinds, steps.taken(slice(whole)), work, vocabulary), warnings


def _work(step: Ints, columns: Mapping[str, Ints]) -> _Work:
    rows = np.flatnonzero((columns["request_id"] & OPERATION == OPERATION) & np.isin(columns["step"], step))
    of_step = np.searchsorted(step, columns["step"][rows])
    last = np.full(len(step), -1, dtype=np.int64)
    order = np.argsort(columns["end_ns"][rows], kind="stable")
    last[of_step[order]] = rows[order]  # the latest of a step is written last
    pairs = np.unique(np.stack((of_step, columns["request_id"][rows])), axis=1)
    end_ns = np.where(last >= 0, columns["end_ns"][last], 0) if len(rows) else np.zeros(len(step), dtype=np.int64)
    return _Work(last, end_ns, np.bincount(pairs[0], minlength=len(step)))


def _runs_ahead(handed_ns: Ints, work: _Work) -> bool:
    late = work.end_ns[:-2] > handed_ns[2:]
    return bool(np.count_nonzero(late) * 2 > len(late))


def _whole(operations: Ints) -> int:
    """How many of the first steps have all of their work: the last ones may have less than any of the first half."""
    count = len(operations)
    least = operations[: (count + 1) // 2].min()
    while operations[count - 1] < least:
        count -= 1
    return count


def _rewritten(kinds: ByKind, steps: Rows, work: _Work, vocabulary: Vocabulary) -> ByKind:
    columns = steps.columns
    end_ns = np.maximum.accumulate(np.maximum(columns["end_ns"], work.end_ns[: steps.count]))
    start_ns = np.append(columns["start_ns"][0], end_ns[:-1])
    held_ns = np.maximum(start_ns, np.minimum(columns["end_ns"], end_ns))
    held = (end_ns > held_ns) & (work.end_ns[: steps.count] == end_ns)
    blocks = _blocks(columns["step"][held], held_ns[held], end_ns[held], work.last[: steps.count][held], kinds, vocabulary)
    columns = {**columns, "start_ns": start_ns, "end_ns": end_ns}
    spans = _moved(kinds[Kind.SPAN], held_ns[held], end_ns[held], vocabulary)
    return {
        **kinds,
        Kind.STEP: Rows(columns, steps.count, steps.left_out),
        Kind.SPAN: joined(spans, blocks).ordered(vocabulary),
    }


def _blocks(step: Ints, start_ns: Ints, end_ns: Ints, cause: Ints, kinds: ByKind, vocabulary: Vocabulary) -> Rows:
    spans = kinds[Kind.SPAN].columns
    main, block, no_key = vocabulary.codes((MAIN_THREAD, Op.BLOCK, "")).tolist()
    same = {"stage": int(Stage.WAIT), "op": block, "key": no_key, "thread": main, "size_bytes": 0, "request_id": NO_REQUEST}
    columns = {name: np.full(len(step), value, dtype=np.int64) for name, value in same.items()}
    columns |= {"step": step, "start_ns": start_ns, "end_ns": end_ns, "cause_id": spans["request_id"][cause]}
    columns |= {name: np.full(len(step), NOT_MEASURED, dtype=np.int64) for name in USED}
    return Rows({name: columns[name] for name in spans}, len(step), 0)


def _moved(spans: Rows, start_ns: Ints, end_ns: Ints, vocabulary: Vocabulary) -> Rows:
    """What the main thread did in these stretches goes to its lane; rows that reach over an end are parted there."""
    main, lane = vocabulary.codes((MAIN_THREAD, LANE)).tolist()
    own = spans.columns["thread"] == main
    others, mine = spans.parted(~own)
    outside = cut(mine, {main: (start_ns, end_ns)}, vocabulary)
    # The rest of the time is cut away from what goes to the lane.
    first, last = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    inside = cut(mine, {main: (np.append(first, end_ns), np.append(start_ns, last))}, vocabulary)
    inside = inside.taken(inside.columns["end_ns"] > inside.columns["start_ns"])
    ahead = {**inside.columns, "thread": np.full(inside.count, lane, dtype=np.int64)}
    return joined(others, outside, replace(inside, columns=ahead))
