"""Frames over TCP without copies in this process: where to listen, how to connect. The frames are in `tcp_stream`."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

from breakdown.errors import WireError
from breakdown.wire import handshake
from breakdown.wire.address import Address, cannot_listen, parse, resolve, unknown_host
from breakdown.wire.api import Connection, Listener, Transport
from breakdown.wire.tcp_stream import TcpConnection

logger = logging.getLogger(__name__)

BACKLOG = 128
RETRY_S = 0.02  # between attempts to connect: short against a process start, long against a refusal (some 50 us)
_NOT_YET = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNABORTED}


@dataclass
class _Pending:
    """A peer in the handshake."""

    sock: socket.socket
    peer: str
    challenge: bytes
    deadline: float
    answer: bytearray = field(default_factory=bytearray)


class TcpListener(Listener):
    """Accepts on one address. Handshakes run side by side inside `accept`, so that a silent peer holds up nobody."""

    def __init__(self, sock: socket.socket, address: Address, token: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._address = address
        self._token = token
        self._pending: dict[int, _Pending] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._accepting = threading.RLock()
        self._closed = False

    @property
    def address(self) -> str:
        return str(self._address)

    def accept(self, timeout_s: float) -> Connection | None:
        deadline = time.monotonic() + timeout_s
        with self._accepting:
            while not self._closed:
                now = time.monotonic()
                self._drop_silent(now)
                soonest = min([deadline, *(pending.deadline for pending in self._pending.values())])
                ready = self._selector.select(max(0.0, soonest - now))
                for key, _ in ready:
                    if key.fileobj is self._socket:
                        self._greet()
                    elif (proven := self._hear(self._pending[key.fd])) is not None:
                        return proven
                if not ready and time.monotonic() >= deadline:
                    return None
        return None

    def _greet(self) -> None:
        """Takes a new peer and sends it the challenge."""
        try:
            sock, name = self._socket.accept()
        except OSError:  # it went away again, or this listener is being closed
            return
        pending = _Pending(sock, _peer_name(name), handshake.challenge(), time.monotonic() + handshake.TIME_LIMIT_S)
        if len(self._pending) >= handshake.MAX_PENDING:
            self._drop(pending, "too many peers are in the handshake")
            return
        sock.setblocking(False)
        self._pending[sock.fileno()] = pending
        self._selector.register(sock, selectors.EVENT_READ)
        try:
            sock.send(pending.challenge)
        except OSError as error:
            self._drop(pending, str(error))

    def _hear(self, pending: _Pending) -> TcpConnection | None:
        """Reads on in a peer's answer; a connection when it is complete and right."""
        try:
            data = pending.sock.recv(handshake.ANSWER_BYTES - len(pending.answer))
        except BlockingIOError:
            return None
        except OSError as error:
            self._drop(pending, str(error))
            return None
        pending.answer += data
        answer = bytes(pending.answer)
        if not data:
            self._drop(pending, "it went away during the handshake")
        elif not handshake.plausible(answer):
            self._drop(pending, f"it does not speak this protocol, it sent {answer[:8]!r}")
        elif len(answer) == handshake.ANSWER_BYTES:
            if handshake.proves(self._token, pending.challenge, answer):
                self._forget(pending)
                try:
                    pending.sock.send(handshake.acceptance(self._token, pending.challenge, answer))
                except OSError as error:
                    self._drop(pending, str(error))
                    return None
                return TcpConnection(pending.sock, pending.peer)
            with contextlib.suppress(OSError):
                pending.sock.send(handshake.refusal())
            self._drop(pending, "its token is wrong")
        return None

    def _drop_silent(self, now: float) -> None:
        for pending in [pending for pending in self._pending.values() if pending.deadline <= now]:
            self._drop(pending, f"it said nothing for {handshake.TIME_LIMIT_S:g} s")

    def _drop(self, pending: _Pending, reason: str) -> None:
        logger.warning("%s dropped %s: %s", self._address, pending.peer, reason)
        self._forget(pending)
        pending.sock.close()

    def _forget(self, pending: _Pending) -> None:
        if self._pending.pop(pending.sock.fileno(), None) is not None:
            self._selector.unregister(pending.sock)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread in accept
        with self._accepting:
            for pending in list(self._pending.values()):
                self._forget(pending)
                pending.sock.close()
            self._selector.close()
            self._socket.close()


class TcpTransport(Transport):
    """`tcp://host:port`. `connect` returns when the listener's `accept` has taken the peer."""

    def listen(self, address: str, token: str) -> Listener:
        wanted = parse(address)
        sock: socket.socket | None = None
        try:
            family, numeric = resolve(wanted)
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((numeric.host, numeric.port))
            sock.listen(BACKLOG)
            return TcpListener(sock, wanted.with_port(sock.getsockname()[1]), token)
        except OSError as error:
            if sock is not None:
                sock.close()
            raise cannot_listen(wanted, error.errno, error.strerror or str(error)) from None

    def connect(self, address: str, token: str, timeout_s: float) -> Connection:
        wanted = parse(address)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                sock = _dial(wanted, deadline)
            except socket.gaierror as error:
                raise unknown_host(wanted, error) from None
            except OSError as error:
                reason = error.strerror or str(error)
                transient = error.errno in _NOT_YET or isinstance(error, TimeoutError)
                if not transient or time.monotonic() + RETRY_S >= deadline:
                    raise WireError(
                        f"cannot connect to {wanted} within {timeout_s:g} s: {reason}. Is the process there running?"
                    ) from None
                time.sleep(RETRY_S)
                continue
            try:
                _prove(sock, token, str(wanted), deadline)
            except TimeoutError:
                sock.close()
                raise WireError(
                    f"{wanted} took the connection but did not finish the handshake within {timeout_s:g} s. "
                    "Is it busy, or another program?"
                ) from None
            except _WentAway as error:
                sock.close()
                if time.monotonic() + RETRY_S >= deadline:
                    raise WireError(f"cannot connect to {wanted} within {timeout_s:g} s: {error}.") from None
                time.sleep(RETRY_S)
                continue
            except BaseException:
                sock.close()
                raise
            return TcpConnection(sock, str(wanted))


class _WentAway(Exception):
    """The listener closed the connection in the handshake: it may be starting or ending."""


def _dial(address: Address, deadline: float) -> socket.socket:
    """A plain connection. Raises OSError."""
    family, numeric = resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(RETRY_S, deadline - time.monotonic()))
        sock.connect((numeric.host, numeric.port))
        if sock.getsockname() == sock.getpeername():
            # The kernel picked the awaited port for this end and connected the socket to itself.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def _prove(sock: socket.socket, token: str, listener: str, deadline: float) -> None:
    """The peer's side of the handshake. Raises `WireError` when either side's token is wrong."""
    try:
        challenge = _read(sock, handshake.CHALLENGE_BYTES, deadline)
        answer = handshake.answer(token, challenge, listener)
        sock.sendall(answer)
        verdict = _read(sock, handshake.VERDICT_BYTES, deadline)
    except TimeoutError:
        raise
    except OSError as error:
        raise _WentAway(error.strerror or str(error)) from None
    handshake.check_verdict(token, challenge, answer, verdict, listener)


def _read(sock: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(max(RETRY_S, deadline - time.monotonic()))
        more = sock.recv(size - len(data))
        if not more:
            raise _WentAway("it closed the connection during the handshake")
        data += more
    return data


def _peer_name(name: tuple[object, ...]) -> str:
    return f"peer {name[0]}:{name[1]}"
