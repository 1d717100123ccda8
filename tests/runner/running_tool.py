"""The real command in a process of its own, for tests that kill, interrupt or fill something."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

TINY = "{features: 8, hidden: 8, layers: 1}"
ENDLESS = 10**8
"""Steps of a cell that somebody has to end."""


def experiment(folder: Path, text: str) -> Path:
    """An experiment file over tiny defaults; `text` holds its include."""
    path = folder / "trial.yaml"
    path.write_text(f"defaults: {{workload_options: {TINY}, batch_size: 2, steps: 4, warmup_steps: 1}}\n{text}\n")
    return path


class Tool:
    """`breakdown ARGUMENTS`, started. Leave the block and it is gone; the test fails if it left a process behind."""

    def __init__(self, arguments: Sequence[object], cwd: Path) -> None:
        command = [sys.executable, "-m", "breakdown.cli", *map(str, arguments)]
        self.popen = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
        )
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.communicate(timeout=20)
        wait_until(lambda: not self.left_running(), 10, "the tool's processes to end")

    def finish(self, timeout_s: float = 90) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = self.popen.communicate(timeout=timeout_s)
        return self.popen.returncode, out, err

    def roles(self) -> dict[str, psutil.Process]:
        """The role processes that run now, by node."""
        found = {}
        for process in psutil.Process(self.popen.pid).children():
            self._seen.setdefault(process.pid, process)
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if "breakdown.runner.role" in command:
                found[Path(command[-1]).stem] = process
        return found

    def wait_for_training(self, output: Path, *nodes: str, run: int = 0) -> dict[str, psutil.Process]:
        """Returns when the traces of these roles hold records of steps: past 20 kB, far above what a start leaves."""

        def training() -> bool:
            assert self.popen.poll() is None, self.popen.communicate()
            traces = [list(output.glob(f"*/raw/run-{run}/{node}.trace")) for node in nodes]
            return all(found and found[0].stat().st_size > 20_000 for found in traces) and set(nodes) <= self.roles().keys()

        wait_until(training, 60, f"{', '.join(nodes)} to train")
        return self.roles()

    def left_running(self) -> list[psutil.Process]:
        """Of the role processes ever seen, those that still run."""
        return [
            process for process in self._seen.values() if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]


def _runs(process: psutil.Process) -> bool:
    """A zombie that nobody has reaped yet does not run."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
