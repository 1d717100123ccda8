"""A step of one worker and one server, as the native recorders would have seen it, in the trace grammar."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tensorflow_rows import converted, did, halves, only

from breakdown.model.identity import Node, Role, is_operation, requester
from breakdown.model.invariants import violations
from breakdown.model.records import Direction, Message, Span, Verb
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import Kind
from breakdown.store.decode import Vocabulary
from breakdown.store.messages import NO_STEP
from breakdown.store.tensorflow import calls
from breakdown.store.tensorflow.convert import rows_of
from breakdown.store.tensorflow.graphs import Graph
from breakdown.store.tensorflow.raw import Process

WORKER, SERVER = Node(Role.WORKER, 0), Node(Role.SERVER, 0)
NUMBER, STEP = 4711, 3
WORKERS_ADDRESS, SERVERS_ADDRESS = "127.0.0.1:2223", "127.0.0.1:2222"
TO_SERVER, TO_WORKER = ("127.0.0.1:50001", SERVERS_ADDRESS), ("127.0.0.1:50002", WORKERS_ADDRESS)
PULL = "/job:ps/replica:0/task:0/device:CPU:0;1;/job:worker/replica:0/task:0/device:CPU:0;edge_1_w;0:0"
PUSH = "/job:worker/replica:0/task:0/device:CPU:0;2;/job:ps/replica:0/task:0/device:CPU:0;edge_2_g;0:0"

WORKERS_GRAPH = Graph([
    ["w_R", "_Recv", [], "edge_1_w"], ["loss", "Mean", ["w_R"], ""], ["_send_loss_0", "_Send", ["loss"], "loss:0"],
    ["g", "Mul", ["loss"], ""], ["g_S", "_Send", ["g"], "edge_2_g"],
])  # fmt: skip
SERVERS_GRAPH = Graph([
    ["w", "VarHandleOp", [], ""], ["read", "ReadVariableOp", ["w"], ""], ["w_S", "_Send", ["read"], "edge_1_w"],
    ["g_R", "_Recv", [], "edge_2_g"], ["apply", "ResourceApplyGradientDescent", ["w", "g_R"], ""],
])  # fmt: skip


def recorded() -> list[Process]:
    """The server's graph is told to run; the weight is pulled, the gradient pushed and applied."""
    run = halves("RunGraph", NUMBER, 1, 60, 2, (1100, 1110), (1120, 1120), (1910, 1920), (1930, 1930), ends=(1, 1))
    pull = halves(
        f"RecvTensor {PULL}", NUMBER, 3, 150, 4000, (1160, 1170), (1180, 1180), (1230, 1300), (1310, 1340), ends=(1, 1)
    )
    push = halves(
        f"RecvTensor {PUSH}", NUMBER, 1, 150, 4000, (1210, 1215), (1220, 1220), (1660, 1750), (1670, 1760), ends=(2, 2)
    )
    worker = [
        did("run", "", 1060, 1980, NUMBER, thread="master", cause=STEP, size=1040),
        did("partitions", "", 1070, 1960, NUMBER, thread="master"),
        did("other", "RunGraph", 1080, 1140, NUMBER, thread="master"),
        did("start", "w_R:_Recv", 1150, 1174, NUMBER),
        did("ask", PULL, 1155, 1172, NUMBER),
        did("decode", PULL, 1345, 1390, NUMBER, thread="poller"),
        did("done", "w_R:_Recv", 1395, 1396, NUMBER, thread="poller"),
        did("kernel", "loss:Mean", 1410, 1500, NUMBER),
        did("kernel", "_send_loss_0:_Send", 1505, 1510, NUMBER),
        did("kernel", "g:Mul", 1520, 1640, NUMBER),
        did("kernel", "g_S:_Send", 1645, 1790, NUMBER),
        did("take", PUSH, 1225, 1240, NUMBER, thread="handler"),
        did("encode", PUSH, 1650, 1655, NUMBER),
    ]
    server = [
        did("other", "RunGraph", 1125, 1135, NUMBER),
        did("kernel", "read:ReadVariableOp", 1142, 1150, NUMBER),
        did("kernel", "w_S:_Send", 1151, 1158, NUMBER),
        did("start", "g_R:_Recv", 1190, 1204, NUMBER),
        did("ask", PUSH, 1195, 1203, NUMBER),
        did("take", PULL, 1215, 1228, NUMBER),
        did("encode", PULL, 1220, 1226, NUMBER),
        did("decode", PUSH, 1770, 1800, NUMBER, thread="poller"),
        did("done", "g_R:_Recv", 1805, 1806, NUMBER, thread="poller"),
        did("kernel", "apply:ResourceApplyGradientDescent", 1815, 1880, NUMBER),
        did("other", "RunGraphDone", 1895, 1905, NUMBER),
    ]
    return [
        Process(WORKER, tuple(worker), (*run[0], *pull[0], *push[1]), (WORKERS_GRAPH,), {1: TO_SERVER, 2: TO_WORKER[::-1]}),
        Process(SERVER, tuple(server), (*run[1], *pull[1], *push[0]), (SERVERS_GRAPH,), {1: TO_SERVER[::-1], 2: TO_WORKER}),
    ]


