"""The order in which a sender takes what it has to send."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.errors import ConfigError
from breakdown.ps.outbox import Outbox, outbox

PRIORITIES = st.lists(st.integers(0, 5), max_size=20)


def drain(box: Outbox[int]) -> list[int]:
    box.end()
    taken = []
    while (item := box.take()) is not None:
        taken.append(item)
    return taken


@given(PRIORITIES)
def test_fifo_keeps_the_order_of_arrival(priorities: list[int]) -> None:
    box: Outbox[int] = outbox("fifo")
    for number, priority in enumerate(priorities):
        box.put(priority, number)
    assert drain(box) == list(range(len(priorities)))


@given(PRIORITIES)
def test_layer_takes_the_first_layer_first(priorities: list[int]) -> None:
    box: Outbox[int] = outbox("layer")
    for number, priority in enumerate(priorities):
        box.put(priority, number)
    assert drain(box) == sorted(range(len(priorities)), key=lambda number: (priorities[number], number))


@pytest.mark.parametrize("priority", ["fifo", "layer"])
def test_take_sleeps_until_there_is_something(priority: str) -> None:
    box: Outbox[str] = outbox(priority)
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(box.take()), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    box.put(0, "item")
    thread.join(5)
    assert taken == ["item"]


def test_an_unknown_priority_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="fifo, layer"):
        outbox("urgent")
