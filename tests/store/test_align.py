"""Nodes on other kernels: their times move to the reference's clock, and no message arrives before it was sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_traces import SCHEDULER, SERVER, WORKERS, cell, write_trace

from breakdown.clock.offset import MAX_DRIFT_PPB, Offset
from breakdown.model.identity import request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage
from breakdown.record.layout import Kind
from breakdown.store.align import bounds, offsets
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder
from breakdown.store.tables import load

AHEAD_NS = 5_000_000_000  # worker-1's clock is behind the others' by this
PINGS = [[1000, AHEAD_NS + 1050, 1100], [2000, AHEAD_NS + 2020, 2040]]
WORKER = WORKERS[1]
PUSH = request_id(WORKER, 1)


def half(kind: Kind, peer: int, start_ns: int) -> tuple[Kind, tuple[int, ...]]:
    return kind, (Verb.PUSH, Direction.REQUEST, 0, 0, 8, PUSH, peer, start_ns, start_ns + 10)


def record(folder: CellFolder, pings: list[list[int]], sent_ns: int, received_ns: int) -> None:
    span = (Stage.COMPUTE, 1, 0, 0, 0, 2010, 2030, 0, 0, -1, -1)
    step = (0, 2000, 2100, 64, 0, 0, 0)
    notes = [("clock", {"reference": "scheduler-0", "pings": pings})] if pings else []
    write_trace(folder, SCHEDULER, "here", [])
    write_trace(folder, SERVER, "here", [half(Kind.RECEIVED, WORKER.code, received_ns)])
    write_trace(
        folder, WORKER, "there", [(Kind.SPAN, span), half(Kind.SENT, SERVER.code, sent_ns), (Kind.STEP, step)], notes
    )


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return cell(tmp_path / "cell")


def test_clock_json_holds_offset_bound_and_pings(folder: CellFolder) -> None:
    record(folder, PINGS, 2020, AHEAD_NS + 2040)
    assert collect(folder, 0).warnings == ()
    entry = load(folder.path).clock["runs"]["0"]
    assert entry["reference"] == "scheduler-0"
    assert sorted(entry["nodes"]) == ["scheduler-0", "server-0", "worker-1"]
    server, worker = entry["nodes"]["server-0"], entry["nodes"]["worker-1"]
    assert (server["kernel_id"], server["offset_ns"], server["bound_ns"], server["drift_ppb"]) == ("here", 0, 0, 0.0)
    assert (worker["kernel_id"], worker["offset_ns"], worker["pings"]) == ("there", AHEAD_NS, PINGS)
    assert 20 <= worker["bound_ns"] <= 22


def test_aligned_times_are_the_reference_s_and_the_file_keeps_its_own(folder: CellFolder) -> None:
    record(folder, PINGS, 2020, AHEAD_NS + 2040)
    collect(folder, 0)
    raw, aligned = load(folder.path, aligned=False), load(folder.path)
    assert raw.spans["start_ns"].tolist() == [2010]
    assert aligned.spans[["start_ns", "end_ns"]].values.tolist() == [[AHEAD_NS + 2010, AHEAD_NS + 2030]]
    assert aligned.steps[["start_ns", "end_ns"]].values.tolist() == [[AHEAD_NS + 2000, AHEAD_NS + 2100]]
    times = ["send_start_ns", "send_end_ns", "recv_start_ns", "recv_end_ns"]
    assert aligned.messages[times].values.tolist() == [[AHEAD_NS + 2020, AHEAD_NS + 2030, AHEAD_NS + 2040, AHEAD_NS + 2050]]
    assert aligned.messages.dtypes.equals(raw.messages.dtypes)
    assert aligned.warnings == ()


def test_a_message_received_too_early_is_counted_beyond_the_bound_only(tmp_path: Path) -> None:
    bound_ns = 22
    for early_ns, warned in ((bound_ns, False), (bound_ns + 2, True)):
        folder = cell(tmp_path / str(early_ns))
        record(folder, PINGS, 2020, AHEAD_NS + 2020 - early_ns)
        collect(folder, 0)
        warnings = load(folder.path).warnings
        assert bool(warnings) == warned
        assert not warned or warnings[0].startswith("1 of 1 messages arrive before they were sent")


def test_one_kernel_needs_no_pings_and_has_no_slack(folder: CellFolder) -> None:
    write_trace(folder, SERVER, "here", [half(Kind.RECEIVED, WORKER.code, 99)])
    write_trace(folder, WORKER, "here", [half(Kind.SENT, SERVER.code, 100)])
    assert collect(folder, 0).warnings == ()
    tables = load(folder.path)
    assert tables.clock["runs"]["0"]["reference"] == "server-0"
    assert tables.warnings[0].startswith("1 of 1 messages arrive before they were sent")


def test_a_clock_that_cannot_be_compared_is_said_and_not_judged(folder: CellFolder) -> None:
    record(folder, [], 2020, 5)
    (warning,) = collect(folder, 0).warnings
    assert warning.startswith("the clock of worker-1 cannot be compared with scheduler-0's: there are no clock pings")
    tables = load(folder.path)
    assert tables.warnings == ("run 0: the times of worker-1 stay on its own clock, which could not be aligned",)
    assert tables.spans["start_ns"].tolist() == [2010]
    assert tables.clock["runs"]["0"]["nodes"]["worker-1"]["offset_ns"] is None


TIMES = st.integers(0, 10**15)


@given(
    offset=st.builds(
        Offset,
        offset_ns=st.integers(-(10**15), 10**15),
        bound_ns=st.integers(0, 10**9),
        drift_ppb=st.floats(-MAX_DRIFT_PPB, MAX_DRIFT_PPB),
        drift_bound_ppb=st.floats(0, MAX_DRIFT_PPB),
        at_ns=TIMES,
        until_ns=TIMES,
    ),
    times=st.lists(TIMES, min_size=1),
)
def test_whole_columns_give_what_single_times_give(offset: Offset, times: list[int]) -> None:
    column = np.array(times, dtype=np.int64)
    assert offsets(offset, column).tolist() == [offset.offset_at(time) for time in times]
    assert bounds(offset, column).tolist() == [offset.bound_at(time) for time in times]
