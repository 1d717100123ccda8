"""Serialisers: round trips, and everything that does not fit."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.errors import ConfigError, WireError
from breakdown.wire.serialise import SERIALISERS, _PlainUnpickler, _Reader, serialiser

NAMES = tuple(SERIALISERS)
DECODED = ("pickle", "protobuf")


def views(parts: list[bytes]) -> list[memoryview]:
    return [memoryview(bytearray(part)) for part in parts]


def targets(sizes: list[int]) -> list[memoryview]:
    return [memoryview(bytearray(size)) for size in sizes]


@pytest.mark.parametrize("name", NAMES)
@given(parts=st.lists(st.binary(max_size=24).map(lambda data: data * 4), max_size=4), cut=st.integers(0, 50))
def test_a_round_trip_also_when_the_payload_arrives_in_two_views(name: str, parts: list[bytes], cut: int) -> None:
    codec = serialiser(name)
    payload = b"".join(codec.encode(views(parts), "float32"))
    into = targets([len(part) for part in parts])
    codec.decode([memoryview(payload)[:cut], memoryview(payload)[cut:]], into, "float32")
    assert [bytes(view) for view in into] == parts


@pytest.mark.parametrize("name", NAMES)
def test_a_big_payload_into_memory_of_another_element_type(name: str) -> None:
    codec = serialiser(name)
    data = os.urandom(1_000_000)
    into = memoryview(bytearray(len(data))).cast("f")
    payload = [memoryview(part) for part in codec.encode([memoryview(data)], "float32")]
    codec.decode(payload, [into], "float32")
    assert into.tobytes() == data


@pytest.mark.parametrize("name", NAMES)
def test_many_parts_some_of_them_equal_or_empty(name: str) -> None:
    parts = [bytes([index % 251]) * (4 * (index % 3)) for index in range(1500)]
    codec = serialiser(name)
    into = targets([len(part) for part in parts])
    codec.decode(
        [memoryview(part) for part in codec.encode([memoryview(part) for part in parts], "float32")], into, "float32"
    )
    assert [bytes(view) for view in into] == parts


def test_raw_copies_nothing() -> None:
    codec = serialiser("raw")
    memory = bytearray(b"abcd")
    (part,) = codec.encode([memoryview(memory)], "float32")
    memory[0] = ord("x")
    assert bytes(part) == b"xbcd"
    into = targets([4])
    codec.decode(into, into, "float32")
    assert codec.passthrough
    assert not any(serialiser(name).passthrough for name in DECODED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [[], [4], [8, 0, 1], [4, 9], [12, 4]])
def test_other_sizes_are_refused(name: str, sizes: list[int]) -> None:
    codec = serialiser(name)
    payload = [memoryview(part) for part in codec.encode(views([bytes(8), bytes(4)]), "float32")]
    with pytest.raises(WireError):
        codec.decode(payload, targets(sizes), "float32")


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("sizes", [[4, 8], [12], [8, 4, 0]])
def test_the_borders_between_parts_are_checked_too(name: str, sizes: list[int]) -> None:
    codec = serialiser(name)
    payload = [memoryview(part) for part in codec.encode(views([bytes(8), bytes(4)]), "float32")]
    with pytest.raises(WireError, match=r"\[8, 4\] bytes arrived"):
        codec.decode(payload, targets(sizes), "float32")


@pytest.mark.parametrize("name", DECODED)
def test_another_element_type_is_refused(name: str) -> None:
    codec = serialiser(name)
    payload = [memoryview(part) for part in codec.encode(views([bytes(8)]), "float32")]
    with pytest.raises(WireError, match=r"float32.*float64"):
        codec.decode(payload, targets([8]), "float64")


@pytest.mark.parametrize("name", DECODED)
@given(data=st.binary(max_size=200))
def test_garbage_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(WireError):
        serialiser(name).decode([memoryview(data)], targets([8]), "float32")


@pytest.mark.parametrize("name", DECODED)
@given(st.data())
def test_a_damaged_payload_never_gives_anything_but_data_or_a_wire_error(name: str, data: st.DataObject) -> None:
    codec = serialiser(name)
    payload = bytearray(b"".join(codec.encode(views([bytes(range(32)), bytes(4)]), "float32")))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):  # anything else fails the test
        codec.decode([memoryview(payload)], targets([32, 4]), "float32")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    "value",
    [
        Harmful(),
        ("float32", [Harmful()]),
        ("float32", [bytearray(8)]),
        ("float32", ["text"]),
        {"float32": 1},
        ("f", 8),
    ],
)
def test_a_pickle_of_anything_else_is_refused(value: object) -> None:
    payload = pickle.dumps(value, protocol=5)
    with pytest.raises(WireError):
        serialiser("pickle").decode([memoryview(payload)], targets([8]), "float32")


def test_the_unpickler_itself_knows_no_function_either() -> None:
    payload = memoryview(pickle.dumps(Harmful(), protocol=5))
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system"):
        _PlainUnpickler(_Reader(payload)).load()


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x05Nr\xff\xff\xff\x7f.",  # a memo of 2**31 entries
        b"\x80\x05\x8e" + (1 << 40).to_bytes(8, "little") + b".",  # 1 TB of bytes announced
        b"\x80\x05\x95" + (1 << 60).to_bytes(8, "little") + b"].",  # a frame that is not there
        b"\x80\x05]" + b"0" * 10,
        b"",
    ],
)
def test_a_pickle_bomb_is_refused_before_memory_is_taken_for_it(bomb: bytes) -> None:
    """Nor time, which it would spend on that memory."""
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            serialiser("pickle").decode([memoryview(bomb)], targets([8]), "float32")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # what is announced takes 16 GB or more
    finally:
        tracemalloc.stop()


def test_protobuf_checks_shape_against_content_and_knows_its_types() -> None:
    codec = serialiser("protobuf")
    (payload,) = codec.encode(views([bytes(8)]), "float32")
    damaged = bytes(payload).replace(b"\x08\x02", b"\x08\x03")  # the dimension: 2 elements become 3
    assert damaged != payload
    with pytest.raises(WireError, match="3 float32 arrived with 8 bytes"):
        codec.decode([memoryview(damaged)], targets([8]), "float32")
    with pytest.raises(ConfigError, match="float32"):
        codec.encode(views([bytes(8)]), "float33")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pickle'") as error:
        serialiser("pickel")
    assert all(name in str(error.value) for name in NAMES)


def test_the_choice_imports_only_what_it_needs() -> None:
    code = (
        "import sys; from breakdown.wire.serialise import serialiser; from breakdown.wire.registry import transport; "
        "serialiser('raw'); transport('tcp://127.0.0.1:0'); "
        "print([m for m in ('zmq', 'grpc', 'google.protobuf', 'torch', 'numpy') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout
    assert output == "[]\n"
