"""TensorFlow as a backend: which processes a cell needs, and how they are started. Imports no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

from breakdown.backends import injection
from breakdown.backends.api import Backend, Command, Home, Start
from breakdown.backends.tensorflow.tracing import LIBRARY_VARIABLE
from breakdown.config.cell import Cell
from breakdown.config.identity import is_one_node
from breakdown.errors import FieldError
from breakdown.model.identity import Node, Role

WORKLOADS = ("mlp", "cnn", "vgg16", "matrix_factorisation")
"""Those that `networks` builds in TensorFlow."""

JOBS = {Role.SCHEDULER: "chief", Role.SERVER: "ps", Role.WORKER: "worker"}
"""What TensorFlow calls our roles."""


class TensorflowBackend(Backend):
    """S servers and W workers of TensorFlow, with ParameterServerStrategy and a coordinator; or one process."""

    environment = "tensorflow"

    def check(self, cell: Cell) -> None:
        if cell.workload not in WORKLOADS:
            raise FieldError(
                "workload", f"backend 'tensorflow' has no workload '{cell.workload}'. Known: {', '.join(WORKLOADS)}."
            )

    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        workers = tuple(Node(Role.WORKER, rank) for rank in range(cell.workers))
        if is_one_node(cell):
            return workers
        servers = tuple(Node(Role.SERVER, rank) for rank in range(cell.servers))
        coordinator = (Node(Role.SCHEDULER, 0),) if cell.tf_mode == "strategy" else ()
        return (*coordinator, *servers, *workers)

    def command(self, start: Start) -> Command:
        env = {
            "PYTHONPATH": str(start.home.packages),
            "CUDA_VISIBLE_DEVICES": "-1",  # no devices but the processor
            "TF_CPP_MIN_LOG_LEVEL": "2",  # errors only: each session that is closed leaves a warning or two
        }
        if not is_one_node(start.cell):
            env["TF_CONFIG"] = _config(start)
        serves = start.node.role is Role.SERVER or (start.node.role is Role.WORKER and start.cell.tf_mode == "strategy")
        argv = (str(start.home.python), "-m", "breakdown.backends.tensorflow.role", str(start.spec))
        return Command((*argv, "serve") if serves else argv, env, serves)


def tracing(home: Home, traces: Path, warmup_steps: int) -> dict[str, str]:
    """What records a user's own command and all the roles that it starts, in whatever environment they run."""
    library = {LIBRARY_VARIABLE: str(home.library)} if home.library is not None else {}
    return {**injection.variables("tensorflow", home.packages, traces, warmup_steps), **library}


def _config(start: Start) -> str:
    """What TensorFlow wants to know: who is where, and which of them this is."""
    cluster: dict[str, list[str]] = {}
    for node, port in sorted(start.ports.items()):
        cluster.setdefault(JOBS[node.role], []).append(f"{start.host}:{port}")
    return json.dumps({"cluster": cluster, "task": {"type": JOBS[start.node.role], "index": start.node.rank}})
