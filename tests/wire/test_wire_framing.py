"""Headers and the arithmetic of views; TCP streams cut anywhere."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pairs import TIMEOUT_S, in_thread, push

from breakdown.errors import WireError
from breakdown.wire import framing
from breakdown.wire.api import MAX_PAYLOAD_BYTES, Header, Kind
from breakdown.wire.tcp_stream import TcpConnection

headers = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    flags=st.integers(0, 2**16 - 1),
    sender=st.integers(0, 2**32 - 1),
    key=st.integers(-(2**63), 2**63 - 1),
    step=st.integers(-(2**63), 2**63 - 1),
    request_id=st.integers(-(2**63), 2**63 - 1),
    size_bytes=st.integers(0, MAX_PAYLOAD_BYTES),
)
splits = st.lists(st.integers(0, 9), max_size=12)


def cut(data: bytes | bytearray, sizes: list[int]) -> list[memoryview]:
    """`data` in pieces of these sizes (some may be empty), and what is left."""
    pieces, rest = [], memoryview(data)
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    return [*pieces, rest]


@given(headers)
def test_a_header_survives_the_wire(header: Header) -> None:
    data = framing.pack(header)
    assert len(data) == framing.HEADER_BYTES
    assert framing.unpack(data, "peer") == header


def test_the_layout_is_fixed() -> None:
    header = Header(kind=1, flags=2, sender=3, key=-1, step=5, request_id=6, size_bytes=7)
    assert framing.pack(header).hex(" ", 4) == (
        "42524b44 01010002 00000003 ffffffff ffffffff 00000000 00000005 00000000 00000006 00000000 00000007"
    )


@given(st.binary(max_size=2 * framing.HEADER_BYTES))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="the peer"):
        framing.unpack(data, "the peer")


@given(headers, st.integers(0, framing.HEADER_BYTES - 1))
def test_a_short_header_is_refused(header: Header, length: int) -> None:
    with pytest.raises(WireError, match=f"{length} bytes where a frame header"):
        framing.unpack(framing.pack(header)[:length], "peer")


@given(st.binary(max_size=60), splits, st.integers(0, 60))
def test_rest_is_what_follows(data: bytes, sizes: list[int], done: int) -> None:
    left = framing.rest(cut(data, sizes), done)
    assert b"".join(left) == data[done:]
    assert not left or left[0].nbytes


@given(st.binary(max_size=60), splits, splits)
def test_scatter_fills_any_views_from_any_pieces(data: bytes, sizes: list[int], other_sizes: list[int]) -> None:
    target = bytearray(len(data))
    framing.scatter(cut(data, sizes), cut(target, other_sizes))
    assert target == data


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 120), max_size=12),
    target_sizes=splits,
)
def test_a_stream_cut_anywhere_gives_the_same_frames(
    payloads: list[bytes], sizes: list[int], target_sizes: list[int]
) -> None:
    stream = b"".join(framing.pack(push(len(payload))) + payload for payload in payloads) + framing.goodbye()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = TcpConnection(server.accept()[0], "peer")

        def send_pieces() -> None:
            for piece in cut(stream, sizes):
                sender.sendall(piece)

        sent = in_thread(send_pieces)
        for payload in payloads:
            received = connection.recv(lambda header: cut(bytearray(header.size_bytes), target_sizes))
            assert received is not None
            assert b"".join(received.payload) == payload
        assert connection.recv() is None
        sent.result(TIMEOUT_S)
        connection.close()


@settings(max_examples=40, deadline=None)
@given(payload=st.binary(min_size=1, max_size=100), data=st.data())
def test_a_stream_that_ends_early_says_how_much_came(payload: bytes, data: st.DataObject) -> None:
    stream = framing.pack(push(len(payload))) + payload
    length = data.draw(st.integers(0, len(stream) - 1))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        connection = TcpConnection(server.accept()[0], "peer")
        sender.sendall(stream[:length])
        sender.close()
        if length == 0:
            message = "went away without closing"
        elif length < framing.HEADER_BYTES:
            message = f"{length} of {framing.HEADER_BYTES} header bytes arrived"
        else:
            message = f"{length - framing.HEADER_BYTES} of {len(payload)} payload bytes arrived"
        with pytest.raises(WireError, match=message):
            connection.recv()
        connection.close()
