"""Traces whose critical path was worked out by hand. Times are ns; a segment is (from, to, stage, op, place, key)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from golden import S0, W0, W1, Golden, ask

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.analysis.findings import Queued
from breakdown.model.records import Direction, Span, Verb
from breakdown.model.stages import Op, Stage

INPUT, COMPUTE, SERIALIZE, AGGREGATE, PULL, WAIT = (
    Stage.INPUT, Stage.COMPUTE, Stage.SERIALIZE, Stage.AGGREGATE, Stage.PULL, Stage.WAIT,
)  # fmt: skip
SEND, RECV, HANDLE, REPLY0 = "send-server-0", "recv-server-0", "handle-0", "send-worker-0"


def path_of(golden: Golden, worker: int = 0) -> list[tuple[object, ...]]:
    """The worker's segments as short tuples; the cause, and what a queue stood behind, are added where there is one."""
    frame = walk(golden.tables())
    found = []
    for row in frame[frame["worker"] == worker].itertuples():
        reasons = [reason for reason in (row.cause, row.behind) if isinstance(reason, str)]
        found.append((row.start_ns, row.end_ns, row.stage, row.op, row.place, row.key, *reasons))
    return found


def test_single_node_is_its_main_thread_in_program_order() -> None:
    golden = Golden()
    golden.main(W0, INPUT, Op.LOAD, 100, 110)
    golden.main(W0, COMPUTE, Op.FORWARD, 110, 150, "a")
    golden.main(W0, COMPUTE, Op.BACKWARD, 150, 210, "a")
    golden.main(W0, COMPUTE, Op.UPDATE, 213, 230)  # 3 ns before it that no record explains
    golden.step(W0, 100, 231)  # and one after it
    assert path_of(golden) == [
        (100, 110, "input", "load", "worker-0", ""),
        (110, 150, "compute", "forward", "worker-0", "a"),
        (150, 210, "compute", "backward", "worker-0", "a"),
        (210, 213, "other", "unexplained", "worker-0", ""),
        (213, 230, "compute", "update", "worker-0", ""),
        (230, 231, "other", "unexplained", "worker-0", ""),
    ]


def one_round(golden: Golden, key: str, submit: int) -> int:
    """Worker 0 pushes and pulls one key with nobody in its way. Returns the pull's id; decoded at submit + 130."""
    push, pull = ask(W0, 1), ask(W0, 2)
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, submit, submit + 5, push, key)
    golden.of(W0, SEND, SERIALIZE, Op.ENCODE, submit + 5, submit + 15, push, key)
    golden.push(W0, S0, push, key, (submit + 15, submit + 30), (submit + 20, submit + 40), size=400)
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, submit, submit + 30, pull, key)
    golden.pull(W0, S0, pull, key, (submit + 30, submit + 32), (submit + 40, submit + 44))
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, submit + 40, submit + 43, push, key)
    golden.of(S0, HANDLE, SERIALIZE, Op.DECODE, submit + 43, submit + 50, push, key)
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, submit + 50, submit + 60, push, key)
    golden.of(S0, HANDLE, AGGREGATE, Op.UPDATE, submit + 60, submit + 80, push, key)
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, submit + 44, submit + 82, pull, key)
    golden.of(S0, REPLY0, PULL, Op.QUEUE, submit + 85, submit + 88, pull, key)
    golden.of(S0, REPLY0, SERIALIZE, Op.ENCODE, submit + 88, submit + 90, pull, key)
    golden.reply(W0, S0, pull, key, (submit + 90, submit + 100), (submit + 95, submit + 120), size=600)
    golden.of(W0, RECV, SERIALIZE, Op.DECODE, submit + 120, submit + 130, pull, key)
    return pull


