"""The JSON that `timeline.Timeline(run_metadata.step_stats).generate_chrome_trace_format()` writes: one step a file.

Of a RecvTensor it keeps neither the tensor, nor the sender, nor the bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from breakdown.store.profiles.device_stats import RECV_TENSOR, Run, producers
from breakdown.store.profiles.devices import is_second_account
from breakdown.store.profiles.profile import Operation
from breakdown.store.profiles.readable import NO_TIME, LeftOut, is_stretch, whole

_COMPUTE = " Compute"
_EVENTS = "traceEvents"
_NO_OBJECT = "events that are no objects, or whose arguments are none"
_NO_NAME = "events whose name, operation or input is no text"
_US = 1000


def parse(content: bytes) -> Any:
    """The value in a JSON file. Raises `ValueError`, which says why, where it holds none."""
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        value = json.loads(text)
        if isinstance(value, dict) and text.count(f'"{_EVENTS}"') > 1:
            json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def is_timeline(content: Any) -> bool:
    """Whether this is such a timeline, not another program's trace in Chrome's format."""
    return isinstance(content, dict) and bool(_devices(content))


def read(path: str, content: Mapping[str, Any], left_out: LeftOut) -> Run:
    """The operations in a timeline. Raises `ValueError` where two devices have one number."""
    run, devices = Run(path), _devices(content)
    for number, event in enumerate(content[_EVENTS]):
        if type(event) is not dict:
            left_out.add(_NO_OBJECT, f"event {number} of {path}")
        elif event.get("ph") == "X" and (device := _of(devices, event.get("pid"))) is not None:
            if is_second_account(device):
                run.again[device] += 1
            else:
                why = _take(run, device, event)
                if why:
                    left_out.add(why, f"event {number} of {path}")
    return run


def _take(run: Run, device: str, event: Mapping[str, Any]) -> str:
    """Adds the operation of an event. Returns why that cannot be; "" where it can."""
    arguments = event.get("args", {})
    if not isinstance(arguments, dict):
        return _NO_OBJECT
    start_ns, length_ns = _ns(event.get("ts")), _ns(event.get("dur"))
    if start_ns is None or length_ns is None or not is_stretch(start_ns, start_ns + length_ns):
        return NO_TIME
    name, kind = arguments.get("name", event.get("name")), arguments.get("op", event.get("name"))
    inputs = tuple([value for key, value in arguments.items() if key.startswith("input")])
    try:
        name, kind = whole(name), whole(kind)
        needs = producers(tuple(map(whole, inputs)))
    except (AttributeError, TypeError):  # which only texts do not raise
        return _NO_NAME
    end_ns = start_ns + length_ns
    if name == RECV_TENSOR:
        run.received(device, "", "", start_ns, end_ns, None)
    else:
        run.operations.setdefault(device, []).append(Operation(name, kind, "", start_ns, end_ns, end_ns, needs))
    return ""


def _ns(value: Any) -> int | None:
    """Microseconds as JSON has them, whole or not, in ns; None where they are no number."""
    if type(value) is int:
        return value * _US
    if type(value) is not float or not math.isfinite(value):
        return None
    whole_us = int(value)
    return whole_us * _US + round((value - whole_us) * _US)


def _devices(content: Mapping[str, Any]) -> dict[Any, str]:
    """By process number, the device."""
    events = content.get(_EVENTS)
    found: dict[Any, str] = {}
    for event in events if isinstance(events, list) else ():
        if not isinstance(event, dict) or event.get("name") != "process_name" or event.get("ph") != "M":
            continue
        arguments, number = event.get("args"), event.get("pid")
        name = whole(str(arguments.get("name", ""))) if isinstance(arguments, dict) else ""
        if name.startswith("/") and name.endswith(_COMPUTE) and isinstance(number, int | str):
            device = name.removesuffix(_COMPUTE)
            if found.setdefault(number, device) != device:
                raise ValueError(f"both {found[number]} and {device} have the number (pid) {number}")
    return found


def _of(devices: Mapping[Any, str], number: Any) -> str | None:
    return devices.get(number) if isinstance(number, int | str) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has its events once: of two, all but the last would be lost."""
    if sum(name == _EVENTS for name, _ in pairs) > 1:
        raise ValueError(f"it has {_EVENTS!r} twice")
    return dict(pairs)
