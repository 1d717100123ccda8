"""Traces of a framework with an engine, walked by hand: operations, combined pushes and pulls. Times are ns."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from golden import S0, W0, W1, Golden, ask
from hypothesis import given, settings
from hypothesis import strategies as st
from test_golden_traces import path_of

from breakdown.analysis.account import account
from breakdown.model.identity import Node, is_operation, operation_id, requester
from breakdown.model.invariants import violations
from breakdown.model.stages import Op, Stage
from breakdown.store.check import check

INPUT, COMPUTE, SERIALIZE, PUSH, AGGREGATE, PULL, WAIT = (
    Stage.INPUT, Stage.COMPUTE, Stage.SERIALIZE, Stage.PUSH, Stage.AGGREGATE, Stage.PULL, Stage.WAIT,
)  # fmt: skip
ENGINE, SENDER, CUSTOMER = "engine", "send-server-0", "customer"


def operation(
    golden: Golden, node: Node, number: int, name: str, pushed: int, released: int, start: int, end: int,
    cause: int = 0, stage: Stage = COMPUTE, key: str = "",
) -> int:  # fmt: skip
    """An operation of the engine, as the grammar has it. Without a cause it could run when it was pushed."""
    own = operation_id(node, number)
    if cause:
        golden.of(node, ENGINE, stage, Op.HOLD, pushed, released, own, key, cause=cause)
    golden.of(node, ENGINE, stage, Op.QUEUE, released, start, own, key, cause=cause)
    golden.of(node, ENGINE, stage, name, start, end, own, key)
    return own


def test_an_operation_is_named_by_its_node_and_is_no_request() -> None:
    own = operation_id(W1, 7)
    assert requester(own) == W1
    assert is_operation(own)
    assert not is_operation(ask(W1, 7))
    assert len({own, operation_id(W0, 7), operation_id(W1, 8), ask(W1, 7)}) == 4


def engine_chain() -> Golden:
    """The main thread hands two operators and one to wait for to the engine, then sleeps until the last is done."""
    golden = Golden()
    golden.main(W0, COMPUTE, Op.FORWARD, 0, 11)
    first = operation(golden, W0, 1, "FullyConnected", 4, 4, 6, 30)
    second = operation(golden, W0, 2, "mean", 8, 31, 34, 40, cause=first)
    last = operation(golden, W0, 3, "WaitForVar", 11, 41, 43, 44, cause=second)
    golden.block(W0, 11, 50, last, "")
    golden.main(W0, COMPUTE, "read", 50, 53)
    golden.step(W0, 0, 53)
    return golden


def test_a_chain_of_operations_is_walked_back_to_where_the_first_was_handed_over() -> None:
    assert path_of(engine_chain()) == [
        (0, 4, "compute", "forward", "worker-0", ""),  # the main thread, until it hands the first over
        (4, 6, "compute", "handover", "worker-0", ""),  # the engine's thread wakes up
        (6, 30, "compute", "FullyConnected", "worker-0", ""),
        (30, 34, "compute", "handover", "worker-0", ""),  # 30-31 between two operations, 31-34 in an idle engine's queue
        (34, 40, "compute", "mean", "worker-0", ""),
        (40, 43, "compute", "handover", "worker-0", ""),
        (43, 44, "compute", "WaitForVar", "worker-0", ""),
        (44, 50, "compute", "handover", "worker-0", ""),  # the main thread wakes up: no pull, for it slept for compute
        (50, 53, "compute", "read", "worker-0", ""),
    ]


def test_an_engine_that_is_busy_delays_by_what_it_does() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.FORWARD, 0, 10)
    first = operation(golden, W0, 1, "mean", 2, 2, 3, 12)
    operation(golden, W0, 2, "sgd_update", 4, 4, 12, 40)  # handed over before: the engine serves in order
    last = operation(golden, W0, 3, "WaitForVar", 8, 12, 40, 41, cause=first)
    golden.block(W0, 10, 44, last, "")
    golden.step(W0, 0, 44)
    assert path_of(golden) == [
        (0, 2, "compute", "forward", "worker-0", ""),
        (2, 3, "compute", "handover", "worker-0", ""),
        (3, 12, "compute", "mean", "worker-0", ""),
        (12, 40, "compute", "sgd_update", "worker-0", ""),
        (40, 41, "compute", "WaitForVar", "worker-0", ""),
        (41, 44, "compute", "handover", "worker-0", ""),
    ]


def push_pull() -> Golden:
    """One worker's backward, then one combined push and pull, then the copy of what was pulled, which main sleeps for."""
    golden = Golden()
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 10)
    backward = operation(golden, W0, 1, "_backward", 4, 4, 5, 20)
    store = operation(golden, W0, 2, "KVStorePushPull", 6, 20, 21, 22, backward, SERIALIZE, "k")
    asked = ask(W0, 1)
    golden.of(W0, ENGINE, SERIALIZE, Op.QUEUE, 20, 22, asked, "k", cause=store)
    golden.of(W0, ENGINE, PUSH, "send", 22, 24, asked, "k")
    golden.push(W0, S0, asked, "k", (24, 28), (27, 35), size=400)
    golden.of(S0, CUSTOMER, AGGREGATE, Op.QUEUE, 35, 36, asked, "k")
    golden.of(S0, CUSTOMER, AGGREGATE, "handle", 36, 37, asked, "k")
    golden.of(S0, ENGINE, AGGREGATE, Op.SUM, 37, 41, asked, "k")
    golden.of(S0, CUSTOMER, SERIALIZE, Op.ENCODE, 41, 43, asked, "k")
    golden.reply(W0, S0, asked, "k", (43, 47), (46, 55), size=400)
    golden.of(W0, CUSTOMER, PULL, Op.QUEUE, 55, 56, asked, "k")
    golden.of(W0, CUSTOMER, SERIALIZE, Op.DECODE, 56, 60, asked, "k")
    golden.of(W0, CUSTOMER, PULL, "release", 60, 63, asked, "k", cause=store)
    golden.of(W0, ENGINE, PULL, Op.HOLD, 22, 63, store, "k", cause=asked)  # the answer completes the operation
    copy = operation(golden, W0, 3, Op.DECODE, 8, 62, 64, 70, store, SERIALIZE, "k")
    golden.block(W0, 10, 75, copy, "k")
    golden.step(W0, 0, 75)
    return golden