def test_one_worker_one_server_one_key_in_series() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 60, "k")
    golden.block(W0, 61, 200, one_round(golden, "k", 60), "k")
    golden.step(W0, 0, 200)
    assert path_of(golden) == [
        (0, 60, "compute", "backward", "worker-0", "k"),
        (60, 65, "serialize", "handover", "worker-0", "k"),  # the sender thread wakes up
        (65, 75, "serialize", "encode", "worker-0", "k"),
        # Sent from 75, arrived at 100. The pull was sent at 90 already, but the link was the push's until then.
        (75, 100, "push", "wire", "worker-0", "k"),
        (100, 104, "pull", "wire", "worker-0", "k"),
        # The pull waits for the handler, which serves the same worker's push until 140 and then takes 2 ns to come.
        (104, 110, "serialize", "decode", "server-0", "k"),
        (110, 120, "aggregate", "sum", "server-0", "k"),
        (120, 140, "aggregate", "update", "server-0", "k"),
        (140, 142, "aggregate", "handover", "server-0", "k"),
        (142, 148, "pull", "handover", "server-0", "k"),  # 142-145 between two records, 145-148 in an idle sender's queue
        (148, 150, "serialize", "encode", "server-0", "k"),
        (150, 180, "pull", "wire", "server-0", "k"),
        (180, 190, "serialize", "decode", "worker-0", "k"),
        (190, 200, "pull", "handover", "worker-0", "k"),  # the main thread wakes up
    ]


def straggler() -> Golden:
    """Two workers, BSP, one key; worker 1's backward ends at 60, worker 0's at 20."""
    golden = Golden()
    p0, q0, p1, q1 = ask(W0, 1), ask(W0, 2), ask(W1, 1), ask(W1, 2)
    golden.main(W0, COMPUTE, Op.FORWARD, 0, 10, "k")
    golden.main(W0, COMPUTE, Op.BACKWARD, 10, 20, "k")
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 21, p0, "k")
    golden.push(W0, S0, p0, "k", (21, 25), (24, 30))
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 25, q0, "k")
    golden.pull(W0, S0, q0, "k", (25, 26), (30, 31))
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 30, 31, p0, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, 31, 35, p0, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 31, 35, q0, "k")
    golden.of(S0, HANDLE, WAIT, Op.HOLD, 35, 82, q0, "k", cause=p1)
    golden.of(S0, REPLY0, PULL, Op.QUEUE, 82, 84, q0, "k")
    golden.reply(W0, S0, q0, "k", (84, 88), (87, 95))
    golden.block(W0, 20, 97, q0, "k")
    golden.step(W0, 0, 97)

    golden.main(W1, COMPUTE, Op.FORWARD, 0, 10, "k")
    golden.main(W1, COMPUTE, Op.BACKWARD, 10, 60, "k")
    golden.of(W1, SEND, SERIALIZE, Op.QUEUE, 60, 61, p1, "k")
    golden.push(W1, S0, p1, "k", (61, 65), (64, 70))
    golden.of(W1, SEND, SERIALIZE, Op.QUEUE, 60, 65, q1, "k")
    golden.pull(W1, S0, q1, "k", (65, 66), (70, 71))
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 70, 71, p1, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, 71, 75, p1, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.UPDATE, 75, 80, p1, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 71, 83, q1, "k")
    golden.of(S0, "send-worker-1", PULL, Op.QUEUE, 83, 84, q1, "k")
    golden.reply(W1, S0, q1, "k", (84, 88), (87, 94))
    golden.block(W1, 60, 95, q1, "k")
    golden.step(W1, 0, 95)
    return golden


def test_a_worker_waits_for_what_the_straggler_does() -> None:
    assert path_of(straggler()) == [
        (0, 10, "compute", "forward", "worker-0", "k"),
        (10, 20, "compute", "backward", "worker-0", "k"),
        (20, 21, "serialize", "handover", "worker-0", "k"),
        (21, 30, "push", "wire", "worker-0", "k"),
        (30, 31, "aggregate", "handover", "server-0", "k"),
        (31, 35, "aggregate", "sum", "server-0", "k"),
        # Worker 0's own push was done at 35. From there to 82 its pull was held for worker 1, which was computing until 60.
        (35, 60, "wait", "backward", "worker-1", "k", "compute"),
        (60, 61, "wait", "handover", "worker-1", "k", "serialize"),
        (61, 70, "wait", "wire", "worker-1", "k", "push"),
        # What the server does with worker 1's push keeps its stage.
        (70, 71, "aggregate", "handover", "server-0", "k"),
        (71, 75, "aggregate", "sum", "server-0", "k"),
        (75, 80, "aggregate", "update", "server-0", "k"),
        (80, 82, "aggregate", "handover", "server-0", "k"),
        (82, 84, "pull", "handover", "server-0", "k"),
        (84, 95, "pull", "wire", "server-0", "k"),
        (95, 97, "pull", "handover", "worker-0", "k"),
    ]


