"""Joins what all processes of a run saw of gRPC's calls.

A message is known by its connection (both addresses), its direction and its HTTP/2 stream, which both ends can tell alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from breakdown.model.identity import Node
from breakdown.model.records import Direction
from breakdown.store.tensorflow.raw import Half, Process

RECV_TENSOR = "RecvTensor"

TENSOR = 3
"""The place of a tensor's name in a rendezvous key: source, its incarnation, destination, tensor, frame."""

_Key = tuple[str, str, int]  # the client's address, the server's, stream


@dataclass
class Call:
    """One call, with those ends of its messages that were recorded: by (direction, whether sent)."""

    client: Node
    server: Node
    method: str = ""
    rendezvous: str = ""
    number: int = 0  # TensorFlow's of the step; 0: the call is of none
    halves: dict[tuple[Direction, bool], Half] = field(default_factory=dict)

    @property
    def tensor(self) -> str:
        """What the two graphs call the tensor that it asks for."""
        parts = self.rendezvous.split(";")
        return parts[TENSOR] if len(parts) > TENSOR else ""


def join(processes: Iterable[Process]) -> list[Call]:
    """All calls between recorded processes, in order of their first records."""
    processes = list(processes)
    owners = {addresses: process.node for process in processes for addresses in process.connections.values()}
    calls: dict[_Key, Call] = {}
    for process in processes:
        for half in process.halves:
            own, other = process.connections[half.connection]
            if (other, own) not in owners:  # a process that is not of the run
                continue
            is_client = half.sent == (half.direction == Direction.REQUEST)
            client, server = (own, other) if is_client else (other, own)
            key = client, server, half.stream
            call = calls.setdefault(key, Call(owners[client, server], owners[server, client]))
            call.halves[half.direction, half.sent] = half
            if half.what:
                call.method, _, call.rendezvous = half.what.partition(" ")
                call.number = half.number
    return sorted(calls.values(), key=lambda call: min(half.start_ns for half in call.halves.values()))
