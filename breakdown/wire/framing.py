"""Frames as bytes: the fixed header, its limits, and the arithmetic of payloads in several views. No I/O.

A frame is a header of `HEADER_BYTES` bytes and `size_bytes` bytes of payload. The header, in network byte order: magic
`BRKD`, protocol version (u8), kind (u8), flags (u16), sender (u32), key (i64), step (i64), request id (i64), payload
size (u64). The kind `GOODBYE` is the transports' own: the last frame of a peer that closes in order, so that a peer
that was killed can be told from it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from breakdown.errors import WireError
from breakdown.wire.api import MAX_PAYLOAD_BYTES, Buffer, Header, Kind, Sink

MAGIC = b"BRKD"
VERSION = 1
GOODBYE = 255

_HEADER = struct.Struct("!5sBHIqqqQ")
_PREFIX = MAGIC + bytes([VERSION])
HEADER_BYTES = _HEADER.size
_KINDS = frozenset(Kind) | {GOODBYE}


def pack(header: Header) -> bytes:
    """The header's bytes. Raises `WireError` for a field that does not fit or a payload above the limit."""
    if header.size_bytes > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a frame of {header.size_bytes} bytes is above the limit of {MAX_PAYLOAD_BYTES}. Split the key over servers."
        )
    if header.kind not in _KINDS:
        raise WireError(f"a frame cannot be of kind {header.kind}: {header}.")
    try:
        return _HEADER.pack(_PREFIX, *header)
    except struct.error as error:
        raise WireError(f"a field of {header} does not fit the frame header: {error}.") from None


def unpack(data: Buffer, peer: str) -> Header:
    """The header in the first `HEADER_BYTES` bytes. Raises `WireError`, naming the peer, for anything that is not one."""
    if len(data) < HEADER_BYTES:
        raise WireError(f"{peer} sent {len(data)} bytes where a frame header of {HEADER_BYTES} bytes belongs.")
    prefix, *fields = _HEADER.unpack_from(data)
    if prefix != _PREFIX:
        if not prefix.startswith(MAGIC):
            raise WireError(f"{peer} sent {bytes(data[:8])!r} where a frame belongs: it does not speak this protocol.")
        raise WireError(f"{peer} speaks protocol version {prefix[-1]}, not {VERSION}. Install the same release on both.")
    header = Header(*fields)
    if header.kind not in _KINDS:
        raise WireError(f"{peer} sent a frame of unknown kind {header.kind}.")
    if header.size_bytes > MAX_PAYLOAD_BYTES:
        raise WireError(f"{peer} announced a frame of {header.size_bytes} bytes, above the limit of {MAX_PAYLOAD_BYTES}.")
    return header


def goodbye() -> bytes:
    """The frame that ends a stream in order."""
    return pack(Header(GOODBYE, 0, 0, 0, 0, 0, 0))


def byte_view(data: Buffer) -> memoryview:
    """`data` as a flat view of bytes, not copied. Raises `WireError` when its memory is not contiguous."""
    view = memoryview(data)
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    if not view.c_contiguous:
        raise WireError("a payload must lie in contiguous memory: copy the strided buffer first.")
    if view.nbytes == 0:
        return memoryview(b"")
    return view.cast("B")


def payload_views(header: Header, payload: Sequence[Buffer]) -> list[memoryview]:
    """What there is to send: non-empty byte views. Raises `WireError` when they do not add up to `header.size_bytes`."""
    views, total = [], 0
    for data in payload:
        view = byte_view(data)
        if view.nbytes:
            views.append(view)
            total += view.nbytes
    if total != header.size_bytes:
        raise WireError(f"the header announces {header.size_bytes} bytes, the payload to send has {total}.")
    return views


def places(header: Header, sink: Sink | None) -> Sequence[memoryview]:
    """Where the payload of this frame goes: the sink's views, or one new buffer.

    Raises `WireError` for views that are read-only, not contiguous, or do not add up to `header.size_bytes`.
    """
    chosen = sink(header) if sink is not None else None
    if chosen is None:
        return [memoryview(bytearray(header.size_bytes))] if header.size_bytes else []
    total = 0
    for view in chosen:
        if view.readonly or not view.c_contiguous:
            raise WireError(f"the sink gave a view that is read-only or not contiguous to {header}.")
        total += view.nbytes
    if total != header.size_bytes:
        raise WireError(f"the sink gave room for {total} bytes to a frame of {header.size_bytes}: {header}.")
    return chosen


def rest(views: Sequence[memoryview], done: int) -> list[memoryview]:
    """What is left of `views` after their first `done` bytes."""
    for index, view in enumerate(views):
        if done < view.nbytes:
            return [byte_view(view)[done:] if done else view, *views[index + 1 :]]
        done -= view.nbytes
    return []


def scatter(data: Sequence[memoryview], into: Sequence[memoryview]) -> None:
    """Copies the bytes of `data`, one after the other, into `into`. Both are flat byte views and add up to the same size."""
    targets = [view for view in map(byte_view, into) if view.nbytes]
    for source in data:
        while source.nbytes:
            count = min(source.nbytes, targets[0].nbytes)
            targets[0][:count] = source[:count]
            source = source[count:]
            targets = rest(targets, count)
