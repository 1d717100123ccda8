"""Puts what py-spy saw beside what was recorded: the same threads, over the same stretch of time.

The stretch is that of the measured steps, or of those that were traced, as far as the thread was sampled. From the trace
count a thread's own spans and its sending; waiting for a message, receiving it and sleeping are one, `asleep`: py-spy cannot
tell them apart. A thread that serves several connections (ZeroMQ's) is recorded by connection, not by what it does: it is
shown and not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from breakdown.analysis.critical_path import failed_runs
from breakdown.analysis.intervals import union
from breakdown.analysis.sampling.findings import RoleSamples, Share, StackTime, ThreadSamples
from breakdown.analysis.sampling.flame import flame
from breakdown.analysis.sampling.stackmap import ASLEEP, Activity, activity
from breakdown.analysis.traced import traced
from breakdown.model.identity import Node, Role
from breakdown.model.records import Verb
from breakdown.model.stages import REQUEST_OPS, Op, Stage
from breakdown.record.api import THREAD_NOTE

if TYPE_CHECKING:
    from breakdown.store.tables import Tables

TOLD_APART = frozenset({Op.SUM, Op.UPDATE})
"""Operations of a server that are compared one by one; all else is compared by stage."""

SLEEPING_OPS = frozenset({Op.BLOCK, "await", "barrier", "command"})
"""Recorded operations in which the thread only waits."""

_PARTS_OF_UPDATE = frozenset({Op.LOCK, Op.LOCK_WAIT})
_LANE = "/"  # "main/python-lock" is a lane of the thread "main"

Windows = list[tuple[int, int]]
"""Stretches of time (start, end), ns, none of which overlaps another."""

Times = dict[Activity, int]


def sampled_roles(tables: Tables) -> tuple[RoleSamples, ...]:
    """One finding a process that was sampled, in the order of roles and ranks; none where nothing was sampled."""
    samples = tables.samples
    if samples is None or not len(samples):
        return ()
    failed = failed_runs(tables.cell)
    seen: defaultdict[Node, _Role] = defaultdict(_Role)
    for key, own in samples.groupby(["run", "role", "rank"], observed=True):
        run, role, rank = cast(tuple[int, str, int], key)
        node = Node(Role[role.upper()], rank)
        windows = _measured(tables, run, node)
        if not windows or run in failed:
            continue
        names = _names(tables.notes.get(str(run), {}).get(str(node), ()))
        for thread, found in own.groupby(["thread_id", "thread"], observed=True):
            thread_id, called = cast(tuple[int, str], thread)
            seen[node].add(tables, node, run, found, windows, names.get(thread_id, ()), called, thread_id)
    rate_hz = max((int(entry.get("sample_rate_hz") or 0) for entry in tables.cell["runs"]), default=0)
    return tuple(seen[node].finding(node, rate_hz) for node in sorted(seen) if seen[node].sampled)


class _Role:
    """Sums of one process by thread's name, over its repetitions."""

    def __init__(self) -> None:
        self.sampled: defaultdict[str, Times] = defaultdict(lambda: defaultdict(int))
        self.traced: dict[str, Times | None] = {}
        self.stacks: defaultdict[tuple[str, Activity, str], int] = defaultdict(int)

    def add(
        self,
        tables: Tables,
        node: Node,
        run: int,
        samples: pd.DataFrame,
        windows: Windows,
        lanes: tuple[str, ...],
        called: str,
        thread_id: int,
    ) -> None:
        """One thread in one repetition. `lanes`: what it is called in the trace; `called`: by py-spy."""
        first, last = int(samples["start_ns"].min()), int(samples["end_ns"].max())
        windows = [(max(start, first), min(end, last)) for start, end in windows if start < last and end > first]
        if not windows:
            return
        bases = {lane.partition(_LANE)[0] for lane in lanes}
        several = len(bases) > 1
        name = (f"io ({thread_id})" if several else next(iter(bases))) if bases else called or f"thread {thread_id}"
        for stack, time_ns in _clipped(samples, windows, "stack").items():
            found = activity(stack, node.role)
            self.sampled[name][_compared_as(found)] += time_ns
            self.stacks[name, found, stack] += time_ns
        if not bases or several:
            self.traced[name] = None
            return
        recorded = _traced(tables, node, run, lanes, windows)
        recorded[ASLEEP] = sum(end - start for start, end in windows) - sum(recorded.values())
        before = self.traced.setdefault(name, defaultdict(int))
        for what, time_ns in recorded.items():
            if before is not None:
                before[what] += time_ns

    def finding(self, node: Node, rate_hz: int) -> RoleSamples:
        threads = [self._thread(name) for name in self.sampled]
        asleep = {thread.name: sum(s.sampled for s in thread.shares if s.stage is None) for thread in threads}
        stacks = tuple(
            StackTime(thread, what.stage, what.op, stack, time_ns)
            for (thread, what, stack), time_ns in sorted(self.stacks.items(), key=lambda item: (-item[1], item[0][2]))
        )
        ordered = sorted(threads, key=lambda thread: (asleep[thread.name], thread.name))
        return RoleSamples(node, rate_hz, tuple(ordered), stacks, flame(stacks))

    def _thread(self, name: str) -> ThreadSamples:
        sampled, traced = self.sampled[name], self.traced[name]
        whole = sum(sampled.values())
        seen = {what for times in (sampled, traced or {}) for what, time_ns in times.items() if time_ns}
        whole_traced = sum(traced.values()) if traced else 0
        shares = [
            Share(
                what.stage,
                what.op,
                sampled.get(what, 0) / whole,
                None if traced is None else traced.get(what, 0) / whole_traced,
            )
            for what in seen
        ]
        shares.sort(key=lambda share: (-share.sampled, -(share.traced or 0.0), share.op))
        return ThreadSamples(name, whole, tuple(shares))