@pytest.fixture(scope="module")
def rows() -> tuple[list[Span], list[Message]]:
    return converted(recorded())


def test_the_trace_is_sound(rows: tuple[list[Span], list[Message]]) -> None:
    assert violations(*rows, []) == []


def test_both_ends_find_the_same_call(rows: tuple[list[Span], list[Message]]) -> None:
    found = calls.join(recorded())
    assert [(call.client, call.method, call.tensor) for call in found] == [
        (WORKER, "RunGraph", ""),
        (WORKER, "RecvTensor", "edge_1_w"),
        (SERVER, "RecvTensor", "edge_2_g"),
    ]
    assert all(len(call.halves) == 4 for call in found)


def test_all_work_is_of_the_workers_step_and_in_its_name(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    assert {record.step for record in (*spans, *messages)} == {STEP}
    ids = {span.request_id for span in spans} | {message.request_id for message in messages}
    assert {requester(one) for one in ids if one} == {WORKER}


def test_a_pull_is_a_request_and_an_answer_a_push_a_message_that_was_asked_for(
    rows: tuple[list[Span], list[Message]],
) -> None:
    found = [(one.verb, one.direction, one.sender, one.key, one.size_bytes) for one in rows[1]]
    assert sorted(found, key=str) == sorted(
        [
            (Verb.PULL, Direction.REQUEST, WORKER, "dispatch", 60),
            (Verb.PULL, Direction.REPLY, SERVER, "dispatch", 2),
            (Verb.PULL, Direction.REQUEST, WORKER, "w", 150),
            (Verb.PULL, Direction.REPLY, SERVER, "w", 4000),
            (Verb.PUSH, Direction.REQUEST, SERVER, "w", 150),
            (Verb.PUSH, Direction.REQUEST, WORKER, "w", 4000),
        ],
        key=str,
    )


def test_an_operation_is_queued_from_the_end_of_the_last_that_it_needs(rows: tuple[list[Span], list[Message]]) -> None:
    spans, _ = rows
    loss = only(spans, op="forward", key="loss")
    queue = only(spans, op="queue", request_id=loss.request_id)
    asking = only(spans, op="ask", node=WORKER)
    assert (queue.start_ns, queue.end_ns, queue.cause_id) == (1395, 1410, asking.request_id)
    assert is_operation(loss.request_id)


def test_what_asks_for_a_tensor_is_held_until_it_was_read(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    asking = only(spans, op="ask", node=WORKER)
    hold = only(spans, op="hold", request_id=asking.request_id)
    (pull,) = [one for one in messages if one.verb == Verb.PULL and one.size_bytes == 4000]
    assert (hold.start_ns, hold.end_ns, hold.cause_id) == (1174, 1390, pull.request_id)


def test_a_push_leaves_when_both_the_asking_and_the_gradient_are_there(rows: tuple[list[Span], list[Message]]) -> None:
    spans, _ = rows
    encode = only(spans, op="encode", node=WORKER)
    head = only(spans, op="queue", request_id=encode.request_id, end_ns=1650)
    sending = [span for span in spans if span.op == "send" and span.node == WORKER]
    assert {span.request_id for span in sending} == {head.cause_id}
    assert [(span.start_ns, span.end_ns) for span in sending] == [(1645, 1650), (1655, 1790)]  # without the encoding


def test_the_run_is_held_until_the_last_part_has_answered(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    block = only(spans, op="block")
    assert (block.thread, block.start_ns, block.end_ns) == ("main", 1040, 1980)
    hold = only(spans, op="hold", request_id=block.cause_id)
    (answer,) = [one for one in messages if one.size_bytes == 2]
    assert (hold.end_ns, hold.cause_id) == (1960, answer.request_id)
    done = only(spans, op="hold", request_id=answer.request_id)
    assert (done.end_ns, done.cause_id) == (1880, only(spans, op="update").request_id)


def test_processor_time_is_shared_out_over_the_stretches_of_an_operation() -> None:
    processes = recorded()
    activities = [
        replace(one, cpu_ns=72, runnable_ns=36) if one.name == "g_S:_Send" else one for one in processes[0].activities
    ]
    processes[0] = replace(processes[0], activities=tuple(activities))
    vocabulary = Vocabulary()
    columns = rows_of(processes, vocabulary)[WORKER][Kind.SPAN].columns
    sending = columns["op"] == vocabulary.codes(["send"])[0]
    found = zip(*(columns[name][sending] for name in ("start_ns", "end_ns", "cpu_ns", "runnable_ns")), strict=True)
    assert [tuple(map(int, one)) for one in found] == [(1645, 1650, 2, 1), (1655, 1790, 67, 34)]
    assert all((columns[name] != NOT_MEASURED).sum() == 2 for name in ("cpu_ns", "runnable_ns"))


def test_an_operation_that_began_before_tracing_is_held_since_its_process_was_told_to_run() -> None:
    """Of the asking for the gradient, only the end was recorded."""
    processes = recorded()
    activities = tuple(one for one in processes[1].activities if one.name != "g_R:_Recv" or one.kind != "start")
    processes[1] = replace(processes[1], activities=activities)
    vocabulary = Vocabulary()
    columns = rows_of(processes, vocabulary)[SERVER][Kind.SPAN].columns
    held = columns["op"] == vocabulary.codes(["hold"])[0]
    assert (1120, 1800) in set(zip(columns["start_ns"][held].tolist(), columns["end_ns"][held].tolist(), strict=True))


def test_runs_that_a_thread_asks_for_one_behind_the_other_are_joined() -> None:
    """The chief's queue runner serves all workers: what it does between two runs is its own work, and delays the second."""
    processes = recorded()
    earlier, later = 5001, 5002  # neither has a part at the worker
    part = halves("RunGraph", later, 5, 60, 2, (1440, 1445), (1450, 1450), (1510, 1515), (1520, 1520), ends=(1, 1))
    runner = {"cause": NO_STEP, "thread": "master"}
    more = (
        did("run", "77", 1100, 1300, earlier, size=1090, **runner),
        did("partitions", "", 1110, 1290, earlier, thread="master"),
        did("run", "78", 1310, 1315, 5003, size=1305, **runner),  # another thread asked for it
        did("run", "77", 1420, 1550, later, size=1400, **runner),
        did("partitions", "", 1430, 1530, later, thread="master"),
    )
    processes[0] = replace(
        processes[0], activities=(*processes[0].activities, *more), halves=(*processes[0].halves, *part[0])
    )
    processes[1] = replace(processes[1], halves=(*processes[1].halves, *part[1]))
    spans, messages = converted(processes)
    submit = only(spans, op="submit")
    assert (submit.thread, submit.stage, submit.start_ns, submit.end_ns) == ("runner-77", Stage.SERIALIZE, 1300, 1400)
    chain = sorted((one for one in spans if one.request_id == submit.request_id), key=lambda one: one.end_ns)
    assert [(one.op, one.start_ns, one.end_ns) for one in chain[:4]] == [
        ("queue", 1300, 1300), ("submit", 1300, 1400), ("queue", 1400, 1420), ("dispatch", 1420, 1430),
    ]  # fmt: skip
    before = [one.request_id for one in spans if one.op == "dispatch" and one.end_ns == 1300]
    assert [chain[0].cause_id] == before
    (asking,) = [one for one in messages if one.send_start_ns == 1440]
    waiting = only(spans, op="queue", request_id=asking.request_id, thread=f"send-{SERVER}")
    assert (waiting.start_ns, waiting.end_ns, waiting.cause_id) == (1430, 1440, submit.request_id)


def test_that_a_part_may_be_forgotten_belongs_to_the_handing_out() -> None:
    call = halves("CleanupGraph", 0, 5, 10, 0, (1940, 1945), (1950, 1950), (1951, 1952), (1953, 1953), ends=(1, 1))
    processes = [replace(one, halves=(*one.halves, *more)) for one, more in zip(recorded(), call, strict=True)]
    _, messages = converted(processes)
    assert [(one.verb, one.key) for one in messages if one.step == NO_STEP] == [(Verb.PULL, "dispatch")] * 2


QUEUES_GRAPH = Graph([
    ["queue", "FIFOQueueV2", [], ""], ["batch", "QueueDequeueManyV2", ["queue"], ""], ["x", "Identity", ["batch"], ""],
    ["y", "MatMul", ["x"], ""], ["token", "QueueDequeueV2", ["queue", "^y"], ""], ["step", "AssignAdd", ["token"], ""],
])  # fmt: skip
RUNNERS_GRAPH = Graph([["read", "PyFunc", [], ""], ["put", "QueueEnqueueV2", ["read"], ""]])


def test_waiting_for_a_batch_from_a_queue_is_input_and_for_a_token_is_not() -> None:
    """Whatever fills the queue meanwhile: its work is input as well."""
    filling = 4712
    activities = (
        did("run", "1", 1060, 1980, NUMBER, thread="master", cause=STEP, size=1040),
        did("run", "2", 1061, 1500, filling, thread="master2", cause=NO_STEP, size=1050),
        did("start", "batch:QueueDequeueManyV2", 1100, 1110, NUMBER),
        did("kernel", "read:PyFunc", 1120, 1390, filling),
        did("kernel", "put:QueueEnqueueV2", 1392, 1410, filling),
        did("done", "batch:QueueDequeueManyV2", 1400, 1405, NUMBER),
        did("kernel", "y:MatMul", 1420, 1500, NUMBER),
        did("start", "token:QueueDequeueV2", 1510, 1520, NUMBER),
        did("done", "token:QueueDequeueV2", 1600, 1605, NUMBER),
        did("kernel", "step:AssignAdd", 1610, 1620, NUMBER),
    )
    spans, _ = converted([Process(WORKER, activities, (), (QUEUES_GRAPH, RUNNERS_GRAPH), {})])
    assert violations(spans, [], []) == []
    loading = [span for span in spans if span.stage is Stage.INPUT and span.op == "load"]
    assert {(one.key, one.start_ns, one.end_ns) for one in loading} == {
        ("batch", 1100, 1110), ("batch", 1110, 1400), ("read", 1120, 1390), ("put", 1392, 1410),
    }  # fmt: skip
    assert only(spans, op="hold", key="token").stage is Stage.WAIT


@pytest.mark.parametrize(("used_by", "stage"), [("MatMul", Stage.INPUT), ("AssignAdd", Stage.AGGREGATE)])
def test_what_a_server_takes_from_a_queue_is_a_batch_where_a_worker_computes_of_it(used_by: str, stage: Stage) -> None:
    edge, filling = "edge_1_taken", 4712
    server = Graph([
        ["queue", "FIFOQueueV2", [], ""], ["taken", "QueueDequeueManyV2", ["queue"], ""], ["sent", "_Send", ["taken"], edge]
    ])  # fmt: skip
    worker = Graph([["got", "_Recv", [], edge], ["x", "Identity", ["got"], ""], ["used", used_by, ["x"], ""]])
    activities = (
        did("other", "RunGraph", 1050, 1060, NUMBER),
        did("start", "taken:QueueDequeueManyV2", 1100, 1110, NUMBER),
        did("kernel", "put:QueueEnqueueV2", 1380, 1410, filling),
        did("done", "taken:QueueDequeueManyV2", 1400, 1405, NUMBER),
        did("kernel", "sent:_Send", 1420, 1430, NUMBER),
    )
    asks = (
        did("run", "1", 1060, 1980, NUMBER, thread="master", cause=STEP, size=1040),
        did("run", "2", 1061, 1500, filling, thread="master2", cause=NO_STEP, size=1050),
        did("kernel", "used:" + used_by, 1500, 1600, NUMBER),
    )
    processes = [Process(SERVER, activities, (), (server, RUNNERS_GRAPH), {}), Process(WORKER, asks, (), (worker,), {})]
    spans, _ = converted(processes)
    taking = [span for span in spans if span.key == "taken" and span.op not in ("queue", "hold")]
    assert {span.stage for span in taking} == {stage}
    waited = [span for span in taking if (span.start_ns, span.end_ns) == (1110, 1400)]
    assert bool(waited) == (stage is Stage.INPUT)
    assert only(spans, key="put", op="load").stage is Stage.INPUT  # by the chief's queue runner, which trains nothing


@pytest.mark.parametrize("kind", ["QueueDequeueManyV2", "IteratorGetNext", "ReaderReadV2", "MapUnstage"])
@pytest.mark.parametrize("call", ["DirectSession::RunInternal", "KernelAndDeviceFunc::Run"])
def test_a_process_that_trains_by_itself_waits_for_a_batch_while_it_does_nothing_else(kind: str, call: str) -> None:
    """The main thread's call lasts from 1000 to 2000; another thread's run takes from a queue all the time."""
    graph = Graph([["batch", kind, [], ""], ["early", "MatMul", [], ""], ["y", "MatMul", ["batch"], ""]])
    other = 99
    activities = (
        did("drive", "", 900, 900, STEP, thread="main"),
        did("other", call, 1000, 2000, NUMBER if "Session" in call else 0, thread="main"),
        did("start", "batch:" + kind, 1100, 1110, NUMBER),
        did("kernel", "early:MatMul", 1200, 1300, NUMBER, thread="tf_Compute2"),
        did("done", "batch:" + kind, 1700, 1705, NUMBER),
        did("kernel", "y:MatMul", 1710, 1900, NUMBER),
        did("start", "batch:" + kind, 950, 960, other),
        did("done", "batch:" + kind, 1990, 1995, other),
        did("drive", "", 2010, 2010, STEP + 1, thread="main"),
    )
    spans, _ = converted([Process(WORKER, activities, (), (graph,), {})])
    mine = [span for span in spans if span.thread == "main"]
    assert [(one.stage, one.op, one.key, one.step) for one in mine] == [(Stage.INPUT, "load", "batch", STEP)] * 2
    assert [(one.start_ns, one.end_ns) for one in mine] == [(1100, 1200), (1300, 1700)]
