"""A proven gRPC stream: frames in messages of bytes, and the outbox that the library sends from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.wire import framing
from breakdown.wire.api import Received, Sink
from breakdown.wire.connection import FramedConnection

CHUNK_BYTES = 16 << 20
MESSAGE_BYTES = framing.HEADER_BYTES + CHUNK_BYTES
LINGER_S = 0.4  # twice: for room in a full outbox, and for the peer to end its side


class Outbox:
    """The messages that the library is to send: an iterator that it pulls in a thread of its own, with room for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._message: bytes | None = None
        self._ended = False  # nothing more comes

    def put(self, message: bytes, timeout_s: float | None = None) -> bool:
        """Waits for room. False when the stream ended or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._message is None or self._ended, timeout_s)
            if self._message is not None or self._ended:
                return False
            self._message = message
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """Lets the library send what there is, then ends the stream."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._message is not None or self._ended)
            if self._message is None:
                raise StopIteration
            message, self._message = self._message, None
            self._changed.notify_all()
            return message


class GrpcConnection(FramedConnection):
    """One end of a stream. `cancel` breaks it off; `release` gives back what belongs to it once it is over."""

    def __init__(
        self,
        outbox: Outbox,
        incoming: Iterator[bytes],
        cancel: Callable[[], object],
        release: Callable[[], object],
        peer: str,
    ) -> None:
        super().__init__(peer)
        self._outbox = outbox
        self._incoming = incoming
        self._cancel = cancel
        self._release = release
        self._over = threading.Event()

    def stream_ended(self) -> None:
        """Called by the library when the stream is over, whatever the reason."""
        self._over.set()
        self._outbox.end()

    def _write(self, buffers: list[memoryview]) -> None:
        room = MESSAGE_BYTES
        while buffers:
            left = framing.rest(buffers, room)
            taken, size = [], 0
            for view in buffers:
                part = view[: room - size]
                taken.append(part)
                size += part.nbytes
            if not self._outbox.put(b"".join(taken)):
                raise self._closed_here() if self._closed else WireError(f"cannot send to {self._peer}: it went away.")
            buffers, room = left, CHUNK_BYTES

    def _read(self, sink: Sink | None) -> Received | None:
        message, reason = self._next()
        if message is None:
            if self._closed:
                return None
            raise self._died()
        first_byte_ns = now_ns()
        header = framing.unpack(message, self._peer)
        if header.kind == framing.GOODBYE:
            self._ended = True
            self._outbox.end()
            return None
        payload = framing.places(header, sink)
        left = [framing.byte_view(view) for view in payload if view.nbytes]
        chunk, arrived = memoryview(message)[framing.HEADER_BYTES :], 0
        while True:
            arrived += chunk.nbytes
            if arrived > header.size_bytes:
                raise WireError(f"{self._peer} announced {header.size_bytes} bytes and sent {arrived} or more.")
            framing.scatter([chunk], left)
            left = framing.rest(left, chunk.nbytes)
            if not left:
                return Received(header, payload, first_byte_ns, now_ns())
            message, reason = self._next()
            if message is None:
                raise self._cut(arrived, header.size_bytes, reason)
            chunk = memoryview(message)

    def _next(self) -> tuple[bytes | None, str]:
        """The next message, or None and the reason for the stream's end."""
        try:
            return next(self._incoming), ""
        except StopIteration:
            return None, "the stream ended"
        except grpc.RpcError as error:
            return None, str(error.details()) if isinstance(error, grpc.Call) else "the stream broke"

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # A thread inside `send` is in the middle of a frame: then no goodbye is possible.
        if self._sending.acquire(blocking=False):
            try:
                if not self._send_failure:
                    self._outbox.put(framing.goodbye(), LINGER_S)
            finally:
                self._sending.release()
        self._outbox.end()
        if self._receiving.acquire(blocking=False):
            self._receiving.release()
            # Nobody here is in `recv`: so the stream may go on in the background until the peer has taken all.
            threading.Thread(target=self._drain, name="grpc-rest", daemon=True).start()
            self._over.wait(LINGER_S)
        else:
            self._over.wait(LINGER_S)
            self._cancel()  # wakes the thread in `recv`
            with self._sending, self._receiving:
                self._release()

    def _drain(self) -> None:
        """Discards what still arrives until the peer ends the stream, too."""
        with self._receiving:
            while self._next()[0] is not None:
                pass
            self._release()
