"""Which slices of a trace belong to one flow: push -> sum and update -> pull reply -> decode -> the wait that it ended.

A push's flow has the push's request id and joins its records at both ends. A pull's flow has the pull's id; besides its own
records it passes through the aggregation that it needed: that of the worker's own push, and that of the push which released
it (`cause_id` of its hold), so the two flows meet at the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import REQUEST_OPS, Op, Stage

RUN_BITS = 58  # request ids are below 2**58, so a run's number fits above them
MOST_RUNS = 1 << (64 - RUN_BITS)


@dataclass(frozen=True)
class Slice:
    """One box of a track. `flows` join it at its start; those that it was `woken_by`, at its end."""

    process: tuple[int, str, int]  # run, role, rank
    thread: str  # "" for a state of a request, which is no thread's work
    start_ns: int
    end_ns: int
    name: str
    stage: str
    arguments: Mapping[str, int | str]
    flows: tuple[int, ...] = ()
    woken_by: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What it is about; "" where that is the whole step."""
        return str(self.arguments.get("key", ""))


@dataclass
class _Links:
    """What joins chains: the aggregation of each push, the push of each worker, key and step, the cause of each hold."""

    aggregated: dict[tuple[int, int], int] = field(default_factory=dict)  # (run, push) -> row of its last aggregation
    pulls_through: dict[int, list[int]] = field(default_factory=dict)  # row of an aggregation -> flows


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as plain Python values; what was not measured is None."""
    plain = {str(name): frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns}
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def slices(spans: list[dict[str, Any]], messages: list[dict[str, Any]]) -> list[Slice]:
    """All boxes of a trace: spans, and both halves of each message."""
    links = _links(spans, messages)
    found = [_span(row, links.pulls_through.get(index, [])) for index, row in enumerate(spans)]
    for message in messages:
        found += _halves(message)
    return found


def _flow(run: int, request: int) -> int:
    return (run % MOST_RUNS) << RUN_BITS | request


def _links(spans: list[dict[str, Any]], messages: list[dict[str, Any]]) -> _Links:
    links = _Links()
    for index, row in enumerate(spans):  # rows of a thread stand in the order in which they ended: the last one stays
        if row["stage"] == Stage.AGGREGATE.label and row["op"] in (Op.SUM, Op.UPDATE):
            links.aggregated[row["run"], row["request_id"]] = index
    pushes: dict[tuple[int, int, str, int], int] = {}
    pulls: list[tuple[int, int, str, int, int]] = []
    for row in messages:
        if row["direction"] == Direction.REQUEST.label and row["verb"] in (Verb.PUSH.label, Verb.PULL.label):
            where = (row["run"], row["sender_rank"], row["key"], row["step"])
            if row["verb"] == Verb.PUSH.label:
                pushes[where] = row["request_id"]
            else:
                pulls.append((*where, row["request_id"]))
    needs = [(run, pull, pushes.get((run, rank, key, step), NO_REQUEST)) for run, rank, key, step, pull in pulls]
    needs += [(row["run"], row["request_id"], row["cause_id"]) for row in spans if row["op"] == Op.HOLD]
    for run, pull, push in needs:
        aggregation = links.aggregated.get((run, push)) if push != NO_REQUEST else None
        if aggregation is not None:
            through = links.pulls_through.setdefault(aggregation, [])
            if _flow(run, pull) not in through:
                through.append(_flow(run, pull))
    return links


def _span(row: Mapping[str, Any], pulls: Iterable[int]) -> Slice:
    state = row["op"] in REQUEST_OPS
    own = [_flow(row["run"], row["request_id"])] if row["request_id"] != NO_REQUEST and not state else []
    # a thread sleeps before its answer comes: only the end of its wait is the effect of the pull
    woken = (_flow(row["run"], row["cause_id"]),) if row["op"] == Op.BLOCK and row["cause_id"] != NO_REQUEST else ()
    arguments = {
        name: row[name] for name in ("op", "key", "step", "size_bytes", "request_id", "cause_id", "cpu_ns", "runnable_ns")
    }
    name = f"{row['op']} {row['key']}".strip()
    return Slice(
        process=(row["run"], row["role"], row["rank"]),
        thread="" if state else row["thread"],
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        name=name,
        stage=row["stage"],
        arguments=_known(arguments),
        flows=(*own, *pulls),
        woken_by=woken,
    )


def _halves(row: Mapping[str, Any]) -> list[Slice]:
    """The sending and the receiving half, where each was recorded."""
    flows = (_flow(row["run"], row["request_id"]),) if row["request_id"] != NO_REQUEST else ()
    stage = row["verb"] if row["verb"] in (Verb.PUSH.label, Verb.PULL.label) else Stage.OTHER.label
    arguments = {name: row[name] for name in ("verb", "direction", "key", "step", "size_bytes", "request_id")}
    what = f"{row['verb']} {row['direction']} {row['key']}".strip()
    out = []
    for does, end, start_ns, end_ns in (
        ("send", "sender", row["send_start_ns"], row["send_end_ns"]),
        ("receive", "receiver", row["recv_start_ns"], row["recv_end_ns"]),
    ):
        if start_ns is not None and end_ns is not None:
            process = (row["run"], row[f"{end}_role"], row[f"{end}_rank"])
            thread = row[f"{end}_thread"]
            out.append(Slice(process, thread, start_ns, end_ns, f"{does} {what}", stage, _known(arguments), flows))
    return out


def _known(arguments: Mapping[str, Any]) -> dict[str, int | str]:
    """Only what was measured and says something: no empty key, no id of no request. A measured zero stays."""
    return {
        name: value
        for name, value in arguments.items()
        if value is not None and value != "" and not (name.endswith("_id") and value == NO_REQUEST)
    }
