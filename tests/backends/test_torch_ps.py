"""The parameter server trains as a single node does, leaves a complete trace, and ends clearly when a role is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from ps_cluster import SMALL, Processes, run_threads, train_alone

from breakdown.backends.api import RoleContext
from breakdown.backends.torch_ps import TorchPsBackend
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError, TraceError
from breakdown.model.identity import Node, Role, requester
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import REQUEST_OPS, Op
from breakdown.ps.optim import Sgd
from breakdown.ps.timed import TIMED_BYTES
from breakdown.record import tracefile
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import COLUMNS, USED, Kind, bits_to_loss
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.store.requests import unfolded
from breakdown.workloads.registry import build

CELL = Cell(
    workload="mlp", workload_options=SMALL, batch_size=8, learning_rate=0.05, steps=18, warmup_steps=2, workers=2, servers=2,
    transport="inproc", split_bound_bytes=300, timeout_s=30,
)  # fmt: skip
SLEEP_NS = 20_000_000
SCHEDULER, SERVER, WORKER = Node(Role.SCHEDULER, 0), Node(Role.SERVER, 0), Node(Role.WORKER, 0)


@pytest.fixture(autouse=True)
def _process_settings() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)


def assert_trains_as_alone(cell: Cell) -> None:
    alone = train_alone(cell)
    for model in run_threads(cell):
        for name, value in alone.items():
            torch.testing.assert_close(model[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("update_on", ["server", "worker"])
@pytest.mark.parametrize("sharding", ["round_robin", "balanced", "split"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_bsp_equals_one_node_on_the_joined_batch(optimizer: str, sharding: str, update_on: str) -> None:
    assert_trains_as_alone(replace(CELL, optimizer=optimizer, sharding=sharding, update_on=update_on))


@pytest.mark.parametrize("update_on", ["server", "worker"])
@pytest.mark.parametrize("sharding", ["round_robin", "balanced", "split"])
def test_bsp_adam_equals_one_node(sharding: str, update_on: str) -> None:
    # Adam divides by the root of the squared gradient: where that is near zero the sign of a rounding error moves the
    # parameter, so the rate is small here and all gradients of this task are far from zero relative to it.
    assert_trains_as_alone(replace(CELL, optimizer="adam", learning_rate=0.001, sharding=sharding, update_on=update_on))


@pytest.mark.parametrize("update_on", ["server", "worker"])
@pytest.mark.parametrize(
    "ways",
    [
        {"push_when": "end"},
        {"priority": "layer"},
        {"priority": "layer", "push_when": "end"},
        {"bucket_bytes": 600},
        {"bucket_bytes": 10_000, "sharding": "split"},
        {"server_threads": 3},
        {"serializer": "pickle"},
        {"serializer": "protobuf", "bucket_bytes": 600},
        {"workers": 1, "servers": 1},
        {"workers": 4, "servers": 3, "batch_size": 4},
    ],
    ids=str,
)
def test_bsp_equals_one_node_in_every_way_of_sending(ways: dict[str, object], update_on: str) -> None:
    assert_trains_as_alone(replace(CELL, update_on=update_on, **ways))  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", ["tcp", "zmq", "grpc"])
def test_bsp_equals_one_node_over_every_transport(transport: str) -> None:
    assert_trains_as_alone(replace(CELL, transport=transport, steps=3))


def test_ssp_without_staleness_and_async_with_one_worker_are_plain_training() -> None:
    one = replace(CELL, workers=1)
    assert_trains_as_alone(replace(one, consistency="async"))
    assert_trains_as_alone(replace(one, consistency="ssp", staleness=0))


@pytest.mark.parametrize("consistency", ["async", "ssp"])
def test_workers_may_differ_without_bsp_but_all_train(consistency: str) -> None:
    cell = replace(CELL, consistency=consistency, staleness=2, workers=3, steps=58)
    start, ends = loss_at(cell, None), [loss_at(cell, model) for model in run_threads(cell)]
    assert max(ends) < 0.7 * start


@pytest.mark.parametrize("compression", ["fp16", "2bit"])
@pytest.mark.parametrize("update_on", ["server", "worker"])
def test_training_with_compression_converges(compression: str, update_on: str) -> None:
    cell = replace(CELL, compression=compression, compression_threshold=0.02, update_on=update_on, steps=158)
    start, plain = loss_at(cell, None), loss_at(cell, train_alone(cell))
    ends = [loss_at(cell, model) for model in run_threads(cell)]
    assert plain < 0.5 * start
    assert max(ends) < start - 0.9 * (start - plain), "at least 90 % of what plain training gains"


def loss_at(cell: Cell, model: dict[str, torch.Tensor] | None) -> float:
    """The loss on a big batch, with these parameters or with the initial ones."""
    workload = build(cell.workload, cell.workload_options, 256, cell.seed)
    if model is not None:
        workload.model.load_state_dict(model)
    inputs, targets = workload.batch(0, 0, 1)
    with torch.no_grad():
        return float(workload.loss(workload.model(inputs), targets))


def test_update_on_worker_needs_bsp() -> None:
    cell = replace(CELL, update_on="worker", consistency="async")
    with pytest.raises(ConfigError, match="consistency: bsp"):
        TorchPsBackend().run_role(RoleContext(cell, 0, SERVER, "inproc://none", "", NullRecorder()))


TRACED = replace(CELL, transport="tcp", sharding="split", steps=19, warmup_steps=1)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[Node, tracefile.TraceFile]:
    """Twenty steps of two workers and two servers, as real processes over tcp."""
    folder = tmp_path_factory.mktemp("ps")
    with Processes(TRACED, folder) as roles:
        codes = roles.wait(60)
        assert set(codes.values()) == {0}, "\n".join(roles.log(node) for node in codes)
        return {node: unfolded(tracefile.read(str(roles.trace(node)))) for node in codes}


def rows_of(trace: tracefile.TraceFile, kind: Kind) -> list[dict[str, object]]:
    """Rows as dictionaries, with names instead of numbers."""
    columns = COLUMNS[kind]
    rows = []
    for thread, values in trace.rows(kind):
        row: dict[str, object] = dict(zip(columns, values, strict=True))
        row["key"] = trace.names[int(row["key"])]
        row["thread"] = trace.threads[thread]
        if "op" in row:
            row["op"] = trace.names[int(row["op"])]
        rows.append(row)
    return rows


@pytest.mark.e2e
def test_real_processes_train_as_one_node(traces: dict[Node, tracefile.TraceFile]) -> None:
    """The mean of the workers' losses is the loss of the joined batch, in every step."""
    workload = build(TRACED.workload, SMALL, TRACED.batch_size * TRACED.workers, TRACED.seed)
    sgd = torch.optim.SGD(workload.model.parameters(), lr=TRACED.learning_rate)
    workers = [[row[-1] for _, row in traces[Node(Role.WORKER, rank)].rows(Kind.STEP)] for rank in range(2)]
    assert [len(losses) for losses in workers] == [20, 20]
    for step, both in enumerate(zip(*workers, strict=True)):
        inputs, targets = workload.batch(step, 0, 1)
        loss = workload.loss(workload.model(inputs), targets)
        assert sum(map(bits_to_loss, both)) / 2 == pytest.approx(loss.item(), rel=1e-5)
        sgd.zero_grad()
        loss.backward()
        sgd.step()


