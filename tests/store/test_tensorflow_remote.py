"""A step that a coordinator has a worker run, as the native recorders would have seen it, in the trace grammar.

The coordinator's thread asks the worker to carry out operation 70. That is a function (-8) of the worker and a server, which
the worker runs: it tells the server, pulls the weight, computes the loss, and tells the server to forget it. Then the
coordinator fetches the loss by a function of its own (-9).
"""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_rows import converted, did, halves, only

from breakdown.model.identity import Node, Role, is_operation, requester
from breakdown.model.invariants import violations
from breakdown.model.records import Message, Span, Verb
from breakdown.model.stages import Stage
from breakdown.record.layout import Kind
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.tensorflow import calls
from breakdown.store.tensorflow.convert import handing_over
from breakdown.store.tensorflow.eager import Eager
from breakdown.store.tensorflow.graphs import Graph
from breakdown.store.tensorflow.raw import Process

COORDINATOR, WORKER, SERVER = Node(Role.SCHEDULER, 0), Node(Role.WORKER, 1), Node(Role.SERVER, 0)
OPERATION, TRAINING, FETCHING, STEP = 70, -8, -9, 5
TO_WORKER, TO_SERVER = ("127.0.0.1:50001", "127.0.0.1:2223"), ("127.0.0.1:50002", "127.0.0.1:2222")
W = "/job:ps/replica:0/task:0/device:CPU:0;1;/job:worker/replica:0/task:1/device:CPU:0;edge_1_w;0:0"
LOSS = "/job:worker/replica:0/task:1/device:CPU:0;2;/job:chief/replica:0/task:0/device:CPU:0;edge_2_input;0:0"

WORKERS_GRAPH = Graph([
    ["w_R", "_Recv", [], "edge_1_w"], ["batch", "IteratorGetNext", [], ""], ["loss", "Mean", ["w_R", "batch"], ""],
    ["g", "Mul", ["loss"], ""], ["result", "_Retval", ["loss", "^g"], ""],
])  # fmt: skip
SERVERS_GRAPH = Graph(
    [["v", "_Arg", [], "0"], ["read", "ReadVariableOp", ["v"], ""], ["w_S", "_Send", ["read"], "edge_1_w"]]
)
SENDERS_GRAPH = Graph([["input", "_Arg", [], ""], ["input_S", "_Send", ["input"], "edge_2_input"]])
RECEIVERS_GRAPH = Graph([["input_R", "_Recv", [], "edge_2_input"], ["out", "_Retval", ["input_R"], ""]])


