"""`breakdown trace tensorflow` on scripts as TensorFlow's users write them, which know nothing of this tool."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.ports import port
from support.unexplained import unexplained
from tensorflow_home import tensorflow_home
from traced_scripts import Ended, ended

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.model.stages import Stage
from breakdown.store.check import check

STEPS, WARM_UP, BATCH = 20, 3, 32
MOST_UNEXPLAINED = 0.05
CLOSE = 0.01
BESIDES = 0.1  # of a small model's bytes: counters, metrics, a loop's condition, and what stands around tensors
SHAPES = (256 * 512, 512, 512 * 10, 10)
FLOAT_BYTES = 4
TIMEOUT_S = 120

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT_S + 60)]

# Between-graph replication in a MonitoredTrainingSession. The cluster comes by flags, or by TF_CONFIG.
GRAPH = """
import argparse, json, os, time
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
parser = argparse.ArgumentParser()
parser.add_argument("--job_name")
parser.add_argument("--task_index", type=int)
parser.add_argument("--ps_hosts", default="")
parser.add_argument("--worker_hosts", default="")
parser.add_argument("--sync", action="store_true")
parser.add_argument("--end", default="")
args = parser.parse_args()
hosts = {"ps": args.ps_hosts.split(","), "worker": args.worker_hosts.split(",")}
if "TF_CONFIG" in os.environ:
    told = json.loads(os.environ["TF_CONFIG"])
    hosts, args.job_name, args.task_index = told["cluster"], told["task"]["type"], told["task"]["index"]
cluster = tf.train.ClusterSpec(hosts)
config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
if args.job_name == "worker":
    config.device_filters.extend(["/job:ps", f"/job:worker/task:{args.task_index}"])
server = tf.train.Server(cluster, job_name=args.job_name, task_index=args.task_index, config=config)
if args.job_name == "ps":
    server.join()
is_chief = args.task_index == 0
with tf.device(tf.train.replica_device_setter(worker_device=f"/job:worker/task:{args.task_index}", cluster=cluster)):
    x = tf.placeholder(tf.float32, [None, 256])
    y = tf.placeholder(tf.int64, [None])
    keep = tf.placeholder_with_default(1.0, [])
    w1 = tf.get_variable("fc1/weight", [256, 512])
    b1 = tf.get_variable("fc1/bias", [512], initializer=tf.zeros_initializer())
    w2 = tf.get_variable("fc2/weight", [512, 10])
    b2 = tf.get_variable("fc2/bias", [10], initializer=tf.zeros_initializer())
    logits = tf.matmul(tf.nn.relu(tf.matmul(x, w1) + b1) * keep, w2) + b2
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), y), tf.float32))
    global_step = tf.train.get_or_create_global_step()
    optimizer, hooks = tf.train.GradientDescentOptimizer(0.1), []
    if args.sync:
        workers = cluster.num_tasks("worker")
        optimizer = tf.train.SyncReplicasOptimizer(optimizer, replicas_to_aggregate=workers, total_num_replicas=workers)
        hooks.append(optimizer.make_session_run_hook(is_chief, num_tokens=0))
    train_op = optimizer.minimize(loss, global_step=global_step)
random = np.random.RandomState(args.task_index)
with tf.train.MonitoredTrainingSession(
    master=server.target, is_chief=is_chief, hooks=hooks, config=config, stop_grace_period_secs=1
) as session:
    print("ready", flush=True)
    for step in range(20):
        batch = {keep: 0.9, x: random.rand(32, 256).astype("float32"), y: random.randint(0, 10, 32)}
        _, value = session.run([train_op, loss], feed_dict=batch)
        if step == 9:
            session.run(accuracy, feed_dict=batch)
        if step == 8 and args.end == "crash":
            raise SystemExit("broken on purpose")
        if step == 8 and args.end == "hang":
            print("hanging", flush=True)
            time.sleep(60)
