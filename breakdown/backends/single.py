"""One node without a parameter server: what the distributed runs are compared with."""

from __future__ import annotations

from breakdown.backends.api import RoleContext, ToolBackend
from breakdown.config.cell import Cell
from breakdown.model.identity import Node, Role


class SingleBackend(ToolBackend):
    """One process, worker 0. What it does is imported where it does it: planning it needs no torch."""

    framework = "torch"

    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        return (Node(Role.WORKER, 0),)

    def run_role(self, context: RoleContext) -> None:
        from breakdown.backends.local_update import LocalUpdate
        from breakdown.backends.loop import train
        from breakdown.workloads import registry as workloads

        cell = context.cell
        workload = workloads.build(cell.workload, cell.workload_options, cell.batch_size, cell.seed)
        train(context, workload, LocalUpdate(cell.optimizer, cell.learning_rate, context.recorder))
