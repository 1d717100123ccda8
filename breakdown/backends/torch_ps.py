"""The parameter server as a backend: which processes a cell needs, and what each of them does."""

from __future__ import annotations

from breakdown.backends.api import RoleContext, ToolBackend
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError
from breakdown.model.identity import Node, Role


class TorchPsBackend(ToolBackend):
    """A scheduler, S servers and W workers. What they do is imported where they do it: planning them needs no torch."""

    framework = "torch"

    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        servers = (Node(Role.SERVER, rank) for rank in range(cell.servers))
        workers = (Node(Role.WORKER, rank) for rank in range(cell.workers))
        return (Node(Role.SCHEDULER, 0), *servers, *workers)

    def run_role(self, context: RoleContext) -> None:
        """Raises `ConfigError` for a cell that cannot be trained, `WireError` or `RunError` naming the role that failed."""
        from breakdown.backends.ps_roles import serve, work
        from breakdown.ps.scheduler import run_scheduler

        cell, node = context.cell, context.node
        if cell.update_on == "worker" and cell.consistency != "bsp":
            raise ConfigError(
                f"update_on: worker needs consistency: bsp, not {cell.consistency}. Elsewhere each worker would get other "
                "gradients, and the workers' parameters would drift apart."
            )
        if node.role == Role.SCHEDULER:
            run_scheduler(cell, node, context.rendezvous, context.token, context.recorder)
        elif node.role == Role.SERVER:
            serve(context)
        else:
            work(context)