print(f"worker {args.task_index} has done {step + 1} steps", flush=True)
"""

# The server is left behind, as in many such scripts: it would serve for ever.
LAUNCH_SH = """
HOSTS="--ps_hosts=127.0.0.1:$P1 --worker_hosts=127.0.0.1:$P2,127.0.0.1:$P3"
$PY "$@" $HOSTS --job_name=ps --task_index=0 &
$PY "$@" $HOSTS --job_name=worker --task_index=0 > chief.log &
CHIEF=$!
until grep -q ready chief.log; do sleep 0.1; done  # a worker that comes too early looks again after 30 s
$PY "$@" $HOSTS --job_name=worker --task_index=1 || exit 1
wait $CHIEF
"""

# Each role is told who it is by TF_CONFIG, and servers are ended when the last has trained.
LAUNCH_PY = """
import json, os, subprocess, sys
trains, *command = sys.argv[1:]
hosts = [f"127.0.0.1:{os.environ[name]}" for name in ("P1", "P2", "P3", "P4")]
cluster = {"ps": hosts[:1], "worker": hosts[1:3]}
if trains == "chief":
    cluster["chief"] = hosts[3:]


def start(job, index, **options):
    env = {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}
    return subprocess.Popen([sys.executable, *command], env=env, **options)


others = [start("ps", 0)]
if trains == "chief":
    others += [start("worker", 0), start("worker", 1)]
    training = [start("chief", 0)]
else:
    training = [start("worker", 0, stdout=subprocess.PIPE)]
    training[0].stdout.readline()  # a worker that comes too early looks again after 30 s
    training.append(start("worker", 1))
codes = [process.wait() for process in training]
for process in others:
    process.terminate()
for process in others:
    process.wait()
sys.exit(max(codes))
"""

# A custom training loop: ps and workers serve, the chief schedules.
SERVED = """
import os, sys
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in ("worker", "ps"):
    server = tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc"
    )
    server.join()
"""

COORDINATOR = (
    SERVED
    + """
shards = tf.distribute.experimental.partitioners.MinSizePartitioner(min_shard_bytes=64 << 10, max_shards=2)
strategy = tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=shards)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Dense(128, activation="relu"), tf.keras.layers.Dense(10)])
    model.build((None, 64))
    optimizer = tf.keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)


def dataset_fn(size=64):
    samples = tf.random.uniform((640, 64)), tf.zeros((640,), tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices(samples).shuffle(640).repeat().batch(size)
    return dataset.unbatch().batch(32) if "again" in sys.argv else dataset


def loss_of(x, y):
    logits = model(x, training=True)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))


@tf.function
def train_step(iterator):
    def replica_fn(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(x, y)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return strategy.run(replica_fn, args=next(iterator))


@tf.function
def evaluate(iterator):
    return loss_of(*next(iterator))


held_out = iter(coordinator.create_per_worker_dataset(dataset_fn))  # its batches are others than those of the training
made = dataset_fn(32) if "made" in sys.argv else lambda: dataset_fn(32)
iterator = iter(coordinator.create_per_worker_dataset(made))
for _ in range(2):
    for _ in range(10):
        coordinator.schedule(train_step, args=(iterator,))
    coordinator.join()
    print("loss", coordinator.schedule(evaluate, args=(held_out,)).fetch())
if "crash" in sys.argv:
    raise SystemExit("broken on purpose")
"""
)

FIT = (
    SERVED
    + """
strategy = tf.distribute.ParameterServerStrategy(resolver)
per_execution = int(sys.argv[1])
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Dense(128, activation="relu"), tf.keras.layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, steps_per_execution=per_execution)
samples = tf.random.uniform((640, 64)), tf.zeros((640,), tf.int64)
dataset = tf.data.Dataset.from_tensor_slices(samples).shuffle(640).repeat().batch(32)
model.fit(dataset, epochs=2, steps_per_epoch=10 * per_execution, verbose=2)
"""
)

MODEL = """
import sys
import numpy as np
import tensorflow as tf

tf.keras.utils.set_random_seed(1)
layers = [tf.keras.Input((64,)), tf.keras.layers.Dense(128, activation="relu"), tf.keras.layers.Dense(10)]
model = tf.keras.Sequential(layers)
optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
samples = np.random.rand(310, 64).astype("float32"), np.random.randint(0, 10, 310)
"""

KERAS = (
    MODEL
    + """
