"""A proven TCP connection: scatter-gather sends, receives straight into the sink's memory.

The socket blocks; a thread inside a system call holds no interpreter lock. The kernel's socket buffers bound what a sender
can be ahead of a slow receiver. `first_byte_ns` is read when the first `recv` of a frame returns, so it includes the time
until this thread got the interpreter lock back.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.wire import framing
from breakdown.wire.api import Received, Sink
from breakdown.wire.connection import FramedConnection
from breakdown.wire.tuning import tune

IOV_MAX = os.sysconf("SC_IOV_MAX")  # views that one system call takes
GOODBYE_WAIT_S = 0.5  # how long `close` waits for room in a full send buffer to say goodbye


class TcpConnection(FramedConnection):
    """One proven TCP connection."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        super().__init__(peer)
        sock.settimeout(None)
        tune(sock)
        self._socket = sock
        self._head = memoryview(bytearray(framing.HEADER_BYTES))

    def _write(self, buffers: list[memoryview]) -> None:
        try:
            while buffers:
                buffers = framing.rest(buffers, self._socket.sendmsg(buffers[:IOV_MAX]))
        except OSError as error:
            raise WireError(f"cannot send to {self._peer}: {self._reason(error)}.") from None

    def _read(self, sink: Sink | None) -> Received | None:
        head = self._head
        try:
            arrived = self._socket.recv_into(head)
        except OSError as error:
            if self._closed:
                return None
            raise WireError(f"lost {self._peer}: {self._reason(error)}.") from None
        first_byte_ns = now_ns()
        if arrived == 0:
            if self._closed:
                return None
            raise self._died()
        if arrived < framing.HEADER_BYTES:
            self._fill([head[arrived:]], framing.HEADER_BYTES, "header", arrived)
        header = framing.unpack(head, self._peer)
        if header.kind == framing.GOODBYE:
            self._ended = True
            return None
        payload = framing.places(header, sink)
        if header.size_bytes:
            self._fill(payload, header.size_bytes, "payload")
            return Received(header, payload, first_byte_ns, now_ns())
        return Received(header, payload, first_byte_ns, first_byte_ns)

    def _fill(self, left: Sequence[memoryview], size: int, part: str, arrived: int = 0) -> None:
        """Receives until `left` is full: the rest of a part of the frame that has `size` bytes, of which `arrived` came."""
        while arrived < size:
            try:
                # MSG_WAITALL: one system call, and one wait for the interpreter lock, for a whole payload.
                if len(left) == 1:
                    count = self._socket.recv_into(left[0], 0, socket.MSG_WAITALL)
                else:
                    count = self._socket.recvmsg_into(left[:IOV_MAX], 0, socket.MSG_WAITALL)[0]
            except OSError as error:
                raise self._cut(arrived, size, self._reason(error), part) from None
            if count == 0:
                raise self._cut(arrived, size, "this side closed it" if self._closed else "its process ended", part)
            arrived += count
            if arrived < size:
                left = framing.rest(left, count)

    def _reason(self, error: OSError) -> str:
        return "this side closed the connection" if self._closed else (error.strerror or str(error))

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # wakes a thread in recv
        # A thread inside `send` is in the middle of a frame: then no goodbye is possible.
        if self._sending.acquire(blocking=False):
            try:
                if not self._send_failure:
                    self._say_goodbye()
            finally:
                self._sending.release()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread in send
        with self._sending, self._receiving:  # nobody uses the descriptor any more, so it may be given back
            self._socket.close()

    def _say_goodbye(self) -> None:
        poll = select.poll()
        with contextlib.suppress(OSError, ValueError):
            poll.register(self._socket, select.POLLOUT)
            if poll.poll(GOODBYE_WAIT_S * 1000):
                self._socket.send(framing.goodbye(), socket.MSG_DONTWAIT)
        self._send_failure = str(self._closed_here())
