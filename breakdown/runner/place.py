"""Which cores each process of a cell gets. Pure: nodes, cell and cores in, placement out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from breakdown.config.cell import Cell
from breakdown.model.identity import Node, Role


@dataclass(frozen=True)
class Place:
    """One process: its cores (None: not pinned) and how many threads its computing may use."""

    node: Node
    cores: tuple[int, ...] | None
    threads: int


@dataclass(frozen=True)
class Placement:
    """All processes of a cell. `notes` say what a reader of the results should know."""

    places: tuple[Place, ...]
    notes: tuple[str, ...]


def place(nodes: Sequence[Node], cell: Cell, available: Sequence[int]) -> Placement:
    """Workers take `cores_per_worker` cores each, in order of rank, then servers `server_cores`; 0 is not pinned.

    Where that is more than the machine has, the counting starts again at the first core: they share, and a note says so.
    A worker computes with as many threads as it has cores; a server with `server_cores`, at least one (its parallelism is
    its handler threads); a scheduler with one.
    """
    wanted = {node: _wanted(node, cell) for node in nodes}
    cores: dict[Node, tuple[int, ...] | None] = {}
    taken = 0
    for node in sorted(nodes, key=lambda node: (node.role is not Role.WORKER, node.role is not Role.SERVER, node.rank)):
        count = min(wanted[node], len(available))
        cores[node] = tuple(sorted(available[(taken + i) % len(available)] for i in range(count))) if count else None
        taken += count
    places = tuple(Place(node, cores[node], _threads(node, cell, len(cores[node] or available))) for node in nodes)
    return Placement(places, _notes(cell, wanted, cores, available))


def _wanted(node: Node, cell: Cell) -> int:
    return {Role.WORKER: cell.cores_per_worker, Role.SERVER: cell.server_cores, Role.SCHEDULER: 0}[node.role]


def _threads(node: Node, cell: Cell, cores: int) -> int:
    if node.role is Role.WORKER:
        return cores
    return max(1, min(cores, cell.server_cores)) if node.role is Role.SERVER else 1


def _notes(
    cell: Cell, wanted: dict[Node, int], cores: dict[Node, tuple[int, ...] | None], available: Sequence[int]
) -> tuple[str, ...]:
    machine = f"{len(available)} core{'s' if len(available) != 1 else ''}"
    notes = [
        f"{node} asks for {count} cores and gets all: the machine has {machine}"
        for node, count in wanted.items()
        if count > len(available)
    ]
    total = sum(len(pinned or ()) for pinned in cores.values())
    if total > len(available):
        notes.append(f"the pinned roles ask for {total} cores and share {machine}")
    free = [node for node, pinned in cores.items() if pinned is None and node.role is not Role.SCHEDULER]
    if len(cores) > 1 and total >= len(available) and free:
        names = ", ".join(str(node) for node in free)
        notes.append(f"{names}: not pinned, no core is free of pinned roles")
    if cell.cores_per_worker == 0 and cell.workers > 1:
        notes.append(f"{cell.workers} workers are not pinned and share {machine}, with {len(available)} threads each")
    return tuple(notes)