def test_every_thread_of_the_trace_has_its_name(traces: dict[Node, tracefile.TraceFile]) -> None:
    worker = {"main", "send-server-0", "recv-server-0", "send-server-1", "recv-server-1"}
    server = {"recv-worker-0", "send-worker-0", "recv-worker-1", "send-worker-1", "handle-0"}
    for node, trace in traces.items():
        expected = {Role.SCHEDULER: set(), Role.SERVER: server, Role.WORKER: worker}[node.role]
        assert set(trace.threads.values()) == expected
        assert not trace.warnings


def test_activity_of_a_thread_never_overlaps(traces: dict[Node, tracefile.TraceFile]) -> None:
    for node, trace in traces.items():
        busy: dict[str, list[tuple[int, int]]] = {}
        for kind in (Kind.SPAN, Kind.SENT, Kind.RECEIVED):
            for row in rows_of(trace, kind):
                if row.get("op") not in REQUEST_OPS:
                    busy.setdefault(str(row["thread"]), []).append((int(row["start_ns"]), int(row["end_ns"])))
        for thread, intervals in busy.items():
            intervals.sort()
            assert all(end <= start for (_, end), (start, _) in pairwise(intervals)), f"{node} {thread}"


def test_both_ends_of_every_message_join(traces: dict[Node, tracefile.TraceFile]) -> None:
    ends: dict[Kind, dict[tuple[object, object], dict[str, object]]] = {}
    for kind in (Kind.SENT, Kind.RECEIVED):
        found = [(row["request_id"], row["direction"]) for trace in traces.values() for row in rows_of(trace, kind)]
        assert len(found) == len(set(found)), "an id and direction name one message"
        ends[kind] = {(row["request_id"], row["direction"]): row for t in traces.values() for row in rows_of(t, kind)}
    sent, received = ends[Kind.SENT], ends[Kind.RECEIVED]
    assert sent.keys() == received.keys()
    for message, row in sent.items():
        other = received[message]
        assert {name: row[name] for name in ("verb", "key", "step", "size_bytes")} == {
            name: other[name] for name in ("verb", "key", "step", "size_bytes")
        }
        assert int(row["start_ns"]) <= int(other["start_ns"]) <= int(other["end_ns"])
    keys = {str(row["key"]) for row in sent.values()}
    cut = {"fc1.weight[0:96]", "fc1.weight[96:192]", "fc2.weight[0:128]", "fc2.weight[128:256]"}
    assert keys == cut | {"fc1.bias", "fc2.bias", "fc3.weight", "fc3.bias"}
    trained = [row for row in sent.values() if int(row["step"]) >= 0]
    assert len(trained) == 20 * 2 * len(keys) * 3, "a push, a pull and an answer for each step, worker and key"
    for (request, direction), row in sent.items():
        if row["verb"] == Verb.PULL and row in trained and direction == Direction.REQUEST:
            push, half = sent[int(str(request)) - 1, direction], received[request, direction]
            assert push["verb"] == Verb.PUSH
            assert row["start_ns"] == row["end_ns"] == push["start_ns"]
            assert half["start_ns"] == half["end_ns"] == received[int(str(request)) - 1, direction]["end_ns"]


