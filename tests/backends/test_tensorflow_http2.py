"""The native recorder's view of a byte stream: gRPC's messages in HTTP/2, however the stream is cut, and their methods."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "breakdown" / "backends" / "tensorflow" / "native" / "http2.cpp"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
START_BYTES = 2048
WHOLE = 1 << 20

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@dataclass(frozen=True)
class Found:
    stream: int
    number: int
    first: int
    last: int
    size_bytes: int
    path: str
    start: bytes


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("http2") / "reader"
    command = [
        "g++",
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        target,
        HERE / "native" / "http2_main.cpp",
        SOURCE,
    ]
    subprocess.run(command, check=True, timeout=100)
    return target


def read(reader: Path, stream: bytes, piece: int = WHOLE) -> tuple[list[Found], bool]:
    """The messages, and whether it still looks like HTTP/2."""
    done = subprocess.run([reader, str(piece)], input=stream, capture_output=True, timeout=20, check=True)
    *lines, verdict = done.stdout.decode().splitlines()
    found = []
    for line in lines:
        *numbers, path, start = line.split(" ")
        found.append(Found(*map(int, numbers), path, bytes.fromhex(start)))
    return found, verdict == "http2"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def message(content: bytes) -> bytes:
    """With gRPC's own head."""
    return b"\0" + struct.pack(">I", len(content)) + content


def literal(path: bytes) -> bytes:
    """`:path`, to be kept in the table."""
    return bytes((0x40 | 4, len(path))) + path


def test_a_call_is_its_headers_and_one_message(reader: Path) -> None:
    stream = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, literal(b"/w/RunGraph"))
    stream += frame(DATA, END_STREAM, 1, message(b"hello"))
    assert read(reader, stream) == ([Found(1, 0, 0, 1, 5, "/w/RunGraph", b"hello")], True)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 16, 100, WHOLE])
def test_however_the_stream_is_cut_the_messages_are_the_same(reader: Path, piece: int) -> None:
    """Two calls whose frames alternate; one message is cut within gRPC's head."""
    first, second = message(b"a" * 40), message(b"b" * 9)
    stream = PREFACE + frame(HEADERS, END_HEADERS, 1, literal(b"/w/One")) + frame(DATA, 0, 1, first[:3])
    stream += frame(HEADERS, END_HEADERS, 3, literal(b"/w/Two")) + frame(DATA, END_STREAM, 3, second)
    stream += frame(WINDOW_UPDATE, 0, 0, b"\0\0\1\0") + frame(DATA, END_STREAM, 1, first[3:])
    found, sound = read(reader, stream, piece)
    assert sound
    assert [(one.stream, one.size_bytes, one.path, one.start) for one in found] == [
        (3, 9, "/w/Two", b"b" * 9),
        (1, 40, "/w/One", b"a" * 40),
    ]


def test_times_are_those_of_the_calls_that_moved_the_first_and_the_last_byte(reader: Path) -> None:
    head = PREFACE + frame(HEADERS, END_HEADERS, 1, literal(b"/w/X"))
    stream = head + frame(DATA, END_STREAM, 1, message(b"c" * 100))
    (one,), _ = read(reader, stream, 10)
    assert one.first == 2 * ((len(PREFACE) + 8) // 10)  # the last byte of the frame's head tells that the message begins
    assert one.last == 2 * ((len(stream) - 1) // 10) + 1


def test_a_method_is_known_from_the_table_of_headers(reader: Path) -> None:
    """RFC 7541: the second time, a path is a number; a size update and a text in Huffman's code may stand before it."""
    other = bytes((0x40, 4)) + b"name" + bytes((0x80 | 3,)) + b"\x8c\xf1\xe3"  # a new name, a Huffman-coded value
    blocks = [literal(b"/w/First"), b"\x20" + b"\x3f\xe1\x1f" + literal(b"/w/Second"), other + b"\xbf", b"\xbf"]
    stream = PREFACE
    for number, block in enumerate(blocks):
        stream += frame(HEADERS, END_HEADERS, 2 * number + 1, block) + frame(DATA, END_STREAM, 2 * number + 1, message(b"x"))
    found, _ = read(reader, stream)
    # The size update to 0 empties the table: then "Second" is its only entry, "name" moves it to the second place.
    assert [one.path for one in found] == ["/w/First", "/w/Second", "/w/Second", "/w/Second"]


def test_an_answer_has_no_path_and_several_messages_of_a_stream_are_counted(reader: Path) -> None:
    answer = frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64") + frame(HEADERS, END_HEADERS, 5, b"\x88")
    answer += frame(DATA, 0, 5, message(b"one") + message(b"") + message(b"three"))
    answer += frame(HEADERS, END_HEADERS | END_STREAM, 5, b"\x88")
    found, _ = read(reader, answer)
    assert [(one.number, one.size_bytes, one.path, one.start) for one in found] == [
        (0, 3, "", b"one"),
        (1, 0, "", b""),
        (2, 5, "", b"three"),
    ]


@pytest.mark.parametrize("piece", [1, 5, WHOLE])
def test_padding_and_priority_are_no_part_of_a_message(reader: Path, piece: int) -> None:
    block = literal(b"/w/Padded")
    head = frame(HEADERS, PADDED | PRIORITY, 1, b"\2" + b"\0\0\0\0\7" + block[:4] + b"\0\0") + frame(
        CONTINUATION, END_HEADERS, 1, block[4:]
    )
    stream = PREFACE + head + frame(DATA, PADDED | END_STREAM, 1, b"\3" + message(b"body") + b"\0\0\0")
    (one,), sound = read(reader, stream, piece)
    assert (one.path, one.start, one.size_bytes, sound) == ("/w/Padded", b"body", 4, True)


def test_of_a_large_message_only_the_beginning_is_kept(reader: Path) -> None:
    content = bytes(range(256)) * 200
    stream = PREFACE + frame(HEADERS, END_HEADERS, 1, literal(b"/w/X"))
    whole = message(content)
    for at in range(0, len(whole), 16384):
        stream += frame(DATA, 0, 1, whole[at : at + 16384])
    (one,), _ = read(reader, stream, 1000)
    assert (one.size_bytes, one.start) == (len(content), content[:START_BYTES])


def test_a_call_that_is_given_up_leaves_no_message(reader: Path) -> None:
    stream = PREFACE + frame(HEADERS, END_HEADERS, 1, literal(b"/w/X")) + frame(DATA, 0, 1, message(b"abc")[:6])
    stream += frame(RST_STREAM, 0, 1, b"\0\0\0\10") + frame(HEADERS, END_HEADERS, 3, b"\xbe")
    stream += frame(DATA, END_STREAM, 3, message(b"z"))
    assert [(one.stream, one.path) for one in read(reader, stream)[0]] == [(3, "/w/X")]


def test_other_protocols_are_left_alone(reader: Path) -> None:
    assert read(reader, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3, 9) == ([], False)
