"""Exposed, hidden, contention and blocked time per stage of the mean step, and where it was spent. All in integer ns.

- exposed: on the critical path. Over all stages it adds up exactly to the step.
- hidden: the stage was at work for this worker's step (by the worker itself, for its requests at the servers, for its
  messages on the wire) while the critical path was with another stage: union of that work, less what is exposed.
- contention: inside exposed work, the time for which its thread was ready to run and had no core, as the kernel counted it.
- blocked: inside exposed work, the time for which its thread neither ran nor was ready to: it slept, or waited for a lock, a
  page or another thread. What is left of the wall time beside CPU time and contention.

Contention and blocked time are those of the work of which they are known, each scaled to its exposed part. For a stage
in which they are known of no work, they are None.

Sums are exact, whatever the clock said.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from breakdown.analysis import repetitions
from breakdown.analysis import wording as fmt
from breakdown.analysis.codes import NONE, Ints, Long
from breakdown.analysis.critical_path import Path, Steps
from breakdown.analysis.findings import KeyTime, Queued, StageTime
from breakdown.analysis.graph import WIRE, WORK, Graph
from breakdown.analysis.intervals import apportion, grouped_union_ns, mean
from breakdown.analysis.rows import Rows
from breakdown.errors import TraceError
from breakdown.model.identity import Role
from breakdown.model.stages import STAGES, Op, Stage

_STAGES = len(STAGES)
_EXACT, _LOW_BITS = 1 << 52, 26


@dataclass(frozen=True)
class Totals:
    """Sums per repetition: what intervals are drawn from. `runs` says which repetition each row is."""

    runs: tuple[int, ...]
    steps: Long  # by run: how many
    exposed_ns: Long  # by run and stage

    @property
    def step_ns(self) -> int:
        """The mean step."""
        return mean(int(self.exposed_ns.sum()), int(self.steps.sum()))

    @property
    def stage_ns(self) -> list[int]:
        """The mean step's exposed time by stage: adds up to `step_ns` exactly."""
        return apportion(self.step_ns, [int(total) for total in self.exposed_ns.sum(axis=0)])


def totals(path: Path, steps: Steps) -> Totals:
    """Sums the path up. Raises `TraceError` if the stages of any step do not add up to its wall time, or no step was traced.

    `steps`: all that were measured. Where the path is that of some of them, a repetition's time is shared out as theirs is.
    """
    traced = path.steps
    by_step = _sums(path.of_step * _STAGES + path.stage, path.length_ns, len(traced) * _STAGES).reshape(-1, _STAGES)
    if not np.array_equal(by_step.sum(axis=1), traced.wall_ns):
        raise TraceError("the stages of a step do not add up to it: a fault of breakdown, please report it with this trace")
    runs, of_run = np.unique(steps.run, return_inverse=True)
    counts = np.bincount(of_run, minlength=len(runs)).astype(np.int64)
    exposed = np.zeros((len(runs), _STAGES), dtype=np.int64)
    np.add.at(exposed, np.searchsorted(runs, traced.run), by_step)
    if len(traced) < len(steps):
        wall_ns = _sums(of_run, steps.wall_ns, len(runs))
        exposed = np.array([_shared_out(*run, exposed.sum(axis=0)) for run in zip(wall_ns, exposed, strict=True)])
    return Totals(tuple(runs.tolist()), counts, exposed)


def _shared_out(wall_ns: int, exposed_ns: Long, of_all_ns: Long) -> list[int]:
    """A repetition's time by stage, as it was exposed in its traced steps; where it has none, in those of all."""
    weights = exposed_ns if exposed_ns.any() else of_all_ns
    if not weights.any():
        raise TraceError("no measured step was traced: set trace_every to at most steps, and run it again")
    return apportion(int(wall_ns), weights.tolist())


def stage_times(graph: Graph, path: Path, sums: Totals) -> tuple[StageTime, ...]:
    """All eight stages of the mean step, in the order of `Stage`."""
    rows, step_ns, exposed = graph.rows, sums.step_ns, sums.stage_ns
    count = len(path.steps)
    hidden = hidden_ns(graph, path)
    known, contention, blocked = (
        _sums(path.stage, ns, _STAGES) for ns in (path.known_ns, path.contention_ns, path.blocked_ns)
    )
    by_op = _sums(path.stage * len(rows.ops) + path.op, path.length_ns, _STAGES * len(rows.ops)).reshape(_STAGES, -1)
    by_op_ns = [_shares(exposed[stage], rows.ops, by_op[stage]) for stage in STAGES]
    caused = path.cause != NONE
    by_cause = _sums(path.cause[caused], path.length_ns[caused], _STAGES)

    return tuple(
        StageTime(
            stage=stage,
            exposed_ns=exposed[stage],
            hidden_ns=mean(int(hidden[stage]), count),
            contention_ns=_within(exposed[stage], contention[stage], known[stage], count),
            blocked_ns=_within(exposed[stage], blocked[stage], known[stage], count),
            share=exposed[stage] / step_ns if step_ns else 0.0,
            exposed_interval_ns=repetitions.mean(sums.exposed_ns[:, stage], sums.steps),
            by_op_ns=by_op_ns[stage],
            queued=_queued(rows, path, stage, by_op_ns[stage].get(Op.QUEUE, 0)),
            by_cause_ns=_shares(exposed[stage], [s.label for s in STAGES], by_cause) if stage == Stage.WAIT else {},
        )
        for stage in STAGES
    )


