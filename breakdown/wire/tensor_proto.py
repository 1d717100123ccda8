"""The `protobuf` serialiser: a message with type, shape and content, as TensorFlow's TensorProto has them.

The message is built at run time, so no protoc is needed; field numbers and type numbers are TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from breakdown.errors import WireError, unknown_name
from breakdown.wire import framing
from breakdown.wire.api import Buffer
from breakdown.wire.serialise import Serialiser, fill

_PACKAGE = "breakdown"
_Field = descriptor_pb2.FieldDescriptorProto

DTYPES = {
    "float32": (1, 4),
    "float64": (2, 8),
    "int32": (3, 4),
    "uint8": (4, 1),
    "int16": (5, 2),
    "int8": (6, 1),
    "int64": (9, 8),
    "bool": (10, 1),
    "bfloat16": (14, 2),
    "float16": (19, 2),
}
"""Name -> number of tensorflow/core/framework/types.proto, and bytes an element."""

_NAMES = {number: name for name, (number, _) in DTYPES.items()}


class ProtobufSerialiser(Serialiser):
    """One `Tensors` message a payload. Protobuf holds at most 2 GiB in one message."""

    def __init__(self) -> None:
        self._message = _tensors_class()

    def encode(self, parts: Sequence[memoryview], dtype: str) -> list[Buffer]:
        if dtype not in DTYPES:
            raise unknown_name("element type", dtype, DTYPES, where="the protobuf serialiser")
        number, element_bytes = DTYPES[dtype]
        tensors = self._message()
        for part in parts:
            tensor = tensors.tensor.add(dtype=number, tensor_content=part.tobytes())
            tensor.tensor_shape.dim.add(size=part.nbytes // element_bytes)
        try:
            return [tensors.SerializeToString()]
        except (message.EncodeError, ValueError) as error:
            size = sum(part.nbytes for part in parts)
            raise WireError(f"protobuf cannot write {size} bytes as one message (its limit is 2 GiB): {error}.") from None

    def decode(self, payload: Sequence[memoryview], into: Sequence[memoryview], dtype: str) -> None:
        data = framing.byte_view(payload[0]) if len(payload) == 1 else b"".join(payload)
        tensors = self._message()
        try:
            tensors.ParseFromString(data)
        except message.DecodeError as error:
            raise WireError(f"a payload that arrived is not a readable protobuf message: {error}.") from None
        for tensor in tensors.tensor:
            name = _NAMES.get(tensor.dtype, f"number {tensor.dtype}")
            if name != dtype:
                raise WireError(f"a tensor of type {name} arrived where {dtype} belongs.")
            elements = 1
            for dimension in tensor.tensor_shape.dim:
                elements *= dimension.size
            if elements * DTYPES[name][1] != len(tensor.tensor_content):
                raise WireError(f"a tensor of {elements} {name} arrived with {len(tensor.tensor_content)} bytes of content.")
        fill([tensor.tensor_content for tensor in tensors.tensor], into, dtype, dtype)


def _tensors_class() -> Any:
    """The class of `message Tensors { repeated Tensor tensor = 1; }`, in a descriptor pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="breakdown/tensors.proto", package=_PACKAGE, syntax="proto3")
    dim = file.message_type.add(name="Dim")
    dim.field.add(name="size", number=1, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    shape = file.message_type.add(name="TensorShape")
    shape.field.add(
        name="dim", number=2, type=_Field.TYPE_MESSAGE, type_name=f".{_PACKAGE}.Dim", label=_Field.LABEL_REPEATED
    )
    tensor = file.message_type.add(name="Tensor")
    tensor.field.add(name="dtype", number=1, type=_Field.TYPE_INT32, label=_Field.LABEL_OPTIONAL)
    tensor.field.add(
        name="tensor_shape",
        number=2,
        type=_Field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.TensorShape",
        label=_Field.LABEL_OPTIONAL,
    )
    tensor.field.add(name="tensor_content", number=4, type=_Field.TYPE_BYTES, label=_Field.LABEL_OPTIONAL)
    tensors = file.message_type.add(name="Tensors")
    tensors.field.add(
        name="tensor", number=1, type=_Field.TYPE_MESSAGE, type_name=f".{_PACKAGE}.Tensor", label=_Field.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Tensors"))
