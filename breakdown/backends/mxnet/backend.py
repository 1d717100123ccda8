"""MXNet's parameter server as a backend: which processes a cell needs, and how they are started. Imports no MXNet."""

from __future__ import annotations

import os
from pathlib import Path

from breakdown.backends import injection
from breakdown.backends.api import Backend, Command, Home, Start
from breakdown.config.cell import Cell
from breakdown.config.identity import is_one_node
from breakdown.errors import FieldError
from breakdown.model.identity import Node, Role

WORKLOADS = ("mlp", "cnn", "vgg16", "matrix_factorisation")
"""Those that `networks` builds in gluon."""

ENGINE_THREADS = 1
"""Of MXNet's engine, for operators on the processor: its own default. Each operator computes with OMP_NUM_THREADS."""

BYTES_A_NUMBER = 4  # MXNet counts its bound in float32 numbers

RUN_VARIABLE = "BREAKDOWN_RUN"
"""What the native recorder is told beside the folder for its traces: the number of the repetition."""


class MxnetBackend(Backend):
    """A scheduler, S servers and W workers of MXNet, or one process with kvstore local."""

    environment = "mxnet"

    def check(self, cell: Cell) -> None:
        if cell.workload not in WORKLOADS:
            raise FieldError(
                "workload", f"backend 'mxnet' has no workload '{cell.workload}'. Known: {', '.join(WORKLOADS)}."
            )

    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        workers = tuple(Node(Role.WORKER, rank) for rank in range(cell.workers))
        if is_one_node(cell):
            return workers
        servers = (Node(Role.SERVER, rank) for rank in range(cell.servers))
        return (Node(Role.SCHEDULER, 0), *servers, *workers)

    def command(self, start: Start) -> Command:
        env = {
            "PYTHONPATH": str(start.home.packages),
            "PYTHONWARNINGS": "ignore",  # MXNet is older than what its Python warns of
            "MXNET_CPU_WORKER_NTHREADS": str(ENGINE_THREADS),
        }
        if not is_one_node(start.cell):
            env |= _job(start)
        if start.cell.record and start.home.library is not None:
            env |= recording(start.home.library, start.traces, start.run)
        return Command((str(start.home.python), "-m", "breakdown.backends.mxnet.role", str(start.spec)), env)


def recording(library: Path, traces: Path, run: int) -> dict[str, str]:
    """What loads the native recorder into a process and all that it starts."""
    return {"LD_PRELOAD": str(library), injection.TRACES_VARIABLE: str(traces.absolute()), RUN_VARIABLE: str(run)}


def tracing(home: Home, traces: Path, warmup_steps: int) -> dict[str, str]:
    """What records a user's own command and all the roles that it starts, in whatever environment they run."""
    env = injection.variables("mxnet", home.packages, traces, warmup_steps)
    if home.library is None:
        return env
    preloaded = os.environ.get("LD_PRELOAD", "")
    recorder = recording(home.library, traces, 0)
    return {**env, **recorder, "LD_PRELOAD": f"{recorder['LD_PRELOAD']} {preloaded}".strip()}


def _job(start: Start) -> dict[str, str]:
    """What ps-lite wants to know. It ranks nodes of one host by their ports, so the ports make its ranks ours."""
    cell = start.cell
    env = {
        "DMLC_ROLE": start.node.role.label,
        "DMLC_PS_ROOT_URI": start.host,
        "DMLC_PS_ROOT_PORT": str(start.scheduler_port),
        "DMLC_NODE_HOST": start.host,
        "DMLC_NUM_SERVER": str(cell.servers),
        "DMLC_NUM_WORKER": str(cell.workers),
        "MXNET_KVSTORE_BIGARRAY_BOUND": str(cell.split_bound_bytes // BYTES_A_NUMBER),
    }
    if start.node.role is not Role.SCHEDULER:
        env["PORT"] = str(start.port)
    if cell.kvstore.startswith("p3"):
        env["DMLC_PS_VAN_TYPE"] = "p3"
    return env