def test_the_rows_of_each_request_are_its_chain(traces: dict[Node, tracefile.TraceFile]) -> None:
    """In time order: what the analysis walks back."""
    chains: dict[int, list[tuple[int, int, str]]] = {}
    pulls: set[int] = set()
    for node, trace in traces.items():
        for kind in (Kind.SPAN, Kind.SENT, Kind.RECEIVED):
            for row in rows_of(trace, kind):
                if row["request_id"] and int(row["step"]) >= 0:
                    what = f"{node.role.label} {row.get('op', kind.name.lower())}"
                    chains.setdefault(int(row["request_id"]), []).append((int(row["end_ns"]), int(row["start_ns"]), what))
                    if row.get("verb") == Verb.PULL:
                        pulls.add(int(row["request_id"]))
    kinds: Counter[tuple[bool, tuple[str, ...]]] = Counter()
    for request, chain in chains.items():
        kinds[request in pulls, tuple(what for _, _, what in sorted(chain))] += 1
    to_server = ("worker queue", "worker sent", "server received", "server queue")
    back = ("server queue", "server sent", "worker received")
    # The sender may return from the system call after the receiver has it all, so these two may change places.
    allowed = {
        (False, (*to_server, "server sum")),
        (False, (*to_server, "server sum", "server update")),
        (True, (*to_server, "server hold", *back)),
    }
    assert {(pull, normal(chain)) for pull, chain in kinds} == allowed
    last_pushes = sum(count for (pull, chain), count in kinds.items() if not pull and "server update" in chain)
    assert last_pushes == sum(count for (pull, _), count in kinds.items() if not pull) / 2, "one of two pushes updates"


def normal(chain: tuple[str, ...]) -> tuple[str, ...]:
    """The chain with each `received` behind its `sent`, though the sender may note its end later than the receiver."""
    for sent, received in (("worker sent", "server received"), ("server sent", "worker received")):
        if sent in chain:
            rest = [what for what in chain if what != sent]
            if received in rest:
                rest.insert(rest.index(received), sent)
                chain = tuple(rest)
    return chain


def test_waits_name_their_cause(traces: dict[Node, tracefile.TraceFile]) -> None:
    spans = {node: rows_of(trace, Kind.SPAN) for node, trace in traces.items()}
    updates = {row["request_id"]: row for rows in spans.values() for row in rows if row["op"] == Op.UPDATE}
    holds = [row for rows in spans.values() for row in rows if row["op"] == Op.HOLD and int(row["step"]) >= 0]
    blocks = [(node, row) for node, rows in spans.items() for row in rows if row["op"] == Op.BLOCK]
    assert holds
    assert blocks
    for hold in holds:
        cause = updates[hold["cause_id"]]
        assert (cause["key"], cause["step"]) == (hold["key"], hold["step"])
        assert int(cause["end_ns"]) <= int(hold["end_ns"])
    for node, block in blocks:
        assert requester(int(block["cause_id"])) == node
        answer = next(row for row in rows_of(traces[node], Kind.RECEIVED) if row["request_id"] == block["cause_id"])
        assert int(block["start_ns"]) <= int(answer["end_ns"]) <= int(block["end_ns"])


def test_work_on_a_small_key_is_too_short_to_tell_what_became_of_its_time(traces: dict[Node, tracefile.TraceFile]) -> None:
    work = [row for trace in traces.values() for row in rows_of(trace, Kind.SPAN) if row["op"] in (Op.SUM, Op.UPDATE)]
    assert work
    assert all(int(row["size_bytes"]) < TIMED_BYTES for row in work)
    assert all(row[name] == NOT_MEASURED for row in work for name in USED)


