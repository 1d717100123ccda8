"""A chain says the same as the spans that it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_traces import WORKERS

from breakdown.model.identity import NO_REQUEST
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import Kind, link_parts, link_word
from breakdown.record.recorder import FileRecorder
from breakdown.record.tracefile import TraceFile, read
from breakdown.store.requests import unfolded

LOAD, FORWARD = link_word(Stage.INPUT, 1, 0), link_word(Stage.COMPUTE, 2, 3)
HOUR_NS = 3600 * 10**9


def recorded(path: Path, *chains: tuple[int, int, int, int, int, list[int]]) -> TraceFile:
    recorder = FileRecorder(str(path), 0, WORKERS[0])
    thread = recorder.thread("main")
    for text in ("load", "forward", "weight"):
        recorder.intern(text)
    for chain in chains:
        thread.chain(*chain)
    recorder.close()
    return read(str(path))


def rows(trace: TraceFile) -> list[tuple[int, ...]]:
    assert all(block.kind == Kind.SPAN and block.thread == 1 for block in trace.blocks)
    return [row for block in trace.blocks for row in block]


def span(
    what: int, step: int, size_bytes: int, start_ns: int, end_ns: int, cpu_ns: int, runnable_ns: int
) -> tuple[int, ...]:
    return (*link_parts(what), step, size_bytes, start_ns, end_ns, NO_REQUEST, NO_REQUEST, cpu_ns, runnable_ns)


def test_links_follow_each_other_and_share_what_became_of_the_thread_s_time(tmp_path: Path) -> None:
    """The first chain's thread ran for three quarters of it and had no core for a tenth; the second's ran; of the third
    nothing is known, of the fourth no more than CPU time."""
    trace = recorded(
        tmp_path / "a.trace",
        (7, 512, 100, 90, 12, [LOAD, 140, FORWARD, 200, FORWARD, 220]),
        (7, 0, 220, 30, 0, [FORWARD, 250]),
        (8, 64, 300, NOT_MEASURED, NOT_MEASURED, [LOAD, 300, FORWARD, 310]),
        (8, 64, 310, 4, NOT_MEASURED, [FORWARD, 320]),
    )
    assert rows(unfolded(trace)) == [
        span(LOAD, 7, 512, 100, 140, 30, 4),
        span(FORWARD, 7, 0, 140, 200, 45, 6),
        span(FORWARD, 7, 0, 200, 220, 15, 2),
        span(FORWARD, 7, 0, 220, 250, 30, 0),
        span(LOAD, 8, 64, 300, 300, NOT_MEASURED, NOT_MEASURED),
        span(FORWARD, 8, 0, 300, 310, NOT_MEASURED, NOT_MEASURED),
        span(FORWARD, 8, 64, 310, 320, 4, NOT_MEASURED),
    ]


@pytest.mark.parametrize("used_ns", [0, HOUR_NS, 2 * HOUR_NS, 2 * HOUR_NS + 1])
def test_a_long_link_never_has_more_time_than_it_lasts(tmp_path: Path, used_ns: int) -> None:
    trace = recorded(tmp_path / "a.trace", (0, 0, 0, used_ns, used_ns, [FORWARD, HOUR_NS, FORWARD, 2 * HOUR_NS]))
    each = min(used_ns // 2, HOUR_NS)
    assert rows(unfolded(trace)) == [
        span(FORWARD, 0, 0, 0, HOUR_NS, each, each), span(FORWARD, 0, 0, HOUR_NS, 2 * HOUR_NS, each, each)
    ]  # fmt: skip


def test_a_chain_of_no_duration_has_no_time(tmp_path: Path) -> None:
    trace = recorded(tmp_path / "a.trace", (0, 0, 5, 0, 0, [FORWARD, 5]))
    assert rows(unfolded(trace)) == [span(FORWARD, 0, 0, 5, 5, 0, 0)]


def test_all_bits_of_a_link_come_back() -> None:
    assert link_parts(link_word(7, (1 << 28) - 1, (1 << 28) - 2)) == (7, (1 << 28) - 1, (1 << 28) - 2)
    assert link_word(7, (1 << 28) - 1, (1 << 28) - 1) < 1 << 63


@pytest.mark.parametrize("missing_bytes", [1, 8, 16, 40, 71])
def test_a_chain_that_is_cut_off_is_left_out_and_those_before_are_whole(tmp_path: Path, missing_bytes: int) -> None:
    path = tmp_path / "a.trace"
    recorded(path, (7, 0, 100, 90, 0, [LOAD, 140, FORWARD, 200]), (8, 0, 300, 90, 0, [LOAD, 340, FORWARD, 400]))
    data = path.read_bytes()
    end = data.index((400).to_bytes(8, "little")) + 8
    path.write_bytes(data[: end - missing_bytes])
    trace = read(str(path))
    assert len(trace.warnings) == 1
    assert [row[3:7] for row in rows(unfolded(trace))] == [(7, 0, 100, 140), (7, 0, 140, 200)]
