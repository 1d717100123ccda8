"""Importing profiles that a real TensorFlow wrote, of programs that know nothing of this tool."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.homes import home
from support.ports import port

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.analysis.findings import CellFinding
from breakdown.model.stages import Op, Stage
from breakdown.runner.imports import CELL, import_profile
from breakdown.store.check import check
from breakdown.store.profiles import xplane
from breakdown.store.profiles.protobuf import MESSAGES, parse
from breakdown.store.profiles.readable import LeftOut
from breakdown.store.tables import Tables, load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BATCH, STEPS = 32, 6
FLOAT_BYTES = 4
VARIABLES = {"w1": 64 * 128, "b1": 128, "w2": 128 * 10, "b2": 10}
BYTES = FLOAT_BYTES * sum(VARIABLES.values())

GRAPH = """
import sys, time
from pathlib import Path
import numpy as np
import tensorflow as tf
from tensorflow.python.client import timeline
v1 = tf.compat.v1
role, rank, out, mode, steps = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
cluster = tf.train.ClusterSpec({"ps": [sys.argv[6]], "worker": sys.argv[7:]})
config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
config.device_filters.extend(["/job:ps", f"/job:worker/task:{rank}"] if role == "worker" else [])
v1.disable_eager_execution()
server = v1.train.Server(cluster, role, rank, config=config)
if role == "ps":
    server.join()
with v1.device(v1.train.replica_device_setter(cluster=cluster, worker_device=f"/job:worker/task:{rank}")):
    x, y = v1.placeholder(tf.float32, (None, 64)), v1.placeholder(tf.int64, (None,))
    shapes = {"w1": (64, 128), "b1": (128,), "w2": (128, 10), "b2": (10,)}
    w1, b1, w2, b2 = (v1.get_variable(name, shape) for name, shape in shapes.items())
    logits = tf.matmul(tf.nn.relu(tf.matmul(x, w1) + b1), w2) + b2
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    optimizer, hooks = v1.train.GradientDescentOptimizer(0.01), []
    if mode == "sync":
        optimizer = v1.train.SyncReplicasOptimizer(optimizer, 2, 2)
        hooks = [optimizer.make_session_run_hook(rank == 0, num_tokens=0)]
    train = optimizer.minimize(loss, v1.train.get_or_create_global_step())
batch = {x: np.ones((32, 64), np.float32), y: np.zeros(32, np.int64)}
options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
def wait(*names):
    until = time.time() + 60
    while time.time() < until and not all((out / name).exists() for name in names):
        time.sleep(0.05)
if rank != 0:  # else it would look for worker 0's variables once, and again after 30 s
    wait("ready")
with v1.train.MonitoredTrainingSession(server.target, rank == 0, hooks=hooks, config=config) as session:
    (out / "ready").touch()
    for step in range(steps):
        metadata = v1.RunMetadata()
        session.run([train, loss], batch, options=options, run_metadata=metadata)
        (out / f"metadata/{rank}-{step}.pb").write_bytes(metadata.SerializeToString())
        text = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
        (out / f"timelines/{rank}-{step}.json").write_text(text)
    (out / f"done-{rank}").touch()
    wait("done-0", "done-1")  # worker 0 also updates for the other one
    import os
    os._exit(0)
"""

STRATEGY = """
import json, os, sys, threading, time
role, rank, out, steps, addresses = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:]
cluster = {"chief": addresses[:1], "ps": addresses[1:2], "worker": addresses[2:4]}
os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": role, "index": rank}})
import numpy as np
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(4)
profilers = addresses[4:]
mine = profilers[{"chief": 0, "ps": 1, "worker": 2 + rank}[role]]
tf.profiler.experimental.server.start(int(mine.rpartition(":")[2]))
resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if role != "chief":
    server = tf.distribute.Server(resolver.cluster_spec(), job_name=role, task_index=rank, protocol="grpc")
    server.join()
strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    w1, w2 = tf.Variable(tf.ones((64, 128))), tf.Variable(tf.ones((128, 10)))
data = lambda: tf.data.Dataset.from_tensors((tf.ones((32, 64)), tf.zeros((32,), tf.int64))).repeat()
batches = iter(coordinator.create_per_worker_dataset(data))
@tf.function
def train_step(iterator):
    def on_worker(x, y):
        with tf.GradientTape() as tape:
            logits = tf.nn.relu(x @ w1) @ w2
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        for variable, gradient in zip((w1, w2), tape.gradient(loss, (w1, w2))):
            variable.assign_sub(0.01 * gradient)
        return loss
    return strategy.run(on_worker, args=next(iterator))
def run(count):
    for _ in range(count):
        coordinator.schedule(train_step, args=(batches,))
    coordinator.join()
run(6)
urls = ",".join(f"grpc://{one}" for one in profilers)
profiling = threading.Thread(target=lambda: tf.profiler.experimental.client.trace(urls, out, 3000))
profiling.start()
time.sleep(1.2)
for _ in range(steps // 2):
    run(2)
profiling.join()
os._exit(0)
"""

KERAS = """
import sys
import numpy as np
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(2)
layers = [tf.keras.layers.Dense(128, activation="relu"), tf.keras.layers.Dense(10)]
model = tf.keras.Sequential(layers)
model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
inputs, targets = np.ones((192, 64), np.float32), np.zeros(192, np.int64)
class Marked(tf.keras.callbacks.Callback):  # as the TensorBoard callback does, which needs TensorBoard
    def on_train_batch_begin(self, batch, logs=None):
        self.trace = tf.profiler.experimental.Trace("train", step_num=batch, _r=1)
        self.trace.__enter__()
    def on_train_batch_end(self, batch, logs=None):
        self.trace.__exit__(None, None, None)
model.fit(inputs, targets, batch_size=32, verbose=0)
with tf.profiler.experimental.Profile(sys.argv[1]):
    model.fit(inputs, targets, batch_size=32, verbose=0, callbacks=[Marked()] if "marked" in sys.argv else [])
"""


def addresses(count: int) -> list[str]:
    return [f"127.0.0.1:{port()}" for _ in range(count)]


def run(program: str, commands: Sequence[Sequence[str]], ends: Sequence[int]) -> None:
    """Starts a process a command; waits for those whose numbers are in `ends`, then ends the others, which only serve."""
    python = home("tensorflow").python
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR"}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet
    processes = [
        subprocess.Popen([python, "-c", program, *command], env=env, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        for number in ends:
            _, errors = processes[number].communicate(timeout=100)
            assert processes[number].returncode == 0, errors
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


FIELDS = """
import json, sys
from tensorflow.core.framework import allocation_description_pb2, step_stats_pb2, tensor_description_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.tsl.profiler.protobuf import xplane_pb2
files = (allocation_description_pb2, step_stats_pb2, tensor_description_pb2, config_pb2, xplane_pb2)
found = {name: one for file in files for name, one in file.DESCRIPTOR.message_types_by_name.items()}
fields = {name: {field.name: field.number for field in found[name].fields} for name in sys.argv[2:]}
open(sys.argv[1], "w").write(json.dumps(fields))
"""


def test_the_fields_are_tensorflows(tmp_path: Path) -> None:
    messages = {name: fields for name, fields in MESSAGES.items() if not name.endswith("Entry")}
    run(FIELDS, [(str(tmp_path / "fields"), *messages)], ends=(0,))
    theirs = json.loads((tmp_path / "fields").read_text())
    for name, fields in messages.items():
        assert {field: number for field, (number, _) in fields.items()}.items() <= theirs[name].items(), name


def imported(profile: Path, tmp: Path, warmup_steps: int = 0) -> Tables:
    output = tmp / f"imported-{profile.name}"
    import_profile([profile], output, warmup_steps, BATCH, {})
    return load(output / CELL)


def sound(tables: Tables) -> CellFinding:
    """The finding, where all accounts balance."""
    assert check(tables) == []
    found = account(tables).finding
    assert sum(stage.exposed_ns for stage in found.stages) == found.step_ns
    return found


def ops(tables: Tables) -> set[tuple[str, str]]:
    return set(walk(tables)[["stage", "op"]].itertuples(index=False, name=None))


@pytest.fixture(scope="module", params=["async", "sync"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """RunMetadata and timelines of each step of two workers."""
    out = tmp_path_factory.mktemp(request.param)
    for name in ("metadata", "timelines"):
        (out / name).mkdir()
    told = (str(out), request.param, str(STEPS), *addresses(3))
    run(GRAPH, [("ps", "0", *told), ("worker", "0", *told), ("worker", "1", *told)], ends=(1, 2))
    return request.param, out


def test_run_metadata_has_each_step_of_each_worker_and_the_variables_bytes(graph: tuple[str, Path], tmp_path: Path) -> None:
    mode, out = graph
    tables = imported(out / "metadata", tmp_path)
    found = sound(tables)
    assert tables.steps.groupby("rank")["step"].agg(list).tolist() == [list(range(STEPS))] * 2
    messages = tables.messages.astype({"key": str, "receiver_role": str})
    pulled = messages[(messages["receiver_role"] == "worker") & messages["key"].isin(VARIABLES)]
    assert (pulled["size_bytes"] == pulled["key"].map(VARIABLES) * FLOAT_BYTES).all()
    assert (pulled.groupby(["receiver_rank", "step"])["size_bytes"].sum() == BYTES).all()
    # TensorFlow loses a record now and then, which the warnings count
    lost = sum(int(count) for text in found.warnings for count in re.findall(r"did not record how (\d+) tensors", text))
    pushed = messages[messages["receiver_role"] == "server"]
    small = {"async": 1, "sync": 4}[mode]  # the learning rate; the local step of each gradient
    assert len(pushed) == 2 * STEPS * (4 + small) - lost
    if mode == "async":
        gradients = pushed[pushed["key"].isin(VARIABLES)]
        assert (gradients["size_bytes"] == gradients["key"].map(VARIABLES) * FLOAT_BYTES).all()
        assert (gradients.groupby(["sender_rank", "step"])["size_bytes"].sum() == BYTES).sum() >= 2 * STEPS - lost
    else:
        assert found.stages[Stage.WAIT].exposed_ns > 0


def test_run_metadata_shows_compute_push_pull_and_the_servers_work(graph: tuple[str, Path], tmp_path: Path) -> None:
    mode, out = graph
    tables = imported(out / "metadata", tmp_path)
    work = set(tables.spans[["role", "stage", "op"]].itertuples(index=False, name=None))
    at_server = Op.UPDATE if mode == "async" else Op.SUM
    assert {
        ("worker", "compute", Op.FORWARD), ("worker", "compute", Op.BACKWARD), ("worker", "pull", "transfer"),
        ("server", "push", "transfer"), ("server", "aggregate", at_server),
    } <= work  # fmt: skip
    assert {("push", "transfer"), ("pull", "transfer"), ("compute", Op.FORWARD)} <= ops(tables)
    names = set(tables.spans.loc[tables.spans["op"] == Op.FORWARD, "key"])
    assert any(name.startswith("SparseSoftmaxCrossEntropyWithLogits") for name in names)


def test_a_timeline_gives_the_same_steps_without_bytes(graph: tuple[str, Path], tmp_path: Path) -> None:
    _, out = graph
    whole, tables = imported(out / "metadata", tmp_path), imported(out / "timelines", tmp_path)
    found = sound(tables)
    assert len(tables.steps) == 2 * STEPS
    assert len(tables.messages) == 0
    assert any("not measured, not zero" in text for text in found.warnings)
    lengths = [(one.steps["end_ns"] - one.steps["start_ns"]).sum() for one in (whole, tables)]
    assert lengths[1] == pytest.approx(lengths[0], abs=2000 * 2 * STEPS)  # a timeline has whole microseconds


def test_metadata_with_its_timelines_is_not_counted_twice(graph: tuple[str, Path], tmp_path: Path) -> None:
    _, out = graph
    tables = imported(out, tmp_path)
    assert len(tables.steps) == 2 * STEPS
    assert any(f"{2 * STEPS} timelines were left out" in text for text in account(tables).finding.warnings)


@pytest.fixture(scope="module")
def strategy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XPlane files of a chief, a server and two workers."""
    out = tmp_path_factory.mktemp("strategy")
    told = (str(out), str(2 * STEPS), *addresses(8))
    roles = [("ps", "0"), ("worker", "0"), ("worker", "1"), ("chief", "0")]
    run(STRATEGY, [(*role, *told) for role in roles], ends=(3,))
    return out


def test_each_roles_xplane_makes_one_run(strategy: Path, tmp_path: Path) -> None:
    tables = imported(strategy, tmp_path)
    found = sound(tables)
    assert set(tables.clock["runs"]["0"]["nodes"]) == {"scheduler-0", "server-0", "worker-0", "worker-1"}
    assert len(tables.steps) == 2 * STEPS
    path = walk(tables)
    assert {"worker-0", "worker-1", "server-0"} == set(map(str, path["place"]))
    assert {
        ("compute", Op.FORWARD), ("compute", Op.BACKWARD), ("pull", "transfer"), ("push", "transfer"),
        ("serialize", "dispatch"), ("aggregate", Op.UPDATE),
    } <= ops(tables)  # fmt: skip
    assert any("holds no bytes" in text for text in found.warnings)
    pulled = set(tables.spans.loc[(tables.spans["stage"] == "pull") & (tables.spans["op"] == "transfer"), "key"])
    assert {"matmul/ReadVariableOp", "matmul_1/ReadVariableOp"} <= pulled


def test_a_worker_alone_is_told_what_it_lacks(strategy: Path, tmp_path: Path) -> None:
    """Of the server nothing is known, so what came from it is not parted."""
    files = {
        xplane.read(str(path), parse("XSpace", path.read_bytes()), LeftOut()).device: path for path in strategy.rglob("*.pb")
    }
    worker = files["/job:worker/replica:0/task:1/device:CPU:0"]
    tables = imported(worker, tmp_path)
    sound(tables)
    assert set(tables.spans["role"]) == {"worker"}
    assert ("pull", "transfer") in ops(tables)


@pytest.mark.parametrize("marked", [True, False])
def test_keras_training_of_one_process(marked: bool, tmp_path: Path) -> None:
    out = tmp_path / "logs"
    run(KERAS, [(str(out), *(["marked"] if marked else []))], ends=(0,))
    tables = imported(out, tmp_path, warmup_steps=1)
    found = sound(tables)
    assert len(tables.steps) == STEPS
    assert found.steps == STEPS - 1
    assert found.config["tf_mode"] == "local"
    assert {("compute", Op.FORWARD), ("compute", Op.BACKWARD), ("serialize", "submit")} <= ops(tables)
    assert (("other", "python") in ops(tables)) == marked
    told = "that the program marked" if marked else "the calls of"
    assert any(told in text for text in found.warnings)


def test_the_command_prints_tables_and_writes_figures(tmp_path: Path) -> None:
    out = tmp_path / "logs"
    run(KERAS, [(str(out),)], ends=(0,))
    command = [
        sys.executable,
        "-m",
        "breakdown.cli",
        "import",
        str(out),
        "--output",
        str(tmp_path / "out"),
        "--batch-size",
        "32",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "exposed ms" in done.stdout
    assert "Only single nodes were measured" in done.stdout
    assert (tmp_path / "out" / "report.html").exists()
    assert list((tmp_path / "out" / "plots").glob("timeline-*.png"))
