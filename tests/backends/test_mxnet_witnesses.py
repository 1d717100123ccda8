"""Real MXNet runs, checked against witnesses that know nothing of the trace: the kernel, the user's own clock, py-spy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mxnet_home import mxnet_home
from support.ports import port
from witnesses import PER_CENT, breakdown, counted_and_traced_bytes, experiment, only_cell

from breakdown.analysis.sampling.compare import sampled_roles
from breakdown.analysis.sampling.findings import RoleSamples, ThreadSamples
from breakdown.launch import sampling
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import load

pytestmark = pytest.mark.e2e

POINTS = 0.05

ZMTP_BYTES = 9
"""What ZeroMQ's protocol puts in front of each part of a message, at most."""

PARTS = 4
"""Of a message of ps-lite, at most: head, keys, values, lengths."""


def test_the_kernel_counted_the_bytes_that_the_trace_has(tmp_path: Path) -> None:
    """On the loopback interface of a namespace in which nothing else runs."""
    mxnet_home()
    on_the_wire, traced, tables = counted_and_traced_bytes(
        tmp_path,
        "backend: mxnet, kvstore: dist_sync, servers: 2, workers: 2, steps: 12, warmup_steps: 2, batch_size: 8, "
        "workload_options: {features: 512, hidden: 512, layers: 2}",
    )
    assert traced > 20e6
    assert traced in on_the_wire.within(PER_CENT)
    # With the layers that size_bytes leaves out, it is exact but for handshakes and heartbeats.
    traffic = [value for notes in tables.notes["0"].values() for name, value in notes if name == "zmq_traffic"]
    assert len(traffic) == 5
    in_zeromq = sum(one["sent_bytes"] for one in traffic)
    framing = PARTS * ZMTP_BYTES * sum(one["sent"] for one in traffic)
    assert traced < in_zeromq <= on_the_wire.most * (1 + PER_CENT / 10)
    assert on_the_wire.least <= (in_zeromq + framing) * (1 + PER_CENT / 10)


TIMED = """
import json, os, sys, time
import mxnet as mx
from mxnet import autograd, gluon
kv = mx.kv.create(sys.argv[1])
net = gluon.nn.HybridSequential()
net.add(gluon.nn.Dense(512, activation="relu", in_units=256), gluon.nn.Dense(10, in_units=512))
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}, kvstore=kv)
loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
x, y = mx.nd.ones((256, 256)), mx.nd.zeros((256,))
ends = []
for _ in range(120):
    with autograd.record():
        loss = loss_of(net(x), y)
    loss.backward()
    trainer.step(256)
    ends.append(time.time())
    loss.asnumpy()
mx.nd.waitall()  # a worker that ends drops what its engine has not begun, and its peers wait for it
with open("ends-{}.json".format(kv.rank), "w") as file:
    json.dump(ends, file)
"""

LAUNCH = """
export DMLC_NUM_SERVER=1 DMLC_NUM_WORKER=2 DMLC_NODE_HOST=127.0.0.1 DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=$ROOT
DMLC_ROLE=scheduler $PY -c 'import mxnet' &
DMLC_ROLE=server $PY -c 'import mxnet' &
DMLC_ROLE=worker $PY script.py dist_sync &
DMLC_ROLE=worker $PY script.py dist_sync
wait
"""


@pytest.mark.parametrize("store", ["local", "dist_sync"])
def test_the_users_own_timer_says_the_same(tmp_path: Path, store: str) -> None:
    """A script that notes by the wall clock when it has made a step, and knows nothing of the tool that runs it."""
    python = str(mxnet_home().python)
    (tmp_path / "script.py").write_text(TIMED)
    (tmp_path / "launch.sh").write_text(LAUNCH)
    command = [python, "script.py", "local"] if store == "local" else ["bash", "launch.sh"]
    env = {"PY": python, "ROOT": str(port()), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    breakdown(tmp_path, "trace", "mxnet", "--warmup-steps", 10, "--output", "out", "--", *command, **env)
    steps = load(tmp_path / "out" / "command").steps
    ranks = (0,) if store == "local" else (0, 1)
    for rank in ranks:
        own = steps[(steps["rank"] == rank) & ~steps["warm_up"]]
        ends_s = json.loads((tmp_path / f"ends-{rank}.json").read_text())
        assert len(own) == len(ends_s) - 10
        traced_s = (own["end_ns"] - own["start_ns"]).sum() / 1e9
        assert traced_s == pytest.approx(ends_s[-1] - ends_s[9], rel=PER_CENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> RoleSamples:
    """A server with two keys that take it many ms each, sampled: so no work is over before py-spy has stopped its thread."""
    mxnet_home()
    if sampling.program() is None:
        pytest.skip("py-spy is not installed")
    folder = tmp_path_factory.mktemp("sampled")
    file = experiment(
        folder,
        "backend: mxnet, kvstore: dist_sync, servers: 1, workers: 2, steps: 25, warmup_steps: 2, batch_size: 2, "
        "workload_options: {features: 4096, hidden: 4096, layers: 1}",
    )
    breakdown(folder, "run", file, "--output", folder / "out", "--sample")
    tables = only_cell(folder / "out")
    assert tables.cell["runs"][0]["warnings"] == []
    (found,) = (role for role in sampled_roles(tables) if role.node == Node(Role.SERVER, 0))
    return found


def thread(role: RoleSamples, name: str) -> ThreadSamples:
    return next(thread for thread in role.threads if thread.name == name)


def test_py_spy_saw_the_servers_engine_sum_update_and_sleep_as_long_as_traced(server: RoleSamples) -> None:
    shares = {(share.stage, share.op): share for share in thread(server, "engine").shares}
    for what in ((Stage.AGGREGATE, Op.SUM), (Stage.AGGREGATE, Op.UPDATE), (None, "")):
        share = shares[what]
        assert share.traced is not None
        assert share.sampled == pytest.approx(share.traced, abs=POINTS), what
    assert shares[Stage.AGGREGATE, Op.UPDATE].traced > POINTS  # else 0 would do too
    assert shares[Stage.AGGREGATE, Op.SUM].sampled > 0


def test_py_spy_saw_the_servers_updater_as_long_as_traced(server: RoleSamples) -> None:
    shares = {(share.stage, share.op): share for share in thread(server, "main").shares}
    for what in ((Stage.AGGREGATE, Op.UPDATE), (None, "")):
        assert shares[what].sampled == pytest.approx(shares[what].traced, abs=POINTS), what


def test_py_spy_sees_the_threads_that_python_did_not_start(server: RoleSamples) -> None:
    assert {"main", "engine", "customer"} <= {thread.name for thread in server.threads if thread.compared}
    assert any(thread.name.startswith("io") and not thread.compared for thread in server.threads)
