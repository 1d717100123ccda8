"""`breakdown trace mxnet` on scripts in the style of MXNet's own distributed examples, which know nothing of this tool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mxnet_home import mxnet_home
from traced_scripts import Ended, ended

from breakdown.analysis.account import CellAccount, account
from breakdown.model.stages import Op, Stage
from breakdown.store.check import check

STEPS, WARM_UP = 12, 3
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

LAUNCH = """
export DMLC_NUM_SERVER=$SERVERS DMLC_NUM_WORKER=2 DMLC_NODE_HOST=127.0.0.1
export DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=$PORT_OF_ROOT
DMLC_ROLE=scheduler $PY -c 'import mxnet' &
for _ in $(seq $SERVERS); do DMLC_ROLE=server $PY -c 'import mxnet' & done
DMLC_ROLE=worker $PY "$@" &
DMLC_ROLE=worker $PY "$@"
"""

SCRIPTS = {"gluon": GLUON, "module": MODULE, "raw": RAW}
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
    (folder / "launch.sh").write_text(LAUNCH)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "PY": python,
        "SERVERS": str(servers),
        "PORT_OF_ROOT": str(port),
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


def test_steps_are_found_and_explained(job: Ended) -> None:
    assert job.code == 0, job.err
    assert "samples/s" in job.out
    assert job.tables.steps.groupby("rank").size().tolist() == [STEPS, STEPS]
    assert (job.tables.steps["step"] < WARM_UP).tolist() == job.tables.steps["warm_up"].tolist()


def test_next_to_nothing_is_unexplained(found: CellAccount) -> None:
    assert found.finding.stages[Stage.OTHER].share < MOST_UNEXPLAINED
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
    assert finding.stages[Stage.OTHER].share < MOST_UNEXPLAINED
    assert {stage.stage for stage in finding.stages if stage.exposed_ns} <= {
        Stage.INPUT, Stage.COMPUTE, Stage.SERIALIZE, Stage.OTHER,
    }  # fmt: skip
    assert check(alone.tables) == []
    assert set(alone.tables.spans.loc[alone.tables.spans["thread"] == "main", "op"]) >= CALLS[name]


def test_raw_calls_over_two_servers_with_compression(tmp_path: Path) -> None:
    job = ended(trace(tmp_path, "raw", "--compress", servers=2), tmp_path, TIMEOUT_S)
    assert job.code == 0, job.err
    assert check(job.tables) == []
    assert account(job.tables).finding.stages[Stage.OTHER].share < MOST_UNEXPLAINED
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
    assert job.code == 1, job.err
    assert "the command was interrupted. What was recorded until then is in out." in job.err
    assert job.tables.steps.groupby("rank").size().min() >= 8
    assert not [warning for warning in job.tables.cell["runs"][0]["warnings"] if "native" in warning]
    assert account(job.tables).finding.stages[Stage.AGGREGATE].exposed_ns > 0