def _compared_as(what: Activity) -> Activity:
    return Activity(what.stage, what.op if what.stage == Stage.AGGREGATE and what.op in TOLD_APART else "")


def _measured(tables: Tables, run: int, node: Node) -> Windows:
    """The stretch of the measured steps; of a worker its own. Where only some were traced, the stretches of those."""
    steps = tables.steps[(tables.steps["run"] == run) & ~tables.steps["warm_up"]]
    which = traced(tables.notes, *(steps[name].to_numpy(dtype=np.int64) for name in ("run", "rank", "step")))
    if which.all():
        return [(int(steps["start_ns"].min()), int(steps["end_ns"].max()))] if len(steps) else []
    steps = steps[which]
    if node.role is Role.WORKER:
        steps = steps[steps["rank"] == node.rank]
    starts, ends = (steps[name].to_numpy(dtype=np.int64) for name in ("start_ns", "end_ns"))
    return [(int(start), int(end)) for start, end in zip(*union(starts, ends), strict=True)]


def _names(notes: Iterable[Any]) -> dict[int, tuple[str, ...]]:
    """The system's number of a thread -> the names under which it recorded."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name, value in notes:
        if name == THREAD_NOTE:
            found[int(value[1])].append(str(value[0]))
    return {number: tuple(dict.fromkeys(names)) for number, names in found.items()}


def _traced(tables: Tables, node: Node, run: int, lanes: tuple[str, ...], windows: Windows) -> Times:
    """What the thread recorded inside the windows."""
    times: Times = defaultdict(int)
    spans, messages = tables.spans, tables.messages
    mine = _mine(spans, run, node, "role", "rank", "thread", lanes)
    mine &= ~spans["op"].isin([*REQUEST_OPS, *SLEEPING_OPS]).to_numpy()
    for (stage, op), time_ns in _clipped(spans[mine], windows, "stage", "op").items():
        found = Activity(Stage[stage.upper()], Op.UPDATE if op in _PARTS_OF_UPDATE else op)
        times[_compared_as(found)] += time_ns
    mine = _mine(messages, run, node, "sender_role", "sender_rank", "sender_thread", lanes)
    sent = messages[mine].rename(columns={"send_start_ns": "start_ns", "send_end_ns": "end_ns"})
    for verb, time_ns in _clipped(sent.dropna(subset=["start_ns", "end_ns"]), windows, "verb").items():
        times[Activity(Verb[verb.upper()].stage)] += time_ns
    return times


def _mine(table: pd.DataFrame, run: int, node: Node, role: str, rank: str, thread: str, lanes: tuple[str, ...]) -> Any:
    mine = (table["run"] == run) & (table[role] == node.role.label) & (table[rank] == node.rank)
    return mine.to_numpy() & table[thread].isin(lanes).to_numpy()


def _clipped(table: pd.DataFrame, windows: Windows, *by: str) -> Mapping[Any, int]:
    """Time inside the windows by the values of some columns, ns."""
    starts, ends = (table[name].to_numpy(dtype=np.int64) for name in ("start_ns", "end_ns"))
    time_ns = np.zeros(len(table), dtype=np.int64)
    for start, end in windows:
        time_ns += np.maximum(np.minimum(ends, end) - np.maximum(starts, start), 0)
    sums = (
        table[list(by)].assign(time_ns=time_ns).groupby(list(by) if len(by) > 1 else by[0], observed=True)["time_ns"].sum()
    )
    return {key: int(time_ns) for key, time_ns in sums.items() if time_ns}