def test_a_combined_push_and_pull_is_one_chain_between_two_operations() -> None:
    assert path_of(push_pull()) == [
        (0, 4, "compute", "backward", "worker-0", ""),
        (4, 5, "compute", "handover", "worker-0", ""),
        (5, 20, "compute", "_backward", "worker-0", ""),
        (20, 21, "serialize", "handover", "worker-0", "k"),
        (21, 22, "serialize", "KVStorePushPull", "worker-0", "k"),
        (22, 24, "push", "send", "worker-0", "k"),
        (24, 35, "push", "wire", "worker-0", "k"),
        (35, 36, "aggregate", "handover", "server-0", "k"),
        (36, 37, "aggregate", "handle", "server-0", "k"),
        (37, 41, "aggregate", "sum", "server-0", "k"),
        (41, 43, "serialize", "encode", "server-0", "k"),
        (43, 55, "pull", "wire", "server-0", "k"),
        (55, 56, "pull", "handover", "worker-0", "k"),
        (56, 60, "serialize", "decode", "worker-0", "k"),
        (60, 62, "pull", "release", "worker-0", "k"),
        (62, 64, "serialize", "handover", "worker-0", "k"),
        (64, 70, "serialize", "decode", "worker-0", "k"),
        (70, 75, "serialize", "handover", "worker-0", "k"),
    ]


def test_its_request_is_bytes_pushed_and_its_answer_bytes_pulled() -> None:
    finding = account(push_pull().tables()).finding
    assert (finding.bytes_pushed, finding.bytes_pulled) == (400, 400)


def held() -> Golden:
    """Worker 0's combined push and pull is held for worker 1, whose backward is longer and who is answered first."""
    golden = Golden()
    asked = {}
    for worker, done in ((W0, 20), (W1, 60)):
        golden.main(worker, COMPUTE, Op.BACKWARD, 0, 10)
        backward = operation(golden, worker, 1, "_backward", 4, 4, 5, done)
        store = operation(golden, worker, 2, "KVStorePushPull", 6, done, done, done + 1, backward, SERIALIZE, "k")
        asked[worker] = ask(worker, 1)
        golden.of(worker, ENGINE, SERIALIZE, Op.QUEUE, done, done + 1, asked[worker], "k", cause=store)
        golden.push(worker, S0, asked[worker], "k", (done + 1, done + 5), (done + 4, done + 10))
        golden.of(S0, CUSTOMER, AGGREGATE, Op.QUEUE, done + 10, done + 11, asked[worker], "k")
        golden.of(S0, ENGINE, AGGREGATE, Op.SUM, done + 11, done + 15, asked[worker], "k")
    golden.of(S0, "main", AGGREGATE, Op.UPDATE, 75, 80, asked[W1], "k")
    golden.of(S0, CUSTOMER, SERIALIZE, Op.ENCODE, 80, 81, asked[W1], "k")
    golden.reply(W1, S0, asked[W1], "k", (81, 86), (85, 95))  # under way when worker 0's is released
    golden.of(S0, CUSTOMER, WAIT, Op.HOLD, 35, 83, asked[W0], "k", cause=asked[W1])
    golden.reply(W0, S0, asked[W0], "k", (83, 88), (87, 97))
    for worker, answered in ((W0, 97), (W1, 95)):
        golden.block(worker, 10, answered, asked[worker], "k")
        golden.step(worker, 0, answered)
    return golden


