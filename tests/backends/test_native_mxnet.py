"""The native recorder in real MXNet processes: what it writes opens, joins, adds up, and outlives their ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from mxnet_home import mxnet_home
from support.ports import port

import breakdown.backends.mxnet
from breakdown.errors import TraceError
from breakdown.launch import building
from breakdown.model.identity import NO_REQUEST, Node, Role, node_of, requester
from breakdown.model.invariants import violations
from breakdown.model.records import Direction, Message, Span, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record import tracefile
from breakdown.record.layout import HEAD, MAGIC, Kind, head_check, padding_bytes, payload_bytes

SHARED = Path(breakdown.backends.__file__).parent / "native"
SOURCES = Path(breakdown.backends.mxnet.__file__).parent / "native"
TIMEOUT_S = 100
FIRST_OPERATION = 1 << 61  # ids of engine operations, each in its own process
KEY_BYTES, LENGTH_BYTES, FLOAT_BYTES = 8, 4, 4

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT_S + 60)]

GLUON = """
import sys, time, mxnet as mx
from mxnet import autograd, gluon
kv = mx.kv.create(sys.argv[1])
net = gluon.nn.HybridSequential()
net.add(gluon.nn.Dense(256, activation="relu", in_units=784), gluon.nn.Dense(10, in_units=256))
net.initialize()
net.hybridize()
on_store = False if "local-update" in sys.argv else None
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9}, kvstore=kv,
                        update_on_kvstore=on_store)
loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
x, y = mx.nd.random.uniform(shape=(32, 784)), mx.nd.zeros(32)
for step in range(5):
    with autograd.record():
        loss = loss_of(net(x), y)
    loss.backward()
    trainer.step(32)
    loss.mean().asscalar()
mx.nd.waitall()
if "hang" in sys.argv:
    print("ready", flush=True)
    time.sleep(60)
"""
GLUON_SHAPES = (784 * 256, 256, 256 * 10, 10)
STEPS = 5

RAW = """
import sys, mxnet as mx
kv = mx.kv.create(sys.argv[1])
keys, shapes = [3, 5, 9], [(1000,), (1100, 1000), (7, 3)]
if "2bit" in sys.argv:
    kv.set_gradient_compression({"type": "2bit", "threshold": 0.5})
kv.init(keys, [mx.nd.ones(shape) for shape in shapes])
kv.set_optimizer(mx.optimizer.SGD(learning_rate=0.1))
outs = [mx.nd.zeros(shape) for shape in shapes]
for step in range(5):
    kv.push(keys, [mx.nd.ones(shape) * (kv.rank + 1) for shape in shapes])
    kv.pull(keys, out=outs)
    for out in outs:
        out.wait_to_read()
