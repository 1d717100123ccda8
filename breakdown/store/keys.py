"""Gives the keys of native traces their parameters' names.

A native recorder sees a framework's numbers. Two notes say what they stand for: `parameter_names` (number -> name), from
the program's own side, and `wire_key`, from the native recorder's, once for each key on the wire: the parameter that it
carries, and how many of its elements. Where several keys carry one parameter, each is called by its elements, as in
`torch_ps`: `fc1.weight[0:500]`, in the order of keys, then servers. Where their number is not known (rows of a sparse
parameter), it is called by its part: `[1/2]`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import accumulate

from breakdown.record.tracefile import TraceFile

PARAMETER_NAMES, WIRE_KEY = "parameter_names", "wire_key"

UNKNOWN = -1
"""A number of elements that a message does not tell."""


def names_of_keys(traces: Iterable[TraceFile]) -> Mapping[str, str]:
    """From the texts of native traces of one run to names."""
    names: dict[str, str] = {}
    parts: dict[str, dict[str, int]] = defaultdict(dict)  # parameter -> wire key -> elements
    for trace in traces:
        for kind, value in trace.notes:
            if kind == PARAMETER_NAMES:
                names |= {str(number): str(name) for number, name in value.items()}
            elif kind == WIRE_KEY:
                elements = int(value.get("elements", UNKNOWN))
                parts[trace.names[value["parameter_id"]]][trace.names[value["wire_key_id"]]] = elements
    for parameter, keys in parts.items():
        names |= _named(names.get(parameter, parameter), keys)
    return names


def _named(parameter: str, keys: Mapping[str, int]) -> dict[str, str]:
    ordered = sorted(keys, key=_key_then_server)
    if len(ordered) == 1:
        return {ordered[0]: parameter}
    if UNKNOWN in keys.values():
        return {key: f"{parameter}[{part}/{len(ordered)}]" for part, key in enumerate(ordered, start=1)}
    stops = list(accumulate(keys[key] for key in ordered))
    return {key: f"{parameter}[{stop - keys[key]}:{stop}]" for key, stop in zip(ordered, stops, strict=True)}


def _key_then_server(text: str) -> tuple[int, int]:
    """Of "<key>@<server>"."""
    key, _, server = text.partition("@")
    return int(key), int(server)
