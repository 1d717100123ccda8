"""When pulls are answered: BSP, async and SSP over hand-made and random orders of events."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.errors import ConfigError, WireError
from breakdown.ps.consistency import Consistency, Pull, consistency


def ready(name: str, workers: int, staleness: int = 0) -> Consistency:
    rule = consistency(name, workers, staleness)
    rule.on_initial(0)
    return rule


def test_bsp_answers_when_all_have_pushed() -> None:
    rule = ready("bsp", 2)
    assert rule.on_push(0, 0) == (False, ())
    first = Pull(0, 0, 1)
    assert not rule.on_pull(first)
    assert rule.on_push(1, 0) == (True, (first,))
    assert rule.on_pull(Pull(1, 0, 2))


def test_a_pull_that_comes_with_its_push_waits_for_it_and_for_no_more_than_the_rule_asks() -> None:
    rule = ready("bsp", 2)
    first, second = Pull(0, 0, 2), Pull(1, 0, 4)
    assert rule.on_push(0, 0, first) == (False, ())
    assert rule.on_push(1, 0, second) == (True, (first, second))
    assert ready("async", 2).on_push(0, 0, first) == (True, (first,))
    rule = ready("ssp", 2, staleness=1)
    assert rule.on_push(0, 0, first) == (True, (first,))
    ahead = Pull(0, 1, 6)
    assert rule.on_push(0, 1, ahead) == (True, ())
    assert rule.on_push(1, 0, second) == (True, (ahead, second))
    rule = consistency("bsp", 1)
    assert rule.on_initial(0, Pull(0, -1, 2)) == (Pull(0, -1, 2),)


def test_async_applies_and_answers_at_once() -> None:
    rule = ready("async", 2)
    for step in range(3):
        assert rule.on_push(0, step) == (True, ())
        assert rule.on_pull(Pull(0, step, step))


def test_ssp_holds_the_fast_worker_at_its_bound() -> None:
    rule = ready("ssp", 2, staleness=1)
    assert rule.on_push(0, 0) == (True, ())
    assert rule.on_pull(Pull(0, 0, 1)), "one step ahead is allowed"
    assert rule.on_push(0, 1) == (True, ())
    held = Pull(0, 1, 2)
    assert not rule.on_pull(held)
    assert rule.on_push(1, 0) == (True, (held,))


def test_initial_pulls_wait_for_the_initial_value() -> None:
    rule = consistency("bsp", 2)
    pull = Pull(1, -1, 7)
    assert not rule.on_pull(pull)
    assert rule.on_initial(0) == (pull,)
    assert rule.on_pull(Pull(0, -1, 8))


@pytest.mark.parametrize("name", ["bsp", "async", "ssp"])
def test_events_that_cannot_come_are_refused(name: str) -> None:
    with pytest.raises(WireError, match="before the initial"):
        consistency(name, 2).on_push(0, 0)
    rule = ready(name, 2)
    with pytest.raises(WireError, match="twice"):
        rule.on_initial(0)
    with pytest.raises(WireError, match="next step is 0"):
        rule.on_push(0, 1)
    with pytest.raises(WireError, match="pushed only up to step -1"):
        rule.on_pull(Pull(0, 0, 1))
    rule.on_push(0, 0)
    with pytest.raises(WireError, match="next step is 1"):
        rule.on_push(0, 0)


def test_bsp_refuses_a_second_push_in_a_round() -> None:
    rule = ready("bsp", 2)
    rule.on_push(0, 0)
    with pytest.raises(WireError, match="before step 0 was complete"):
        rule.on_push(0, 1)


def test_an_unknown_consistency_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="async, bsp, ssp"):
        consistency("eventual", 1)


@dataclass
class Simulation:
    """Workers that push a step, pull, and go on when they are answered; hypothesis picks who moves next."""

    rule: Consistency
    workers: int
    steps: int
    pushed: list[int] = field(default_factory=list)  # last step that each worker pushed
    waiting: dict[int, int] = field(default_factory=dict)  # worker -> step of its held pull
    answers: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)  # worker, step, everybody's clock then

    def __post_init__(self) -> None:
        self.pushed = [-1] * self.workers

    def movable(self) -> list[int]:
        return [w for w in range(self.workers) if w not in self.waiting and self.pushed[w] < self.steps - 1]

    def move(self, worker: int) -> None:
        step = self.pushed[worker] + 1
        self.pushed[worker] = step
        outcome = self.rule.on_push(worker, step)
        for pull in outcome.released:
            assert self.waiting.pop(pull.worker) == pull.step
            self.answer(pull.worker, pull.step)
        if self.rule.on_pull(Pull(worker, step, step)):
            self.answer(worker, step)
        else:
            self.waiting[worker] = step

    def answer(self, worker: int, step: int) -> None:
        self.answers.append((worker, step, tuple(self.pushed)))


@given(st.data(), st.integers(1, 4), st.integers(0, 3))
def test_ssp_never_exceeds_its_bound_and_never_stalls(data: st.DataObject, workers: int, staleness: int) -> None:
    simulation = Simulation(ready("ssp", workers, staleness), workers, steps=6)
    while movable := simulation.movable():
        simulation.move(data.draw(st.sampled_from(movable)))
        # A worker that may compute step s + 1 has seen all updates up to s - staleness.
        going = [simulation.pushed[w] for w in range(workers) if w not in simulation.waiting]
        assert all(step - min(simulation.pushed) <= staleness for step in going)
    assert simulation.pushed == [5] * workers, "nobody waits for ever"
    assert not simulation.waiting
    assert len(simulation.answers) == 6 * workers


@given(st.data(), st.integers(1, 4), st.integers(1, 3))
def test_ssp_holds_nobody_who_is_within_the_bound(data: st.DataObject, workers: int, staleness: int) -> None:
    simulation = Simulation(ready("ssp", workers, staleness), workers, steps=6)
    while movable := simulation.movable():
        simulation.move(data.draw(st.sampled_from(movable)))
        for step in simulation.waiting.values():
            assert step - min(simulation.pushed) > staleness


@given(st.data(), st.integers(1, 4))
def test_bsp_keeps_all_in_one_step(data: st.DataObject, workers: int) -> None:
    simulation = Simulation(ready("bsp", workers), workers, steps=5)
    while movable := simulation.movable():
        simulation.move(data.draw(st.sampled_from(movable)))
    assert all(clocks == (step,) * workers for _, step, clocks in simulation.answers)
    assert len(simulation.answers) == 5 * workers
