"""The guard around every hook: what ours raises is said once, and the program's call is made as if we were not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from breakdown.backends.wrapping import Call, Hooks, Observation


class Framework:
    """What is hooked."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def train(self, batch: int, scale: int = 1) -> int:
        self.calls.append((batch, scale))
        if batch < 0:
            raise ValueError("a negative batch")
        return batch * scale


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def hooks(said: list[str], monkeypatch: pytest.MonkeyPatch) -> Hooks:
    monkeypatch.setattr(Framework, "train", Framework.train)  # put back behind the test
    return Hooks(said.append)


def before(call: Call) -> None:
    raise KeyError("ours")


def first_part(call: Call) -> Observation:
    raise KeyError("ours")
    yield


def last_part(call: Call) -> Observation:
    yield
    raise KeyError("ours")


def cleaning_up(call: Call) -> Observation:
    try:
        yield
    finally:
        raise KeyError("ours")


def of_no_such_argument(call: Call) -> None:
    call["size"]


FAILING = [before, first_part, last_part, cleaning_up, of_no_such_argument]


@pytest.mark.parametrize("observe", FAILING)
def test_what_an_observer_raises_is_said_once_and_the_call_is_made_once(observe: Any, hooks: Hooks, said: list[str]) -> None:
    hooks.watch(Framework, "train", observe)
    framework = Framework()
    assert [framework.train(2, scale=3), framework.train(batch=4)] == [6, 4]
    assert framework.calls == [(2, 3), (4, 1)]
    assert len(said) == 1
    assert said[0].startswith("Framework.train could not be watched")


@pytest.mark.parametrize("observe", FAILING)
def test_what_the_framework_raises_reaches_the_program(observe: Any, hooks: Hooks) -> None:
    hooks.watch(Framework, "train", observe)
    framework = Framework()
    with pytest.raises(ValueError, match="a negative batch") as raised:
        framework.train(-1)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert framework.calls == [(-1, 1)]
    with pytest.raises(TypeError, match="unexpected keyword"):
        framework.train(1, size=1)  # type: ignore[call-arg]


def test_saying_it_may_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Framework, "train", Framework.train)

    def warn(text: str) -> None:
        raise ValueError("I/O operation on closed file")

    Hooks(warn).watch(Framework, "train", before)
    assert Framework().train(3) == 3


def test_arguments_have_the_frameworks_own_names_however_they_are_given(hooks: Hooks) -> None:
    seen: list[tuple[Any, ...]] = []
    hooks.watch(Framework, "train", lambda call: seen.append((call["batch"], call["scale"], call.owner)))
    framework = Framework()
    framework.train(2, 5)
    framework.train(scale=7, batch=3)
    framework.train(4)
    assert seen == [(2, 5, framework), (3, 7, framework), (4, 1, framework)]


def test_what_an_observer_returns_takes_the_results_place(hooks: Hooks) -> None:
    def doubled(call: Call) -> Observation:
        result = yield
        return 2 * result

    hooks.watch(Framework, "train", doubled)
    assert Framework().train(3) == 6


def test_an_observation_is_closed_where_the_call_raises(hooks: Hooks, said: list[str]) -> None:
    events: list[str] = []

    def observe(call: Call) -> Observation:
        try:
            yield
            events.append("returned")
        finally:
            events.append("ended")

    hooks.watch(Framework, "train", observe)
    with pytest.raises(ValueError, match="negative"):
        Framework().train(-1)
    Framework().train(1)
    assert events == ["ended", "returned", "ended"]
    assert said == []


@pytest.mark.parametrize("observe", [before, last_part])
def test_an_iterator_goes_on_as_it_was(observe: Any, hooks: Hooks, said: list[str]) -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)

    assert list(hooks.iterator(numbers(), observe, "numbers")) == [0, 1, 2]
    watched: Any = hooks.iterator(numbers(), observe, "numbers")
    assert next(watched) == 0
    watched.close()  # a generator's own methods are still there
    assert list(watched) == []
    assert len(said) == 1


def test_a_function_of_ours_that_the_program_calls_raises_nothing(hooks: Hooks, said: list[str]) -> None:
    guarded = hooks.guarded(before, "a mark")
    guarded(None)
    guarded(None)
    assert len(said) == 1