@pytest.mark.parametrize("update_on", ["server", "worker"])
def test_an_update_that_sleeps_neither_runs_nor_lacks_a_core(
    update_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleepy(optimizer: Sgd, *args: object) -> None:
        time.sleep(SLEEP_NS / 1e9)

    monkeypatch.setattr(Sgd, "step", sleepy)
    big = {"features": 512, "hidden": 1024, "layers": 1, "classes": 3}  # one key of 2 MB
    cell = replace(CELL, workload_options=big, split_bound_bytes=1 << 30, update_on=update_on, steps=3, workers=1, servers=1)
    recorders: dict[Node, FileRecorder] = {}
    run_threads(cell, lambda node: recorders.setdefault(node, FileRecorder(str(tmp_path / f"{node}.trace"), 0, node)))
    for opened in recorders.values():
        opened.close()
    place = SERVER if update_on == "server" else WORKER
    rows = rows_of(unfolded(tracefile.read(str(tmp_path / f"{place}.trace"))), Kind.SPAN)
    timed = [row for row in rows if row["op"] == Op.UPDATE and int(row["step"]) >= 0 and row["cpu_ns"] != NOT_MEASURED]
    assert len(timed) == cell.total_steps
    for row in timed:
        assert int(row["size_bytes"]) >= TIMED_BYTES
        wall_ns, ran_ns, lacked_ns = int(row["end_ns"]) - int(row["start_ns"]), int(row["cpu_ns"]), int(row["runnable_ns"])
        assert min(ran_ns, lacked_ns) >= 0
        assert wall_ns - ran_ns - lacked_ns > 0.99 * SLEEP_NS


def test_pushing_at_the_end_is_a_span_of_its_own(tmp_path: Path) -> None:
    """All pushes of a step are handed over within it, behind backward: no moment of the main thread is unexplained."""
    cell, recorders = replace(CELL, push_when="end", steps=3), {}

    def recorder(node: Node) -> FileRecorder:
        return recorders.setdefault(node, FileRecorder(str(tmp_path / f"{node}.trace"), 0, node))

    run_threads(cell, recorder)
    for opened in recorders.values():
        opened.close()
    rows = rows_of(unfolded(tracefile.read(str(tmp_path / f"{WORKER}.trace"))), Kind.SPAN)
    for step in range(cell.total_steps):
        main = [row for row in rows if row["step"] == step and row["thread"] == "main"]
        (submit,) = (row for row in main if row["op"] == Op.SUBMIT)
        asked = [int(row["start_ns"]) for row in rows if row["step"] == step and row["op"] == Op.QUEUE]
        assert asked
        assert all(int(submit["start_ns"]) <= moment <= int(submit["end_ns"]) for moment in asked)
        assert max(int(row["end_ns"]) for row in main if row["op"] == Op.BACKWARD) <= int(submit["start_ns"])


def test_every_role_notes_clock_pings_at_start_and_end(traces: dict[Node, tracefile.TraceFile]) -> None:
    for node, trace in traces.items():
        pings = [value for name, value in trace.notes if name == "clock"]
        assert len(pings) == (0 if node == SCHEDULER else 2)
        for note in pings:
            assert note["reference"] == "scheduler-0"
            assert all(sent <= remote <= received for sent, remote, received in note["pings"])
    assert [name for name, _ in traces[SCHEDULER].notes] == ["plan"]


@pytest.mark.e2e
@pytest.mark.parametrize("victim", [SERVER, Node(Role.WORKER, 1), SCHEDULER], ids=str)
def test_all_end_with_a_clear_error_when_one_is_killed(victim: Node, tmp_path: Path) -> None:
    cell = replace(CELL, transport="tcp", servers=1, steps=1_000_000)
    with Processes(cell, tmp_path) as roles:
        wait_for_step(roles, WORKER)
        roles.kill(victim)
        killed = time.monotonic()
        codes = roles.wait(10)
        assert time.monotonic() - killed < 10
        for node, code in codes.items():
            if node != victim:
                assert code == 1, f"{node}: {roles.log(node)}"
                named = "lost the scheduler" if victim == SCHEDULER else f"{victim} was lost"
                assert named in roles.log(node)
                assert "Traceback" not in roles.log(node)


def wait_for_step(roles: Processes, worker: Node) -> None:
    """Until the worker has recorded a training step, so that all roles are in the midst of the run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(TraceError):  # there is no whole file yet
            if any(True for _ in tracefile.read(str(roles.trace(worker))).rows(Kind.STEP)):
                return
        time.sleep(0.1)
    pytest.fail(f"{worker} did not train: {roles.log(worker)}")
