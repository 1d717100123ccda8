"""How each role of a repetition ended, and how far it had got: found out once, saved with it, and told in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from breakdown.backends import serving
from breakdown.launch.outcome import how, signal_name
from breakdown.launch.watch import Ended
from breakdown.record.glimpse import glimpse
from breakdown.store.tables import Tables

HUNG_S = 1.0
"""A worker without a step for so long, and for longer than its longest step, did nothing any more."""


@dataclass(frozen=True)
class Recorded:
    """What a process's traces say of it. `node`: "worker-0"; of a coordinator, "coordinator of worker-0, worker-1".

    `serves`: it has said that it only serves the others, and does not end by itself.
    """

    node: str
    closed: bool
    serves: bool = False


@dataclass(frozen=True)
class RoleEnding:
    """One role's end. `exit_code` and `signal`: both None where that cannot be known, or where it was ended by this tool.

    `since_step_s`: from the end of its last step to its own; None where it made none. `unrecorded_s`: from its last record
    to its end; None where nothing was recorded.
    """

    node: str
    pid: int
    exit_code: int | None
    signal: str | None
    ended_by_tool: bool
    serves: bool
    trace_closed: bool
    steps: int
    since_step_s: float | None
    longest_step_s: float | None
    unrecorded_s: float | None

    @property
    def failed(self) -> bool:
        """It was not ended by this tool, and not well."""
        return not (self.ended_by_tool or self._dismissed) and (bool(self.exit_code) or self.signal is not None)

    @property
    def _dismissed(self) -> bool:
        """It served until its launcher told it to end: such a process has no other end."""
        return self.serves and self.signal == "SIGTERM" and self.trace_closed

    @property
    def hung(self) -> bool:
        """It was ended here, and had done nothing for a while."""
        if not self.ended_by_tool or self.since_step_s is None:
            return False
        return self.since_step_s > max(HUNG_S, self.longest_step_s or 0)


def recorded_by(raw: Path) -> dict[int, Recorded]:
    """By process, what the traces in this folder are of."""
    found: dict[int, dict[str, bool]] = {}
    for path in sorted(raw.glob("*.trace")):
        seen = glimpse(str(path))
        if seen is not None:
            nodes = found.setdefault(seen.pid, {})
            nodes[seen.node] = seen.closed and nodes.get(seen.node, True)
    return {pid: Recorded(_name([*nodes]), all(nodes.values()), serving.serves(raw, pid)) for pid, nodes in found.items()}


def endings(
    ended: Sequence[Ended], ended_here: Collection[int], recorded: Mapping[int, Recorded], tables: Tables, run: int
) -> tuple[RoleEnding, ...]:
    """Of each process that recorded, when the repetition is collected."""
    progress = _progress(tables, run)
    return tuple(_ending(one, recorded[one.pid], one.pid in ended_here, progress) for one in ended if one.pid in recorded)


def saved(found: Sequence[RoleEnding]) -> list[dict[str, Any]]:
    """As they stand in cell.json."""
    return [asdict(one) for one in found]


def sentences(found: Sequence[RoleEnding]) -> list[str]:
    """What a reader must know: who ended badly, whose trace is not whole, and who did nothing any more."""
    return [text for one in sorted(found, key=lambda one: not one.failed) if (text := _sentence(one))]


def _sentence(one: RoleEnding) -> str:
    who, steps = f"{one.node} (process {one.pid})", _steps(one)
    if one.failed:
        code = one.exit_code if one.signal is None else None
        what = f"was killed by {one.signal}" if one.signal else how(code)
        return f"{who} {what}{steps}; {_trace(one)}"
    if one.hung:
        return f"{who} made no step in the {one.since_step_s:.1f} s before it was ended{steps}; {_trace(one)}"
    if not one.trace_closed and not one.ended_by_tool:
        return f"{who} {how(one.exit_code)}{steps}, without closing its trace (as os._exit does): {_trace(one)}"
    return ""


def _steps(one: RoleEnding) -> str:
    if not one.node.startswith("worker-"):
        return ""
    recorded = "" if one.trace_closed else "recorded "
    return f" after {one.steps} {recorded}step{'' if one.steps == 1 else 's'}"


def _trace(one: RoleEnding) -> str:
    if one.trace_closed:
        return "its trace is whole"
    if one.unrecorded_s is None:
        return "nothing of its trace can be read"
    return f"its trace reaches to {one.unrecorded_s:.2f} s before its end, its last second not whole"


def _name(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"coordinator of {', '.join(nodes)}"


@dataclass(frozen=True)
class _Progress:
    steps: int = 0
    last_step_ns: int | None = None
    longest_step_ns: int | None = None
    last_record_ns: int | None = None


def _progress(tables: Tables, run: int) -> dict[str, _Progress]:
    """By node."""
    spans, steps = (table[table["run"] == run] for table in (tables.spans, tables.steps))
    last_ns = spans["end_ns"].groupby([spans["role"], spans["rank"]], observed=True).max()
    roles, ranks = (last_ns.index.get_level_values(level) for level in (0, 1))
    found = {
        f"{role}-{rank}": _Progress(last_record_ns=int(at_ns))
        for role, rank, at_ns in zip(roles, ranks, last_ns, strict=True)
    }
    for rank, own in steps.groupby("rank"):
        step_ns, longest_ns = int(own["end_ns"].max()), int((own["end_ns"] - own["start_ns"]).max())
        record_ns = found.get(f"worker-{rank}", _Progress()).last_record_ns or step_ns
        found[f"worker-{rank}"] = _Progress(len(own), step_ns, longest_ns, max(step_ns, record_ns))
    return found


def _ending(one: Ended, of: Recorded, here: bool, progress: Mapping[str, _Progress]) -> RoleEnding:
    done = progress.get(of.node, _Progress())
    code = one.code
    return RoleEnding(
        node=of.node,
        pid=one.pid,
        exit_code=code if code is not None and code >= 0 else None,
        signal=signal_name(-code) if code is not None and code < 0 else None,
        ended_by_tool=here,
        serves=of.serves,
        trace_closed=of.closed,
        steps=done.steps,
        since_step_s=_since(done.last_step_ns, one.end_ns),
        longest_step_s=None if done.longest_step_ns is None else round(done.longest_step_ns / 1e9, 3),
        unrecorded_s=_since(done.last_record_ns, one.end_ns),
    )


def _since(then_ns: int | None, now_ns: int) -> float | None:
    return None if then_ns is None else round(max(0, now_ns - then_ns) / 1e9, 3)