def test_the_straggler_itself_waits_for_nobody() -> None:
    assert path_of(straggler(), worker=1) == [
        (0, 10, "compute", "forward", "worker-1", "k"),
        (10, 60, "compute", "backward", "worker-1", "k"),
        (60, 61, "serialize", "handover", "worker-1", "k"),
        (61, 70, "push", "wire", "worker-1", "k"),
        (70, 71, "pull", "wire", "worker-1", "k"),
        (71, 75, "aggregate", "sum", "server-0", "k"),
        (75, 80, "aggregate", "update", "server-0", "k"),
        (80, 83, "aggregate", "handover", "server-0", "k"),
        (83, 84, "pull", "handover", "server-0", "k"),
        (84, 94, "pull", "wire", "server-0", "k"),
        (94, 95, "pull", "handover", "worker-1", "k"),
    ]


def test_the_straggler_is_the_cause_in_the_account_too() -> None:
    # Means over two steps. Waiting: worker 0's 35 ns of 25 compute, 1 serialize, 9 push; worker 1's none. Half of 35 is
    # 17.5, and the mean step is (97 + 95) / 2 = 96. Shares are whole and add up, so one of the halves is rounded down.
    finding = account(straggler().tables()).finding
    wait = finding.stages[Stage.WAIT]
    assert finding.step_ns == 96
    assert sum(time.exposed_ns for time in finding.stages) == 96
    assert wait.exposed_ns in (17, 18)
    assert sum(wait.by_cause_ns.values()) == wait.exposed_ns
    assert max(wait.by_cause_ns, key=lambda cause: wait.by_cause_ns[cause]) == "compute"


def test_a_push_behind_backward_is_hidden() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 20, "late")
    golden.main(W0, COMPUTE, Op.BACKWARD, 20, 200, "early")
    one_round(golden, "late", 20)  # wholly done at 150, so the main thread never slept for it
    golden.step(W0, 0, 200)
    assert path_of(golden) == [
        (0, 20, "compute", "backward", "worker-0", "late"),
        (20, 200, "compute", "backward", "worker-0", "early"),
    ]
    stages = account(golden.tables()).finding.stages
    # Hidden: the push was on the wire 35-60; sum and update 70-100; the pull request, behind the push, 60-64 and its reply
    # 110-140; encodes 25-35 and 108-110, decodes 63-70 and 140-150.
    assert [stages[stage].hidden_ns for stage in Stage] == [0, 0, 29, 25, 30, 34, 0, 0]
    assert [stages[stage].exposed_ns for stage in Stage] == [0, 200, 0, 0, 0, 0, 0, 0]


def test_a_queue_at_the_sender_is_the_other_keys_push() -> None:
    golden = Golden()
    p1, q1, p2, q2 = (ask(W0, number) for number in range(1, 5))
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 20, "first")
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 22, p1, "first")
    golden.push(W0, S0, p1, "first", (22, 40), (25, 41))
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 40, q1, "first")
    golden.pull(W0, S0, q1, "first", (40, 41), (41, 42))
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 43, p2, "second")
    golden.of(W0, SEND, SERIALIZE, Op.ENCODE, 43, 45, p2, "second")
    golden.push(W0, S0, p2, "second", (45, 50), (46, 55))
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 50, q2, "second")
    golden.pull(W0, S0, q2, "second", (50, 51), (55, 56))
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 55, 55, p2, "second")
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, 55, 60, p2, "second")
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 56, 60, q2, "second")
    golden.of(S0, REPLY0, PULL, Op.QUEUE, 60, 60, q2, "second")
    golden.reply(W0, S0, q2, "second", (60, 61), (62, 70))
    golden.block(W0, 20, 71, q2, "second")
    golden.step(W0, 0, 71)
    assert path_of(golden) == [
        (0, 20, "compute", "backward", "worker-0", "first"),
        # What the sender did while the second pull waited for it: woke up, sent the first key, rested, sent the second.
        (20, 22, "serialize", "handover", "worker-0", "second"),
        (22, 40, "push", "wire", "worker-0", "first"),
        (40, 41, "pull", "wire", "worker-0", "first"),
        (41, 43, "serialize", "handover", "worker-0", "second"),
        (43, 45, "serialize", "encode", "worker-0", "second"),
        (45, 55, "push", "wire", "worker-0", "second"),
        (55, 56, "pull", "wire", "worker-0", "second"),
        (56, 60, "aggregate", "sum", "server-0", "second"),
        (60, 70, "pull", "wire", "server-0", "second"),
        (70, 71, "pull", "handover", "worker-0", "second"),
    ]