def _queued(rows: Rows, path: Path, stage: Stage, queue_ns: int) -> tuple[Queued, ...]:
    """The queue time of a stage, shared out by what the requests queued behind."""
    at = np.flatnonzero((path.behind != NONE) & (path.stage == stage))
    keys, places = len(rows.keys), len(rows.places)
    codes, of_code = np.unique((path.behind[at] * keys + path.key[at]) * places + path.place[at], return_inverse=True)
    shares = apportion(queue_ns, _sums(of_code, path.length_ns[at], len(codes)).tolist())
    found = [
        Queued(rows.ops[code // places // keys], rows.keys[code // places % keys], rows.places[code % places], share)
        for code, share in zip(codes.tolist(), shares, strict=True)
        if share
    ]
    return tuple(sorted(found, key=lambda queued: -queued.ns))


def key_times(rows: Rows, path: Path, sums: Totals) -> tuple[KeyTime, ...]:
    """The mean step by stage, key and place, biggest first. Adds up to the step, and within a stage to its exposed time.

    What belongs to no key goes by its operation, in brackets.
    """
    exposed = sums.stage_ns
    names = [*rows.keys, *(fmt.operation_name(op) for op in rows.ops)]
    keyed = np.array([key != "" for key in rows.keys], dtype=bool)[path.key]
    name = np.where(keyed, path.key, len(rows.keys) + path.op)
    keys, places = len(names), len(rows.places)
    found = _sums((path.stage * keys + name) * places + path.place, path.length_ns, _STAGES * keys * places)
    times: list[KeyTime] = []
    for stage, group in groupby(np.flatnonzero(found).tolist(), key=lambda word: word // (keys * places)):
        words = list(group)
        shares = apportion(exposed[stage], [int(found[word]) for word in words])
        times += [
            KeyTime(names[word // places % keys], Stage(stage), rows.places[word % places], share)
            for word, share in zip(words, shares, strict=True)
            if share
        ]
    return tuple(sorted(times, key=lambda time: -time.exposed_ns))


def hidden_ns(graph: Graph, path: Path) -> Long:
    """By stage: the hidden time of all steps together."""
    rows, steps = graph.rows, path.steps
    at_work = np.flatnonzero((graph.shape == WORK) | (graph.shape == WIRE))
    request = rows.request[at_work]
    owner = np.where(request == NONE, rows.place[at_work], np.append(rows.requester, NONE)[request])
    of_step = step_index(rows, steps, rows.run[at_work], owner, rows.step[at_work])
    at_work, of_step = at_work[of_step != NONE], of_step[of_step != NONE]
    group = np.concatenate((of_step * _STAGES + rows.stage[at_work], path.of_step * _STAGES + path.stage))
    origin, limit = steps.start_ns[of_step], steps.end_ns[of_step]
    start_ns = rows.start_ns.copy()
    behind = np.flatnonzero(graph.ahead != NONE)  # until the message ahead had arrived, the link was that one's
    start_ns[behind + rows.spans] = np.maximum(start_ns[behind + rows.spans], rows.end_ns[graph.ahead[behind]])
    starts = np.maximum(start_ns[at_work], origin) - origin
    ends = np.minimum(rows.end_ns[at_work], limit) - origin
    starts = np.concatenate((starts, path.start_ns - steps.start_ns[path.of_step]))
    ends = np.concatenate((ends, path.end_ns - steps.start_ns[path.of_step]))
    groups = len(steps) * _STAGES
    covered = grouped_union_ns(group, starts, ends, groups).reshape(-1, _STAGES)
    hidden: Long = covered.sum(axis=0) - _sums(path.stage, path.length_ns, _STAGES)
    return hidden


def step_index(rows: Rows, steps: Steps, run: Ints, place: Ints, step: Ints) -> Long:
    """Which measured step each row belongs to: index into `steps`, NONE where it belongs to none."""
    if not len(steps):
        return np.full(len(run), NONE, dtype=np.int64)
    first, last = int(steps.step.min()), int(steps.step.max())
    runs, length = int(steps.run.max()) + 1, last - first + 1
    table = np.full((runs, len(rows.places) + 1, length), NONE, dtype=np.int64)
    worker_place = {node.rank: place for place, node in enumerate(rows.places) if node.role == Role.WORKER}
    at = np.array([worker_place[worker] for worker in steps.worker.tolist()])
    table[steps.run, at, steps.step - first] = np.arange(len(steps))
    inside = (step >= first) & (step <= last) & (run < runs)
    found = table[np.where(inside, run, 0), np.where(inside, place, 0), np.where(inside, step - first, 0)]
    return np.where(inside, found, NONE)


def _sums(code: Ints, weights: Long, codes: int) -> Long:
    """numpy's `bincount` adds in float64, exact below 2**53 ns: so high and low bits apart, where there may be more."""
    if int(weights.sum(dtype=np.float64)) < _EXACT:
        return _counted(code, weights, codes)
    high: Long = weights >> _LOW_BITS
    return (_counted(code, high, codes) << _LOW_BITS) + _counted(code, weights - (high << _LOW_BITS), codes)


def _counted(code: Ints, weights: Long, codes: int) -> Long:
    sums: Long = np.bincount(code, weights=weights, minlength=codes).astype(np.int64)
    return sums


def _within(exposed_ns: int, ns: int, known_ns: int, steps: int) -> int | None:
    """The mean of a part of a stage's exposed time; None where nothing is known of that."""
    return None if exposed_ns and not known_ns else min(mean(int(ns), steps), exposed_ns)


def _shares(total: int, names: tuple[str, ...] | list[str], weights: Long) -> dict[str, int]:
    present = np.flatnonzero(weights).tolist()
    if not present:
        return {}
    return dict(zip([names[i] for i in present], apportion(total, [int(weights[i]) for i in present]), strict=True))
