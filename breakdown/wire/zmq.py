"""Frames over ZeroMQ, with the sockets that ps-lite uses: DEALER towards a ROUTER.

A ZeroMQ socket belongs to one thread at a time, so a connection has one for each direction: the listener binds a ROUTER for
either on its own host (free ports, named in the handshake), the peer connects a DEALER to each. A ROUTER hears and answers
only the identity that proved the token on it. A header and each view of a payload are one part of a multipart message.

- Sends do not copy (`copy=False`): the library holds the payload's memory and `send` waits until it lets go of it.
- The library hands over whole messages. So `first_byte_ns` is when the whole message was there, and a frame that its sender
  did not finish never shows. A payload is copied into the sink's memory; without a sink it stays in the library's.
- At most `QUEUED_FRAMES` frames wait at either end of a direction, which bounds a sender's lead on a slow receiver.
- ZeroMQ reconnects and hides a dead peer: here a line does not live to do so, and the sockets' monitors report the loss.
- `pyzmq` keeps one thread of its own in a process that ever sent without copying.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator

import zmq

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.wire import framing, handshake
from breakdown.wire.address import Address, cannot_listen, check_free, parse, resolve, unknown_host
from breakdown.wire.api import Connection, Listener, Received, Sink, Transport
from breakdown.wire.connection import FramedConnection
from breakdown.wire.zmq_line import LINGER_MS, Closed, Gone, Line, bind, contexts, dial, monitor_event

logger = logging.getLogger(__name__)

RECONNECT_MS = 20  # while the listener is not there yet
HANDSHAKE_BYTES = 4096  # limit of a handshake message
_HELLO = b"hello"
_DOOR_EVENTS = zmq.Event.ACCEPTED | zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED


class ZmqConnection(FramedConnection):
    """Two lines, one a direction."""

    def __init__(self, outgoing: Line, incoming: Line, peer: str) -> None:
        super().__init__(peer)
        self._outgoing = outgoing
        self._incoming = incoming

    def _write(self, buffers: list[memoryview]) -> None:
        try:
            self._outgoing.send(buffers)
        except Closed:
            raise self._closed_here() from None
        except Gone:
            raise WireError(f"cannot send to {self._peer}: it went away.") from None

    def _read(self, sink: Sink | None) -> Received | None:
        try:
            head, *parts = self._incoming.receive()
        except Closed:
            return None
        except Gone:
            raise self._died() from None
        first_byte_ns = now_ns()
        header = framing.unpack(head.buffer, self._peer)
        if header.kind == framing.GOODBYE:
            self._ended = True
            return None
        views = [part.buffer for part in parts]
        arrived = sum(view.nbytes for view in views)
        if arrived != header.size_bytes:
            raise WireError(f"{self._peer} announced {header.size_bytes} bytes and sent {arrived}.")
        if sink is None and len(views) == 1:
            return Received(header, views, first_byte_ns, first_byte_ns)
        payload = framing.places(header, sink)
        framing.scatter(views, payload)
        return Received(header, payload, first_byte_ns, now_ns())

    def close(self) -> None:
        self._closed = True
        self._incoming.wake()
        # A thread inside `send` is in the middle of a frame: then no goodbye is possible.
        if self._sending.acquire(blocking=False):
            try:
                if not self._send_failure:
                    self._send_failure = str(self._closed_here())
                    with contextlib.suppress(Closed, Gone):
                        if self._outgoing.wait(zmq.POLLOUT, LINGER_MS / 1000):
                            self._outgoing.send([framing.goodbye()])
            finally:
                self._sending.release()
        self._outgoing.wake()
        with self._sending:
            self._outgoing.close()
        with self._receiving:
            self._incoming.close()


class ZmqListener(Listener):
    """The front door: a ROUTER that only takes handshakes. Strangers that do not speak ZeroMQ are dropped by the library."""

    def __init__(self, address: Address, host: str, token: str) -> None:
        self._host = host  # in numbers
        self._token = token
        self._strangers: set[int] = set()
        self._pending: dict[bytes, tuple[bytes, float]] = {}  # identity -> challenge, deadline
        self._accepting = threading.RLock()
        self._closed = False
        self._context = contexts.acquire()
        self._door: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._door.setsockopt(zmq.LINGER, LINGER_MS)
        self._door.setsockopt(zmq.IPV6, int(":" in host))
        self._door.setsockopt(zmq.MAXMSGSIZE, HANDSHAKE_BYTES)
        self._door.setsockopt(zmq.HANDSHAKE_IVL, int(handshake.TIME_LIMIT_S * 1000))
        self._monitor = self._door.get_monitor_socket(_DOOR_EVENTS)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._address = address.with_port(bind(self._door, host, address.port))
        except zmq.ZMQError as error:
            self._release()
            raise cannot_listen(address, error.errno, error.strerror) from None

    @property
    def address(self) -> str:
        return str(self._address)

    def accept(self, timeout_s: float) -> Connection | None:
        deadline = time.monotonic() + timeout_s
        with self._accepting:
            if self._closed:
                return None
            poller = zmq.Poller()
            for source in (self._door, self._monitor, self._wake):
                poller.register(source, zmq.POLLIN)
            while not self._closed:
                now = time.monotonic()
                self._drop_silent(now)
                soonest = min([deadline, *(limit for _, limit in self._pending.values())])
                ready = dict(poller.poll(max(0, round(1000 * (soonest - now)))))
                if self._monitor in ready:
                    self._hear_monitor()
                if self._door in ready and (connection := self._hear(self._door.recv_multipart())) is not None:
                    return connection
                if not ready and time.monotonic() >= deadline:
                    return None
        return None

    def _hear_monitor(self) -> None:
        """Notes which connections never became ZeroMQ peers, for the log."""
        event, descriptor = monitor_event(self._monitor)
        if event == zmq.Event.ACCEPTED:
            self._strangers.add(descriptor)
        elif event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._strangers.discard(descriptor)
        elif descriptor in self._strangers:
            self._strangers.remove(descriptor)
            self._drop("it does not speak ZeroMQ, or said nothing")

    def _hear(self, message: list[bytes]) -> ZmqConnection | None:
        identity, *parts = message
        if parts == [_HELLO] and identity not in self._pending and len(self._pending) < handshake.MAX_PENDING:
            challenge = handshake.challenge()
            self._pending[identity] = (challenge, time.monotonic() + handshake.TIME_LIMIT_S)
            self._door.send_multipart([identity, challenge])
            return None
        challenge, _ = self._pending.pop(identity, (b"", 0.0))
        if not challenge or len(parts) != 1 or not handshake.plausible(parts[0]):
            self._drop("it does not speak this protocol, or too many peers are in the handshake")
        elif not handshake.proves(self._token, challenge, parts[0]):
            self._door.send_multipart([identity, handshake.refusal()])
            self._drop("its token is wrong")
        else:
            return self._open(identity, handshake.acceptance(self._token, challenge, parts[0]))
        return None

    def _open(self, identity: bytes, acceptance: bytes) -> ZmqConnection | None:
        """Binds a line for each direction and waits for the proven peer on both.

        The peer shows the acceptance on each: a stranger cannot know it.
        """
        lines = [Line(zmq.ROUTER, self._host) for _ in range(2)]
        try:
            ports = [bind(line.socket, self._host, 0) for line in lines]
            self._door.send_multipart([identity, acceptance, json.dumps(ports).encode()])
            deadline = time.monotonic() + handshake.TIME_LIMIT_S
            for line in lines:
                while line.identity is None:
                    if not line.wait(zmq.POLLIN, max(0.0, deadline - time.monotonic())):
                        raise Gone
                    stranger, *ticket = line.socket.recv_multipart(copy=False)
                    if len(ticket) == 1 and handshake.same(ticket[0].bytes, acceptance):
                        line.identity, line.descriptor = stranger.bytes, int(ticket[0].get(zmq.SRCFD))
                line.send([acceptance])
        except (Gone, zmq.ZMQError) as error:
            for line in lines:
                line.close()
            self._drop(f"it proved the token and went away {error}".rstrip())
            return None
        incoming, outgoing = lines
        return ZmqConnection(outgoing, incoming, f"peer of {self._address}")

    def _drop_silent(self, now: float) -> None:
        for identity in [identity for identity, (_, limit) in self._pending.items() if limit <= now]:
            del self._pending[identity]
            self._drop(f"it said nothing for {handshake.TIME_LIMIT_S:g} s")

    def _drop(self, reason: str) -> None:
        logger.warning("%s dropped a peer: %s", self._address, reason)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)
        with self._accepting:
            if not self._door.closed:
                self._release()

    def _release(self) -> None:
        self._door.disable_monitor()
        self._monitor.close(0)
        self._door.close()
        os.close(self._wake)
        contexts.release()


class ZmqTransport(Transport):
    """`zmq://host:port`. `connect` returns when the listener's `accept` has taken the peer."""

    def listen(self, address: str, token: str) -> Listener:
        wanted = parse(address)
        return ZmqListener(wanted, check_free(wanted).host, token)

    def connect(self, address: str, token: str, timeout_s: float) -> Connection:
        wanted = parse(address)
        try:
            _, numeric = resolve(wanted)
        except socket.gaierror as error:
            raise unknown_host(wanted, error) from None
        deadline = time.monotonic() + timeout_s
        with _dealer(numeric.host) as door:
            dial(door, numeric)
            acceptance, ports = _prove(door, token, wanted, deadline)
        lines: list[Line] = []
        try:
            for port, reads in zip(ports, (False, True), strict=True):
                lines.append(line := Line(zmq.DEALER, numeric.host, reads))
                dial(line.socket, numeric.with_port(port))
                line.send([acceptance])
            for line in lines:
                if not line.wait(zmq.POLLIN, max(0.0, deadline - time.monotonic())):
                    raise Gone
                line.receive()
        except Gone:
            for line in lines:
                line.close()
            raise WireError(f"{wanted} accepted this process and went away.") from None
        outgoing, incoming = lines
        return ZmqConnection(outgoing, incoming, str(wanted))