def busy_server() -> Golden:
    """Asynchronous: worker 0's push waits for the handler, which works on two other keys for worker 1 until 50."""
    golden = Golden()
    p0, q0, p1, p2 = ask(W0, 1), ask(W0, 2), ask(W1, 1), ask(W1, 2)
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 20, "k")
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 20, p0, "k")
    golden.push(W0, S0, p0, "k", (20, 25), (22, 30))
    golden.of(W0, SEND, SERIALIZE, Op.QUEUE, 20, 25, q0, "k")
    golden.pull(W0, S0, q0, "k", (25, 26), (30, 32))
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, 28, 40, p1, "i")
    golden.of(S0, HANDLE, AGGREGATE, Op.UPDATE, 40, 50, p2, "j")
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 30, 51, p0, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.SUM, 51, 55, p0, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.UPDATE, 55, 57, p0, "k")
    golden.of(S0, HANDLE, AGGREGATE, Op.QUEUE, 32, 57, q0, "k")
    golden.of(S0, REPLY0, PULL, Op.QUEUE, 57, 57, q0, "k")
    golden.reply(W0, S0, q0, "k", (57, 60), (58, 66))
    golden.block(W0, 20, 66, q0, "k")
    golden.step(W0, 0, 66)
    return golden


def test_a_queue_at_the_server_is_work_for_another_worker_and_async_holds_nothing() -> None:
    assert path_of(busy_server()) == [
        (0, 20, "compute", "backward", "worker-0", "k"),
        (20, 30, "push", "wire", "worker-0", "k"),
        (30, 32, "pull", "wire", "worker-0", "k"),
        (32, 40, "aggregate", "queue", "server-0", "i", "sum"),  # the handler works for worker 1, on these keys
        (40, 50, "aggregate", "queue", "server-0", "j", "update"),
        (50, 51, "aggregate", "handover", "server-0", "k"),
        (51, 55, "aggregate", "sum", "server-0", "k"),
        (55, 57, "aggregate", "update", "server-0", "k"),
        (57, 66, "pull", "wire", "server-0", "k"),
    ]


def test_what_requests_queued_behind_is_told_by_operation_and_key() -> None:
    aggregate = account(busy_server().tables()).finding.stages[Stage.AGGREGATE]
    assert aggregate.by_op_ns["queue"] == 18
    assert aggregate.queued == (Queued("update", "j", S0, 10), Queued("sum", "i", S0, 8))


def test_a_handler_that_slept_for_a_request_stands_for_what_others_did_for_it() -> None:
    """As `busy_server`, but from 30 on the handler sleeps: the engine sums and updates for worker 1 until 50."""
    golden = busy_server()
    golden.spans = [s for s in golden.spans if s.key not in ("i", "j")]
    push = ask(W1, 1)
    golden.of(S0, HANDLE, AGGREGATE, "handle", 28, 31, push, "i")
    golden.spans.append(Span(0, S0, HANDLE, -1, AGGREGATE, "await", 31, 49, "i", cause_id=push))
    golden.of(S0, "engine", AGGREGATE, Op.SUM, 33, 38, push, "i")
    golden.of(S0, "engine", AGGREGATE, Op.UPDATE, 38, 47, push, "i")
    golden.of(S0, HANDLE, SERIALIZE, Op.ENCODE, 49, 50, push, "i")
    assert path_of(golden)[3:9] == [
        (32, 33, "aggregate", "queue", "server-0", "i", "await"),  # the engine is woken
        (33, 38, "aggregate", "queue", "server-0", "i", "sum"),
        (38, 47, "aggregate", "queue", "server-0", "i", "update"),
        (47, 49, "aggregate", "queue", "server-0", "i", "await"),
        (49, 50, "aggregate", "queue", "server-0", "i", "encode"),
        (50, 51, "aggregate", "handover", "server-0", "k"),
    ]