per_execution = int(sys.argv[1]) if len(sys.argv) > 1 else 1
model.compile(optimizer, loss=loss_of, metrics=["accuracy"], steps_per_execution=per_execution)
history = model.fit(*samples, batch_size=32, epochs=2, verbose=2, validation_data=tuple(part[:64] for part in samples))
print("loss", history.history["loss"])
"""
)

FUNCTION = (
    MODEL
    + """
dataset = tf.data.Dataset.from_tensor_slices(samples).batch(32)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_of(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss


@tf.function
def evaluate(x, y):
    return loss_of(y, model(x))


for epoch in range(2):
    for x, y in dataset:
        loss = train_step(x, y)
        if "mark" in sys.argv:
            from breakdown.record.marker import step

            step(samples=7)
    print("loss", float(loss), float(evaluate(*map(tf.constant, samples))))
if "fail" in sys.argv:
    raise SystemExit(3)
"""
)

EAGER = (
    MODEL
    + """
for epoch in range(2):
    for x, y in tf.data.Dataset.from_tensor_slices(samples).batch(32):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
print("loss", float(loss))
"""
)

SESSION = """
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
random = np.random.RandomState(1)
samples = random.rand(640, 64).astype("float32"), random.randint(0, 10, 640)
x, y = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(samples).batch(32)).get_next()
w, b = tf.get_variable("w", [64, 10], initializer=tf.zeros_initializer()), tf.get_variable("b", [10])
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=tf.matmul(x, w) + b))
train_op = tf.train.AdamOptimizer().minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(20):
        session.run(train_op)
    print("norm", session.run(tf.norm(w)))
"""


# Input by queue runners, as before tf.data: the reading of a sample takes longer than what is computed of a batch.
QUEUE = """
import sys, time
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()


def read(sample):
    time.sleep(0.002)
    return sample


sample = tf.train.input_producer(tf.constant(np.random.rand(1000, 64).astype("float32"))).dequeue()
sample = tf.py_func(read, [sample], tf.float32)
sample.set_shape([64])
batch = tf.train.batch([sample], 32, capacity=64)
w = tf.get_variable("w", [64, 10])
loss = tf.reduce_sum(tf.matmul(batch, w) ** 2)
train_op = tf.train.GradientDescentOptimizer(1e-4).minimize(loss, tf.train.get_or_create_global_step())
target = ""
if sys.argv[1:]:
    server = tf.train.Server(tf.train.ClusterSpec({"worker": [sys.argv[1]]}), job_name="worker", task_index=0)
    target = server.target
with tf.train.MonitoredTrainingSession(master=target) as session:
    for _ in range(20):
        session.run(train_op)
