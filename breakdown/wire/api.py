"""The interface of every transport: headers, connections, listeners.

Addresses are `scheme://host:port` (`tcp`, `zmq`, `grpc`) or `inproc://name`; port 0 asks for a free one, and
`Listener.address` says which. A listener binds the given address only. Peers prove the run's token before any frame is
read; the wrong one gets the connection closed and both ends a `WireError`. Payload bytes are never interpreted here.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview
Sink = Callable[["Header"], Sequence[memoryview] | None]
"""Where a payload goes: writable, contiguous byte views that add up to `header.size_bytes`, or None for a new buffer."""

MAX_PAYLOAD_BYTES = 4 << 30
"""A frame that announces more than this is refused (a garbled or hostile peer, not a tensor)."""


class Kind(enum.IntEnum):
    """What a frame is. The numbers travel on the wire."""

    CONTROL = 0  # payload: UTF-8 JSON
    PUSH = 1
    PULL = 2  # no payload
    PULL_REPLY = 3
    ERROR = 4  # payload: UTF-8 text for the user
    PUSH_PULL = 5  # a push and its pull in one frame


class Header(NamedTuple):
    """The fixed-size head of a frame.

    `flags` says how the payload is encoded (serialiser and compression: `ps` owns its meaning), `sender` is a `Node.code`,
    `key` the integer of a shard in the run's plan, `step` the sender's step, `size_bytes` the payload's size.
    """

    kind: int
    flags: int
    sender: int
    key: int
    step: int
    request_id: int
    size_bytes: int


class Received(NamedTuple):
    """A frame as it came. `payload` holds the sink's own views where there were any, else one new buffer."""

    header: Header
    payload: Sequence[memoryview]
    first_byte_ns: int
    last_byte_ns: int


class Connection(ABC):
    """One ordered, two-way stream of frames. One thread may send while another receives."""

    @abstractmethod
    def send(self, header: Header, payload: Sequence[Buffer] = ()) -> None:
        """Sends one frame; returns when the buffers may be reused. Raises `WireError` when the peer is gone."""

    @abstractmethod
    def recv(self, sink: Sink | None = None) -> Received | None:
        """The next frame; None when the peer closed in order between two frames. Raises `WireError` on anything else."""

    @abstractmethod
    def close(self) -> None:
        """Closes both directions and wakes a thread inside `recv` or `send` (recv: None or WireError). Safe to repeat."""


class Listener(ABC):
    """Accepts connections on one address."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The full address that peers connect to, the real port included."""

    @abstractmethod
    def accept(self, timeout_s: float) -> Connection | None:
        """The next peer that proved the token, or None after `timeout_s`. Wrong peers are dropped and logged, not raised."""

    @abstractmethod
    def close(self) -> None:
        """Stops listening; accepted connections live on."""


class Transport(ABC):
    """One scheme. `registry.transport(address)` finds it."""

    @abstractmethod
    def listen(self, address: str, token: str) -> Listener:
        """Raises `WireError` naming the address and the remedy when it is taken or not on this machine."""

    @abstractmethod
    def connect(self, address: str, token: str, timeout_s: float) -> Connection:
        """Retries until the peer listens, at most `timeout_s`. Raises `WireError` (refused token: at once)."""
