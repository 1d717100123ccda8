"""Joins what all processes of a run saw of gRPC's calls.

A message is known by its connection (both addresses), its direction and its HTTP/2 stream, which both ends can tell alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    def what(self) -> str:
        """Of an eager request its method and kind, such as "Enqueue operation"."""
        return f"{self.method.removeprefix('Streaming')} {self.rendezvous}"

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
    for together in _by_connection(calls).values():
        _cut(together)
    found = [call for call in calls.values() if call.halves]
    return sorted(found, key=lambda call: min(half.start_ns for half in call.halves.values()))


def _by_connection(calls: Mapping[_Key, Call]) -> Mapping[tuple[str, str], Sequence[Call]]:
    found: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for (client, server, _), call in calls.items():
        found[client, server].append(call)
    return found


def _cut(calls: Sequence[Call]) -> None:
    """Takes out the last messages of a connection of which one end was not recorded: that process had stopped to record.

    One that is followed by a message with both ends stays: it was lost.
    """
    for direction in Direction:
        for sent in (True, False):
            ends = [(call.halves[direction, sent], call) for call in calls if (direction, sent) in call.halves]
            # Those that came at once are of one moment: of them the whole ones were first.
            ends.sort(key=lambda end: (end[0].end_ns, (direction, not sent) not in end[1].halves), reverse=True)
            for _, call in ends:
                if (direction, not sent) in call.halves:
                    break
                del call.halves[direction, sent]
