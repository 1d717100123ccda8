"""One direction of a ZeroMQ connection: a socket with one peer. Its waits end when the peer is lost or this side closes."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

import zmq

from breakdown.wire import handshake
from breakdown.wire.address import Address
from breakdown.wire.api import MAX_PAYLOAD_BYTES

QUEUED_FRAMES = 16
COPY_BELOW_BYTES = 1 << 16  # smaller parts are copied: the book-keeping of a zero-copy part costs more than that
LINGER_MS = 500  # how long `close` lets the library send what it still holds
_CHECK_S = 0.2  # how often a send that waits for its memory looks whether the connection was closed
_MONITOR_EVENT = struct.Struct("=Hi")
_LATER_MS = 1 << 30
"""Reconnecting, put off for days. To a DEALER that shall not reconnect (-1), the library drops what has arrived and is not
read yet as soon as its peer leaves: the last frames before a goodbye, and the goodbye."""

_ANY, _NONE = -1, -2  # in place of a descriptor


class Contexts:
    """One ZeroMQ context for all that is open in this process; it ends, with its thread, when the last is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._users = 0

    def acquire(self) -> zmq.Context[zmq.Socket[bytes]]:
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
            self._users += 1
            return self._context

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._context is not None:
                self._context.term()
                self._context = None


contexts = Contexts()


class Gone(Exception):
    """The peer of this socket is not there any more."""


class Closed(Exception):
    """This side closed the connection."""


class Line:
    """One socket with one peer: waits that end when the peer is lost or this side closes.

    `identity` is the peer's on a ROUTER, None on a DEALER; `descriptor` the peer's connection as the monitor names it: a
    ROUTER can be connected to by strangers, too, and their coming and going means nothing.
    """

    def __init__(self, kind: int, host: str, reads: bool = False) -> None:
        """`reads`: the peer's frames come by this line."""
        self._context = contexts.acquire()
        self.socket: zmq.Socket[bytes] = self._context.socket(kind)
        self.socket.set_hwm(QUEUED_FRAMES)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.IPV6, int(":" in host))
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_PAYLOAD_BYTES)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, int(handshake.TIME_LIMIT_S * 1000))
        if kind == zmq.ROUTER:
            self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        else:
            self.socket.setsockopt(zmq.RECONNECT_IVL, _LATER_MS if reads else -1)
        self.socket.copy_threshold = COPY_BELOW_BYTES
        self._monitor = self.socket.get_monitor_socket(zmq.Event.DISCONNECTED)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.identity: bytes | None = None
        self.descriptor = _NONE if kind == zmq.ROUTER else _ANY
        self._gone = False
        self._closing = False

    def wait(self, events: int, timeout_s: float | None = None) -> bool:
        """Until the socket is ready; False after the timeout. Raises `Closed` or `Gone` (only when it is not ready)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poller = zmq.Poller()
        poller.register(self.socket, events)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while True:
            left_ms = None if deadline is None else max(0, round(1000 * (deadline - time.monotonic())))
            ready = dict(poller.poll(0 if self._gone else left_ms))
            if self._closing:
                raise Closed
            if ready.get(self.socket, 0) & events:
                return True
            if self._gone:
                raise Gone
            if self._monitor in ready:
                self._hear_monitor()
            elif not ready:
                return False

    def _hear_monitor(self) -> None:
        event, value = monitor_event(self._monitor)
        if event == zmq.Event.DISCONNECTED and self.descriptor in (_ANY, value):
            self._gone = True

    def send(self, parts: Sequence[memoryview | bytes]) -> None:
        """Sends a message and waits until its memory is free again. Raises `Closed` or `Gone`."""
        message: list[Any] = [*parts] if self.identity is None else [self.identity, *parts]
        while True:
            try:
                tracker = self.socket.send_multipart(message, zmq.DONTWAIT, copy=False, track=True)
                break
            except zmq.Again:
                self.wait(zmq.POLLOUT)
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    raise Gone from None
                raise
        while tracker is not None:
            with contextlib.suppress(zmq.NotDone):
                tracker.wait(_CHECK_S)
                break
            self.wait(0, 0.0)  # raises when there is nothing to wait for any more

    def receive(self) -> list[zmq.Frame]:
        """The next message of the peer, without its identity. Raises `Closed` or `Gone`."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                self.wait(zmq.POLLIN)
                continue
            if self.identity is None:
                return frames
            if frames[0].bytes == self.identity:
                return frames[1:]

    def wake(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Only with the direction's lock held."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close()
            os.close(self._wake)
            contexts.release()


def bind(sock: zmq.Socket[bytes], host: str, port: int) -> int:
    """Binds; the real port. Raises `zmq.ZMQError`."""
    sock.bind(f"tcp://{Address('', host, port).authority}")
    return int(sock.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def dial(sock: zmq.Socket[bytes], address: Address) -> None:
    sock.connect(f"tcp://{address.authority}")


def monitor_event(monitor: zmq.Socket[bytes]) -> tuple[int, int]:
    """Number and value (a file descriptor or an error number) of the next event."""
    number, value = _MONITOR_EVENT.unpack(monitor.recv_multipart()[0])
    return number, value