"""


RAW_KEYS = (3, 5, 9)
LARGE_KEY, LARGE_KEY_ELEMENTS = "5", 1100 * 1000


@dataclass(frozen=True)
class Run:
    """All that the processes of one job recorded."""

    traces: dict[Node, tracefile.TraceFile]
    spans: list[Span]
    messages: list[Message]

    def of(self, role: Role, op: str) -> list[Span]:
        return [span for span in self.spans if span.node.role == role and span.op == op]


@pytest.fixture(scope="module")
def library() -> Path:
    """The recorder as it is used."""
    found = mxnet_home().library
    assert found is not None
    return found


def build(target: Path, *options: str) -> Path:
    """One that is compiled otherwise."""
    sources = sorted(str(path) for folder in (SOURCES, SHARED) for path in folder.glob("*.cpp"))
    command = [building.compiler(), *building.FLAGS, f"-I{SHARED}", *options, "-o", str(target), *sources, "-ldl"]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return target


def python() -> str:
    return str(mxnet_home().python)


def alone(library: Path, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as a single node."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "BREAKDOWN_TRACE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("DMLC_ROLE", None)
    command = [python(), "-W", "ignore", "-c", script]
    return subprocess.run(command, env=environment, check=False, timeout=TIMEOUT_S, text=True, capture_output=True)


def start(
    library: Path, folder: Path, script: str, arguments: Sequence[str], servers: int, workers: int
) -> list[tuple[str, subprocess.Popen[str]]]:
    settings = {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port()),
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_NUM_SERVER": str(servers),
        "DMLC_NUM_WORKER": str(workers),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(library),
        "BREAKDOWN_TRACE_DIR": str(folder),
        "BREAKDOWN_RUN": "7",
    }
    roles = ["scheduler"] + ["server"] * servers + ["worker"] * workers
    started = []
    for role in roles:
        command = [python(), "-c", script, *arguments] if role == "worker" else [python(), "-c", "import mxnet"]
        environment = {**os.environ, **settings, "DMLC_ROLE": role}
        output = subprocess.PIPE if role == "worker" else None
        started.append((role, subprocess.Popen(command, env=environment, text=True, stdout=output)))
    return started


def finish(processes: Sequence[tuple[str, subprocess.Popen[str]]]) -> None:
    """Waits for all of them, and leaves none behind."""
    deadline = time.monotonic() + TIMEOUT_S
    try:
        for role, process in reversed(processes):
            process.communicate(timeout=deadline - time.monotonic())
            assert process.returncode == 0, f"{role} exited with {process.returncode}"
    finally:
        for _, process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def job(library: Path, folder: Path, script: str, *arguments: str, servers: int = 1, workers: int = 2) -> Run:
    finish(start(library, folder, script, arguments, servers, workers))
    assert not list(folder.glob("*.part"))
    run = collect(folder)
    assert len(run.traces) == 1 + servers + workers
    for trace in run.traces.values():
        assert trace.warnings == ()
        assert [value for name, value in trace.notes if name == "warning"] == []
    return run


def collect(folder: Path) -> Run:
    """Reads the traces and joins the halves of messages."""
    traces: dict[Node, tracefile.TraceFile] = {}
    spans: list[Span] = []
    halves: defaultdict[tuple[int, Direction], dict[Kind, tuple[Node, str, tuple[int, ...], str]]] = defaultdict(dict)
    for path in folder.glob("*.native.trace"):
        trace = tracefile.read(str(path))
        node = Node(Role[trace.meta["role"].upper()], trace.meta["rank"])
        assert path.name == f"{node}.native.trace"
        traces[node] = trace
        for thread, row in trace.rows(Kind.SPAN):
            stage, op, key, step, size, start_ns, end_ns, request, cause, cpu, runnable = row
            spans.append(
                Span(
                    7,
                    node,
                    trace.threads[thread],
                    step,
                    Stage(stage),
                    trace.names[op],
                    start_ns,
                    end_ns,
                    trace.names[key],
                    size,
                    request,
                    cause,
                    None if cpu < 0 else cpu,
                    None if runnable < 0 else runnable,
                )
            )
        for kind in (Kind.SENT, Kind.RECEIVED):
            for thread, row in trace.rows(kind):
                if row[5] != NO_REQUEST:
                    ends = halves[row[5], Direction(row[1])]
                    assert kind not in ends, f"{node}: request {row[5]} appears twice"
                    ends[kind] = (node, trace.threads[thread], row, trace.names[row[2]])
    return Run(traces, spans, list(joined(halves)))


def joined(halves: dict[tuple[int, Direction], dict[Kind, tuple[Node, str, tuple[int, ...], str]]]) -> Iterator[Message]:
    for (request, direction), ends in halves.items():
        assert set(ends) == {Kind.SENT, Kind.RECEIVED}, f"request {request} {direction.label} has one end only: {ends}"
        sender, out_thread, out, out_key = ends[Kind.SENT]
        receiver, in_thread, into, in_key = ends[Kind.RECEIVED]
        assert (out[0], out[4], out_key) == (into[0], into[4], in_key)  # verb, size, key
        assert node_of(out[6]) == receiver
        assert node_of(into[6]) == sender
        yield Message(
            7,
            request,
            Verb(out[0]),
            direction,
            sender,
            receiver,
            out_key,
            out[3],
            out[4],
            out[7],
            out[8],
            into[7],
            into[8],
            out_thread,
            in_thread,
        )


@pytest.fixture(scope="module")
def sync(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(library, tmp_path_factory.mktemp("sync"), GLUON, "dist_sync")


@pytest.fixture(scope="module")
def asynchronous(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(library, tmp_path_factory.mktemp("async"), RAW, "dist_async", servers=2)


@pytest.fixture(scope="module")
def compressed(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(library, tmp_path_factory.mktemp("compressed"), RAW, "dist_sync", "2bit")


@pytest.fixture(scope="module")
def local_update(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(library, tmp_path_factory.mktemp("local"), GLUON, "dist_sync", "local-update", servers=2)


@pytest.fixture(scope="module")
def p3(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return job(library, tmp_path_factory.mktemp("p3"), GLUON, "p3store_dist", "local-update")


@pytest.fixture(params=["sync", "asynchronous", "compressed", "local_update", "p3"])
def any_run(request: pytest.FixtureRequest) -> Run:
    run: Run = request.getfixturevalue(request.param)
    return run


def test_keeps_the_rules_of_a_trace(any_run: Run) -> None:
    # An engine operation has an id, but nobody asks for it by a message.
    known = [
        span
        for span in any_run.spans
        if span.request_id < FIRST_OPERATION and span.cause_id < FIRST_OPERATION and "python-lock" not in span.op
    ]
    assert violations(known, any_run.messages, []) == []


def test_an_operation_is_pushed_released_and_run_in_this_order(any_run: Run) -> None:
    rows: defaultdict[tuple[Node, int], list[Span]] = defaultdict(list)
    for span in any_run.spans:
        assert span.end_ns >= span.start_ns
        if span.request_id >= FIRST_OPERATION:
            rows[span.node, span.request_id].append(span)
    assert rows
    for (node, operation), own in rows.items():
        queues = [span for span in own if span.op == Op.QUEUE]
        holds = [span for span in own if span.op == Op.HOLD]
        runs = [span for span in own if span.op not in (Op.QUEUE, Op.HOLD)]
        assert len(queues) == 1
        assert all(span.start_ns >= queues[0].end_ns for span in runs)
        assert [(hold.end_ns, hold.cause_id) for hold in holds] in ([], [(queues[0].start_ns, queues[0].cause_id)])
        for hold in holds:  # what releases an operation was pushed before it, and has run or begun to
            assert hold.cause_id < operation
            cause = rows.get((node, hold.cause_id))
            assert cause is not None
            assert min(span.end_ns for span in cause if span.op == Op.QUEUE) <= hold.end_ns


def test_every_byte_is_seen_where_zeromq_counts_them(any_run: Run) -> None:
    for trace in any_run.traces.values():
        traffic = dict(trace.notes)["zmq_traffic"]
        sizes = [row[4] for _, row in trace.rows(Kind.SENT)]
        assert len(sizes) == traffic["sent"]
        heads = traffic["sent_bytes"] - sum(sizes)
        assert 0 <= heads <= 400 * traffic["sent"]  # a head is some tens of bytes, one that lists nodes a few hundred


def test_sent_and_received_come_from_the_sockets(any_run: Run) -> None:
    for message in any_run.messages:
        assert message.sender_thread == f"send-{message.receiver}"
        assert message.receiver_thread == f"recv-{message.sender}"


def test_sizes_of_a_synchronous_gluon_run(sync: Run) -> None:
    pushed = Counter(message.size_bytes for message in sync.messages if message.verb == Verb.PUSH and message.size_bytes)
    # Combined push and pull of each parameter, each step, from both workers; and the first worker's initial push.
    expected = Counter({size * FLOAT_BYTES + KEY_BYTES + LENGTH_BYTES: 2 * STEPS + 1 for size in GLUON_SHAPES})
    assert pushed == expected


def test_compression_makes_pushes_small(compressed: Run) -> None:
    requests = [m for m in compressed.messages if m.verb == Verb.PUSH and m.direction == Direction.REQUEST]
    sizes = Counter(m.size_bytes for m in requests)
    # 2 bits a value, in whole floats of 16 values, with two keys and two lengths.
    large = -(-1100 * 1000 // 16) * FLOAT_BYTES + 2 * (KEY_BYTES + LENGTH_BYTES)
    assert sizes[large] == 2 * STEPS
    encodes = {(span.node, span.request_id) for span in compressed.of(Role.WORKER, Op.ENCODE)}
    assert len(encodes) == 2 * STEPS * len(RAW_KEYS)
    decoded = {span.request_id for span in compressed.of(Role.SERVER, Op.DECODE)}
    assert {m.request_id for m in requests if m.size_bytes == large} <= decoded


def test_a_hold_is_released_by_the_other_workers_push(sync: Run) -> None:
    holds = sync.of(Role.SERVER, Op.HOLD)
    assert len(holds) == STEPS * len(GLUON_SHAPES)  # with two workers, one of them waits
    requests = {m.request_id: m for m in sync.messages if m.direction == Direction.REQUEST}
    for hold in holds:
        assert requester(hold.request_id) != requester(hold.cause_id)
        assert requests[hold.request_id].key == requests[hold.cause_id].key == hold.key
        cause_arrived_ns = requests[hold.cause_id].recv_end_ns
        assert cause_arrived_ns is not None
        assert cause_arrived_ns <= hold.end_ns


def test_nobody_is_held_in_an_asynchronous_run(asynchronous: Run) -> None:
    assert asynchronous.of(Role.SERVER, Op.HOLD) == []
    servers = {message.receiver.rank for message in asynchronous.messages if message.receiver.role == Role.SERVER}
    assert servers == {0, 1}
    # The large key lives on both servers, the small ones on one each.
    keys = {message.key for message in asynchronous.messages if message.verb == Verb.PUSH}
    assert {"5@0", "5@1"} < keys
    assert len(keys) == 4


def test_each_request_can_be_followed_from_end_to_end(sync: Run) -> None:
    rows: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for span in sync.spans:
        if NO_REQUEST < span.request_id < FIRST_OPERATION:
            rows[span.request_id].append((span.start_ns, span.end_ns, f"{span.node.role.label}/{span.op}"))
    requests = [m for m in sync.messages if m.direction == Direction.REQUEST and m.verb == Verb.PUSH]
    replies = {m.request_id: m for m in sync.messages if m.direction == Direction.REPLY}
    updates = 0
    for message in requests:
        ops = {op for _, _, op in rows[message.request_id]}
        assert {"worker/queue", "worker/send", "server/queue", "server/handle", "server/sum", "server/send"} <= ops
        updates += "server/update" in ops
        reply = replies[message.request_id]
        assert reply.send_start_ns is not None
        assert message.recv_end_ns is not None
        assert message.recv_end_ns <= reply.send_start_ns
        if reply.size_bytes:
            assert {"server/encode", "worker/decode", "worker/release"} <= ops
    assert updates == STEPS * len(GLUON_SHAPES)


def test_the_python_lock_of_the_updater_is_seen(sync: Run) -> None:
    updates = [span for span in sync.of(Role.SERVER, Op.UPDATE) if span.thread == "main"]
    held = sync.of(Role.SERVER, "python-lock")
    assert len(updates) == STEPS * len(GLUON_SHAPES)
    for update in updates:
        inside = [span for span in held if span.request_id == update.request_id]
        assert inside
        assert all(update.start_ns <= span.start_ns and span.end_ns <= update.end_ns for span in inside)
        assert sum(span.end_ns - span.start_ns for span in inside) < update.end_ns - update.start_ns


def test_a_sleeping_main_thread_names_what_it_slept_for(sync: Run) -> None:
    blocks = [span for span in sync.of(Role.WORKER, Op.BLOCK) if span.thread == "main"]
    assert len(blocks) >= 2 * STEPS
    runs: defaultdict[tuple[Node, int], list[Span]] = defaultdict(list)
    for span in sync.spans:
        if span.request_id >= FIRST_OPERATION:
            runs[span.node, span.request_id].append(span)
    for block in blocks:
        cause = runs[block.node, block.cause_id]
        assert cause, f"nobody is known as {block.cause_id}"
        assert min(span.start_ns for span in cause) < block.end_ns


def test_operations_inside_a_bulk_have_names(sync: Run) -> None:
    names = {span.op for span in sync.spans if span.node.role == Role.WORKER}
    assert {"FullyConnected", "_backward_FullyConnected", "Activation", "_backward_Activation"} <= names


def test_a_records_cost_is_measured(any_run: Run) -> None:
    """Some 50 ns: benchmarks say how much, and on which machine. Here that it is a record's cost, and no other time."""
    for trace in any_run.traces.values():
        assert 0 < trace.meta["cost_ns_per_span"] < 100_000
        assert trace.meta["run"] == 7


