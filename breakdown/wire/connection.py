"""What the connections of all transports share: one thread at a time in each direction, and what follows a failure.

After half a frame nothing that follows in that direction can be understood, so a direction that failed stays failed and
says why each time. The other direction stays usable: a peer's last words can be read after a send to it failed.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence

from breakdown.errors import WireError
from breakdown.wire import framing
from breakdown.wire.api import Buffer, Connection, Header, Received, Sink


class FramedConnection(Connection):
    """A connection of which a transport writes `_write`, `_read` and `close`."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._closed = False  # by this side
        self._ended = False  # the peer said goodbye
        # Reentrant, so that a sink or a signal handler may call `close`.
        self._sending = threading.RLock()
        self._receiving = threading.RLock()
        self._send_failure = ""
        self._recv_failure = ""

    def send(self, header: Header, payload: Sequence[Buffer] = ()) -> None:
        buffers = [memoryview(framing.pack(header)), *framing.payload_views(header, payload)]
        with self._sending:
            if self._closed:
                raise self._closed_here()
            if self._send_failure:
                raise WireError(self._send_failure)
            try:
                self._write(buffers)
            except WireError as error:
                self._send_failure = str(error)
                raise
            except BaseException:
                self._send_failure = f"cannot send to {self._peer}: an earlier frame was interrupted half-way."
                raise

    def recv(self, sink: Sink | None = None) -> Received | None:
        with self._receiving:
            if self._closed or self._ended:
                return None
            if self._recv_failure:
                raise WireError(self._recv_failure)
            try:
                return self._read(sink)
            except WireError as error:
                self._recv_failure = str(error)
                raise
            except BaseException:
                self._recv_failure = f"cannot receive from {self._peer}: an earlier frame was interrupted half-way."
                raise

    @abstractmethod
    def _write(self, buffers: list[memoryview]) -> None:
        """Sends one frame, its header first; returns when the buffers may be reused. Raises `WireError`."""

    @abstractmethod
    def _read(self, sink: Sink | None) -> Received | None:
        """The next frame. None after a goodbye (then sets `_ended`) or when this side closed. Raises `WireError`."""

    def _closed_here(self) -> WireError:
        return WireError(f"cannot send to {self._peer}: this side closed the connection.")

    def _closed_there(self) -> WireError:
        return WireError(f"cannot send to {self._peer}: it closed the connection.")

    def _died(self) -> WireError:
        """The connection ended between two frames, without a goodbye."""
        return WireError(f"{self._peer} went away without closing the connection: its process was probably killed.")

    def _cut(self, arrived: int, size: int, reason: str, part: str = "payload") -> WireError:
        """The connection ended inside a frame."""
        return WireError(f"lost {self._peer} in a frame, {arrived} of {size} {part} bytes arrived: {reason}.")
