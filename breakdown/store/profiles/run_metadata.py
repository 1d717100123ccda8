"""RunMetadata of `session.run` with `trace_level=FULL_TRACE`: one step a file."""

from __future__ import annotations

from typing import Any

from breakdown.store.profiles.device_stats import RECV_TENSOR, NodeStats, Run, labelled, received

_US = 1000


def read(path: str, message: Any) -> Run:
    """The operations in a parsed RunMetadata."""
    return Run(
        path, tuple(_stats(device.device, node) for device in message.step_stats.dev_stats for node in device.node_stats)
    )


def _stats(device: str, node: Any) -> NodeStats:
    start_ns, length_ns = node.all_start_nanos, node.all_end_rel_nanos
    if not length_ns:  # RecvTensor has microseconds alone
        start_ns, length_ns = node.all_start_micros * _US, node.all_end_rel_micros * _US
    name = node.node_name
    if name != RECV_TENSOR:
        kind, inputs = labelled(node.timeline_label)
        ready_ns = node.scheduled_nanos or None
        return NodeStats(device, name, kind, inputs, start_ns, start_ns + length_ns, ready_ns=ready_ns)
    tensor, source = received(node.timeline_label)
    # the label rounds the size of a large tensor
    size = sum(output.tensor_description.allocation_description.requested_bytes for output in node.output)
    known = size if len(node.output) else None
    return NodeStats(device, name, RECV_TENSOR, (), start_ns, start_ns + length_ns, tensor, source, known)