ALL_PUSHES = (STEPS + 1) * len(GLUON_SHAPES)
"""Of one worker: the initial values, then a gradient a step."""


def end_by(signal_number: int, library: Path, folder: Path, written: bool) -> Run:
    """Runs a job whose worker hangs behind its last step, and ends all by a signal; once all is `written`, or at once."""
    processes = start(library, folder, GLUON, ["dist_sync", "hang"], 1, 1)
    try:
        worker = processes[-1][1]
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        deadline = time.monotonic() + TIMEOUT_S
        while written and not is_written(folder):
            assert time.monotonic() < deadline, "nobody writes what was recorded"
            time.sleep(0.05)
        for _, process in processes:
            process.send_signal(signal_number)
        for role, process in processes:
            process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == -signal_number, role
    finally:
        for _, process in processes:
            process.kill()
            process.communicate(timeout=TIMEOUT_S)
    run = collect(folder)
    assert len(run.traces) == 3
    return run


def is_written(folder: Path) -> bool:
    """Whether both halves of all messages are on the disk: for each key and step a push, and the answer to a pull."""
    halves: Counter[tuple[int, int, Kind]] = Counter()
    for path in folder.glob("*.native.trace"):
        with suppress(TraceError):  # it has no head yet
            trace = tracefile.read(str(path))
            for kind in (Kind.SENT, Kind.RECEIVED):
                halves.update((row[0], row[1], kind) for _, row in trace.rows(kind) if row[5] != NO_REQUEST)
    in_steps = [halves[Verb.PUSH, Direction.REQUEST, Kind.SENT], halves[Verb.PULL, Direction.REPLY, Kind.SENT]]
    joined_by = {(verb, way): halves[verb, way, Kind.SENT] == halves[verb, way, Kind.RECEIVED] for verb, way, _ in halves}
    return in_steps == [ALL_PUSHES] * 2 and all(joined_by.values())


