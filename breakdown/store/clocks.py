"""clock.json: per run and node the kernel, the offset to the run's reference node with its bound, and the raw pings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from breakdown.clock.offset import SAME_KERNEL, Offset, Ping, estimate
from breakdown.errors import TraceError
from breakdown.model.identity import Node
from breakdown.record.tracefile import TraceFile
from breakdown.store.contents import OFFSET_FIELDS

NOTE = "clock"
"""The trace note that carries pings: {"reference": node, "pings": [[sent_ns, remote_ns, received_ns], ...]}."""


def clock_entry(traces: Sequence[tuple[Node, TraceFile]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One run's entry of clock.json, and warnings for nodes whose offset is not known (its fields are then null)."""
    reference = _reference(traces)
    kernels = {str(node): str(trace.meta.get("kernel_id")) for node, trace in traces}
    nodes: dict[str, Any] = {}
    warnings: list[str] = []
    for node, trace in traces:
        pings = [Ping(*ping) for note in _notes(trace) for ping in note["pings"]]
        fields: Mapping[str, Any] = dict.fromkeys(OFFSET_FIELDS)
        try:
            offset = SAME_KERNEL if kernels[str(node)] == kernels.get(reference) else estimate(pings)
            fields = {field: getattr(offset, field) for field in OFFSET_FIELDS}
        except TraceError as error:
            warnings.append(f"the clock of {node} cannot be compared with {reference}'s: {error}")
        nodes[str(node)] = {"kernel_id": kernels[str(node)], **fields, "pings": [list(ping) for ping in pings]}
    return {"reference": reference, "nodes": nodes}, tuple(warnings)


def offset_of(entry: Mapping[str, Any]) -> Offset | None:
    """The offset in a node's entry; None when it is not known."""
    if entry["offset_ns"] is None:
        return None
    return Offset(**{field: entry[field] for field in OFFSET_FIELDS})


def _notes(trace: TraceFile) -> list[Mapping[str, Any]]:
    return [value for name, value in trace.notes if name == NOTE]


def _reference(traces: Sequence[tuple[Node, TraceFile]]) -> str:
    """The node that was pinged; where nobody pinged, the first in the order of roles (the scheduler, if there is one)."""
    named = [str(note["reference"]) for _, trace in traces for note in _notes(trace)]
    return named[0] if named else str(traces[0][0])
