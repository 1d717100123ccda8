"""The server's state of a key: adoption, sums, updates, and replies that later updates leave alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from breakdown.errors import WireError
from breakdown.ps.consistency import Pull, consistency
from breakdown.ps.optim import optimizer
from breakdown.ps.pool import Buffer, Pool
from breakdown.ps.state import Action, Initial, Reply, ShardState, Sum, Update, Version

SIZE = 3
RATE = 0.5


def buffer(pool: Pool, *values: float) -> Buffer:
    made = pool.take(4 * SIZE)
    made.values.copy_(torch.tensor(values))
    return made


def state(name: str, workers: int, update_on: str = "server", staleness: int = 0) -> tuple[ShardState, Pool]:
    pool = Pool()
    rule = optimizer("sgd", RATE) if update_on == "server" else None
    shard = ShardState(consistency(name, workers, staleness), rule, pool)
    carry_out(shard, shard.on_push(0, -1, buffer(pool, 1.0, 2.0, 3.0)))
    return shard, pool


def carry_out(shard: ShardState, actions: Sequence[Action]) -> list[tuple[Pull, Version]]:
    """Does all actions; gives the replies with what they are sent from."""
    lent = []
    for action in actions:
        if isinstance(action, Reply):
            lent.append((action.pull, shard.lend(action)))
        else:
            shard.perform(action)
    return lent


def sent(lent: Sequence[tuple[Pull, Version]]) -> None:
    for pull, version in lent:
        version.done(pull.request_id)


def values(version: Version) -> list[float]:
    return version.buffer.values.tolist()


def test_a_round_of_bsp_step_by_step() -> None:
    shard, pool = state("bsp", 2)
    first, second = buffer(pool, 1.0, 0.0, 0.0), buffer(pool, 0.0, 4.0, 0.0)
    actions = shard.on_push(0, 0, first)
    assert actions == (Sum(first, adopted=True),)
    carry_out(shard, actions)
    early = Pull(0, 0, 11)
    assert shard.on_pull(early) == ()
    actions = shard.on_push(1, 0, second)
    assert actions == (Sum(second, adopted=False), Update(0.5), Reply(early))
    ((pull, version),) = carry_out(shard, actions)
    assert pull == early
    assert values(version) == [0.75, 1.0, 3.0]
    late = Pull(1, 0, 12)
    assert carry_out(shard, shard.on_pull(late)) == [(late, version)]
    assert version.readers == {11, 12}


def test_the_first_contribution_is_adopted_without_a_copy() -> None:
    shard, pool = state("bsp", 2, update_on="worker")
    first = buffer(pool, 1.0, 2.0, 3.0)
    carry_out(shard, shard.on_push(0, 0, first))
    carry_out(shard, shard.on_push(1, 0, buffer(pool, 1.0, 1.0, 1.0)))
    ((_, version),) = carry_out(shard, shard.on_pull(Pull(0, 0, 1)))
    assert version.buffer is first
    assert values(version) == [2.0, 3.0, 4.0], "the sum: a worker takes the mean"


def test_initial_pulls_are_answered_by_the_initial_push() -> None:
    pool = Pool()
    shard = ShardState(consistency("bsp", 2), None, pool)
    pull = Pull(1, -1, 5)
    assert shard.on_pull(pull) == ()
    value = buffer(pool, 1.0, 2.0, 3.0)
    actions = shard.on_push(0, -1, value)
    assert actions == (Initial(value), Reply(pull))
    assert carry_out(shard, actions)[0][1].buffer is value


def test_bsp_updates_in_place_though_a_sender_is_slow_to_say_that_it_is_done() -> None:
    shard, pool = state("bsp", 1)
    carry_out(shard, shard.on_push(0, 0, buffer(pool, 2.0, 2.0, 2.0)))
    ((_, before),) = carry_out(shard, shard.on_pull(Pull(0, 0, 1)))
    # The worker pushes again: it holds the reply, whatever the sender thread has got round to.
    carry_out(shard, shard.on_push(0, 1, buffer(pool, 2.0, 2.0, 2.0)))
    ((_, after),) = carry_out(shard, shard.on_pull(Pull(0, 1, 2)))
    assert after is before
    assert values(after) == [-1.0, 0.0, 1.0]


def test_async_leaves_a_reply_in_flight_alone() -> None:
    shard, pool = state("async", 2)
    carry_out(shard, shard.on_push(0, 0, buffer(pool, 2.0, 2.0, 2.0)))
    in_flight = carry_out(shard, shard.on_pull(Pull(0, 0, 1)))
    carry_out(shard, shard.on_push(1, 0, buffer(pool, 2.0, 2.0, 2.0)))
    ((_, newer),) = carry_out(shard, shard.on_pull(Pull(1, 0, 2)))
    assert values(in_flight[0][1]) == [0.0, 1.0, 2.0]
    assert values(newer) == [-1.0, 0.0, 1.0]


def test_async_updates_in_place_when_nobody_reads() -> None:
    shard, pool = state("async", 2)
    lent = carry_out(shard, shard.on_pull(Pull(0, -1, 1)))
    sent(lent)
    carry_out(shard, shard.on_push(1, 0, buffer(pool, 2.0, 2.0, 2.0)))
    ((_, after),) = carry_out(shard, shard.on_pull(Pull(1, 0, 2)))
    assert after is lent[0][1]


@pytest.mark.parametrize("update_on", ["server", "worker"])
def test_bsp_needs_no_new_memory_after_the_first_rounds(update_on: str) -> None:
    shard, pool = state("bsp", 2, update_on)
    seen: set[int] = set()
    for step in range(6):
        for worker in range(2):
            contribution = buffer(pool, 1.0, 1.0, 1.0)
            seen.add(id(contribution))
            carry_out(shard, shard.on_push(worker, step, contribution))
        for worker in range(2):
            carry_out(shard, shard.on_pull(Pull(worker, step, 2 * step + worker + 1)))  # the senders never report
    assert len(seen) <= 3


def test_the_memory_of_a_sum_is_free_once_all_workers_have_it_and_only_once() -> None:
    shard, pool = state("bsp", 2, update_on="worker")
    summed = buffer(pool, 1.0, 1.0, 1.0)
    carry_out(shard, shard.on_push(0, 0, summed, Pull(0, 0, 1)))
    lent = carry_out(shard, shard.on_push(1, 0, buffer(pool, 1.0, 1.0, 1.0), Pull(1, 0, 3)))
    assert [pull.request_id for pull, _ in lent] == [1, 3]
    sent(lent[:1])
    taken = [pool.take(4 * SIZE) for _ in range(2)]
    assert summed not in taken, "a reply may still be read from it"
    sent(lent)
    sent(lent)
    assert pool.take(4 * SIZE) is summed
    assert pool.take(4 * SIZE) is not summed
    with pytest.raises(WireError, match="again after all workers had it"):
        carry_out(shard, shard.on_pull(Pull(0, 0, 5)))


@given(st.data(), st.sampled_from(["bsp", "async", "ssp"]), st.sampled_from(["server", "worker"]))
def test_no_reply_in_flight_ever_changes(data: st.DataObject, name: str, update_on: str) -> None:
    """Random orders of pushes, pulls and slow senders; every reply carries the values that it had when it was lent."""
    workers = 3
    shard, pool = state(name, workers, "server" if name != "bsp" else update_on, staleness=1)
    pushed = [-1] * workers
    waiting: set[int] = set()
    requests = itertools.count(1)
    in_flight: dict[int, list[tuple[Pull, Version, list[float]]]] = {worker: [] for worker in range(workers)}

    def note(lent: Sequence[tuple[Pull, Version]]) -> None:
        for pull, version in lent:
            waiting.discard(pull.worker)
            in_flight[pull.worker].append((pull, version, values(version)))

    for _ in range(30):
        able = [worker for worker in range(workers) if worker not in waiting]
        if not able:
            break
        worker = data.draw(st.sampled_from(able))
        # The worker holds its last reply, so the bytes have left; the sender may or may not have said so yet.
        for pull, version, expected in in_flight[worker]:
            assert values(version) == expected
            if data.draw(st.booleans()):
                version.done(pull.request_id)
        in_flight[worker].clear()
        pushed[worker] += 1
        gradient = buffer(pool, *(float(data.draw(st.integers(-3, 3))) for _ in range(SIZE)))
        waiting.add(worker)
        pull = Pull(worker, pushed[worker], next(requests))
        together = data.draw(st.booleans())
        note(carry_out(shard, shard.on_push(worker, pushed[worker], gradient, pull if together else None)))
        if not together:
            note(carry_out(shard, shard.on_pull(pull)))
        for flights in in_flight.values():
            for _, version, expected in flights:
                assert values(version) == expected


def test_events_that_cannot_come_change_nothing() -> None:
    shard, pool = state("bsp", 2)
    with pytest.raises(WireError):
        shard.on_push(0, 3, buffer(pool, 9.0, 9.0, 9.0))
    carry_out(shard, shard.on_push(0, 0, buffer(pool, 1.0, 1.0, 1.0)))
    carry_out(shard, shard.on_push(1, 0, buffer(pool, 1.0, 1.0, 1.0)))
    ((_, version),) = carry_out(shard, shard.on_pull(Pull(0, 0, 1)))
    assert values(version) == [0.5, 1.5, 2.5]


def test_the_pool_gives_back_what_was_given_last() -> None:
    pool = Pool()
    first, second = pool.take(8), pool.take(8)
    pool.give(first)
    pool.give(second)
    assert pool.take(8) is second
    assert pool.take(8) is first
    assert pool.take(12).nbytes == 12
