"""The control messages between roles, as JSON in CONTROL frames, and text for the user in ERROR frames.

    role -> scheduler   join {address} (server), join {plan} (worker), ping {}, barrier {name}, bye {}; ERROR: it failed
    scheduler -> role   start {servers, plan}, pong {remote_ns}, release {name}; ERROR: the run is over, and why
    worker -> server    hello {plan: digest} as the first frame, bye {} as the last
    server -> worker    ERROR: a frame of this worker broke the protocol

Each message has its name in `type`. The sender stands in the frame's header.

A push and the pull of the same key and step share a frame (PUSH_PULL) where both are asked for at once. They stay two
requests: the header carries the push's id, and the pull's is the next (`requests_of`).
"""

from __future__ import annotations

import json
from typing import Any

from breakdown.errors import WireError
from breakdown.model.identity import NO_REQUEST, Node, node_of
from breakdown.ps.consistency import INITIAL_STEP
from breakdown.wire.api import Connection, Header, Kind, Received

CONTROL_LIMIT_BYTES = 64 << 20
"""Of a control or error frame; the biggest is the shard plan, some 100 bytes a key."""


def requests_of(header: Header) -> tuple[int, int]:
    """The request ids of the push and of the pull in a frame; NO_REQUEST for what it does not hold."""
    kind, request = header.kind, header.request_id
    if kind == Kind.PUSH_PULL:
        return request, request + 1
    return (request, NO_REQUEST) if kind == Kind.PUSH else (NO_REQUEST, request)


def send_control(connection: Connection, sender: Node, kind: str, **fields: Any) -> None:
    """Sends one control message."""
    _send(connection, sender, Kind.CONTROL, json.dumps({"type": kind, **fields}).encode())


def send_error(connection: Connection, sender: Node, text: str) -> None:
    """Sends text that the peer shows its user before it ends."""
    _send(connection, sender, Kind.ERROR, text.encode())


def _send(connection: Connection, sender: Node, kind: Kind, payload: bytes) -> None:
    connection.send(Header(kind, 0, sender.code, 0, INITIAL_STEP, NO_REQUEST, len(payload)), [payload])


def control_sink(header: Header) -> None:
    """The sink of a connection that carries only control and error frames: a new buffer, within the size limit."""
    if header.kind not in (Kind.CONTROL, Kind.ERROR):
        raise WireError(f"{sender_of(header)} sent a frame of kind {header.kind} where only control frames belong")
    if header.size_bytes > CONTROL_LIMIT_BYTES:
        raise WireError(f"{sender_of(header)} announced a control frame of {header.size_bytes} bytes")


def read_control(received: Received) -> dict[str, Any]:
    """The message of a CONTROL frame. Raises `WireError` when it is none."""
    try:
        message = json.loads(_text(received))
    except ValueError as error:
        raise WireError(f"{sender_of(received.header)} sent a control frame that is not JSON ({error})") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WireError(f"{sender_of(received.header)} sent a control frame without a type")
    return message


def read_error(received: Received) -> str:
    """The text of an ERROR frame."""
    return _text(received)


def _text(received: Received) -> str:
    return b"".join(received.payload).decode("utf-8", errors="replace")


def sender_of(header: Header) -> Node:
    """The node that the header names. Raises `WireError` when there is no such role."""
    try:
        return node_of(header.sender)
    except ValueError:
        raise WireError(f"a frame names a sender that does not exist ({header.sender:#x})") from None