def lose(golden: Golden, request: int, direction: int, half: str) -> Golden:
    """Forgets one half of a message."""
    fields = {f"{half}_start_ns": None, f"{half}_end_ns": None}
    golden.messages = [
        replace(m, **fields) if (m.request_id, m.direction) == (request, direction) else m for m in golden.messages
    ]
    return golden


@pytest.mark.parametrize("verb", [Verb.PULL, Verb.CONTROL])
def test_a_message_of_no_stage_takes_nothing_from_those_that_it_holds_up(verb: Verb) -> None:
    """Another one is sent ahead of the answer, by the same thread, and arrives just before it."""
    golden = Golden()
    golden.block(W0, 60, 200, one_round(golden, "a", 60), "a")
    golden.message(verb, Direction.REPLY, W0, S0, ask(W0, 9), "b", (145, 148), (170, 178))
    golden.step(W0, 60, 200)
    of_another = [
        (142, 145, "pull", "handover", "server-0", "a"),
        (145, 148, "pull", "wire", "server-0", "b"),
        (148, 150, "serialize", "encode", "server-0", "a"),
        (150, 178, "pull", "wire", "server-0", "b"),
        (178, 180, "pull", "wire", "server-0", "a"),
    ]
    own = [
        (142, 148, "pull", "handover", "server-0", "a"),
        (148, 150, "serialize", "encode", "server-0", "a"),
        (150, 180, "pull", "wire", "server-0", "a"),
    ]
    told = [segment for segment in path_of(golden) if segment[0] in range(142, 180)]
    assert told == (own if verb is Verb.CONTROL else of_another)


def test_a_lost_receiving_half_leaves_its_own_time_unexplained() -> None:
    # The reply's sending half 57-60 is known, its arrival is not: 60-66 cannot be told from the worker's waking up.
    assert path_of(lose(busy_server(), ask(W0, 2), 1, "recv"))[-2:] == [
        (57, 60, "pull", "wire", "server-0", "k"),
        (60, 66, "other", "unexplained", "worker-0", ""),
    ]


def test_a_lost_sending_half_leaves_its_own_time_unexplained() -> None:
    # The reply's arrival 58-66 is known, but not when it was sent: 57-58 may be the server's or the wire's.
    assert path_of(lose(busy_server(), ask(W0, 2), 1, "send"))[-2:] == [
        (57, 58, "other", "unexplained", "server-0", ""),
        (58, 66, "pull", "wire", "server-0", "k"),
    ]


@pytest.mark.parametrize("half", ["send", "recv"])
def test_a_lost_half_of_the_request_does_not_touch_the_answer(half: str) -> None:
    whole, broken = path_of(busy_server()), path_of(lose(busy_server(), ask(W0, 2), 0, half))
    assert broken[-5:] == whole[-5:]


def test_a_wholly_lost_answer_is_unexplained_and_the_walk_goes_on() -> None:
    golden = busy_server()
    golden.messages = [m for m in golden.messages if m.direction == 0]
    found = path_of(golden)
    assert found[-1] == (57, 66, "other", "unexplained", "worker-0", "")
    assert found[0] == (0, 20, "compute", "backward", "worker-0", "k")


def test_an_answer_that_was_there_before_the_thread_slept_is_only_its_waking_up() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 60, "k")
    pull = one_round(golden, "k", 60)  # decoded at 190
    golden.main(W0, COMPUTE, Op.UPDATE, 60, 192, "k")
    golden.block(W0, 192, 199, pull, "k")
    golden.step(W0, 0, 199)
    assert path_of(golden) == [
        (0, 60, "compute", "backward", "worker-0", "k"),
        (60, 192, "compute", "update", "worker-0", "k"),
        (192, 199, "pull", "handover", "worker-0", "k"),
    ]


def test_a_block_that_names_no_known_request_is_unexplained() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.FORWARD, 0, 5, "k")
    golden.block(W0, 5, 9, ask(W0, 77), "k")
    golden.step(W0, 0, 9)
    assert path_of(golden) == [
        (0, 5, "compute", "forward", "worker-0", "k"),
        (5, 9, "other", "unexplained", "worker-0", ""),
    ]


