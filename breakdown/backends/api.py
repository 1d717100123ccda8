"""What a backend is: which processes a cell needs, how each is started, and what it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True)
class Home:
    """The environment that a role process runs in."""

    python: Path
    packages: Path  # a folder to import this package from, which brings along nothing that the environment must not see
    library: Path | None = None  # the recorder to load into the process, compiled


@dataclass(frozen=True)
class Start:
    """What is known of a role process before it starts."""

    cell: Cell
    run: int
    node: Node
    spec: Path  # the file that tells the process all that it needs to know
    traces: Path  # the folder for what it records
    host: str
    scheduler_port: int  # 0: there is no scheduler
    port: int  # a free one for the process itself; ascending in the order of `Backend.nodes`
    threads: int  # to compute with
    home: Home
    ports: Mapping[Node, int] = field(default_factory=dict)  # of all processes; empty where there is only one


@dataclass(frozen=True)
class Command:
    """How a role process is started. `env`: in addition to the caller's. `serves`: as in `launch.plan.ProcessPlan`."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    serves: bool = False


class Backend(ABC):
    """One way to train. `registry.backend(name)` finds it."""

    environment: str | None = None
    """The environment (`launch.environments`) that role processes run in; None: the tool's own."""

    framework: str | None = None
    """The package that role processes import where they run in the tool's own environment; None: they need none."""

    def check(self, cell: Cell) -> None:  # noqa: B027  (most backends can train every cell)
        """Raises `ConfigError` for a cell that this backend cannot train."""

    @abstractmethod
    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        """The processes that the cell needs, in starting order (scheduler, servers, workers)."""

    @abstractmethod
    def command(self, start: Start) -> Command:
        """The command of one role process."""


class ToolBackend(Backend):
    """One whose roles run in the tool's own environment, in processes of `breakdown.runner.role`."""

    def command(self, start: Start) -> Command:
        return Command((str(start.home.python), "-m", "breakdown.runner.role", str(start.spec)))

    @abstractmethod
    def run_role(self, context: RoleContext) -> None:
        """Runs one role to its end, recording. Raises `BreakdownError` for what the user should read."""
