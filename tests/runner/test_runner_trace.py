"""Recording a user's own command: real MXNet scripts that know nothing of this tool, ended well and badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments
from breakdown.store.tables import Tables, load

pytestmark = pytest.mark.e2e

GLUON = """
import sys, time
import mxnet as mx
from mxnet import autograd, gluon
kv = mx.kv.create(sys.argv[1])
net = gluon.nn.Dense(4, in_units=8)
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}, kvstore=kv)
loader = gluon.data.DataLoader(gluon.data.ArrayDataset(mx.nd.ones((48, 8)), mx.nd.zeros((48,))), batch_size=4)
loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
for number, (x, y) in enumerate(loader):
    with autograd.record():
        loss = loss_of(net(x), y)
    loss.backward()
    trainer.step(4)
    loss.asnumpy()
    if number == 8 and "fail" in sys.argv:
        raise SystemExit("broken on purpose")
    if number == 8 and "hang" in sys.argv:
        print("hanging", flush=True)
        time.sleep(60)
mx.nd.waitall()
"""

MODULE = """
import mxnet as mx
out = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc1"), name="softmax")
batches = mx.io.NDArrayIter(mx.nd.ones((48, 8)), mx.nd.zeros((48,)), batch_size=4)
mx.mod.Module(out).fit(batches, num_epoch=1, kvstore="dist_sync", optimizer_params={"learning_rate": 0.1})
mx.nd.waitall()
"""

BARE = """
import mxnet as mx
kv = mx.kv.create("dist_sync")
kv.init(["a", "b"], [mx.nd.ones((3,)), mx.nd.ones((5,))])
outs = [mx.nd.zeros((3,)), mx.nd.zeros((5,))]
for _ in range(12):
    kv.push(["a", "b"], outs)
    kv.pull(["a", "b"], out=outs)
    mx.nd.waitall()
"""

MARKED = """
import mxnet as mx
from breakdown.record.marker import step
for _ in range(12):
    (mx.nd.ones((3,)) * 2).wait_to_read()
    step(samples=7)
"""

LAUNCH = """
export DMLC_NUM_SERVER=1 DMLC_NUM_WORKER=2 DMLC_NODE_HOST=127.0.0.1
export DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=$PORT_OF_ROOT
DMLC_ROLE=scheduler $PY -c 'import mxnet' &
DMLC_ROLE=server $PY -c 'import mxnet' &
DMLC_ROLE=worker $PY "$@" &
DMLC_ROLE=worker $PY "$@"
"""
"""Returns while the roles in the background still run, as such scripts do."""


@pytest.fixture
def python() -> str:
    """The user's Python with MXNet. Skips, with the reason, where there is none."""
    try:
        return str(environments.find("mxnet").python)
    except EnvironmentMissingError as error:
        pytest.skip(str(error))


def free_port() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def traced(folder: Path, python: str, script: str, *command: str) -> subprocess.Popen[str]:
    """Starts `breakdown trace` on a command in which "script.py" is the script."""
    (folder / "script.py").write_text(script)
    (folder / "launch.sh").write_text(LAUNCH)
    env = {**os.environ, "PY": python, "PORT_OF_ROOT": free_port(), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    tool = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "breakdown.cli",
        "trace",
        "mxnet",
        "--warmup-steps",
        "2",
        "--output",
        "out",
    ]
    return subprocess.Popen(
        [*tool, "--", *command], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; nothing may be left running."""
    try:
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert left_running(folder) == []
    return process.returncode, out, err


def left_running(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("BREAKDOWN_TRACE_DIR", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def result(folder: Path) -> Tables:
    return load(folder / "out" / "command")


@pytest.mark.parametrize(
    ("script", "samples"), [(GLUON, 4), (MODULE, 4), (BARE, 1)], ids=["gluon", "module", "bare kvstore"]
)
def test_steps_of_a_distributed_script_are_found(tmp_path: Path, python: str, script: str, samples: int) -> None:
    code, out, err = finished(traced(tmp_path, python, script, "bash", "launch.sh", "script.py", "dist_sync"), tmp_path)
    assert code == 0, err
    tables = result(tmp_path)
    assert tables.steps.groupby("rank").size().tolist() == [12, 12]
    assert set(tables.steps["samples"]) == {samples}
    assert tables.steps["warm_up"].sum() == 2 * 2
    assert tables.cell["config"]["kvstore"] == "dist_sync"
    assert "submit" in set(tables.spans["op"])
    assert "samples/s" in out
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_single_process_is_a_single_node(tmp_path: Path, python: str) -> None:
    code, _, err = finished(traced(tmp_path, python, GLUON, python, "script.py", "local"), tmp_path)
    assert code == 0, err
    tables = result(tmp_path)
    assert len(tables.steps) == 12
    main = tables.spans[tables.spans["thread"] == "main"]
    assert {"load", "forward", "backward", "submit"} <= set(main["op"])
    assert tables.cell["label"] == "mxnet local, script.py"


def test_steps_can_be_marked(tmp_path: Path, python: str) -> None:
    code, _, err = finished(traced(tmp_path, python, MARKED, python, "script.py"), tmp_path)
    assert code == 0, err
    assert result(tmp_path).steps["samples"].tolist() == [7] * 12


def test_what_was_recorded_until_a_failure_is_kept_and_explained(tmp_path: Path, python: str) -> None:
    code, out, err = finished(
        traced(tmp_path, python, GLUON, "bash", "launch.sh", "script.py", "dist_sync", "fail"), tmp_path
    )
    assert code == 1
    assert "breakdown: the command ended with exit code 1. What was recorded until then is in out." in err
    assert "samples/s" in out
    assert result(tmp_path).steps.groupby("rank").size().max() == 9


def test_ctrl_c_keeps_what_was_recorded(tmp_path: Path, python: str) -> None:
    process = traced(tmp_path, python, GLUON, python, "-u", "script.py", "local", "hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    time.sleep(0.7)  # a flush
    os.kill(process.pid, signal.SIGINT)  # to the tool alone: it has to end the command itself
    code, out, err = finished(process, tmp_path)
    assert code == 1, err
    assert "the command was interrupted. What was recorded until then is in out." in err
    assert "samples/s" in out
    assert len(result(tmp_path).steps) == 9


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["no-such-program"], 2, "cannot start no-such-program: there is no such program"),
        ([sys.executable, "-c", "pass"], 1, "nothing was recorded: no process of the command trained with mxnet"),
        (["{python}", "-c", "import mxnet"], 1, "no step was found: no worker called Trainer.step"),
    ],
)
def test_what_cannot_be_recorded_is_said(tmp_path: Path, python: str, command: list[str], code: int, message: str) -> None:
    process = traced(tmp_path, python, "", *(word.format(python=python) for word in command))
    ended, _, err = finished(process, tmp_path)
    assert ended == code
    assert message in err
    assert "Traceback" not in err
