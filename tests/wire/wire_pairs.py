"""Connected pairs of every transport, and threads whose end is waited for with a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from breakdown.wire.api import Connection, Header, Kind, Listener
from breakdown.wire.registry import transport

TOKEN = "the run's token"
NETWORKED = ("tcp", "zmq", "grpc")
TIMEOUT_S = 10.0
"""For what happens at once, or never: no measure of anything, it ends a test that hangs."""

MEANWHILE_S = 0.1
"""For a thread to fall asleep in a call. Where it is not there yet, the call finds at its start what would have woken it,
which must end it the same: no result depends on this time."""

BIG = 200_000_000  # bytes: more than any transport holds on the way


@dataclass
class Pair:
    """Both ends of a connection, and the listener that it came from."""

    listener: Listener
    client: Connection
    server: Connection

    def close(self) -> None:
        self.server.close()
        self.client.close()
        self.listener.close()


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Runs a blocking call in a daemon thread; the future bounds the wait for it."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="test").start()
    return future


def listen(scheme: str) -> Listener:
    address = f"{scheme}://127.0.0.1:0"
    return transport(address).listen(address, TOKEN)


def connect(listener: Listener, token: str = TOKEN, timeout_s: float = TIMEOUT_S) -> Connection:
    return transport(listener.address).connect(listener.address, token, timeout_s)


def new_pair(scheme: str) -> Pair:
    listener = listen(scheme)
    accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
    client = connect(listener)
    server = accepted.result(TIMEOUT_S)
    assert server is not None
    return Pair(listener, client, server)


def push(size: int, key: int = 0, request_id: int = 0) -> Header:
    return Header(Kind.PUSH, 3, (2 << 16) | 1, key, 7, request_id, size)
