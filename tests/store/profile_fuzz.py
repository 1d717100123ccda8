"""Profiles that are damaged at random: in their bytes, and in what stands in them. A seed gives the same damage again."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from profile_messages import local_step, run_metadata, timeline_of, xspace
from support.damage import damaged_bytes

WHOLE = (-1, 0, 1, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63))
UNSIGNED = (0, 1, 2**62, 2**64 - 1)
TEXTS = (
    b"",
    b"\xff\xfe",
    b"/job:worker/replica:0/task:99999/device:CPU:0",
    b"/device:GPU:0/stream:all",
    b"RecvTensor",
    b"a" * 300,
)
VALUES = (
    None, True, -1, 0, 1.5, 2**63, 10**400, float("inf"), float("nan"), "", "\ud800", "/job:ps/task:7/cpu:0 Compute", [], {},
    [[]], {"name": {}}, "X", "M", "process_name", "RecvTensor",
)  # fmt: skip


def damaged(kind: str, seed: int) -> bytes:
    """A profile of this kind ("xplane", "metadata" or "timeline") with some damage."""
    draw = Random(f"{kind} {seed}")
    if kind == "timeline":
        value: Any = timeline_of(run_metadata())
        for _ in range(draw.choice((0, 1, 1, 2, 5))):
            _change_value(value, draw)
        content = json.dumps(value).encode()
        if draw.random() < 0.05:
            content = content.replace(b"{}", b"[" * 5000 + b"]" * 5000)
    else:
        steps = xspace(_lines(draw)) if kind == "xplane" else run_metadata()
        for _ in range(draw.choice((0, 1, 1, 2, 5))):
            _change_message(steps, draw)
        content = steps.SerializeToString()
    return damaged_bytes(content, draw) if draw.random() < 0.4 else content


def _lines(draw: Random) -> dict[str, Any]:
    first, second = (local_step(at, number, marked=draw.random() < 0.5) for number, at in enumerate((1000, 1200)))
    return {thread: [*first[thread], *second[thread]] for thread in first}


def _change_value(value: Any, draw: Random) -> None:
    """Changes a value in one place, takes something away, or repeats it."""
    while True:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and draw.random() < 0.85:
            value = value[key]
            continue
        change = draw.random()
        if change < 0.7:
            value[key] = copy.deepcopy(draw.choice(VALUES))
        elif change < 0.85 or isinstance(value, dict):
            del value[key]
        else:
            value.append(copy.deepcopy(value[key]))
        return


def _change_message(message: Any, draw: Random) -> None:
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = draw.choice(fields)
        many = field.is_repeated
        if many and draw.random() < 0.15:
            if draw.random() < 0.5:
                del value[draw.randrange(len(value))]
            else:
                value.append(copy.deepcopy(draw.choice(value)))
            return
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            message = draw.choice(value) if many else value
            continue
        if draw.random() < 0.2:
            message.ClearField(field.name)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            new = draw.choice(TEXTS)
            _put(message, field.name, new, many)
        else:
            _put(message, field.name, draw.choice(UNSIGNED if field.type == FieldDescriptor.TYPE_UINT64 else WHOLE), many)
        return


def _put(message: Any, name: str, value: Any, many: bool) -> None:
    if many:
        getattr(message, name)[0] = value
    else:
        setattr(message, name, value)