"""


def environment() -> dict[str, str]:
    ports = {f"P{number}": str(port()) for number in range(1, 5)}
    python = str(tensorflow_home().python)
    return {**os.environ, **ports, "PY": python, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}


def trace(folder: Path, script: str, *command: str, every: int = 1, **more: str) -> subprocess.Popen[str]:
    """Starts it on a command in which "train.py" is the script and "{python}" the user's Python. `more`: variables."""
    (folder / "train.py").write_text(script)
    (folder / "launch.sh").write_text(LAUNCH_SH)
    (folder / "launch.py").write_text(LAUNCH_PY)
    env = {**environment(), **more}
    tool = [sys.executable, "-W", "ignore", "-m", "breakdown.cli", "trace", "tensorflow"]
    options = ["--warmup-steps", str(WARM_UP), "--trace-every", str(every), "--output", "out", "--"]
    words = [word.format(python=env["PY"]) for word in command]
    return subprocess.Popen(
        [*tool, *options, *words], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(folder: Path, script: str, *command: str, every: int = 1, **more: str) -> Ended:
    return ended(trace(folder, script, *command, every=every, **more), folder, TIMEOUT_S)


@pytest.fixture(scope="module", params=["async", "bsp"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """By a shell script with flags, at each worker's own pace; each role for itself with TF_CONFIG, in step."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "async":
        return run(folder, GRAPH, "bash", "launch.sh", "train.py")
    return run(folder, GRAPH, "{python}", "launch.py", "worker", "train.py", "--sync")


def test_steps_samples_and_roles_of_graph_mode_are_found(graph: Ended) -> None:
    assert graph.code == 0, graph.err
    assert graph.warnings == []
    assert graph.nodes == {"server-0", "worker-0", "worker-1"}
    assert graph.tables.steps.groupby("rank").size().tolist() == [STEPS, STEPS]
    assert set(graph.tables.steps["samples"]) == {BATCH}
    assert (graph.tables.steps["step"] < WARM_UP).tolist() == graph.tables.steps["warm_up"].tolist()
    assert "samples/s" in graph.out


def test_graph_mode_is_explained(graph: Ended) -> None:
    assert check(graph.tables) == []
    finding = account(graph.tables).finding
    assert unexplained(graph.tables) < MOST_UNEXPLAINED
    for stage in (Stage.INPUT, Stage.COMPUTE, Stage.PUSH, Stage.PULL, Stage.AGGREGATE):
        assert finding.stages[stage].exposed_ns > 0
    assert sum(stage.exposed_ns for stage in finding.stages) == finding.step_ns


def test_each_parameter_moves_once_each_way(graph: Ended) -> None:
    finding, values = account(graph.tables).finding, FLOAT_BYTES * sum(SHAPES)
    assert values < finding.bytes_pushed < values * (1 + CLOSE)
    # The evaluation in the tenth step pulls all once more; both workers' is in the mean.
    pulled = values * (1 + 1 / (STEPS - WARM_UP))
    assert pulled < finding.bytes_pulled < pulled * (1 + CLOSE)


def test_what_the_workers_do_together_is_told(graph: Ended) -> None:
    config = graph.tables.cell["config"]
    together = account(graph.tables).finding.stages[Stage.WAIT].exposed_ns > 0
    assert (config["tf_mode"], config["consistency"]) == ("graph", "bsp" if together else "async")
    assert graph.tables.cell["label"].startswith(f"tensorflow 1s2w graph {config['consistency']}, launch.")


def test_a_server_that_nobody_ends_is_ended_with_the_others(tmp_path: Path) -> None:
    job = run(tmp_path, GRAPH, "bash", "launch.sh", "train.py", "--end", "crash")
    assert job.code == 1
    assert "the command ended with exit code 1. What was recorded until then is in out." in job.err
    assert job.tables.steps.groupby("rank").size().tolist() == [9, 9]
    assert job.nodes == {"server-0", "worker-0", "worker-1"}
    told = [re.sub(r"process \d+", "process N", text) for text in job.warnings]
    assert told[0] == "the command ended with exit code 1"
    # Its failure ends the command, and that the other worker, unless it has crashed by then.
    assert "worker-1 (process N) ended with exit code 1 after 9 steps; its trace is whole" in told[1:]
    assert not [text for text in told if "server-0" in text]
    assert account(job.tables).finding.stages[Stage.AGGREGATE].exposed_ns > 0


def test_ctrl_c_keeps_what_was_collected(tmp_path: Path) -> None:
    process = trace(tmp_path, GRAPH, "bash", "launch.sh", "train.py", "--end", "hang")
    assert process.stdout is not None
    while process.stdout.readline() != "hanging\n":
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)  # to the tool alone: it has to end the command itself
    job = ended(process, tmp_path, TIMEOUT_S)
    assert job.code == 130, job.err
    assert "the command was interrupted. What was recorded until then is in out." in job.err
    assert job.tables.steps.groupby("rank").size().tolist() == [9, 9]
    assert not [warning for warning in job.warnings if "native" in warning]
    assert account(job.tables).finding.stages[Stage.AGGREGATE].exposed_ns > 0


def test_a_coordinators_closures_are_its_workers_steps(tmp_path: Path) -> None:
    job = run(tmp_path, COORDINATOR, "{python}", "launch.py", "chief", "train.py")
    assert job.code == 0, job.err
    assert job.warnings == []
    assert job.nodes == {"scheduler-0", "server-0", "worker-0", "worker-1"}
    assert len(job.tables.steps) == STEPS  # and none is an evaluation
    assert set(job.tables.steps["samples"]) == {BATCH}
    assert check(job.tables) == []
    assert job.tables.cell["label"] == "tensorflow 1s2w strategy async, launch.py"
    assert job.out.count("loss ") == 2
    is_explained(job, evaluations=1)  # the second comes after the last step


def test_a_dataset_made_beforehand_has_its_last_batches_and_doubt_is_in_the_result(tmp_path: Path) -> None:
    job = run(tmp_path, COORDINATOR, "{python}", "launch.py", "chief", "train.py", "made", "again")
    assert job.code == 0, job.err
    assert set(job.tables.steps["samples"]) == {BATCH}
    doubt = "a dataset is put into batches of 64, 32: steps are taken to have 32 samples, as the last"
    assert job.warnings == [f"worker-{rank}: {doubt}" for rank in range(2)]
    assert job.err.count(doubt) == 1


def is_explained(job: Ended, rounds: int = 1, evaluations: int = 0) -> None:
    """Next to nothing of a coordinator's step is `other`, and each parameter moves once each way, in each round."""
    finding = account(job.tables).finding
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    assert sum(stage.exposed_ns for stage in finding.stages) == finding.step_ns
    for stage in (Stage.INPUT, Stage.COMPUTE, Stage.PUSH, Stage.PULL, Stage.AGGREGATE):
        assert finding.stages[stage].exposed_ns > 0
    values = rounds * FLOAT_BYTES * (64 * 128 + 128 + 128 * 10 + 10)
    assert values < finding.bytes_pushed < values * (1 + BESIDES)
    assert values < finding.bytes_pulled < values * (1 + BESIDES + evaluations / finding.steps)


def test_a_coordinator_that_fails_leaves_what_was_collected(tmp_path: Path) -> None:
    job = run(tmp_path, COORDINATOR, "{python}", "launch.py", "chief", "train.py", "crash")
    assert job.code == 1
    assert len(job.tables.steps) == STEPS
    told = re.sub(r"process \d+", "process N", "\n".join(job.warnings))
    assert told.split("\n") == [
        "the command ended with exit code 1",
        "coordinator of scheduler-0, worker-0, worker-1 (process N) ended with exit code 1; its trace is whole",
    ]


@pytest.mark.parametrize("per_execution", [1, 3])
def test_keras_fits_over_parameter_servers(tmp_path: Path, per_execution: int) -> None:
    command = ("{python}", "launch.py", "chief", "train.py", str(per_execution))
    job = run(tmp_path, FIT, *command, TF_USE_LEGACY_KERAS="1")
    assert job.code == 0, job.err
    assert job.warnings == []
    assert job.nodes == {"scheduler-0", "server-0", "worker-0", "worker-1"}
    assert len(job.tables.steps) == STEPS
    assert set(job.tables.steps["samples"]) == {BATCH * per_execution}
    assert check(job.tables) == []
    is_explained(job, per_execution)


@pytest.mark.parametrize(
    ("script", "options", "steps"),
    [
        (KERAS, (), [32] * 9 + [22]),
        (KERAS, ("4",), [128, 128, 54]),
        (FUNCTION, (), [32] * 9 + [22]),
        (FUNCTION, ("mark",), [7] * 10),
        (EAGER, (), [32] * 9 + [22]),
        (SESSION, (), [32] * 10),
    ],
    ids=["fit", "fit, several batches a call", "tf.function", "marked", "eager", "session"],
)
def test_one_process_is_a_single_node(tmp_path: Path, script: str, options: tuple[str, ...], steps: list[int]) -> None:
    job = run(tmp_path, script, "{python}", "train.py", *options)
    assert job.code == 0, job.err
    assert job.nodes == {"worker-0"}
    assert job.warnings == []
    assert job.tables.cell["label"] == "tensorflow local, train.py"
    # A mark comes after the function's end: the first step ended there, and none had been marked yet.
    first = [32] if "mark" in options else []
    assert job.tables.steps["samples"].tolist() == [*first, *steps, *steps]
    finding = account(job.tables).finding
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    assert finding.stages[Stage.COMPUTE].exposed_ns > 0
    assert check(job.tables) == []


@pytest.mark.parametrize(
    ("script", "command", "count"),
    [
        (KERAS, ("{python}", "train.py"), STEPS),
        (GRAPH, ("{python}", "launch.py", "worker", "train.py", "--sync"), 2 * STEPS),
        (COORDINATOR, ("{python}", "launch.py", "chief", "train.py"), STEPS),
    ],
    ids=["fit", "workers in step", "a coordinator's closures"],
)
def test_every_fifth_step_is_traced_and_the_others_count_for_the_speed(
    tmp_path: Path, script: str, command: tuple[str, ...], count: int
) -> None:
    job = run(tmp_path, script, *command, every=5)
    assert job.code == 0, job.err
    steps = job.tables.steps
    measured = steps[~steps["warm_up"]]
    assert len(steps) == count
    told = (measured["step"] - WARM_UP) % 5 == 0
    finding = account(job.tables).finding
    assert finding.steps == len(measured)
    assert finding.step_ns == pytest.approx((measured["end_ns"] - measured["start_ns"]).mean(), abs=1)
    assert sum(stage.exposed_ns for stage in finding.stages) == finding.step_ns
    assert f"{told.sum()} of {len(measured)} steps were traced: the stages' shares are theirs" in finding.warnings[0]
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    walked = walk(job.tables).groupby(["worker", "step"]).size()
    assert set(walked.index) == set(zip(measured.loc[told, "rank"], measured.loc[told, "step"], strict=True))
    assert job.tables.cell["config"]["trace_every"] == 5
    assert check(job.tables) == []


@pytest.mark.parametrize("where", ["127.0.0.1:$P1", ""], ids=["a server", "a local session"])
def test_waiting_for_an_input_queue_is_input(tmp_path: Path, where: str) -> None:
    job = run(tmp_path, QUEUE, "bash", "-c", f"$PY train.py {where}")
    assert job.code == 0, job.err
    assert job.tables.steps["samples"].tolist() == [BATCH] * STEPS
    stages = account(job.tables).finding.stages
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    assert max(stages, key=lambda one: one.exposed_ns) == stages[Stage.INPUT]  # reading sleeps for 64 ms a batch
    assert stages[Stage.WAIT].exposed_ns == 0


def test_the_program_computes_what_it_computes_without_us_and_ends_as_it_does(tmp_path: Path) -> None:
    job = run(tmp_path, FUNCTION, "{python}", "train.py", "fail")
    alone = subprocess.run(
        [environment()["PY"], "train.py", "fail"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert alone.returncode == 3
    assert "the command ended with exit code 3" in job.err
    assert [line for line in job.out.splitlines() if line.startswith("loss ")] == alone.stdout.splitlines()


def test_another_version_is_said_and_the_program_goes_on(tmp_path: Path) -> None:
    """Something that calls itself TensorFlow 2.15, and has nothing of what is hooked."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text('__version__ = "2.15.0"\n')
    process = trace(tmp_path, "import tensorflow\nprint('done', flush=True)\n", sys.executable, "train.py")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert out.startswith("done\n")
    assert "TensorFlow's version is 2.15.0, not 2.21.0" in err
    assert "TensorFlow 2.15.0 is not as expected, so sessions are not followed" in err
    assert "nothing was recorded: no process of the command trained with tensorflow" in err
    assert "Traceback" not in err


def test_a_program_without_steps_is_told_what_would_be_one(tmp_path: Path) -> None:
    script = "import tensorflow as tf\nprint(float(tf.function(lambda x: x + 1)(tf.constant(1.0))))\n"
    process = trace(tmp_path, script, "{python}", "train.py")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert out.startswith("2.0\n")
    assert "nothing was recorded: no process of the command trained with tensorflow" in err
