"""Gives the keys of native traces their parameters' names.

A native recorder sees a framework's numbers. Two notes say what they stand for: `parameter_names` (number -> name), from
the program's own side, and `wire_key`, from the native recorder's, once for each key on the wire: the parameter it carries.
Where several keys carry one parameter, each is called by its part: `fc1.weight[1/2]`, in the order of servers, then keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from breakdown.record.tracefile import TraceFile

PARAMETER_NAMES, WIRE_KEY = "parameter_names", "wire_key"


def names_of_keys(traces: Iterable[TraceFile]) -> Mapping[str, str]:
    """From the texts of native traces of one run to names."""
    names: dict[str, str] = {}
    parts: dict[str, set[str]] = defaultdict(set)
    for trace in traces:
        for kind, value in trace.notes:
            if kind == PARAMETER_NAMES:
                names |= {str(number): str(name) for number, name in value.items()}
            elif kind == WIRE_KEY:
                parts[trace.names[value["parameter_id"]]].add(trace.names[value["wire_key_id"]])
    for parameter, keys in parts.items():
        name = names.get(parameter, parameter)
        if len(keys) == 1:
            names |= dict.fromkeys(keys, name)
        else:
            ordered = sorted(keys, key=_server_then_key)
            names |= {key: f"{name}[{part}/{len(keys)}]" for part, key in enumerate(ordered, start=1)}
    return names


def _server_then_key(text: str) -> tuple[int, int]:
    """Of "<key>@<server>"."""
    key, _, server = text.partition("@")
    return int(server), int(key)
