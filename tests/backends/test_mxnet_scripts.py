"""`breakdown trace mxnet` on scripts in the style of MXNet's own distributed examples, which know nothing of this tool."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mxnet_home import mxnet_home
from support.ports import port
from support.unexplained import unexplained
from traced_scripts import Ended, ended

from breakdown.analysis.account import CellAccount, account
from breakdown.model.stages import Op, Stage
from breakdown.store.check import check

STEPS, WARM_UP, BATCH = 12, 3, 64
SLEEP_NS = 20_000_000  # of an update of the script that has one
MOST_UNEXPLAINED = 0.05
TIMEOUT_S = 240

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT_S + 60)]

# As example/distributed_training: a sampler for this worker's part, devices in a list, Trainer, a metric.
GLUON = """
import argparse, time
import mxnet as mx
from mxnet import autograd, gluon, nd

parser = argparse.ArgumentParser()
parser.add_argument("--kv-store", default="local")
parser.add_argument("--end", default="")
args = parser.parse_args()
store = mx.kv.create(args.kv_store)
contexts, batch_size, count = [mx.cpu()], 64, 64 * 12


class SplitSampler(gluon.data.sampler.Sampler):
    def __init__(self, length, parts, part):
        self.length = length // parts
        self.start = self.length * part

    def __iter__(self):
        return iter(range(self.start, self.start + self.length))

    def __len__(self):
        return self.length


samples = count * store.num_workers
data = gluon.data.ArrayDataset(nd.random.uniform(shape=(samples, 512)), nd.zeros((samples,)))
loader = gluon.data.DataLoader(data, batch_size, sampler=SplitSampler(samples, store.num_workers, store.rank))
net = gluon.nn.HybridSequential(prefix="net_")
with net.name_scope():
    net.add(gluon.nn.Dense(1024, activation="relu"), gluon.nn.Dense(512, activation="relu"), gluon.nn.Dense(10))
net.initialize(mx.init.Xavier(), ctx=contexts)
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}, kvstore=store)
loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
accuracy = mx.metric.Accuracy()
for number, batch in enumerate(loader):
    inputs = gluon.utils.split_and_load(batch[0], contexts)
    targets = gluon.utils.split_and_load(batch[1], contexts)
    with autograd.record():
        outputs = [net(x) for x in inputs]
        losses = [loss_of(out, y) for out, y in zip(outputs, targets)]
    for loss in losses:
        loss.backward()
    trainer.step(batch_size)
    accuracy.update(targets, outputs)
    if number == 8 and args.end:
        mx.nd.waitall()
        if args.end == "crash":
            raise SystemExit("broken on purpose")
        print("hanging\\n", end="", flush=True)  # one write, which no other worker's can part
        time.sleep(60)
mx.nd.waitall()
"""

# As example/image-classification: a symbol, an iterator, Module.fit with a kvstore and callbacks.
MODULE = """
import argparse, logging, time
import mxnet as mx

parser = argparse.ArgumentParser()
parser.add_argument("--kv-store", default="local")
parser.add_argument("--end", default="")
args = parser.parse_args()
logging.basicConfig(level=logging.INFO)
kv = mx.kv.create(args.kv_store)
fc1 = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=1024, name="fc1")
act1 = mx.sym.Activation(fc1, act_type="relu", name="relu1")
fc2 = mx.sym.FullyConnected(act1, num_hidden=512, name="fc2")
act2 = mx.sym.Activation(fc2, act_type="relu", name="relu2")
out = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(act2, num_hidden=10, name="fc3"), name="softmax")
train = mx.io.NDArrayIter(mx.nd.random.uniform(shape=(64 * 12, 512)), mx.nd.zeros((64 * 12,)), batch_size=64)


def end(parameters):
    if parameters.nbatch == 8 and args.end:
        mx.nd.waitall()
        if args.end == "crash":
            raise SystemExit("broken on purpose")
        print("hanging\\n", end="", flush=True)  # one write, which no other worker's can part
        time.sleep(60)