def pushes_of(run: Run) -> int:
    return len([m for m in run.messages if m.verb == Verb.PUSH and m.direction == Direction.REQUEST])


def test_a_kill_loses_nothing_that_was_written(library: Path, tmp_path: Path) -> None:
    run = end_by(signal.SIGKILL, library, tmp_path, written=True)
    for trace in run.traces.values():
        assert [warning for warning in trace.warnings if "without closing" not in warning] == []
    assert pushes_of(run) == ALL_PUSHES


def test_sigterm_ends_a_role_after_its_last_flush(library: Path, tmp_path: Path) -> None:
    run = end_by(signal.SIGTERM, library, tmp_path, written=False)
    for trace in run.traces.values():
        assert trace.warnings == ()
    assert pushes_of(run) == ALL_PUSHES


def test_who_handles_a_signal_decides_what_it_does(library: Path, tmp_path: Path) -> None:
    done = alone(library, tmp_path, "import mxnet as mx, os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('not yet'))\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('caught')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(mx.nd.ones(3).sum().asscalar())")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "caught\nnot yet\n3.0\n"), done.stderr
    trace = tracefile.read(str(tmp_path / "worker-0.native.trace"))
    assert trace.warnings == ()
    assert "sum" in trace.names


def test_a_forked_child_is_ended_by_a_signal_as_without_us(library: Path, tmp_path: Path) -> None:
    done = alone(library, tmp_path, "import mxnet as mx, os, signal, time\n"
        "child = os.fork()\nif not child:\n    time.sleep(60)\n"
        "os.kill(child, signal.SIGTERM)\nprint(os.waitpid(child, 0)[1], mx.nd.ones(3).sum().asscalar())")  # fmt: skip
    assert done.stdout == f"{int(signal.SIGTERM)} 3.0\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["worker-0.native.trace"]
    assert tracefile.read(str(tmp_path / "worker-0.native.trace")).warnings == ()