@contextlib.contextmanager
def _dealer(host: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket for the handshake at a listener's door."""
    context = contexts.acquire()
    door: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    try:
        door.setsockopt(zmq.LINGER, 0)
        door.setsockopt(zmq.IPV6, int(":" in host))
        door.setsockopt(zmq.MAXMSGSIZE, HANDSHAKE_BYTES)
        door.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        yield door
    finally:
        door.close()
        contexts.release()


def _prove(door: zmq.Socket[bytes], token: str, listener: Address, deadline: float) -> tuple[bytes, list[int]]:
    """The peer's side of the handshake: the acceptance, and the ports for sending and for receiving."""
    door.send(_HELLO)
    (challenge,) = _reply(door, listener, deadline, 1)
    answer = handshake.answer(token, challenge, str(listener))
    door.send(answer)
    verdict, *ports = _reply(door, listener, deadline, 2)
    handshake.check_verdict(token, challenge, answer, verdict, str(listener))
    return verdict, json.loads(ports[0])


def _reply(door: zmq.Socket[bytes], listener: Address, deadline: float, parts: int) -> list[bytes]:
    if not door.poll(max(0, round(1000 * (deadline - time.monotonic())))):
        raise WireError(
            f"nothing at {listener} finished the handshake in time. Is the process there running, and is it zmq?"
        )
    reply = door.recv_multipart()
    if len(reply) > parts:
        raise WireError(f"{listener} does not speak this protocol: another program listens there. Check host and port.")
    return reply