mx.mod.Module(context=[mx.cpu()], symbol=out).fit(
    train, num_epoch=1, kvstore=kv, optimizer="sgd", initializer=mx.init.Xavier(), eval_metric=["accuracy"],
    optimizer_params={"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-4},
    batch_end_callback=[mx.callback.Speedometer(64, 4), end],
)
mx.nd.waitall()
"""

# As tests/nightly/dist_sync_kvstore.py: push and pull by name, with or without compression.
RAW = """
import argparse, time
import mxnet as mx

parser = argparse.ArgumentParser()
parser.add_argument("--kv-store", default="local")
parser.add_argument("--compress", action="store_true")
parser.add_argument("--end", default="")
args = parser.parse_args()
kv = mx.kv.create(args.kv_store)
if args.compress:
    kv.set_gradient_compression({"type": "2bit", "threshold": 0.5})
shapes = {"small": (64, 64), "large": (1200, 1100)}
for name, shape in shapes.items():
    kv.init(name, mx.nd.ones(shape))
kv.set_optimizer(mx.optimizer.SGD(learning_rate=0.1))
gradients = {name: mx.nd.ones(shape) * (kv.rank + 1) for name, shape in shapes.items()}
values = {name: mx.nd.zeros(shape) for name, shape in shapes.items()}
for number in range(12):
    for name in shapes:
        kv.push(name, gradients[name])
    for name in shapes:
        kv.pull(name, out=values[name])
    for value in values.values():
        value.wait_to_read()
    if number == 8 and args.end:
        if args.end == "crash":
            raise SystemExit("broken on purpose")
        print("hanging\\n", end="", flush=True)  # one write, which no other worker's can part
        time.sleep(60)
"""

# One key, and an optimizer of the program's own that sleeps in the server.
SLEEPY = """
import time
import mxnet as mx


class Sleepy(mx.optimizer.SGD):
    def update_multi_precision(self, *args):
        time.sleep(0.02)
        super().update_multi_precision(*args)
"""
SLEEPY_UPDATE = """
import argparse
import mxnet as mx
from sleepy import Sleepy

parser = argparse.ArgumentParser()
parser.add_argument("--kv-store")
kv = mx.kv.create(parser.parse_args().kv_store)
kv.init("weight", mx.nd.ones((600, 600)))
kv.set_optimizer(Sleepy(learning_rate=0.1))
gradient, value = mx.nd.ones((600, 600)), mx.nd.zeros((600, 600))
for number in range(12):
    kv.push("weight", gradient)
    kv.pull("weight", out=value)
    value.wait_to_read()
"""

# As apache/mxnet's cifar10_dist.py: nothing in the loop waits for a result, so the main thread runs ahead of the engine.
AHEAD = """
import argparse, time
import mxnet as mx
from mxnet import autograd, gluon

parser = argparse.ArgumentParser()
parser.add_argument("--kv-store", default="local")
args = parser.parse_args()
net = gluon.nn.HybridSequential(prefix="net_")
with net.name_scope():
    for _ in range(3):
        net.add(gluon.nn.Dense(1024, activation="relu", in_units=1024))
net.initialize()
net.hybridize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.001}, kvstore=mx.kv.create(args.kv_store))
x = mx.nd.random.uniform(shape=(128, 1024))
for number in range(15):
    if number == 3:
        mx.nd.waitall()
        begin = time.monotonic_ns()
    with autograd.record():
        loss = (net(x) ** 2).mean(axis=1)
    loss.backward()
    trainer.step(128)
mx.nd.waitall()
print(f"trained in {time.monotonic_ns() - begin} ns\\n", end="", flush=True)
"""

# Batches by hand, in one of several ways, and a metric of the program's own.
BY_HAND = """
import argparse, time
import mxnet as mx, numpy as np
from mxnet import autograd, gluon

parser = argparse.ArgumentParser()
parser.add_argument("--input")
args = parser.parse_args()


class Slow(mx.io.DataIter):
    left = 12

    def next(self):
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        time.sleep(0.01)
        return mx.io.DataBatch([mx.nd.ones((4, 16))], [mx.nd.ones((4,))])


class Own(Slow):
    def __next__(self):
        return self.next()


def called():
    batches = Slow()
    while batches.left:
        yield batches.next().data[0]


def made():
    for _ in range(12):
        time.sleep(0.01)
        yield mx.nd.array(np.random.rand(4, 16))


class Mean(mx.metric.EvalMetric):
    def update(self, labels, preds):
        time.sleep(0.002)
        self.sum_metric += float(preds[0].asnumpy().mean())
        self.num_inst += 1


net = gluon.nn.Dense(8, in_units=16)
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01})
mean = Mean("mean")
for x in {"own": (batch.data[0] for batch in Own(4)), "called": called(), "made": made()}[args.input]:
    with autograd.record():
        loss = net(x).sum(axis=1)
    loss.backward()
    trainer.step(4)
    mean.update(None, [loss])
