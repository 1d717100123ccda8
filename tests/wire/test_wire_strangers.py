"""Peers that are silent, hostile or dead, on every transport that has a network."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire_pairs import BIG, MEANWHILE_S, NETWORKED, TIMEOUT_S, TOKEN, connect, in_thread, listen, new_pair, push

from breakdown.errors import WireError
from breakdown.wire import framing, handshake
from breakdown.wire.address import parse
from breakdown.wire.api import MAX_PAYLOAD_BYTES, Connection, Listener

PEER = Path(__file__).with_name("wire_peer.py")
GOOD = framing.pack(push(0))


@pytest.fixture(params=NETWORKED)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def listener(scheme: str) -> Iterator[Listener]:
    listener = listen(scheme)
    yield listener
    listener.close()


def stranger(listener: Listener) -> socket.socket:
    address = parse(listener.address)
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)


def reads_to_the_end(sock: socket.socket) -> bool:
    """Whether the other side closes within the socket's timeout; what it says before is of no interest."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def test_a_silent_peer_does_not_hold_up_the_next_one(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "TIME_LIMIT_S", 100 * TIMEOUT_S)  # nobody is dropped for being silent
    with stranger(listener), stranger(listener):
        accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
        client = connect(listener)
        server = accepted.result(TIMEOUT_S)
        server.close()
        client.close()


def test_a_silent_peer_is_dropped_after_the_time_limit(
    scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handshake, "TIME_LIMIT_S", 0.3)
    listener = listen(scheme)
    with stranger(listener) as silent:
        accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
        assert reads_to_the_end(silent)
    listener.close()
    assert accepted.result(TIMEOUT_S) is None
    if scheme != "grpc":  # there the library drops it before anything of ours runs
        assert "dropped" in caplog.text


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8, bytes(1000), b"\xff" * 1000])
def test_a_peer_that_talks_garbage_is_dropped(
    scheme: str, listener: Listener, words: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
    with stranger(listener) as loud:
        loud.sendall(words)
        if scheme != "zmq":  # which takes some for its first protocol version and waits for the rest of their message
            assert reads_to_the_end(loud)
        client = connect(listener)
        accepted.result(TIMEOUT_S).close()
        client.close()
    if scheme != "grpc":
        assert "dropped" in caplog.text


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n", "does not speak this protocol"),
        (bytes(framing.HEADER_BYTES), "does not speak this protocol"),
        (GOOD[:4] + b"\x63" + GOOD[5:], "protocol version 99"),
        (GOOD[:5] + b"\x07" + GOOD[6:], "unknown kind 7"),
        (GOOD[:-8] + struct.pack("!Q", MAX_PAYLOAD_BYTES + 1), "above the limit"),
        (GOOD[:-8] + struct.pack("!Q", 2**64 - 1), "above the limit"),
    ],
    ids=["text", "zeros", "version", "kind", "oversize", "huge"],
)
def test_a_proven_peer_that_breaks_the_protocol(scheme: str, frame: bytes, message: str) -> None:
    pair = new_pair(scheme)
    pair.client._write([memoryview(frame)])  # type: ignore[attr-defined]
    with pytest.raises(WireError, match=message):
        pair.server.recv()
    pair.close()


@pytest.fixture
def victim(scheme: str, request: pytest.FixtureRequest) -> Iterator[tuple[Connection, subprocess.Popen[str]]]:
    """A connection to a real process, which the test kills."""
    listener = listen(scheme)
    command = [sys.executable, str(PEER), listener.address, TOKEN, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        connection = listener.accept(TIMEOUT_S)
        assert connection is not None
        try:
            yield connection, process
        finally:
            process.kill()
            connection.close()
            listener.close()


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.mark.parametrize("victim", ["between"], indirect=True)
def test_a_peer_killed_between_two_frames_is_told_from_one_that_closed(
    victim: tuple[Connection, subprocess.Popen[str]],
) -> None:
    connection, process = victim
    ready(process)
    assert [connection.recv().header.key for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
    process.kill()
    told = in_thread(connection.recv)
    with pytest.raises(WireError, match=r"went away without closing|lost"):
        told.result(TIMEOUT_S)


@pytest.mark.parametrize("victim", ["within"], indirect=True)
def test_a_peer_killed_in_a_frame(scheme: str, victim: tuple[Connection, subprocess.Popen[str]]) -> None:
    connection, process = victim
    ready(process)
    target = memoryview(bytearray(BIG))

    def kill_and_give(header: object) -> list[memoryview]:
        process.kill()
        process.wait()
        return [target]

    def all_whole() -> None:
        while (frame := connection.recv()) is not None:
            assert sum(part.nbytes for part in frame.payload) == BIG

    if scheme == "zmq":  # the library reads on by itself: this frame shows whole, or nothing of it does
        process.kill()
        with pytest.raises(WireError, match="went away"):
            all_whole()
        return
    with pytest.raises(WireError, match=rf"lost .* in a frame, \d+ of {BIG} payload bytes arrived"):
        connection.recv(kill_and_give)


@pytest.mark.parametrize("victim", ["reading"], indirect=True)
def test_a_killed_peer_ends_a_sender(victim: tuple[Connection, subprocess.Popen[str]]) -> None:
    connection, process = victim
    connection.send(push(0))
    ready(process)

    def send_on() -> None:
        deadline = time.monotonic() + 2 * TIMEOUT_S
        while time.monotonic() < deadline:
            connection.send(push(1_000_000), [bytes(1_000_000)])

    sending = in_thread(send_on)
    time.sleep(MEANWHILE_S)
    process.kill()
    with pytest.raises(WireError, match="cannot send to"):
        sending.result(TIMEOUT_S)


def test_a_fresh_challenge_each_time() -> None:
    assert handshake.challenge() != handshake.challenge()