def test_a_hold_for_another_worker_of_whom_nothing_is_known_is_still_waiting() -> None:
    golden = straggler()
    golden.spans = [span for span in golden.spans if span.node != W1 and span.request_id != ask(W1, 1)]
    golden.messages = [message for message in golden.messages if message.request_id != ask(W1, 1)]
    assert (35, 82, "wait", "hold", "server-0", "k") in path_of(golden)


def test_holds_that_name_each_other_end_the_walk() -> None:
    golden = Golden()
    first, second = ask(W0, 1), ask(W0, 2)
    golden.of(S0, HANDLE, WAIT, Op.HOLD, 0, 50, first, "k", cause=second)
    golden.of(S0, HANDLE, WAIT, Op.HOLD, 0, 50, second, "k", cause=first)
    golden.block(W0, 10, 60, first, "k")
    golden.step(W0, 0, 60)
    found = path_of(golden)
    assert (found[0][0], found[-1][1]) == (0, 60)


def test_a_worker_without_any_record_is_unexplained() -> None:
    golden = Golden()
    golden.step(W1, 3, 10)
    assert path_of(golden, worker=1) == [(3, 10, "other", "unexplained", "worker-1", "")]


def test_a_worker_whose_only_record_has_no_duration_is_unexplained() -> None:
    golden = Golden()
    golden.main(W1, INPUT, Op.LOAD, 3, 3)
    golden.step(W1, 3, 10)
    assert path_of(golden, worker=1) == [(3, 10, "other", "unexplained", "worker-1", "")]


def test_warm_up_and_failed_repetitions_are_left_out() -> None:
    golden = Golden(cell={"runs": [{"run": 0, "status": "done"}, {"run": 1, "status": "failed"}]})
    for run in (0, 1):
        golden.run = run
        for step in range(3):
            golden.main(W0, COMPUTE, Op.FORWARD, 10 * step, 10 * step + 10, step=step)
            golden.step(W0, 10 * step, 10 * step + 10, step, warm_up=step == 0)
    frame = walk(golden.tables())
    assert list(zip(frame["run"], frame["step"], strict=True)) == [(0, 1), (0, 2)]


def test_contention_and_blocked_time_are_scaled_to_the_exposed_part_of_their_span() -> None:
    # 60 ns of backward: 39 of CPU time, 15 without a core, so 6 blocked. The step shows the last 40 of the 60.
    golden = Golden()
    golden.main(W0, COMPUTE, Op.BACKWARD, 0, 60, "k", cpu=39, runnable=15)
    golden.step(W0, 20, 60)
    compute = account(golden.tables()).finding.stages[Stage.COMPUTE]
    assert (compute.exposed_ns, compute.contention_ns, compute.blocked_ns) == (40, 10, 4)


def test_what_is_not_known_of_a_stage_is_no_zero() -> None:
    # CPU time alone, as saved results of format 1 have it, does not tell a thread without a core from one that sleeps.
    golden = Golden()
    golden.main(W0, Stage.INPUT, Op.LOAD, 0, 10)
    golden.main(W0, COMPUTE, Op.FORWARD, 10, 20, cpu=4)
    golden.step(W0, 0, 20)
    stages = account(golden.tables()).finding.stages
    assert [(stages[stage].contention_ns, stages[stage].blocked_ns) for stage in (Stage.INPUT, COMPUTE)] == [
        (None, None)
    ] * 2
    assert (stages[Stage.PUSH].contention_ns, stages[Stage.PUSH].blocked_ns) == (0, 0), "it takes no time, so none of that"


def test_clocks_that_were_read_one_after_the_other_leave_no_time_below_zero() -> None:
    golden = Golden()
    golden.main(W0, COMPUTE, Op.FORWARD, 0, 10, cpu=8, runnable=3)
    golden.main(W0, COMPUTE, Op.BACKWARD, 10, 20, cpu=0, runnable=12)
    golden.step(W0, 0, 20)
    compute = account(golden.tables()).finding.stages[Stage.COMPUTE]
    assert (compute.contention_ns, compute.blocked_ns) == (13, 0)
