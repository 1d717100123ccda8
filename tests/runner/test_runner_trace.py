"""Recording a user's own command: real MXNet scripts that know nothing of this tool, ended well and badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.homes import home
from support.ports import port
from support.signals import defaults

from breakdown.store.tables import Tables, load

pytestmark = pytest.mark.e2e

GLUON = """
import glob, os, sys, time
import mxnet as mx
from mxnet import autograd, gluon
from breakdown.record import layout, tracefile

def wait_until_steps_are_on_the_disk(count):
    (path,) = (path for path in glob.glob(os.environ["BREAKDOWN_TRACE_DIR"] + "/worker-*.trace") if "native" not in path)
    while len(list(tracefile.read(path).rows(layout.Kind.STEP))) < count:
        time.sleep(0.05)

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
    if number == 8 and "os._exit" in sys.argv:
        os._exit(3)
    if number == 8 and "closed" in sys.argv:
        wait_until_steps_are_on_the_disk(8)
        os.closerange(3, 256)
    if number == 8 and "kill" in sys.argv:
        wait_until_steps_are_on_the_disk(8)
        os.kill(os.getpid(), 9)
    if number == 8 and "hang" in sys.argv:
        wait_until_steps_are_on_the_disk(8)
        print("hanging", flush=True)
        time.sleep(60)
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
    return str(home("mxnet").python)


