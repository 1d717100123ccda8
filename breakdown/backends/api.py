"""What a backend is: which processes a cell needs, and what each of them does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from breakdown.config.cell import Cell
from breakdown.model.identity import Node
from breakdown.record.api import Recorder


@dataclass(frozen=True)
class RoleContext:
    """All that a role process is given. `rendezvous` is the scheduler's address ("" where there is no scheduler)."""

    cell: Cell
    run: int
    node: Node
    rendezvous: str
    token: str
    recorder: Recorder


class Backend(ABC):
    """One way to train. `registry.backend(name)` finds it."""

    @abstractmethod
    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        """The processes that the cell needs, in starting order (scheduler, servers, workers)."""

    @abstractmethod
    def run_role(self, context: RoleContext) -> None:
        """Runs one role to its end, recording. Raises `BreakdownError` for what the user should read."""
