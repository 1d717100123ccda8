"""The JSON that `timeline.Timeline(run_metadata.step_stats).generate_chrome_trace_format()` writes: one step a file.

Of a RecvTensor it keeps neither the tensor, nor the sender, nor the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from breakdown.store.profiles.device_stats import NodeStats, Run

_COMPUTE = " Compute"
_US = 1000


def is_timeline(content: Mapping[str, Any]) -> bool:
    """Whether this is such a timeline, not another program's trace in Chrome's format."""
    return bool(_devices(content))


def read(path: str, content: Mapping[str, Any]) -> Run:
    """The operations in a timeline. Raises `KeyError` or `TypeError` where an event lacks what all have."""
    devices = _devices(content)
    found = []
    for event in content["traceEvents"]:
        if event["ph"] != "X" or event["pid"] not in devices:
            continue
        arguments = event.get("args", {})
        inputs = tuple(str(value) for name, value in arguments.items() if name.startswith("input"))
        start_ns = int(event["ts"]) * _US
        name, kind = str(arguments.get("name", event["name"])), str(arguments.get("op", event["name"]))
        found.append(NodeStats(devices[event["pid"]], name, kind, inputs, start_ns, start_ns + int(event["dur"]) * _US))
    return Run(path, tuple(found))


def _devices(content: Mapping[str, Any]) -> dict[int, str]:
    """By process number, the device."""
    events = content.get("traceEvents")
    found = {}
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict) and event.get("name") == "process_name" and event.get("ph") == "M":
            name = str(event.get("args", {}).get("name", ""))
            if name.startswith("/") and name.endswith(_COMPUTE):
                found[event["pid"]] = name.removesuffix(_COMPUTE)
    return found