def recorded() -> list[Process]:
    """Coordinator, worker, server."""
    step = halves(
        "Enqueue operation", OPERATION, 1, 900, 2, (1030, 1040), (1050, 1050), (1710, 1715), (1725, 1725), ends=(1, 1)
    )
    tell = halves(
        "RunComponentFunction", TRAINING, 1, 800, 0, (1085, 1090), (1100, 1100), (1590, 1595), (1605, 1605), ends=(2, 2)
    )
    pull = halves(
        f"RecvTensor {W}", TRAINING, 3, 150, 4000, (1170, 1175), (1185, 1185), (1200, 1250), (1210, 1260), ends=(2, 2)
    )
    forget = halves(
        "Enqueue cleanup", TRAINING, 5, 24, 2, (1625, 1628), (1640, 1640), (1660, 1662), (1670, 1670), ends=(2, 2)
    )
    ask = halves(
        "RunComponentFunction", FETCHING, 3, 260, 0, (1775, 1778), (1790, 1790), (1830, 1832), (1840, 1840), ends=(1, 1)
    )
    fetch = halves(
        f"RecvTensor {LOSS}", FETCHING, 5, 140, 19, (1785, 1788), (1795, 1795), (1822, 1824), (1845, 1845), ends=(1, 1)
    )
    drop = halves("Enqueue cleanup", FETCHING, 7, 24, 2, (1882, 1884), (1890, 1890), (1900, 1902), (1910, 1910), ends=(1, 1))
    coordinator = [
        did("drive", "", 1000, 1000, STEP, thread="python", cause=WORKER.rank),
        did("other", "EagerExecute", 1010, 1740, 0, thread="python"),
        did("request", "Enqueue operation", 1020, 1025, OPERATION, thread="python"),
        did("wait", "", 1015, 1735, 0, thread="python"),
        did("other", "EagerExecute", 1750, 1930, 0, thread="python"),
        did("wait", "", 1755, 1925, 0, thread="python"),
        did("other", "KernelAndDeviceFunc::Run", 1760, 1920, 0, thread="python"),
        did("other", "KernelAndDeviceFunc::RunAsync", 1760, 1782, 0, thread="python"),
        did("other", "FunctionRun", 1762, 1765, FETCHING, thread="python"),
        did("request", "RunComponentFunction", 1768, 1772, FETCHING, thread="python"),
        did("start", "input_R:_Recv", 1783, 1789, FETCHING),
        did("ask", LOSS, 1784, 1788, FETCHING),
        did("decode", LOSS, 1850, 1855, FETCHING, thread="poller"),
        did("done", "input_R:_Recv", 1860, 1861, FETCHING, thread="poller"),
        did("request", "Enqueue cleanup", 1875, 1880, FETCHING, thread="poller"),
    ]
    worker = [
        did("serve", "Enqueue operation", 1060, 1700, OPERATION, thread="handler"),
        did("wait", "", 1062, 1695, 0, thread="handler"),
        did("other", "KernelAndDeviceFunc::Run", 1070, 1690, 0, thread="handler"),
        did("other", "KernelAndDeviceFunc::RunAsync", 1070, 1120, 0, thread="handler"),
        did("request", "RunComponentFunction", 1075, 1080, TRAINING, thread="handler"),
        did("other", "FunctionRun", 1110, 1118, TRAINING, thread="handler"),
        did("start", "batch:IteratorGetNext", 1135, 1140, TRAINING),
        did("start", "w_R:_Recv", 1160, 1178, TRAINING),
        did("ask", W, 1165, 1176, TRAINING),
        did("other", "IteratorGetNextOp::DoCompute", 1150, 1220, 0, thread="data"),
        did("done", "batch:IteratorGetNext", 1222, 1223, TRAINING, thread="data"),
        did("decode", W, 1270, 1300, TRAINING, thread="poller"),
        did("done", "w_R:_Recv", 1305, 1306, TRAINING, thread="poller"),
        did("kernel", "loss:Mean", 1320, 1400, TRAINING),
        did("kernel", "g:Mul", 1410, 1570, TRAINING),
        did("request", "Enqueue cleanup", 1618, 1622, TRAINING, thread="poller"),
        did("serve", "RunComponentFunction send_0", 1798, 1806, FETCHING, thread="handler"),
        did("take", LOSS, 1797, 1798, FETCHING, thread="taker"),
        did("kernel", "input_S:_Send", 1812, 1826, FETCHING),
        did("encode", LOSS, 1815, 1818, FETCHING),
        did("other", "ComponentDone", 1828, 1836, FETCHING),
        did("serve", "Enqueue cleanup", 1893, 1897, FETCHING, thread="handler"),
    ]
    server = [
        did("serve", "RunComponentFunction train_1", 1105, 1140, TRAINING, thread="handler"),
        did("kernel", "read:ReadVariableOp", 1150, 1155, TRAINING),
        did("kernel", "w_S:_Send", 1156, 1163, TRAINING),
        did("take", W, 1190, 1198, TRAINING),
        did("encode", W, 1192, 1196, TRAINING),
        did("other", "ComponentDone", 1580, 1600, TRAINING),
        did("serve", "Enqueue cleanup", 1650, 1655, TRAINING, thread="handler"),
    ]
    return [
        Process(
            COORDINATOR, tuple(coordinator), (*step[0], *ask[0], *fetch[0], *drop[0]), (RECEIVERS_GRAPH,), {1: TO_WORKER}
        ),
        Process(
            WORKER, tuple(worker), (*step[1], *ask[1], *fetch[1], *drop[1], *tell[0], *pull[0], *forget[0]),
            (WORKERS_GRAPH, SENDERS_GRAPH), {1: TO_WORKER[::-1], 2: TO_SERVER},
        ),
        Process(
            SERVER, tuple(server), (*tell[1], *pull[1], *forget[1]), (SERVERS_GRAPH,), {2: TO_SERVER[::-1]},
            {12: "fc.weight"}, {"train_1": [12]},
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> tuple[list[Span], list[Message]]:
    return converted(recorded())


@pytest.fixture(scope="module")
def spans(rows: tuple[list[Span], list[Message]]) -> list[Span]:
    return rows[0]


def message(messages: list[Message], size_bytes: int) -> Message:
    (found,) = [one for one in messages if one.size_bytes == size_bytes]
    return found


def test_the_trace_is_sound(rows: tuple[list[Span], list[Message]]) -> None:
    assert violations(*rows, []) == []


def test_all_work_is_of_the_workers_step_and_in_its_name(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    assert {record.step for record in (*spans, *messages)} == {STEP}
    ids = {span.request_id for span in spans} | {one.request_id for one in messages}
    assert {requester(one) for one in ids if one} == {WORKER}


def test_a_function_is_of_the_step_whose_operation_it_was_run_for() -> None:
    eager = Eager(recorded())
    for number in (OPERATION, TRAINING, FETCHING):
        drive = eager.drive(number)
        assert drive is not None
        assert (drive.node, drive.worker, drive.step) == (COORDINATOR, WORKER, STEP)
    assert eager.drive(-7) is None


def test_the_coordinators_thread_is_the_workers_main_one(spans: list[Span]) -> None:
    mine = [span for span in spans if (span.node, span.thread) == (WORKER, "main")]
    found = sorted((span.start_ns, span.end_ns, span.op) for span in mine if span.op not in ("queue", "hold"))
    assert found == [
        (1010, 1020, "dispatch"), (1020, 1025, "encode"), (1025, 1735, "block"), (1735, 1740, "dispatch"),
        (1750, 1760, "dispatch"), (1760, 1782, "dispatch"), (1782, 1920, "block"), (1920, 1930, "dispatch"),
    ]  # fmt: skip


def test_the_thread_sleeps_until_the_operation_is_answered_and_until_the_loss_is_there(
    rows: tuple[list[Span], list[Message]],
) -> None:
    spans, messages = rows
    first, second = sorted((span for span in spans if span.op == "block"), key=lambda span: span.start_ns)
    assert first.cause_id == message(messages, 900).request_id
    fetching = only(spans, op="dispatch", start_ns=1760, end_ns=1782)
    assert second.cause_id == fetching.request_id
    assert is_operation(second.cause_id)


def test_a_worker_holds_an_operation_until_its_function_has_run(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    operation = message(messages, 900).request_id
    hold = only(spans, op="hold", request_id=operation)
    function = only(spans, op="dispatch", node=WORKER, start_ns=1070)
    assert (hold.start_ns, hold.end_ns, hold.cause_id) == (1120, 1690, function.request_id)
    own = [(span.start_ns, span.end_ns) for span in spans if span.request_id == operation and span.op == "dispatch"]
    assert own == [(1060, 1070), (1690, 1700)]  # neither handing out the function, nor sleep


def test_a_function_waits_for_its_parts_and_then_for_their_being_forgotten(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    function = only(spans, op="dispatch", node=WORKER, start_ns=1070).request_id
    first, second = sorted((s for s in spans if s.op == "hold" and s.request_id == function), key=lambda s: s.end_ns)
    answer = next(one for one in messages if one.size_bytes == 800)
    assert (first.start_ns, first.end_ns, first.cause_id) == (1120, 1605, answer.request_id)
    forget = next(one for one in messages if one.size_bytes == 24 and one.receiver == SERVER)
    assert (second.start_ns, second.end_ns, second.cause_id) == (1622, 1670, forget.request_id)


def test_a_server_answers_once_the_last_operation_of_its_part_is_done(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    told = message(messages, 800).request_id
    hold = only(spans, op="hold", request_id=told)
    assert (hold.end_ns, hold.cause_id) == (1163, only(spans, op="send", node=SERVER, end_ns=1163).request_id)
    finish = only(spans, op="dispatch", request_id=told)
    assert (finish.start_ns, finish.end_ns) == (1580, 1590)  # the answer is sent within the callback


def test_what_leads_to_the_value_that_a_function_returns_is_forward(spans: list[Span]) -> None:
    assert only(spans, key="loss", op="forward").stage is Stage.COMPUTE
    assert only(spans, key="g", op="backward").stage is Stage.COMPUTE  # it comes before the return in order only


def test_a_batch_is_taken_by_a_thread_of_its_own(spans: list[Span]) -> None:
    asked, took = sorted((span for span in spans if span.op == "load"), key=lambda span: span.start_ns)
    assert (asked.start_ns, asked.end_ns, asked.stage) == (1135, 1140, Stage.INPUT)
    assert (took.start_ns, took.end_ns, took.thread) == (1150, 1222, "data")
    assert took.request_id == asked.request_id


def test_what_the_coordinator_fetches_is_a_pull(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    loss = message(messages, 19)
    assert (loss.verb, loss.key, loss.sender, loss.receiver) == (Verb.PULL, "fetch", WORKER, COORDINATOR)
    assert {(span.stage, span.node) for span in spans if span.key == "fetch" and span.op == "send"} == {(Stage.PULL, WORKER)}


def test_a_tensor_is_called_by_the_variable_that_the_function_was_given(rows: tuple[list[Span], list[Message]]) -> None:
    spans, messages = rows
    assert message(messages, 4000).key == "fc.weight"
    assert {span.key for span in spans if span.op in ("ask", "send") and span.node in (WORKER, SERVER)} == {
        "fc.weight",
        "fetch",
    }


def test_what_is_left_of_a_step_is_work_only_where_its_sleep_was_found() -> None:
    vocabulary = Vocabulary()
    names = ["block", "train-step", "take", "train-step"]
    columns = {
        "op": vocabulary.codes(names), "stage": np.array([Stage.WAIT, *[Stage.OTHER] * 3]), "step": np.array([1, 1, 1, 2]),
    }  # fmt: skip
    found = handing_over({Kind.SPAN: Rows(columns, 4, 0)}, vocabulary)[Kind.SPAN].columns
    assert found["op"].tolist() == vocabulary.codes(["block", "submit", "take", "train-step"]).tolist()
    assert found["stage"].tolist() == [Stage.WAIT, Stage.SERIALIZE, Stage.INPUT, Stage.OTHER]


def test_messages_that_come_after_a_process_stopped_to_record_are_left_out() -> None:
    coordinator, worker, server = recorded()
    last = [half for half in worker.halves if half.stream == 7]
    stopped = Process(
        COORDINATOR, coordinator.activities, tuple(half for half in coordinator.halves if half.stream != 7),
        coordinator.graphs, coordinator.connections,
    )  # fmt: skip
    assert len(last) == 2
    found = calls.join([stopped, worker, server])
    assert [call.number for call in found if call.method == "Enqueue"] == [OPERATION, TRAINING]


def test_a_message_that_was_lost_before_others_is_not_left_out() -> None:
    coordinator, worker, server = recorded()
    halves_left = tuple(half for half in coordinator.halves if half.stream != 3)
    lossy = Process(COORDINATOR, coordinator.activities, halves_left, coordinator.graphs, coordinator.connections)
    found = [call for call in calls.join([lossy, worker, server]) if call.number == FETCHING]
    assert sorted(len(call.halves) for call in found) == [2, 4, 4]
