"""The rules of `model.invariants` on whole tables, vectorised: one sentence a broken rule, with its count and first case."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from breakdown.model.identity import NO_REQUEST, OPERATION
from breakdown.model.records import Direction
from breakdown.model.stages import REQUEST_OPS
from breakdown.store.frames import integers
from breakdown.store.tables import Tables

_THREAD = ["run", "role", "rank", "thread"]


def check(tables: Tables) -> list[str]:
    """All broken rules, as sentences; empty when the tables are sound."""
    spans, messages, steps = tables.spans, tables.messages, tables.steps
    return [*_backward(spans, messages, steps), *_overlaps(spans, messages), *_loose(spans, messages), *_disordered(steps)]


def _backward(spans: pd.DataFrame, messages: pd.DataFrame, steps: pd.DataFrame) -> Iterator[str]:
    ends = (
        ("spans end", spans, "start_ns", "end_ns"),
        ("sendings end", messages, "send_start_ns", "send_end_ns"),
        ("receivings end", messages, "recv_start_ns", "recv_end_ns"),
        ("steps end", steps, "start_ns", "end_ns"),
    )
    for what, frame, start, end in ends:
        yield from _sentence(f"{what} before they start", frame, integers(frame[end]) < integers(frame[start]))


def _overlaps(spans: pd.DataFrame, messages: pd.DataFrame) -> Iterator[str]:
    activity = [spans.loc[~spans["op"].isin(REQUEST_OPS), [*_THREAD, "start_ns", "end_ns"]]]
    for side, half in (("sender", "send"), ("receiver", "recv")):
        columns = ["run", f"{side}_role", f"{side}_rank", f"{side}_thread", f"{half}_start_ns", f"{half}_end_ns"]
        recorded = messages.loc[messages[f"{half}_start_ns"].notna(), columns]
        activity.append(recorded.set_axis([*_THREAD, "start_ns", "end_ns"], axis=1))
    found = pd.concat([part.astype({"role": str, "thread": str}) for part in activity], ignore_index=True)
    found["group"] = found.groupby(_THREAD, sort=True).ngroup()
    found = found.sort_values(["group", "start_ns", "end_ns"], kind="stable", ignore_index=True)
    same = found["group"].to_numpy()[1:] == found["group"].to_numpy()[:-1]
    over = same & (integers(found["start_ns"])[1:] < integers(found["end_ns"])[:-1])
    columns = [*_THREAD, "start_ns", "end_ns"]
    yield from _sentence("activities begin before the one before them in their thread ends", found[columns][1:], over)


def _loose(spans: pd.DataFrame, messages: pd.DataFrame) -> Iterator[str]:
    sent, received = messages["send_start_ns"].notna().to_numpy(), messages["recv_start_ns"].notna().to_numpy()
    joins = integers(messages["request_id"]) != NO_REQUEST
    early = integers(messages["recv_start_ns"]) < integers(messages["send_start_ns"])
    yield from _sentence("messages were received, but nobody recorded their sending", messages, joins & received & ~sent)
    yield from _sentence("messages were sent, but nobody recorded their receiving", messages, joins & sent & ~received)
    yield from _sentence("messages were received before they were sent", messages, sent & received & early)
    requests = (messages["direction"] == Direction.REQUEST.label).to_numpy()
    asked = pd.MultiIndex.from_frame(messages.loc[requests, ["run", "request_id"]])
    unasked = ~pd.MultiIndex.from_frame(messages[["run", "request_id"]]).isin(asked)
    yield from _sentence("replies answer a request that nobody sent", messages, joins & ~requests & unasked)
    done = pd.MultiIndex.from_frame(spans.loc[_of_operations(spans["request_id"]), ["run", "request_id"]])
    for column in ("request_id", "cause_id"):
        of_operation = _of_operations(spans[column])
        named = spans.loc[(spans[column] != NO_REQUEST) & ~of_operation]
        unknown = ~pd.MultiIndex.from_frame(named[["run", column]]).isin(asked)
        yield from _sentence(f"spans name a {column} that nobody sent", named, unknown)
        named = spans.loc[of_operation]
        unknown = ~pd.MultiIndex.from_frame(named[["run", column]]).isin(done)
        yield from _sentence(f"spans name an operation as {column} that nobody recorded", named, unknown)


def _of_operations(ids: pd.Series[int]) -> npt.NDArray[np.bool_]:
    of_operation: npt.NDArray[np.bool_] = integers(ids) & OPERATION == OPERATION
    return of_operation


def _disordered(steps: pd.DataFrame) -> Iterator[str]:
    ordered = steps.sort_values(["run", "rank", "step"], kind="stable", ignore_index=True)
    before, after = ordered[:-1], ordered[1:]
    same = (before[["run", "rank"]].to_numpy() == after[["run", "rank"]].to_numpy()).all(axis=1)
    twice = same & (before["step"].to_numpy() == after["step"].to_numpy())
    early = same & ~twice & (after["start_ns"].to_numpy() < before["end_ns"].to_numpy())
    yield from _sentence("steps are recorded twice", after, twice)
    yield from _sentence("steps start before the one before them ends", after, early)


def _sentence(what: str, frame: pd.DataFrame, broken: npt.NDArray[np.bool_]) -> Iterator[str]:
    if broken.any():
        first = frame.iloc[int(np.flatnonzero(broken)[0])].to_dict()
        case = ", ".join(f"{name} {value}" for name, value in first.items() if not pd.isna(value) and value != "")
        yield f"{int(np.count_nonzero(broken))} {what}; the first: {case}"