mx.nd.waitall()
"""

LAUNCH = """
export DMLC_NUM_SERVER=$SERVERS DMLC_NUM_WORKER=2 DMLC_NODE_HOST=127.0.0.1
export DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=$PORT_OF_ROOT
DMLC_ROLE=scheduler $PY -c 'import mxnet' &
for _ in $(seq $SERVERS); do DMLC_ROLE=server $PY -c 'import mxnet' & done
DMLC_ROLE=worker $PY "$@" &
DMLC_ROLE=worker $PY "$@"
"""

SCRIPTS = {"gluon": GLUON, "module": MODULE, "raw": RAW, "ahead": AHEAD, "by_hand": BY_HAND, "sleepy": SLEEPY_UPDATE}
KEYS = {
    "gluon": {f"net_dense{number}_{part}" for number in range(3) for part in ("weight", "bias")},
    "module": {f"fc{number}_{part}" for number in (1, 2, 3) for part in ("weight", "bias")},
    "raw": {"small", "large"},
}


TRAINING = {Op.LOAD, Op.FORWARD, Op.BACKWARD, "submit", "metric"}
CALLS = {"gluon": TRAINING, "module": TRAINING, "raw": {"submit"}}
"""What a main thread is seen to call."""


def trace(folder: Path, name: str, *options: str, launched: bool = True, servers: int = 1) -> subprocess.Popen[str]:
    """Starts it on one of the scripts."""
    python = str(mxnet_home().python)
    (folder / "train.py").write_text(SCRIPTS[name])
    (folder / "sleepy.py").write_text(SLEEPY)
    (folder / "launch.sh").write_text(LAUNCH)
    env = {
        **os.environ,
        "PY": python,
        "SERVERS": str(servers),
        "PORT_OF_ROOT": str(port()),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    tool = [sys.executable, "-m", "breakdown.cli", "trace", "mxnet", "--warmup-steps", str(WARM_UP), "--output", "out", "--"]
    script = ["bash", "launch.sh", "train.py", "--kv-store", "dist_sync"] if launched else [python, "-u", "train.py"]
    return subprocess.Popen(
        [*tool, *script, *options], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module", params=["gluon", "module", "raw"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def job(name: str, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp(name)
    return ended(trace(folder, name), folder, TIMEOUT_S)


@pytest.fixture(scope="module")
def found(job: Ended) -> CellAccount:
    return account(job.tables)


def test_steps_are_found_and_explained(name: str, job: Ended) -> None:
    assert job.code == 0, job.err
    assert "samples/s" in job.out
    assert job.tables.steps.groupby("rank").size().tolist() == [STEPS, STEPS]
    assert (job.tables.steps["step"] < WARM_UP).tolist() == job.tables.steps["warm_up"].tolist()
    assert set(job.tables.steps["samples"]) == {1 if name == "raw" else BATCH}
    assert job.tables.cell["config"]["kvstore"] == "dist_sync"


def test_next_to_nothing_is_unexplained(job: Ended, found: CellAccount) -> None:
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    assert sum(stage.exposed_ns for stage in found.finding.stages) == found.finding.step_ns
    for stage in (Stage.PUSH, Stage.PULL, Stage.AGGREGATE):
        assert found.finding.stages[stage].exposed_ns > 0


def test_the_trace_is_sound(job: Ended) -> None:
    assert check(job.tables) == []


def test_keys_are_called_as_in_the_script(name: str, job: Ended) -> None:
    messages = job.tables.messages
    assert set(messages.loc[messages["verb"] != "control", "key"]) == KEYS[name]
    spans = job.tables.spans
    summed = spans.loc[(spans["role"] == "server") & (spans["op"] == Op.SUM), "key"]
    assert set(summed) == KEYS[name]


def test_the_same_script_started_directly_is_a_single_node(name: str, tmp_path: Path) -> None:
    alone = ended(trace(tmp_path, name, launched=False), tmp_path, TIMEOUT_S)
    assert alone.code == 0, alone.err
    finding = account(alone.tables).finding
    assert finding.steps == STEPS - WARM_UP
    assert unexplained(alone.tables) < MOST_UNEXPLAINED
    assert {stage.stage for stage in finding.stages if stage.exposed_ns} <= {
        Stage.INPUT, Stage.COMPUTE, Stage.SERIALIZE, Stage.OTHER,
    }  # fmt: skip
    assert "" not in {found.key for found in account(alone.tables).finding.keys}  # what has no key goes by its operation
    assert check(alone.tables) == []
    assert set(alone.tables.spans.loc[alone.tables.spans["thread"] == "main", "op"]) >= CALLS[name]


def test_raw_calls_over_two_servers_with_compression(tmp_path: Path) -> None:
    job = ended(trace(tmp_path, "raw", "--compress", servers=2), tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    assert check(job.tables) == []
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    messages = job.tables.messages
    in_steps = messages[(messages["step"] > 0) & (messages["verb"] != "control")]  # not the initial push
    counted = in_steps.groupby(["verb", "direction", "key"]).size()
    slices = ("large[0:660000]", "large[660000:1320000]")
    for verb in ("push", "pull"):  # each call is answered: a push by an acknowledgement
        for direction in ("request", "reply"):
            assert [counted.get((verb, direction, key), 0) for key in slices] == [2 * (STEPS - 1)] * 2
    acknowledged = messages[(messages["verb"] == "push") & (messages["direction"] == "reply")]
    assert set(acknowledged["size_bytes"]) == {0}
    pushed = messages[(messages["verb"] == "push") & (messages["direction"] == "request") & (messages["step"] > 0)]
    values = 660000 // 16 * 4  # 2 bits each, in whole floats
    assert set(pushed.loc[pushed["key"] == slices[0], "size_bytes"]) == {values + 2 * (8 + 4)}
    ops = job.tables.spans.groupby("role", observed=True)["op"].agg(set)
    assert "callback" in ops["worker"]
    assert Op.DECODE in ops["server"]


def test_a_crash_keeps_what_was_collected(name: str, tmp_path: Path) -> None:
    job = ended(trace(tmp_path, name, "--end", "crash"), tmp_path, TIMEOUT_S)
    assert job.code == 1
    assert "the command ended with exit code 1. What was recorded until then is in out." in job.err
    # A Module's callback comes after its step; the last step of a bare loop ends with the program.
    assert job.tables.steps.groupby("rank").size().tolist() == [9, 9]
    assert account(job.tables).finding.steps == 2 * (9 - WARM_UP)


def test_ctrl_c_keeps_what_was_collected(name: str, tmp_path: Path) -> None:
    process = trace(tmp_path, name, "--end", "hang")
    assert process.stdout is not None
    for _ in range(2):
        while process.stdout.readline() != "hanging\n":
            assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)  # to the tool alone: it has to end the command itself
    job = ended(process, tmp_path, TIMEOUT_S)
    assert job.code == 130, job.err
    assert "the command was interrupted. What was recorded until then is in out." in job.err
    assert job.tables.steps.groupby("rank").size().min() >= 8
    assert not [warning for warning in job.tables.cell["runs"][0]["warnings"] if "native" in warning]
    assert account(job.tables).finding.stages[Stage.AGGREGATE].exposed_ns > 0


@pytest.mark.parametrize("launched", [False, True])
def test_a_loop_that_never_waits_is_told_the_speed_of_its_work(launched: bool, tmp_path: Path) -> None:
    job = ended(trace(tmp_path, "ahead", launched=launched), tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    assert check(job.tables) == []
    finding = account(job.tables).finding
    trained_ns = [int(number) for number in re.findall(r"trained in (\d+) ns", job.out)]
    assert finding.steps == 12 * len(trained_ns)
    rate = sum(12 * 128 / taken * 1e9 for taken in trained_ns)
    assert finding.samples_per_s == pytest.approx(rate, rel=0.05)
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    assert sum(stage.exposed_ns for stage in finding.stages) == finding.step_ns
    if launched:
        for stage in (Stage.PUSH, Stage.PULL, Stage.AGGREGATE):
            assert finding.stages[stage].exposed_ns > 0
    for _, steps in job.tables.steps.groupby("rank"):
        in_order = steps.sort_values("step")
        assert (in_order["start_ns"].to_numpy()[1:] == in_order["end_ns"].to_numpy()[:-1]).all()


def test_an_update_that_sleeps_is_blocked_and_lacks_no_core(tmp_path: Path) -> None:
    job = ended(trace(tmp_path, "sleepy"), tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    aggregate = account(job.tables).finding.stages[Stage.AGGREGATE]
    assert aggregate.blocked_ns is not None
    assert aggregate.blocked_ns > SLEEP_NS * 0.95  # the exposed part of one update a step
    assert aggregate.contention_ns is not None
    assert aggregate.contention_ns < aggregate.exposed_ns - SLEEP_NS * 0.95


@pytest.mark.parametrize("way", ["own", "called", "made"])
def test_what_a_program_does_for_its_batches_is_input_and_its_own_metric_is_named(way: str, tmp_path: Path) -> None:
    job = ended(trace(tmp_path, "by_hand", "--input", way, launched=False), tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    finding = account(job.tables).finding
    assert finding.steps == STEPS - WARM_UP
    assert finding.stages[Stage.INPUT].exposed_ns >= 10_000_000  # each batch sleeps for so long
    assert unexplained(job.tables) < MOST_UNEXPLAINED
    main = job.tables.spans[job.tables.spans["thread"] == "main"]
    assert set(main["op"]) >= {"program", "metric"}
    metric = main[(main["op"] == "metric") & (main["step"] > 0)]
    assert (metric["end_ns"] - metric["start_ns"]).sum() >= (STEPS - 1) * 2_000_000
