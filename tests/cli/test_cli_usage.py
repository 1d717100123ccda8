"""The command line from outside: help, exit codes, one clear message and never a traceback for wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from breakdown.cli.main import COMMANDS, cli


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def modules_after(code: str) -> set[str]:
    """The top-level modules that an interpreter of its own has imported after this code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


LIGHT = {"breakdown", "click"}
"""What may be imported to show help, beside the standard library."""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["rnu"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    call_main = f"from breakdown.cli.main import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    imported = modules_after(call_main) - modules_after("")
    assert imported - sys.stdlib_module_names == LIGHT


def test_help_lists_the_commands_in_the_order_of_use() -> None:
    found = call("--help")
    assert found.exit_code == 0
    places = [found.output.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)
    assert "Exit codes: 0 done, 1 a run failed, 2 wrong usage." in found.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    found = call(name, "--help")
    assert found.exit_code == 0
    assert COMMANDS[name][1].rstrip(".") in " ".join(found.output.split())


def test_version() -> None:
    assert call("--version").output.startswith("breakdown, version ")


def test_an_unknown_command_lists_the_known() -> None:
    found = call("rnu")
    assert found.exit_code == 2
    assert (
        "unknown command 'rnu'. Did you mean 'run'? "
        "Known: run, plan, explain, report, compare, export, trace, collect, import, env, doctor." in found.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "there is no file none.yaml"),
        (["plan", "none.yaml"], "there is no file none.yaml"),
        (["run", "{dir}"], "is a folder"),
        (["run", "{bad}"], "bad.yaml line 2: unknown key 'worker'. Did you mean 'workers'? Known: backend, batch_size,"),
        (["plan", "{bad}"], "bad.yaml line 2: unknown key 'worker'"),
        (["run", "{good}", "--set", "steps"], "'steps' is not of the form key=value"),
        (["run", "{good}", "--set", "step=3"], "unknown key 'step' in 'step=3'. Did you mean 'steps'?"),
        (["run", "{good}", "--set", "workload=mpl"], "unknown workload 'mpl'"),
        (["plan", "{good}", "--set", "workload=mpl"], "unknown workload 'mpl'"),
        (["plan", "{good}", "--set", "backend=mxnett"], "unknown backend 'mxnett'"),
        (["run", "{good}", "--resume", "--fresh"], "--resume and --fresh exclude each other"),
        (["explain", "nowhere"], "there is no folder nowhere"),
        (["explain", "{dir}"], "is no result: it has neither experiment.json nor cell.json"),
        (["report", "{dir}"], "is no result"),
        (["compare", "{dir}", "{dir}"], "is no result"),
        (["compare", "{dir}"], "Missing argument 'B'"),
        (["export", "{dir}", "--format", "perfetto"], "is no result"),
        (["export", "{dir}", "--format", "pdf"], "'pdf' is not"),
        (["export", "{dir}"], "Missing option '--format'"),
        (["run"], "Missing argument 'EXPERIMENT.yaml'"),
        (["import"], "Missing argument 'PATH...'"),
        (["import", "nowhere"], "there is no file or folder nowhere"),
        (["import", "{dir}"], "Expected an XPlane file (plugins/profile/TIME/HOST.xplane.pb), a serialised RunMetadata, or"),
        (["import", "{bad}"], "bad.yaml is no profile, or one that is cut off or damaged. Expected an XPlane file"),
        (["import", "{bad}", "--role", "worker-0"], "--role worker-0 is not ROLE=FILE"),
        (["import", "{bad}", "--role", "chief=x"], "unknown role 'chief'. Known: worker-N, server-N, scheduler-0"),
        (["run", "{good}", "--colour"], "No such option"),
        (
            ["trace", "mxnet", "--trace-every", "5", "--", "true"],
            "--trace-every 5: with mxnet every step is traced: its engine",
        ),
        (["trace", "tensorflow", "--trace-every", "0", "--", "true"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_input_ends_with_2_and_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("defaults:\n  worker: 2\n")
    (tmp_path / "good.yaml").write_text("include: [{backend: single}]\n")
    (tmp_path / "dir").mkdir()
    places = {name: str(tmp_path / name) for name in ("dir",)} | {name: f"{name}.yaml" for name in ("bad", "good")}
    found = call(*(argument.format(**places) for argument in arguments))
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.split())
    assert found.stdout == ""
    assert isinstance(found.exception, SystemExit)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("key", ["defaults", "include"])
def test_a_wrong_option_is_told_with_its_line(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = {
        "defaults": "defaults:\n  workload_options: {hiden: 4}\n",
        "include": "include:\n  - workload_options.hiden: 4\n",
    }
    (tmp_path / "wrong.yaml").write_text(f"name: wrong\n{cells[key]}")
    for command in ("plan", "run"):
        found = call(command, "wrong.yaml", "--output", "out")
        assert found.exit_code == 2
        assert found.stderr.startswith(
            "breakdown: wrong.yaml line 3: unknown option 'hiden' in workload 'mlp'. Did you mean 'hidden'?"
        )


def test_a_message_has_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "breakdown.cli", "run", "none.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "breakdown: there is no file none.yaml. Give the path of an experiment file.\n"


def test_plan_shows_everything_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.yaml").write_text("repetitions: 2\ninclude: [{backend: single}, {workers: 2, servers: 2}]\n")
    found = call("plan", "trial.yaml", "--set", "timeout_s=7")
    assert found.exit_code == 0
    assert found.output.startswith("trial: 2 cells, 2 repetitions each, round by round\n\nsingle 1 core\nsingle-1core-")
    for node in ("scheduler-0", "server-0", "server-1", "worker-0", "worker-1"):
        assert f"\n  {node} " in found.output
        assert f"/log/run-0/{node}.log\n" in found.output
    assert "repetition 0, at most 7 s" in found.output
    assert "OMP_NUM_THREADS=1" in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["trial.yaml"]


def test_doctor_tries_everything_and_ends_with_0() -> None:
    found = call("doctor", "--json")
    assert found.exit_code == 0
    checks = {check["name"]: check for check in json.loads(found.output)}
    assert {
        *("cores", "memory", "kernel", "root", "iproute2", "network namespaces", "tbf (rate)", "netem (delay, loss)"),
        *("gcc", "g++", "make", "torch", "mxnet", "tensorflow", "py-spy", "clock"),
    } == set(checks)
    assert checks["torch"]["ok"] is True
    assert all(check["remedy"] for check in checks.values() if check["ok"] is False)
    assert all(check["found"] for check in checks.values())
    namespaces = Path("/run/netns")
    assert not namespaces.is_dir() or not list(namespaces.glob("breakdown-doctor-*"))


def test_doctor_prints_a_table() -> None:
    found = call("doctor")
    assert found.exit_code == 0
    assert "remedy" in found.output
    assert "py-spy" in found.output
