"""What every transport must do alike."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest
from support.ports import port
from wire_pairs import MEANWHILE_S, TIMEOUT_S, TOKEN, Pair, connect, in_thread, listen, new_pair, push

from breakdown.clock.clocks import now_ns
from breakdown.errors import WireError
from breakdown.wire.api import MAX_PAYLOAD_BYTES, Header, Kind
from breakdown.wire.registry import transport


def test_frames_arrive_whole_and_in_order_with_every_header_field(pair: Pair) -> None:
    headers = [
        Header(Kind.PUSH, 0xFFFF, 0xFFFFFFFF, -(2**63), 2**63 - 1, 2**62, 3),
        Header(Kind.PULL, 0, 0, 5, -1, 1, 0),
        Header(Kind.CONTROL, 1, 2, 3, 4, 5, 3),
        Header(Kind.ERROR, 0, 0, 0, 0, 0, 3),
        Header(Kind.PULL_REPLY, 0, 0, 0, 0, 0, 3),
    ]
    for header in headers:
        pair.client.send(header, [b"abc"] if header.size_bytes else [])
    for header in headers:
        received = pair.server.recv()
        assert received is not None
        assert received.header == header
        assert b"".join(received.payload) == (b"abc" if header.size_bytes else b"")


def test_both_directions_at_once(pair: Pair) -> None:
    count, size = 30, 400_000

    def send_all(connection: object, mark: int) -> None:
        for index in range(count):
            connection.send(push(size, index), [bytes([mark, index]) * (size // 2)])  # type: ignore[attr-defined]

    def recv_all(connection: object, mark: int) -> None:
        for index in range(count):
            received = connection.recv()  # type: ignore[attr-defined]
            assert received.header.key == index
            assert b"".join(received.payload) == bytes([mark, index]) * (size // 2)

    work = [
        in_thread(lambda: send_all(pair.client, 1)),
        in_thread(lambda: send_all(pair.server, 2)),
        in_thread(lambda: recv_all(pair.client, 2)),
        in_thread(lambda: recv_all(pair.server, 1)),
    ]
    for part in work:
        part.result(TIMEOUT_S)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 40_000_001])
def test_any_size(pair: Pair, size: int) -> None:
    payload = os.urandom(min(size, 1000)) * (size // 1000 + 1)
    payload = payload[:size]
    sent = in_thread(lambda: pair.client.send(push(size), [payload]))
    received = pair.server.recv()
    assert received is not None
    assert b"".join(received.payload) == payload
    sent.result(TIMEOUT_S)


def test_several_views_at_both_ends(pair: Pair) -> None:
    data = bytearray(os.urandom(300_000))
    cuts = [memoryview(data)[:7], memoryview(b""), memoryview(data)[7:200_000], memoryview(data)[200_000:]]
    targets = [memoryview(bytearray(size)) for size in (100_000, 0, 1, 199_999)]
    sent = in_thread(lambda: pair.client.send(push(len(data)), cuts))
    received = pair.server.recv(lambda header: targets)
    assert received is not None
    assert [id(view) for view in received.payload] == [id(view) for view in targets]  # the sink's own memory, not a copy
    assert b"".join(targets) == data
    sent.result(TIMEOUT_S)


def test_more_views_than_one_system_call_takes(pair: Pair) -> None:
    data = memoryview(bytearray(os.urandom(5000)))
    targets = [memoryview(bytearray(2)) for _ in range(2500)]
    sent = in_thread(lambda: pair.client.send(push(5000), [data[index : index + 2] for index in range(0, 5000, 2)]))
    assert pair.server.recv(lambda header: targets) is not None
    assert b"".join(targets) == data
    sent.result(TIMEOUT_S)


def test_views_of_other_element_types(pair: Pair) -> None:
    floats = memoryview(bytearray(range(64))).cast("f", (4, 4))
    target = memoryview(bytearray(64)).cast("d")
    pair.client.send(push(64), [floats])
    received = pair.server.recv(lambda header: [target])
    assert received is not None
    assert target.tobytes() == bytes(range(64))


@pytest.mark.parametrize("use_sink", [False, True])
def test_without_a_view_from_the_sink_the_payload_is_new_writable_memory(pair: Pair, use_sink: bool) -> None:
    for size in (10, 100_000):
        payload = bytearray(b"x" * size)
        pair.client.send(push(size), [payload])
        received = pair.server.recv((lambda header: None) if use_sink else None)
        assert received is not None
        (view,) = received.payload
        assert view == payload
        view[0] = 0  # it may be summed into in place
        assert view[0] == 0
        assert payload[0] == ord("x")


def test_the_sender_may_reuse_its_buffer_at_once(pair: Pair) -> None:
    buffer = bytearray(200_000)
    received = in_thread(lambda: [b"".join(pair.server.recv().payload) for _ in range(20)])  # type: ignore[union-attr]
    for index in range(20):
        buffer[:] = bytes([index]) * len(buffer)
        pair.client.send(push(len(buffer)), [buffer])
    assert [frame == bytes([index]) * len(buffer) for index, frame in enumerate(received.result(TIMEOUT_S))] == [True] * 20


def test_times_lie_between_send_and_return(pair: Pair) -> None:
    before = now_ns()
    pair.client.send(push(1000), [bytes(1000)])
    received = pair.server.recv()
    assert received is not None
    assert before <= received.first_byte_ns <= received.last_byte_ns <= now_ns()


@pytest.mark.parametrize(
    "views",
    [[memoryview(bytearray(9))], [memoryview(bytearray(11))], [], [memoryview(bytes(10))], [memoryview(bytearray(20))[::2]]],
    ids=["short", "long", "none", "read-only", "strided"],
)
def test_a_sink_that_does_not_fit_is_refused_and_the_stream_says_so_from_then_on(
    pair: Pair, views: list[memoryview]
) -> None:
    pair.client.send(push(10), [bytes(10)])
    pair.client.send(push(0))
    with pytest.raises(WireError, match="sink gave") as first:
        pair.server.recv(lambda header: views)
    with pytest.raises(WireError) as second:
        pair.server.recv()
    assert str(first.value) == str(second.value)


def test_a_sink_may_raise(pair: Pair) -> None:
    def sink(header: Header) -> None:
        raise LookupError("no such key")

    pair.client.send(push(10), [bytes(10)])
    with pytest.raises(LookupError):
        pair.server.recv(sink)
    with pytest.raises(WireError, match="interrupted"):
        pair.server.recv()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (push(4), "announces 4 bytes, the payload to send has 3"),
        (push(MAX_PAYLOAD_BYTES + 1), "above the limit"),
        (push(3)._replace(kind=77), "kind 77"),
        (push(3)._replace(flags=1 << 16), "does not fit"),
        (push(3)._replace(key=1 << 63), "does not fit"),
    ],
)
def test_a_frame_that_cannot_be_is_refused_before_anything_is_sent(pair: Pair, header: Header, message: str) -> None:
    with pytest.raises(WireError, match=message):
        pair.client.send(header, [b"abc"])
    pair.client.send(push(3), [b"abc"])
    received = pair.server.recv()
    assert received is not None
    assert received.header == push(3)


def test_what_was_sent_before_an_orderly_close_arrives_and_then_none(pair: Pair) -> None:
    sent = in_thread(lambda: [pair.client.send(push(100_000, index), [bytes(100_000)]) for index in range(8)])
    keys = [pair.server.recv().header.key for _ in range(3)]  # type: ignore[union-attr]
    sent.result(TIMEOUT_S)
    closed = in_thread(pair.client.close)
    keys += [pair.server.recv().header.key for _ in range(5)]  # type: ignore[union-attr]
    assert keys == list(range(8))
    assert pair.server.recv() is None
    assert pair.server.recv() is None
    closed.result(TIMEOUT_S)


@pytest.mark.parametrize("side", ["client", "server"])
def test_either_side_may_close_first_and_nothing_is_lost(scheme: str, side: str) -> None:
    """Often: what arrives together with the peer's leaving must not depend on who looks first."""
    for _ in range(25):
        pair = new_pair(scheme)
        leaves, stays = (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
        leaves.send(push(3, 1), [b"abc"])
        closed = in_thread(leaves.close)
        received = stays.recv()
        assert received is not None
        assert received.header.key == 1
        assert stays.recv() is None
        closed.result(TIMEOUT_S)
        pair.close()


def test_sending_to_a_closed_peer_fails_soon(pair: Pair) -> None:
    closed = in_thread(pair.client.close)
    assert pair.server.recv() is None
    closed.result(TIMEOUT_S)

    def send_on() -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            pair.server.send(push(100_000), [bytes(100_000)])

    with pytest.raises(WireError, match="cannot send to"):
        send_on()


@pytest.mark.parametrize("side", ["client", "server"])
def test_close_wakes_a_thread_in_recv(pair: Pair, side: str) -> None:
    connection = getattr(pair, side)
    waiting = in_thread(connection.recv)
    time.sleep(MEANWHILE_S)
    assert not waiting.done()
    closed = in_thread(connection.close)
    assert waiting.result(TIMEOUT_S) is None
    closed.result(TIMEOUT_S)


@pytest.mark.parametrize("side", ["client", "server"])
def test_close_wakes_a_thread_in_send(pair: Pair, side: str) -> None:
    connection = getattr(pair, side)
    progress = [0]

    def send_until_it_fails() -> None:
        while True:
            connection.send(push(4_000_000), [bytes(4_000_000)])
            progress[0] += 1

    sending = in_thread(send_until_it_fails)
    _wait_until_stuck(progress)
    closed = in_thread(connection.close)
    with pytest.raises(WireError, match="this side closed"):
        sending.result(TIMEOUT_S)
    closed.result(TIMEOUT_S)


def test_a_slow_receiver_holds_up_its_sender(pair: Pair) -> None:
    size, progress = 1_000_000, [0]

    def send_many() -> None:
        for index in range(200):
            pair.client.send(push(size, index), [bytes(size)])
            progress[0] += 1

    sending = in_thread(send_many)
    _wait_until_stuck(progress)
    # The rest still is with the sender: memory on the way is bounded, by 8 MB in one process, else by
    # the kernel's buffers of some MB. Half of all 200 is far above both.
    assert progress[0] < 100
    for index in range(200):
        received = pair.server.recv()
        assert received is not None
        assert received.header.key == index
    sending.result(TIMEOUT_S)


def test_closing_twice_and_using_a_closed_connection(pair: Pair) -> None:
    pair.server.close()
    pair.client.close()
    pair.client.close()
    assert pair.client.recv() is None
    with pytest.raises(WireError, match="this side closed"):
        pair.client.send(push(0))


def test_accepted_connections_outlive_their_listener(pair: Pair) -> None:
    pair.listener.close()
    pair.listener.close()
    assert pair.listener.accept(5.0) is None
    pair.client.send(push(3), [b"abc"])
    assert pair.server.recv() is not None
    pair.server.send(push(3), [b"abc"])
    assert pair.client.recv() is not None


def test_a_wrong_token_is_refused_at_once_and_the_listener_goes_on(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    listener = listen(scheme)
    accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
    with pytest.raises(WireError, match="refused this process's token"):  # after its time it would say so
        connect(listener, token="another run's token")
    client = connect(listener)
    server = accepted.result(TIMEOUT_S)
    server.close()
    client.close()
    listener.close()
    assert "its token is wrong" in caplog.text
    assert TOKEN not in caplog.text


def test_several_peers_of_one_listener(scheme: str) -> None:
    listener = listen(scheme)
    dialled = [in_thread(lambda: connect(listener)) for _ in range(3)]
    servers = [listener.accept(TIMEOUT_S) for _ in dialled]
    clients = [future.result(TIMEOUT_S) for future in dialled]
    for index, client in enumerate(clients):
        client.send(push(0, index))
    received = [server.recv() for server in servers if server is not None]
    assert sorted(frame.header.key for frame in received if frame is not None) == [0, 1, 2]
    for server in servers:
        assert server is not None
        server.close()
    for client in clients:
        client.close()
    listener.close()


def test_accept_returns_none_after_its_time_and_when_the_listener_is_closed(scheme: str) -> None:
    listener = listen(scheme)
    start = time.monotonic()
    assert listener.accept(0.2) is None
    assert time.monotonic() - start >= 0.19  # libraries wait for whole ms
    waiting = in_thread(lambda: listener.accept(100 * TIMEOUT_S))
    time.sleep(MEANWHILE_S)
    listener.close()
    assert waiting.result(TIMEOUT_S) is None


def address_to_come(scheme: str) -> str:
    """Where nobody listens, and nobody else will."""
    return f"inproc://to-come-{port()}" if scheme == "inproc" else f"{scheme}://127.0.0.1:{port()}"


def test_nobody_listens(scheme: str) -> None:
    address = address_to_come(scheme)
    dialling = in_thread(lambda: transport(address).connect(address, TOKEN, 0.4))
    with pytest.raises(WireError, match=address.replace("[", ".")):
        dialling.result(TIMEOUT_S)


def test_connect_waits_for_a_listener_that_comes_later(scheme: str) -> None:
    address = address_to_come(scheme)
    dialling = in_thread(lambda: transport(address).connect(address, TOKEN, TIMEOUT_S))
    time.sleep(MEANWHILE_S)
    listener = transport(address).listen(address, TOKEN)
    server = listener.accept(TIMEOUT_S)
    client = dialling.result(TIMEOUT_S)
    assert server is not None
    server.close()
    client.close()
    listener.close()


def test_an_address_in_use_names_itself_and_the_remedy(scheme: str) -> None:
    listener = listen(scheme)
    with pytest.raises(WireError) as error:
        transport(listener.address).listen(listener.address, TOKEN)
    assert listener.address in str(error.value)
    assert "choose another" in str(error.value)
    listener.close()


def test_nothing_is_left_behind(scheme: str) -> None:
    _use_and_close(scheme)  # what a library keeps for good is there after the first use
    threads, descriptors = _settled(lambda: (threading.active_count(), len(os.listdir("/proc/self/fd"))))
    for _ in range(3):
        _use_and_close(scheme)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        gc.collect()
        now = (threading.active_count(), len(os.listdir("/proc/self/fd")))
        if now <= (threads, descriptors) and now[1] <= descriptors:
            return
        time.sleep(0.05)
    names = [thread.name for thread in threading.enumerate()]
    pytest.fail(f"before: {threads} threads, {descriptors} descriptors; after: {now}, {names}")


def _use_and_close(scheme: str) -> None:
    pair = new_pair(scheme)
    sent = in_thread(lambda: pair.client.send(push(1_000_000), [bytes(1_000_000)]))
    assert pair.server.recv() is not None
    sent.result(TIMEOUT_S)
    pair.close()
    listener = listen(scheme)
    accepted = in_thread(lambda: listener.accept(0.3))
    with pytest.raises(WireError):
        connect(listener, token="wrong")
    assert accepted.result(TIMEOUT_S) is None
    listener.close()


def _settled(measure: object) -> tuple[int, int]:
    """The measure once it stood still for a while. Too early, it is too high: what is left of the first use is in it."""
    value, since = measure(), time.monotonic()  # type: ignore[operator]
    while time.monotonic() - since < 0.2:
        time.sleep(0.05)
        gc.collect()
        if (now := measure()) != value:  # type: ignore[operator]
            value, since = now, time.monotonic()
    return value


def _wait_until_stuck(progress: list[int]) -> None:
    """Until a sender made no progress for a while. One that only lacks a core gets no further than one that is stuck."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 0.3:
        if progress[0] != last:
            last, since = progress[0], time.monotonic()
        time.sleep(0.02)