def traced(folder: Path, python: str, script: str, *command: str) -> subprocess.Popen[str]:
    """Starts `breakdown trace` on a command in which "script.py" is the script."""
    (folder / "script.py").write_text(script)
    (folder / "launch.sh").write_text(LAUNCH)
    env = {**os.environ, "PY": python, "PORT_OF_ROOT": str(port()), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
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


def test_steps_of_a_script_that_only_pushes_and_pulls_are_found(tmp_path: Path, python: str) -> None:
    """With other scripts: `backends/test_mxnet_scripts`."""
    code, out, err = finished(traced(tmp_path, python, BARE, "bash", "launch.sh", "script.py"), tmp_path)
    assert code == 0, err
    tables = result(tmp_path)
    assert tables.steps.groupby("rank").size().tolist() == [12, 12]
    assert set(tables.steps["samples"]) == {1}
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


@contextmanager
def hanging(folder: Path, python: str) -> Iterator[subprocess.Popen[str]]:
    """The tool with a training that somebody else than the command's own process does, in its 9th step."""
    with defaults(signal.SIGHUP):
        process = traced(folder, python, GLUON, "bash", "-c", "$PY -u script.py local hang & wait")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("numbers", "by"),
    [
        ([signal.SIGINT], ""),
        ([signal.SIGINT] * 3, ""),
        ([signal.SIGTERM], " by SIGTERM"),
        ([signal.SIGHUP], " by SIGHUP"),
    ],
    ids=["Ctrl-C", "three Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_signal_to_the_tool_ends_all_and_keeps_what_was_recorded(
    tmp_path: Path, python: str, numbers: list[signal.Signals], by: str
) -> None:
    with hanging(tmp_path, python) as process:
        began = time.monotonic()
        for number in numbers:
            os.kill(process.pid, number)  # to the tool alone: it has to end the command itself
            time.sleep(0.3)  # whatever the tool is at when the next comes, all must hold
        while left_running(tmp_path):
            assert time.monotonic() - began < 10  # README's promise: SIGKILL comes after 4 s
            time.sleep(0.1)
        code, out, err = finished(process, tmp_path)
    assert code == 128 + numbers[0], err
    assert f"the command was interrupted{by}. What was recorded until then is in out." in err
    assert "samples/s" in out or len(numbers) > 1  # the last one may come as it is explained
    assert len(result(tmp_path).steps) == 9


def test_a_killed_tool_leaves_nothing_running_and_what_can_be_collected(tmp_path: Path, python: str) -> None:
    with hanging(tmp_path, python) as process:
        second = breakdown(tmp_path, "collect", "out")
        assert second.returncode == 2
        assert f"written to by process {process.pid}, since " in second.stderr
        process.kill()
        process.communicate(timeout=60)
    collected = breakdown(tmp_path, "collect", "out")  # waits for the guardian, which holds the lock
    assert left_running(tmp_path) == []
    assert collected.returncode == 0, collected.stderr
    assert "collected repetition 0 of command" in collected.stdout
    tables = result(tmp_path)
    assert (len(tables.steps), tables.cell["label"]) == (9, "mxnet local, bash")
    assert "Nothing is left to collect in out" in breakdown(tmp_path, "collect", "out").stdout


def breakdown(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "breakdown.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("way", "code", "steps", "said"),
    [
        ("os._exit", 3, 9, "ended with exit code 3 after 9 steps; its trace is whole."),
        ("kill", 137, 8, "was killed by SIGKILL after 8 recorded steps; its trace reaches to "),
        ("closed", 0, 12, ""),
    ],
)
def test_how_a_script_ended_is_told(tmp_path: Path, python: str, way: str, code: int, steps: int, said: str) -> None:
    ended, out, err = finished(traced(tmp_path, python, GLUON, python, "script.py", "local", way), tmp_path)
    assert ended == code, err
    tables = result(tmp_path)
    (entry,) = tables.cell["runs"]
    (process,) = entry["processes"]
    assert entry["exit_code"] == code
    assert len(tables.steps) in (steps, steps + 1)
    assert (process["node"], process["steps"]) == ("worker-0", len(tables.steps))
    assert process["signal"] == ("SIGKILL" if way == "kill" else None)
    if said:
        said = said.replace(" 8 ", f" {len(tables.steps)} ")
        assert f"worker-0 (process {process['pid']}) {said}" in err
        assert f"worker-0 (process {process['pid']}) " in out


def test_fewer_steps_than_the_warm_up_are_told_and_kept(tmp_path: Path, python: str) -> None:
    command = ["trace", "mxnet", "--warmup-steps", "20", "--output", "out", "--", python, "script.py", "local"]
    (tmp_path / "script.py").write_text(GLUON)
    done = breakdown(tmp_path, *command)
    assert done.returncode == 1
    assert "none of its 12 steps counts: the first 20 of each worker are warm-up" in done.stderr
    assert "such as --warmup-steps 1." in done.stderr
    assert "UserWarning" not in done.stderr
    told = " ".join(breakdown(tmp_path, "explain", "out").stdout.split())
    assert "none of its 12 steps counts: the first 20 of each worker are warm-up (--warmup-steps); they took " in told


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["no-such-program"], 2, "cannot start no-such-program: there is no such program"),
        (["./no-program"], 2, "cannot start ./no-program: Exec format error"),
        ([sys.executable, "-c", "pass"], 1, "nothing was recorded: no process of the command trained with mxnet"),
        (["{python}", "-c", "import mxnet"], 1, "no step was found: no worker called Trainer.step"),
        (
            ["env", "-u", "LD_PRELOAD", "{python}", "script.py", "local"],
            1,
            "no step is left: worker-0: 12 steps were handed over",
        ),
    ],
)
def test_what_cannot_be_recorded_is_said(tmp_path: Path, python: str, command: list[str], code: int, message: str) -> None:
    (tmp_path / "no-program").write_text("neither binary nor script")
    (tmp_path / "no-program").chmod(0o700)
    process = traced(tmp_path, python, GLUON, *(word.format(python=python) for word in command))
    ended, _, err = finished(process, tmp_path)
    assert ended == code
    assert message in err
    assert "Traceback" not in err
    recorded = "import mxnet" in command or "script.py" in command
    assert (tmp_path / "out").exists() == recorded  # the same command may be tried again
    assert not recorded or "no step was recorded" in (tmp_path / "out" / "report.html").read_text("utf-8")
