"""A timeline that is too full to read is drawn with fewer pieces, and still says the same."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from breakdown.analysis.findings import Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.analysis.overview import condensed, pieces
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage

WORKER = Node(Role.WORKER, 0)
STAGES = (Stage.COMPUTE, Stage.PUSH, Stage.AGGREGATE)


def timeline(count: int, seed: int = 0) -> Timeline:
    """Two lanes without a gap, their boxes as the critical path's segments, and as many messages."""
    draw = random.Random(seed)
    spans, critical, messages = [], [], []
    for lane in (0, 1):
        at = 0
        for number in range(count):
            end = at + draw.choice((1, 10, 100, 100_000))
            stage, op, key = draw.choice(STAGES), f"op{draw.randrange(5)}", f"key{draw.randrange(5)}"
            spans.append(TimelineSpan(lane, stage, op, key, number * 3 // count, at, end))
            if lane == 0:
                critical.append(Segment(0, 0, number * 3 // count, at, end, stage, op, WORKER, key))
            messages.append(TimelineMessage(lane, 1 - lane, stage, key, at, end))
            at = end
    return Timeline("full", ("worker-0 main", "server-0 main"), tuple(spans), tuple(messages), tuple(critical), (), at)


@pytest.mark.parametrize("most", [30, 300, 3_000])
def test_it_has_no_more_pieces_than_are_asked_for_and_none_is_lost(most: int) -> None:
    full = timeline(3_000)
    found = condensed(full, most)
    assert pieces(full) > most >= pieces(found)
    assert found.joined_ns > 0
    for before, after in ((full.spans, found.spans), (full.messages, found.messages), (full.critical, found.critical)):
        assert sum(one.pieces for one in after) == len(before)  # type: ignore[attr-defined]


def test_a_lane_looks_no_less_busy_and_the_path_still_tiles_its_steps() -> None:
    full = timeline(3_000)
    found = condensed(full, 300)
    for lane in (0, 1):
        boxes = [span for span in found.spans if span.lane == lane]
        for before, after in pairwise(boxes):
            assert before.end_ns == after.start_ns
    for before, after in pairwise(found.critical):
        assert before.end_ns == after.start_ns

    def bounds(critical: tuple[Segment, ...]) -> dict[int, tuple[int, int]]:
        steps = {segment.step for segment in critical}
        own = {step: [segment for segment in critical if segment.step == step] for step in steps}
        return {step: (segments[0].start_ns, segments[-1].end_ns) for step, segments in own.items()}

    assert bounds(found.critical) == bounds(full.critical)


def test_what_is_long_stays_as_it_is() -> None:
    full = timeline(3_000)
    found = condensed(full, 12_000)
    long = {span for span in full.spans if span.end_ns - span.start_ns >= found.joined_ns}
    assert long
    assert long <= set(found.spans)


def test_neighbours_have_the_stage_that_most_of_their_time_was_in_and_sleep_is_not_mixed_with_work() -> None:
    def box(stage: Stage, op: str, start: int, end: int) -> TimelineSpan:
        return TimelineSpan(0, stage, op, op, 0, start, end)

    spans = (
        box(Stage.PUSH, "send", 0, 4),
        box(Stage.COMPUTE, "MatMul", 4, 7),
        box(Stage.COMPUTE, "Relu", 7, 9),
        box(Stage.WAIT, Op.BLOCK, 9, 10),
    )
    full = Timeline("few", ("worker-0 main",), spans, (), (), (), 1_000_000)
    work, sleep = condensed(full, 3).spans
    assert (work.start_ns, work.end_ns, work.stage, work.op, work.pieces) == (0, 9, Stage.COMPUTE, "MatMul", 3)
    assert sleep == spans[-1]


def test_one_that_can_be_read_is_not_touched() -> None:
    full = timeline(100)
    assert condensed(full, pieces(full)) is full
    assert condensed(replace(full, end_ns=0), 1).end_ns == 0  # a window of no length has an end, too
