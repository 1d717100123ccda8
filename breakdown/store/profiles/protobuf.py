"""The few messages of TensorFlow that are read here, built at run time: no protoc, no TensorFlow.

Field numbers are those of tensorflow/core/protobuf/config.proto, tensorflow/core/framework/{step_stats,tensor_description,
allocation_description}.proto and tsl/profiler/protobuf/xplane.proto. Fields that are not named are skipped. Texts are bytes
here: not all that programs call their operations is UTF-8, and protobuf refuses to hand out such a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "breakdown.profiles"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "uint32": _Field.TYPE_UINT32,
    "double": _Field.TYPE_DOUBLE,
    "text": _Field.TYPE_BYTES,
    "bytes": _Field.TYPE_BYTES,
}

MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "RunMetadata": {"step_stats": (1, "StepStats")},
    "StepStats": {"dev_stats": (1, "DeviceStepStats*")},
    "DeviceStepStats": {"device": (1, "text"), "node_stats": (2, "NodeExecStats*")},
    "NodeExecStats": {
        "node_name": (1, "text"),
        "all_start_micros": (2, "int64"),
        "all_end_rel_micros": (5, "int64"),
        "output": (7, "NodeOutput*"),
        "timeline_label": (8, "text"),
        "all_start_nanos": (13, "int64"),
        "all_end_rel_nanos": (16, "int64"),
        "scheduled_nanos": (17, "int64"),
    },
    "NodeOutput": {"tensor_description": (3, "TensorDescription")},
    "TensorDescription": {"allocation_description": (4, "AllocationDescription")},
    "AllocationDescription": {"requested_bytes": (1, "int64")},
    "XSpace": {"planes": (1, "XPlane*"), "hostnames": (4, "text*")},
    "XPlane": {
        "name": (2, "text"),
        "lines": (3, "XLine*"),
        "event_metadata": (4, "XEventMetadataEntry*"),
        "stat_metadata": (5, "XStatMetadataEntry*"),
        "stats": (6, "XStat*"),
    },
    # a map of protobuf is a list of its entries
    "XEventMetadataEntry": {"key": (1, "int64"), "value": (2, "XEventMetadata")},
    "XStatMetadataEntry": {"key": (1, "int64"), "value": (2, "XStatMetadata")},
    "XLine": {"id": (1, "int64"), "name": (2, "text"), "timestamp_ns": (3, "int64"), "events": (4, "XEvent*")},
    "XEvent": {
        "metadata_id": (1, "int64"),
        "offset_ps": (2, "int64"),
        "duration_ps": (3, "int64"),
        "stats": (4, "XStat*"),
    },
    "XStat": {
        "metadata_id": (1, "int64"),
        "uint64_value": (3, "uint64"),
        "int64_value": (4, "int64"),
        "str_value": (5, "text"),
        "ref_value": (7, "uint64"),
    },
    "XEventMetadata": {"name": (2, "text")},
    "XStatMetadata": {"name": (2, "text")},
}
"""Message -> field -> (number, type); "*" behind a type: repeated."""


def parse(kind: str, content: bytes) -> Any:
    """A message of this kind. Raises `google.protobuf.message.DecodeError` where the bytes are none."""
    message = _classes()[kind]()
    message.ParseFromString(content)
    return message


def new(kind: str, **fields: Any) -> Any:
    """A message with these fields, for whoever writes one. Texts may be given as such."""
    return _classes()[kind](**{name: _bytes(value) for name, value in fields.items()})


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    return value.encode() if isinstance(value, str) else value


@cache
def _classes() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="breakdown/profiles.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, text) in fields.items():
            kind = text.removesuffix("*")
            label = _Field.LABEL_REPEATED if text.endswith("*") else _Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                message.field.add(name=field, number=number, label=label, type=_SCALARS[kind])
            else:
                of = f".{_PACKAGE}.{kind}"
                message.field.add(name=field, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=of)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in MESSAGES}
