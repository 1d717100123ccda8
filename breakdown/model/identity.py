"""Who took part: roles, ranks, and the integers that name a node and a request on the wire and in trace files."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Role(enum.IntEnum):
    """What a process does in a run. The numbers are written to trace files."""

    SCHEDULER = 0
    SERVER = 1
    WORKER = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Node(NamedTuple):
    """One process of a run, for example worker 0."""

    role: Role
    rank: int

    def __str__(self) -> str:
        return f"{self.role.label}-{self.rank}"

    @property
    def code(self) -> int:
        """A small integer that names the node in frames and trace files; see `node_of`."""
        return (int(self.role) << 16) | self.rank


NO_REQUEST = 0
"""The request id of a span that belongs to no request."""

_COUNTER_BITS = 40
OPERATION = 3 << (_COUNTER_BITS - 2)
"""The bits of an id that say that it is an operation's; see `operation_id`."""


def node_of(code: int) -> Node:
    """The node that `Node.code` names."""
    return Node(Role(code >> 16), code & 0xFFFF)


def request_id(node: Node, counter: int) -> int:
    """A request's id, unique in its run: the node that asked, and its own count from 1 (below 3 * 2**38). Fits an int64."""
    return (node.code << _COUNTER_BITS) | counter


def operation_id(node: Node, number: int) -> int:
    """The id of work that a node gave itself, such as an operation of a framework's engine: its own count (below 2**38).

    Such work has a chain of records and can be a cause, like a request, but no message. Requests' ids stay below these.
    """
    return (node.code << _COUNTER_BITS) | OPERATION | number


def is_operation(request: int) -> bool:
    """Whether it is the id of an operation, not of a request."""
    return request & OPERATION == OPERATION


def requester(request: int) -> Node:
    """The node that made the request with this id."""
    return node_of(request >> _COUNTER_BITS)
