"""`plan` shows what `run` would start, and refuses in the same words what `run` would refuse before it starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from breakdown.cli.main import cli
from breakdown.runner import disk
from breakdown.store.lock import NAME, held

ONE = "include: [{backend: single, batch_size: 2, workload_options: {features: 8, hidden: 8, layers: 1}}]\n"
TWO = "include: [{backend: single}, {backend: mxnet, kvstore: local}]\n"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def saved(cell: str = "{}") -> None:
    """A result with one cell, of which no more is read than each situation needs."""
    folder = Path("out/some-cell")
    folder.mkdir(parents=True)
    content = {"name": "trial", "description": "", "cells": [folder.name]}
    (folder.parent / "experiment.json").write_text(json.dumps(content))
    (folder / "cell.json").write_text(cell)


def foreign() -> None:
    Path("out").mkdir()
    Path("out/thesis.tex").touch()


def lost() -> None:
    saved()
    Path("out/some-cell/cell.json").unlink()


def odd_size() -> None:
    Path("trial.yaml").write_text("include: [{workload: cnn, workload_options: {image_size: 9}}]\n")


SITUATIONS: dict[str, tuple[Callable[[], None], list[str], int, str]] = {
    "results": (saved, [], 2, "out holds results already. Go on with them: --resume"),
    "another's": (foreign, ["--fresh"], 2, "out holds files, but no results of this tool."),
    "newer": (lambda: saved('{"format_version": 99}'), ["--resume"], 1, "out/some-cell was written in format 99;"),
    "damaged": (lambda: saved("{"), ["--resume"], 1, "cannot read out/some-cell/cell.json:"),
    "lost": (lost, ["--resume"], 1, "cannot go on with these results:\nsome-cell: out/some-cell has no cell.json."),
    "both": (saved, ["--resume", "--fresh"], 2, "--resume and --fresh exclude each other"),
    "option": (saved, ["--set", "workload_options.hiden=4"], 2, "--set workload_options.hiden=4: unknown option 'hiden'"),
    "size": (odd_size, [], 2, "trial.yaml line 1: workload 'cnn': option 'image_size' is 9. It must be a multiple of 8."),
}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_run_would_refuse(command: str, situation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trial.yaml").write_text(ONE)
    prepare, arguments, code, message = SITUATIONS[situation]
    prepare()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    found = call(command, "trial.yaml", "--output", "out", *arguments)
    assert found.exit_code == code
    assert found.stderr.startswith(f"breakdown: {message}")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_environment_that_is_missing_is_told_before_any_cell(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BREAKDOWN_ENVS", "nowhere")
    Path("trial.yaml").write_text(TWO)
    found = call(command, "trial.yaml")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        f"breakdown: mxnet needs an environment of its own, and there is none in {tmp_path}/nowhere/mxnet. "
        "Make it: breakdown env create mxnet\n"
    )
    assert not Path("results").exists()


@pytest.mark.parametrize("arguments", [["plan", "trial.yaml"], ["run", "trial.yaml"], ["trace", "mxnet", "--", "true"]])
def test_a_disk_without_room(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disk.shortage, "__defaults__", (1 << 62, disk.GO_ON))
    Path("trial.yaml").write_text(ONE)
    found = call(arguments[0], "--output", "new/out", *arguments[1:])
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("breakdown: the disk of new/out is full (")
    assert found.stderr.endswith("Free some space, or choose another --output.\n")
    assert not Path("new").exists()


def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        Path("trial.yaml").write_text(f"include: [{{port: {port}}}]\n")
        found = call("plan", "trial.yaml")
    assert found.exit_code == 1
    assert found.stderr.startswith(f"breakdown: port {port} on 127.0.0.1 cannot be used: Address already in use.")


def test_a_folder_that_another_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that nobody holds any more refuses nothing, and planning leaves it as it is."""
    monkeypatch.chdir(tmp_path)
    Path("trial.yaml").write_text(ONE)
    plan = [sys.executable, "-m", "breakdown.cli", "plan", "trial.yaml", "--output", "out"]
    with held(Path("out")):
        done = subprocess.run(plan, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"breakdown: out is being written to by process {os.getpid()}, since ")
    Path("out").mkdir(exist_ok=True)
    (Path("out") / NAME).write_text("")
    done = subprocess.run(plan, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in Path("out").iterdir()] == [NAME]


def test_results_that_are_there_do_not_hide_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trial.yaml").write_text(ONE)
    saved()
    shown = [call("plan", "trial.yaml", "--output", "out", *arguments) for arguments in ([], ["--fresh"])]
    assert [found.exit_code for found in shown] == [2, 0]
    assert shown[0].stdout == shown[1].stdout
    assert "  worker-0     cores " in shown[0].stdout