def test_a_combined_push_and_pull_waits_for_what_another_worker_computes() -> None:
    assert path_of(held()) == [
        (0, 4, "compute", "backward", "worker-0", ""),
        (4, 5, "compute", "handover", "worker-0", ""),
        (5, 20, "compute", "_backward", "worker-0", ""),
        (20, 21, "serialize", "KVStorePushPull", "worker-0", "k"),
        (21, 30, "push", "wire", "worker-0", "k"),
        (30, 31, "aggregate", "handover", "server-0", "k"),
        (31, 35, "aggregate", "sum", "server-0", "k"),
        (35, 60, "wait", "_backward", "worker-1", "", "compute"),
        (60, 61, "wait", "KVStorePushPull", "worker-1", "k", "serialize"),
        (61, 70, "wait", "wire", "worker-1", "k", "push"),
        (70, 71, "aggregate", "handover", "server-0", "k"),
        (71, 75, "aggregate", "sum", "server-0", "k"),
        (75, 80, "aggregate", "update", "server-0", "k"),
        (80, 81, "serialize", "encode", "server-0", "k"),
        # Worker 1's answer is on its way by then: that is not what worker 0's was held for.
        (81, 83, "aggregate", "handover", "server-0", "k"),
        (83, 97, "pull", "wire", "server-0", "k"),
    ]


def test_whoever_completed_the_round_waits_for_nobody() -> None:
    assert not [segment for segment in path_of(held(), worker=1) if segment[2] in ("wait", "other")]


def test_operations_that_wait_for_each_other_end_the_walk() -> None:
    golden = Golden()
    one, two = operation_id(W0, 1), operation_id(W0, 2)
    operation(golden, W0, 1, "a", 10, 30, 30, 40, cause=two)
    operation(golden, W0, 2, "b", 10, 30, 40, 50, cause=one)
    golden.block(W0, 10, 60, two, "")
    golden.step(W0, 0, 60)
    path = path_of(golden)
    assert (path[0][0], path[-1][1]) == (0, 60)
    assert all(before[1] == after[0] for before, after in pairwise(path))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_whatever_the_rows_name_as_causes_the_walk_ends_and_tiles_the_step(seed: int) -> None:
    """Operations and requests of two workers with any times and causes, themselves among them."""
    draw = random.Random(seed)
    golden = Golden()
    known = [named(worker, number) for worker in (W0, W1) for number in range(1, 5) for named in (ask, operation_id)]
    for _ in range(draw.randint(1, 40)):
        own, start = draw.choice(known), draw.randint(0, 90)
        node = draw.choice((requester(own), S0))
        op = draw.choice((Op.HOLD, Op.HOLD, Op.QUEUE, Op.QUEUE, Op.DECODE, "work"))
        golden.of(
            node, ENGINE, draw.choice(list(Stage)), op, start, start + draw.randint(0, 20), own, "k", 0, draw.choice(known)
        )
    for own in known:
        if not is_operation(own) and draw.random() < 0.7:
            sent, received = draw.randint(0, 90), draw.randint(0, 90)
            way = draw.choice((golden.push, golden.reply))
            way(requester(own), S0, own, "k", (sent, sent + draw.randint(0, 5)), (received, received + draw.randint(0, 5)))
    for worker in (W0, W1):
        for start in range(0, 100, 20):
            golden.block(worker, start, start + draw.randint(0, 20), draw.choice(known), "k")
        golden.step(worker, 0, 100)
    for worker in (0, 1):
        path = path_of(golden, worker)
        assert (path[0][0], path[-1][1]) == (0, 100)
        assert all(before[1] == after[0] for before, after in pairwise(path))


@pytest.mark.parametrize("trace", [engine_chain, push_pull, held])
def test_the_traces_keep_to_the_rules(trace: object) -> None:
    golden = trace()  # type: ignore[operator]
    assert violations(golden.spans, golden.messages, golden.steps) == []
    assert check(golden.tables()) == []


def test_an_operation_that_is_a_cause_has_records_of_its_own() -> None:
    golden = engine_chain()
    lost = operation_id(W0, 1)
    golden.spans = [span for span in golden.spans if span.request_id != lost]
    named = [rule for rule in violations(golden.spans, golden.messages, golden.steps) if "an operation that nobody" in rule]
    assert len(named) == 2  # the hold and the queue of the one behind it
    assert ["operation" in rule for rule in check(golden.tables())] == [True]
