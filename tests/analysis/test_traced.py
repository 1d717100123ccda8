"""A run of which every n-th step was traced: its account is that of those steps, its speed that of all. Times are ns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from golden import W0, W1, Golden

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.analysis.timeline import window
from breakdown.analysis.traced import said_of
from breakdown.errors import TraceError
from breakdown.model.stages import Op, Stage
from breakdown.record.api import STEPS_NOTE
from breakdown.store.tables import Tables

EVERY_SECOND = {"every": 2, "first": 1}


def run_of(*lengths: int, rule: dict[str, Any] | None) -> Tables:
    """Steps of one worker, back to back; what was traced of them is 30 % input, the rest compute."""
    golden, at = Golden(), 1000
    for step, length in enumerate(lengths):
        if rule is None or (step >= rule["first"] and (step - rule["first"]) % rule["every"] == 0):
            golden.main(W0, Stage.INPUT, Op.LOAD, at, at + length * 3 // 10, step=step)
            golden.main(W0, Stage.COMPUTE, Op.FORWARD, at + length * 3 // 10, at + length, step=step)
        golden.step(W0, at, at + length, step, warm_up=step == 0)
        at += length
    notes = {} if rule is None else {"0": {"worker-0": [["other", 1], [STEPS_NOTE, rule]]}}
    return replace(golden.tables(), notes=notes)


def test_only_traced_steps_are_walked() -> None:
    segments = walk(run_of(100, 100, 110, 120, 150, rule=EVERY_SECOND))
    assert set(segments["step"]) == {1, 3}
    assert "other" not in set(segments["stage"])


def test_all_steps_count_for_the_speed_and_their_time_is_shared_out_as_the_traced_ones_was() -> None:
    found = account(run_of(100, 100, 110, 120, 150, rule=EVERY_SECOND)).finding
    assert found.step_ns == (100 + 110 + 120 + 150) // 4
    assert found.steps == 4
    assert found.samples_per_s == pytest.approx(40 / 480e-9)
    assert {stage.stage: stage.exposed_ns for stage in found.stages if stage.exposed_ns} == {
        Stage.INPUT: 36,
        Stage.COMPUTE: 84,
    }
    assert sum(key.exposed_ns for key in found.keys) == found.step_ns
    assert found.warnings == said_of(4, 2)
    assert found.warnings[0].startswith("2 of 4 steps were traced")


def test_where_each_step_was_traced_nothing_is_said() -> None:
    found = account(run_of(100, 100, 110, rule=None)).finding
    assert (found.step_ns, found.warnings) == (105, ())


def test_a_repetition_without_traced_steps_is_shared_out_as_the_others() -> None:
    golden = Golden()
    golden.main(W0, Stage.COMPUTE, Op.FORWARD, 0, 50)
    golden.step(W0, 0, 50)
    golden.run = 1
    golden.main(W0, Stage.INPUT, Op.LOAD, 0, 90, step=1)
    golden.step(W0, 0, 90, 1)
    notes = {run: {"worker-0": [[STEPS_NOTE, {"every": 2, "first": 0}]]} for run in ("0", "1")}
    found = account(replace(golden.tables(), notes=notes)).finding
    assert found.stages[Stage.COMPUTE].exposed_ns == found.step_ns == 70


def test_a_worker_has_its_own_rule() -> None:
    golden = Golden()
    for worker in (W0, W1):
        for step in range(2):
            golden.main(worker, Stage.COMPUTE, Op.FORWARD, 10 * step, 10 * step + 10, step=step)
            golden.step(worker, 10 * step, 10 * step + 10, step)
    tables = replace(golden.tables(), notes={"0": {"worker-1": [[STEPS_NOTE, {"every": 2, "first": 0}]]}})
    segments = walk(tables)
    assert [set(segments[segments["worker"] == rank]["step"]) for rank in (0, 1)] == [{0, 1}, {0}]


def test_nothing_traced_is_a_fault_of_the_run() -> None:
    with pytest.raises(TraceError, match="no measured step was traced"):
        account(run_of(100, 100, rule={"every": 2, "first": 0}))


def test_a_timeline_draws_the_path_of_traced_steps_alone() -> None:
    tables = run_of(100, 100, 110, 120, rule=EVERY_SECOND)
    assert {segment.step for segment in window(tables, 0, 0, 1, 3).critical} == {1, 3}
    assert window(tables, 0, 0, 2, 1).critical == ()
