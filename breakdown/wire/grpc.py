"""Frames over gRPC: one bidirectional stream of bytes a connection, without generated code.

A frame travels in messages of at most `CHUNK_BYTES`, its header at the start of the first. gRPC takes and gives `bytes`, so
a payload is copied at either end, beside the library's own copies: that is what gRPC costs in Python, and a finding.

- The library hands over whole messages, so `first_byte_ns` is when the whole first message was there.
- HTTP/2 flow control and an outbox of one message bound a sender's lead on a slow receiver.
- The message size limits are set to the chunk's size instead of gRPC's 4 MB: frames above it pass, memory stays bounded.
- A stream ends for both directions at once. So `close` waits up to `LINGER_S` for the peer to take what was sent and leaves
  the rest to a background thread. Where a thread has to be woken from `recv`, or this process ends, the rest is lost and
  the peer gets a `WireError`. Likewise, what a killed peer had sent and nobody had taken is lost.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, cast

import grpc

from breakdown.errors import WireError
from breakdown.wire import handshake
from breakdown.wire.address import Address, check_free, parse, resolve, unknown_host
from breakdown.wire.api import Connection, Listener, Transport
from breakdown.wire.grpc_stream import MESSAGE_BYTES, GrpcConnection, Outbox

logger = logging.getLogger(__name__)

METHOD = "/breakdown.Wire/Frames"
MAX_STREAMS = 1024
_FOREVER_S = 1e6
_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # roles talk to each other directly, whatever the environment's proxy is
)
_CLIENT_OPTIONS = (
    *_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),  # a TCP connection of its own for each connection
    ("grpc.initial_reconnect_backoff_ms", 100),  # the least that gRPC takes
    ("grpc.max_reconnect_backoff_ms", 100),
)


class _Threads(futures.Executor):
    """A daemon thread for each call: a stream that nobody closed must not keep the process from ending."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # whatever it is, it belongs to the future's reader
                future.set_exception(error)

        threading.Thread(target=run, name="grpc-stream", daemon=True).start()
        return future


class GrpcListener(Listener):
    """A server with one method. Handshakes run in their streams' own threads; `accept` takes those that proved the token.

    Strangers that do not speak HTTP/2 are dropped by the library, which logs them in its own way.
    """

    def __init__(self, address: Address, numeric: Address, token: str) -> None:
        self._token = token
        self._changed = threading.Condition()
        self._pending: dict[Any, float] = {}  # the library's context of a stream -> deadline
        self._backlog: list[GrpcConnection] = []
        self._closed = False
        options = (
            *_OPTIONS,
            ("grpc.so_reuseport", 0),  # else a second listener would share a taken port in silence
            ("grpc.server_handshake_timeout_ms", int(handshake.TIME_LIMIT_S * 1000)),
        )
        self._server = grpc.server(cast(Any, _Threads()), options=options, maximum_concurrent_rpcs=MAX_STREAMS)
        method = grpc.stream_stream_rpc_method_handler(self._serve)
        service, _, name = METHOD[1:].partition("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
        try:
            self._address = address.with_port(self._server.add_insecure_port(numeric.authority))
        except RuntimeError as error:
            raise WireError(f"cannot listen on {address}: {error}. Choose another port, or 0 for a free one.") from None
        self._server.start()

    @property
    def address(self) -> str:
        return str(self._address)

    def _serve(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One peer's stream, from the handshake to its end."""
        with self._changed:
            if self._closed or len(self._pending) >= handshake.MAX_PENDING:
                self._drop(context, "too many peers are in the handshake, or the listener is closing")
                return
            self._pending[context] = time.monotonic() + handshake.TIME_LIMIT_S
            self._changed.notify_all()
        challenge = handshake.challenge()
        yield challenge
        try:
            answer = next(requests, b"")
        except grpc.RpcError:
            answer = b""
        with self._changed:
            del self._pending[context]
        if not answer or not handshake.plausible(answer):
            self._drop(context, "it went away, said nothing, or does not speak this protocol")
            return
        if not handshake.proves(self._token, challenge, answer):
            self._drop(context, "its token is wrong")
            yield handshake.refusal()
            return
        yield handshake.acceptance(self._token, challenge, answer)
        outbox = Outbox()
        connection = GrpcConnection(outbox, requests, context.cancel, lambda: None, f"peer {context.peer()}")
        with self._changed:
            if self._closed or not context.add_callback(connection.stream_ended):
                return
            self._backlog.append(connection)
            self._changed.notify_all()
        yield from outbox

    def accept(self, timeout_s: float) -> Connection | None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._backlog and not self._closed and (now := time.monotonic()) < deadline:
                for context in [context for context, limit in self._pending.items() if limit <= now]:
                    context.cancel()
                self._changed.wait(max(0.001, min([deadline, *self._pending.values()]) - now))
            return self._backlog.pop(0) if self._backlog else None

    def _drop(self, context: Any, reason: str) -> None:
        logger.warning("%s dropped %s: %s", self._address, context.peer(), reason)

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            backlog, self._backlog = self._backlog, []
            for context in self._pending:
                context.cancel()
            self._changed.notify_all()
        for connection in backlog:
            connection.close()
        # `stop` leaves a thread behind until the accepted streams are over; started from a daemon, it is one too.
        stop = threading.Thread(target=self._server.stop, args=(_FOREVER_S,), name="grpc-stop", daemon=True)
        stop.start()
        stop.join()


class GrpcTransport(Transport):
    """`grpc://host:port`."""

    def listen(self, address: str, token: str) -> Listener:
        wanted = parse(address)
        return GrpcListener(wanted, check_free(wanted), token)

    def connect(self, address: str, token: str, timeout_s: float) -> Connection:
        wanted = parse(address)
        try:
            _, numeric = resolve(wanted)
        except socket.gaierror as error:
            raise unknown_host(wanted, error) from None
        deadline = time.monotonic() + timeout_s
        channel = grpc.insecure_channel(numeric.authority, options=_CLIENT_OPTIONS)
        outbox = Outbox()
        try:
            _await_ready(channel, wanted, timeout_s)
            call: Any = channel.stream_stream(METHOD, None, None)(outbox)
            watch = threading.Timer(max(0.0, deadline - time.monotonic()), call.cancel)
            watch.daemon = True
            watch.start()
            try:
                _prove(call, outbox, token, str(wanted))
            finally:
                watch.cancel()
        except BaseException:
            outbox.end()
            channel.close()
            raise
        connection = GrpcConnection(outbox, call, call.cancel, channel.close, str(wanted))
        if not call.add_callback(connection.stream_ended):
            connection.stream_ended()
        return connection


def _await_ready(channel: grpc.Channel, listener: Address, timeout_s: float) -> None:
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout_s)
    except grpc.FutureTimeoutError:
        ready.cancel()
        raise WireError(
            f"cannot connect to {listener} within {timeout_s:g} s. Does the process there run, and does it speak grpc?"
        ) from None


def _prove(call: Any, outbox: Outbox, token: str, listener: str) -> None:
    """The peer's side of the handshake."""
    try:
        challenge = next(call)
        answer = handshake.answer(token, challenge, listener)
        outbox.put(answer)
        verdict = next(call)
    except StopIteration:
        raise WireError(f"{listener} ended the handshake. Is it closing?") from None
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else error
        raise WireError(f"{listener} did not finish the handshake: {details}. Is it busy, or another program?") from None
    handshake.check_verdict(token, challenge, answer, verdict, listener)
