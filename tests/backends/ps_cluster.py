"""Runs all roles of a parameter server: as threads of this process, or as real processes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from support.ports import port
from torch import Tensor

from breakdown.backends.api import RoleContext
from breakdown.backends.loop import train
from breakdown.backends.ps_roles import PsSynchronizer
from breakdown.backends.torch_ps import TorchPsBackend
from breakdown.config.cell import Cell
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.workloads.registry import build

SMALL = {"features": 12, "hidden": 16, "layers": 2, "classes": 3}
"""An mlp with keys of 16 to 1024 bytes."""

THREADS_END_S = 30

_names = itertools.count()


def run_threads(
    cell: Cell, recorder: Callable[[Node], Recorder] = lambda _: NullRecorder(), token: str = "token"
) -> list[dict[str, Tensor]]:
    """Trains with all roles as threads; gives each worker's parameters. Raises the first error that a role ended with."""
    scheme = cell.transport
    address = f"inproc://run-{next(_names)}" if scheme == "inproc" else f"{scheme}://127.0.0.1:{port()}"
    models: dict[int, dict[str, Tensor]] = {}
    errors: list[BaseException] = []

    def run(node: Node) -> None:
        try:
            context = RoleContext(cell, 0, node, address, token, recorder(node))
            if node.role != Role.WORKER:
                TorchPsBackend().run_role(context)
                return
            workload = build(cell.workload, cell.workload_options, cell.batch_size, cell.seed)
            synchronizer = PsSynchronizer(context)
            try:
                train(context, workload, synchronizer)
            except BaseException as error:
                synchronizer.abort(error)
                raise
            models[node.rank] = {name: value.detach().clone() for name, value in workload.model.named_parameters()}
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(node,), name=str(node), daemon=True) for node in TorchPsBackend().nodes(cell)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREADS_END_S)
        assert not thread.is_alive(), f"{thread.name} hangs"
    if errors:
        raise errors[0]
    return [models[rank] for rank in range(cell.workers)]


def train_alone(cell: Cell) -> dict[str, Tensor]:
    """The parameters that plain torch gets on one node with the joined batch of all workers."""
    workload = build(cell.workload, cell.workload_options, cell.batch_size * cell.workers, cell.seed)
    parameters = list(workload.model.parameters())
    optimizer: torch.optim.Optimizer
    if cell.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters, lr=cell.learning_rate)
    else:
        optimizer = torch.optim.SGD(parameters, lr=cell.learning_rate, momentum=0.9 if cell.optimizer == "momentum" else 0.0)
    for step in range(cell.total_steps):
        inputs, targets = workload.batch(step, 0, 1)
        optimizer.zero_grad()
        workload.loss(workload.model(inputs), targets).backward()
        optimizer.step()
    return {name: value.detach().clone() for name, value in workload.model.named_parameters()}


class Processes:
    """All roles of a cell as processes, each with its log and trace under `folder`. Use as a context manager."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        rendezvous = f"tcp://127.0.0.1:{port()}"
        self._folder = folder
        self._processes: dict[Node, subprocess.Popen[bytes]] = {}
        for node in TorchPsBackend().nodes(cell):
            spec = {
                "cell": dataclasses.asdict(cell), "run": 0, "role": node.role.label, "rank": node.rank, "token": "token",
                "rendezvous": rendezvous, "trace": str(self.trace(node)), "threads": 1,
            }  # fmt: skip
            path = folder / f"{node}.json"
            path.write_text(json.dumps(spec))
            with (folder / f"{node}.log").open("wb") as log:
                argv = [sys.executable, "-m", "breakdown.runner.role", str(path)]
                self._processes[node] = subprocess.Popen(argv, stdout=log, stderr=log)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def trace(self, node: Node) -> Path:
        return self._folder / f"{node}.trace"

    def log(self, node: Node) -> str:
        return (self._folder / f"{node}.log").read_text()

    def kill(self, node: Node) -> None:
        """SIGKILL: no goodbye."""
        self._processes[node].kill()

    def wait(self, timeout_s: float) -> dict[Node, int]:
        """Exit codes. Raises `TimeoutExpired` when a process is still there after `timeout_s`."""
        return {node: process.wait(timeout_s) for node, process in self._processes.items()}