def test_a_program_that_leaves_past_its_exit_handlers_can_stop_the_recording(library: Path, tmp_path: Path) -> None:
    done = alone(library, tmp_path, "import ctypes, mxnet as mx, os\n"
        "mx.nd.ones(3).sum().asscalar()\n"
        "for _ in range(2):\n    ctypes.CDLL(None).breakdown_stop()\n"
        "print(mx.nd.ones(3).mean().asscalar(), flush=True)\nos._exit(3)")  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "1.0\n"), done.stderr
    trace = tracefile.read(str(tmp_path / "worker-0.native.trace"))
    assert trace.warnings == ()
    assert "sum" in trace.names
    assert "mean" not in trace.names  # that came later


def test_the_head_of_every_block_carries_its_check(sync: Run) -> None:
    for trace in sync.traces.values():
        data, at, blocks = Path(trace.path).read_bytes(), len(MAGIC), 0
        while at < len(data):
            _, kind, thread, count, _, check = HEAD.unpack_from(data, at)
            assert check == head_check(kind, thread, count)
            size = payload_bytes(Kind(kind), count)
            at += HEAD.size + size + padding_bytes(size)
            blocks += 1
        assert blocks > len(trace.blocks)


def test_messages_whose_bytes_cannot_be_followed_have_the_times_of_their_handing_over(tmp_path: Path) -> None:
    library = build(tmp_path / "other.so", "-DBREAKDOWN_ZMTP_VERSION=200")  # no stream is of that protocol
    folder = tmp_path / "traces"
    folder.mkdir()
    run = job(library, folder, RAW, "dist_sync")
    test_keeps_the_rules_of_a_trace(run)
    test_every_byte_is_seen_where_zeromq_counts_them(run)
    assert pushes_of(run) == (2 * STEPS + 1) * len(RAW_KEYS)
    threads = {message.sender_thread for message in run.messages}
    assert not [name for name in threads if name.startswith("send-")]
    assert {"engine", "customer"} <= threads
    for trace in run.traces.values():
        assert dict(trace.notes).get("sent_unseen", 0) <= len(run.traces)  # those that left before the protocol showed


