"""A few steps on one page."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from cluster import Cluster

from breakdown.analysis.timeline import window
from breakdown.errors import UsageError
from breakdown.record.api import STEPS_NOTE
from breakdown.store.tables import Tables


@pytest.fixture
def tables() -> Tables:
    draw = random.Random(2)
    return (
        Cluster(lambda kind: draw.randint(1, 100), workers=2, servers=1, keys=2, steps=4, bsp=True, warm_up=1).run().tables()
    )


def test_lanes_are_threads_workers_first_and_main_first(tables: Tables) -> None:
    lanes = window(tables, 0, 0, 1, 2).lanes
    assert lanes[:3] == ("worker-0 main", "worker-0 recv-server-0", "worker-0 send-server-0")
    assert lanes[3] == "worker-1 main"
    assert lanes[-3:] == ("server-0 recv-worker-1", "server-0 send-worker-0", "server-0 send-worker-1")


def test_the_critical_path_tiles_the_window_and_all_else_touches_it(tables: Tables) -> None:
    found = window(tables, 0, 1, 1, 2)
    assert found.critical[0].start_ns == 0
    assert found.critical[-1].end_ns == found.end_ns
    for before, after in zip(found.critical, found.critical[1:], strict=False):
        assert before.end_ns == after.start_ns
    assert {segment.worker for segment in found.critical} == {1}
    for span in found.spans:
        assert span.end_ns > 0
        assert span.start_ns < found.end_ns
    own = [bounds for bounds in found.step_bounds_ns if bounds[0] == 1]
    assert own[0][1] == 0
    assert own[-1][2] == found.end_ns


def test_a_window_ends_with_its_last_traced_step(tables: Tables) -> None:
    notes = {"0": {"worker-1": [[STEPS_NOTE, {"every": 2, "first": 1}]]}}
    found = window(replace(tables, notes=notes), 0, 1, 1, 2)
    assert {segment.step for segment in found.critical} == {1}
    assert found.end_ns == window(tables, 0, 1, 1, 1).end_ns
    assert not window(replace(tables, notes=notes), 0, 1, 2, 1).critical


def test_boxes_of_a_lane_do_not_overlap_and_messages_go_from_sender_to_receiver(tables: Tables) -> None:
    found = window(tables, 0, 0, 1, 1)
    for before, after in zip(found.spans, found.spans[1:], strict=False):
        if before.lane == after.lane and not found.lanes[before.lane].partition(" ")[2].startswith("recv"):
            assert before.end_ns <= after.start_ns
    assert found.messages
    for message in found.messages:
        sender, receiver = found.lanes[message.from_lane], found.lanes[message.to_lane]
        assert sender.split()[1].startswith("send-")
        assert receiver.split()[1].startswith("recv-")
        assert message.recv_end_ns >= message.send_start_ns


def test_a_window_that_was_not_measured_says_what_was(tables: Tables) -> None:
    with pytest.raises(UsageError, match=r"no measured step 0 to 0 of worker 0\. Measured are 1 to 3"):
        window(tables, 0, 0, 0, 1)
    with pytest.raises(UsageError, match="none of this worker at all"):
        window(tables, 0, 7, 1, 1)
