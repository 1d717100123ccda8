"""Serialisers: how the parts of a tensor become a payload, and back. What each of them costs is a finding of the tool.

`raw` hands the memory itself to the transport. `pickle` and `protobuf` (in `tensor_proto`) do what a user of those
libraries would do, copies included. Nothing that arrives is ever unpickled unless the run chose `pickle`. Even then a pickle
is refused that has an operation which a list of bytes objects does not need, and the unpickler knows no class or function.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module

from breakdown.errors import WireError, unknown_name
from breakdown.wire import framing
from breakdown.wire.api import Buffer

SERIALISERS = {
    "raw": ("breakdown.wire.serialise", "RawSerialiser"),
    "pickle": ("breakdown.wire.serialise", "PickleSerialiser"),
    "protobuf": ("breakdown.wire.tensor_proto", "ProtobufSerialiser"),
}
"""Name -> module and class."""


# The operations that the pickle of a type's name and a list of bytes objects is made of.
_FIXED = {  # -> bytes of argument
    pickle.PROTO: 1,
    pickle.FRAME: 8,
    pickle.EMPTY_LIST: 0,
    pickle.MARK: 0,
    pickle.APPEND: 0,
    pickle.APPENDS: 0,
    pickle.TUPLE2: 0,
    pickle.MEMOIZE: 0,
    pickle.BINGET: 1,
    pickle.LONG_BINGET: 4,
    pickle.STOP: 0,
}
_SIZED = {  # -> bytes of the length in front of as much data
    pickle.SHORT_BINUNICODE: 1,
    pickle.SHORT_BINBYTES: 1,
    pickle.BINBYTES: 4,
    pickle.BINBYTES8: 8,
}


class Serialiser(ABC):
    """One way to write tensors as bytes."""

    passthrough: bool = False
    """Whether payload and memory are the same bytes: then a sink may give the final memory, and both calls do no work."""

    @abstractmethod
    def encode(self, parts: Sequence[memoryview], dtype: str) -> list[Buffer]:
        """The payload for these flat, contiguous parts, all of element type `dtype` (a numpy name, such as `float32`)."""

    @abstractmethod
    def decode(self, payload: Sequence[memoryview], into: Sequence[memoryview], dtype: str) -> None:
        """Fills `into`, which must have the sizes of the encoded parts. Raises `WireError` when anything does not fit."""


def serialiser(name: str) -> Serialiser:
    """The serialiser of this name. Raises `ConfigError`, which lists the known ones."""
    if name not in SERIALISERS:
        raise unknown_name("serializer", name, SERIALISERS)
    module, cls = SERIALISERS[name]
    found: type[Serialiser] = getattr(import_module(module), cls)
    return found()


class RawSerialiser(Serialiser):
    """The memory as it is, in the machine's byte order."""

    passthrough = True

    def encode(self, parts: Sequence[memoryview], dtype: str) -> list[Buffer]:
        return list(parts)

    def decode(self, payload: Sequence[memoryview], into: Sequence[memoryview], dtype: str) -> None:
        if len(payload) == len(into) and all(got is wanted for got, wanted in zip(payload, into, strict=True)):
            return  # it was received in place
        arrived, wanted = sum(view.nbytes for view in payload), sum(view.nbytes for view in into)
        if arrived != wanted:
            raise WireError(f"a raw payload of {arrived} bytes arrived for memory of {wanted} bytes.")
        framing.scatter(payload, into)


class PickleSerialiser(Serialiser):
    """A pickled list of bytes objects (protocol 5, in-band), as one writes it without thinking of copies."""

    def encode(self, parts: Sequence[memoryview], dtype: str) -> list[Buffer]:
        return [pickle.dumps((dtype, [part.tobytes() for part in parts]), protocol=5)]

    def decode(self, payload: Sequence[memoryview], into: Sequence[memoryview], dtype: str) -> None:
        data = framing.byte_view(payload[0]) if len(payload) == 1 else memoryview(b"".join(payload))
        try:
            _check_operations(data)
            value = _PlainUnpickler(_Reader(data)).load()
        except Exception as error:  # a hostile pickle can raise anything, and all of it means the same
            raise WireError(f"a payload that arrived is not a readable pickle: {type(error).__name__}: {error}.") from None
        match value:
            case (str() as name, list() as parts) if all(isinstance(part, bytes) for part in parts):
                fill(parts, into, name, dtype)
            case _:
                raise WireError("a pickle that arrived holds something else than an element type and its bytes.")


def fill(parts: Sequence[bytes], into: Sequence[memoryview], arrived_dtype: str, dtype: str) -> None:
    """Copies decoded parts to where they belong. Raises `WireError` for another type, number or size of parts."""
    if arrived_dtype != dtype:
        raise WireError(f"a payload of type {arrived_dtype} arrived where {dtype} belongs.")
    arrived, wanted = [len(part) for part in parts], [view.nbytes for view in into]
    if arrived != wanted:
        raise WireError(f"parts of {arrived} bytes arrived for memory of {wanted} bytes.")
    for part, view in zip(parts, into, strict=True):
        framing.byte_view(view)[:] = part


def _check_operations(data: memoryview) -> None:
    """Raises `pickle.UnpicklingError` for a pickle that does more than build a list of bytes objects.

    Refusing classes is not enough: a few bytes can ask the unpickler for a table of many gigabytes.
    """
    position = 0
    while position < data.nbytes:
        operation = data[position : position + 1].tobytes()
        position += 1
        if operation in _FIXED:
            position += _FIXED[operation]
        elif operation in _SIZED:
            start = position + _SIZED[operation]
            position = start + int.from_bytes(data[position:start], "little")
        else:
            raise pickle.UnpicklingError(f"operation {operation!r} does not belong to a list of bytes")
        if operation == pickle.STOP and position == data.nbytes:
            return
    raise pickle.UnpicklingError("it ends too early or too late")


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain values only."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")


class _Reader:
    """A payload as the unpickler's file: unlike `io.BytesIO` it adds no copy of its own to what pickle costs."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken.tobytes()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        target = memoryview(buffer)
        taken, self._data = self._data[: target.nbytes], self._data[target.nbytes :]
        target[: taken.nbytes] = taken
        return taken.nbytes

    def readline(self) -> bytes:
        line, newline, _ = self._data[:1024].tobytes().partition(b"\n")  # only text opcodes read lines; none is longer
        return self.read(len(line) + len(newline))