def test_a_slice_tells_how_many_elements_it_has(asynchronous: Run, compressed: Run) -> None:
    for run, slices in ((asynchronous, 2), (compressed, 1)):
        for node, trace in run.traces.items():
            told = [value for name, value in trace.notes if name == "wire_key"]
            assert len({value["wire_key_id"] for value in told}) == len(told)
            large = [value["elements"] for value in told if trace.names[value["parameter_id"]] == LARGE_KEY]
            assert large == ([LARGE_KEY_ELEMENTS // slices] * slices if node.role is Role.WORKER else [])


def test_a_single_node_records_its_operations(library: Path, tmp_path: Path) -> None:
    done = alone(library, tmp_path, GLUON.replace("mx.kv.create(sys.argv[1])", "'device'"))
    assert done.returncode == 0, done.stderr
    trace = tracefile.read(str(tmp_path / "worker-0.native.trace"))
    assert trace.warnings == ()
    assert "_backward_FullyConnected" in trace.names


def test_processes_that_never_load_mxnet_leave_nothing(library: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LD_PRELOAD": str(library), "BREAKDOWN_TRACE_DIR": str(tmp_path), "DMLC_ROLE": "worker"}
    subprocess.run([python(), "-c", "import json"], env=environment, check=True, timeout=TIMEOUT_S)
    assert list(tmp_path.iterdir()) == []


def test_forked_helpers_of_a_data_loader_record_nothing(library: Path, tmp_path: Path) -> None:
    script = """
import mxnet as mx
from mxnet import gluon
data = gluon.data.ArrayDataset(mx.nd.arange(64), mx.nd.arange(64))
for _ in range(2):
    for x, y in gluon.data.DataLoader(data, batch_size=8, num_workers=2):
        x.asnumpy()
"""
    done = alone(library, tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["worker-0.native.trace"]
    assert tracefile.read(str(tmp_path / "worker-0.native.trace")).warnings == ()


def test_a_folder_that_cannot_be_written_to_is_said_and_does_no_harm(library: Path, tmp_path: Path) -> None:
    done = alone(library, tmp_path / "missing", "import mxnet as mx; print(mx.nd.ones(3).sum().asscalar())")
    assert (done.returncode, done.stdout) == (0, "3.0\n")
    assert "breakdown: recording stopped" in done.stderr


def test_another_version_of_mxnet_is_left_alone(tmp_path: Path) -> None:
    other = build(tmp_path / "other.so", "-DBREAKDOWN_MXNET_VERSION=20000")
    folder = tmp_path / "traces"
    folder.mkdir()
    done = alone(other, folder, "import mxnet as mx; print(mx.nd.ones(3).sum().asscalar())")
    assert (done.returncode, done.stdout) == (0, "3.0\n")
    assert "leaves out everything: MXNet's version is 10901" in done.stderr
    trace = tracefile.read(str(folder / "worker-0.native.trace"))
    assert trace.blocks == ()
    assert "warning" in dict(trace.notes)
