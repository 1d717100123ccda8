"""Frames between threads of one process, for tests: the same behaviour as a network, without one.

Each direction is a queue bounded by `QUEUE_BYTES` (one frame may always enter an empty one), so that a slow receiver holds
up its sender. A payload is copied into the queue and out of it.
"""

from __future__ import annotations

import errno
import hmac
import itertools
import logging
import threading
from collections import deque
from typing import NamedTuple

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.wire import framing
from breakdown.wire.address import Address, cannot_listen, parse
from breakdown.wire.api import Connection, Header, Listener, Received, Sink, Transport
from breakdown.wire.connection import FramedConnection

logger = logging.getLogger(__name__)

QUEUE_BYTES = 8 << 20

_free_names = itertools.count(1)
_listeners: dict[str, InprocListener] = {}
_changed = threading.Condition()  # guards `_listeners` and every backlog


class _Frame(NamedTuple):
    header: Header
    payload: bytes


class _Pipe:
    """One direction: a bounded queue of frames, closed by either end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[_Frame] = deque()
        self._bytes = 0
        self._closed_by_sender = False
        self._closed_by_receiver = False

    def put(self, frame: _Frame) -> bool:
        """Waits for room. False when either end closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._room(len(frame.payload)) or self._closed)
            if self._closed:
                return False
            self._frames.append(frame)
            self._bytes += len(frame.payload)
            self._changed.notify_all()
            return True

    @property
    def _closed(self) -> bool:
        return self._closed_by_sender or self._closed_by_receiver

    def _room(self, size: int) -> bool:
        return not self._frames or self._bytes + size <= QUEUE_BYTES

    def get(self) -> _Frame | None:
        """Waits for a frame. None when the sender closed behind the last one, or the receiver closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            if self._closed_by_receiver or not self._frames:
                return None
            frame = self._frames.popleft()
            self._bytes -= len(frame.payload)
            self._changed.notify_all()
            return frame

    def close(self, by_sender: bool) -> None:
        with self._changed:
            if by_sender:
                self._closed_by_sender = True
            else:
                self._closed_by_receiver = True
                self._frames.clear()
            self._changed.notify_all()


class InprocConnection(FramedConnection):
    """One end of two pipes."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe, peer: str) -> None:
        super().__init__(peer)
        self._outgoing = outgoing
        self._incoming = incoming

    def _write(self, buffers: list[memoryview]) -> None:
        if not self._outgoing.put(_Frame(framing.unpack(buffers[0], self._peer), b"".join(buffers[1:]))):
            raise (
                self._closed_here() if self._closed else WireError(f"cannot send to {self._peer}: it closed the connection.")
            )

    def _read(self, sink: Sink | None) -> Received | None:
        frame = self._incoming.get()
        if frame is None:
            self._ended = True
            return None
        first_byte_ns = now_ns()
        payload = framing.places(frame.header, sink)
        framing.scatter([memoryview(frame.payload)], payload)
        return Received(frame.header, payload, first_byte_ns, now_ns())

    def close(self) -> None:
        self._closed = True
        self._outgoing.close(by_sender=True)
        self._incoming.close(by_sender=False)


class InprocListener(Listener):
    """A name in this process."""

    def __init__(self, address: Address, token: str) -> None:
        self._address = address
        self._token = token
        self._backlog: deque[InprocConnection] = deque()
        self._closed = False

    @property
    def address(self) -> str:
        return str(self._address)

    def accept(self, timeout_s: float) -> Connection | None:
        with _changed:
            _changed.wait_for(lambda: self._backlog or self._closed, timeout_s)
            return self._backlog.popleft() if self._backlog else None

    def meet(self, token: str) -> InprocConnection:
        """A new connection to this listener; the other end waits for `accept`. The caller holds `_changed`."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            logger.warning("%s dropped a peer: its token is wrong", self._address)
            raise WireError(f"{self._address} refused this process's token. Both must belong to the same run.")
        one, other = _Pipe(), _Pipe()
        self._backlog.append(InprocConnection(one, other, f"peer of {self._address}"))
        _changed.notify_all()
        return InprocConnection(other, one, str(self._address))

    def close(self) -> None:
        with _changed:
            self._closed = True
            if _listeners.get(self._address.host) is self:
                del _listeners[self._address.host]
            while self._backlog:
                self._backlog.popleft().close()
            _changed.notify_all()


class InprocTransport(Transport):
    """`inproc://name`. A name that ends in `:0`, or an empty one, gets a free number."""

    def listen(self, address: str, token: str) -> Listener:
        wanted = parse(address)
        if wanted.host == "" or wanted.host.endswith(":0"):
            wanted = wanted._replace(host=f"{wanted.host.removesuffix(':0')}:{next(_free_names)}")
        with _changed:
            if wanted.host in _listeners:
                raise cannot_listen(wanted, errno.EADDRINUSE, "the name is taken")
            listener = _listeners[wanted.host] = InprocListener(wanted, token)
            _changed.notify_all()
        return listener

    def connect(self, address: str, token: str, timeout_s: float) -> Connection:
        wanted = parse(address)
        with _changed:
            if not _changed.wait_for(lambda: wanted.host in _listeners, timeout_s):
                raise WireError(f"cannot connect to {wanted} within {timeout_s:g} s: nothing in this process listens on it.")
            return _listeners[wanted.host].meet(token)
