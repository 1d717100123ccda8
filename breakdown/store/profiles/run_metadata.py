"""RunMetadata of `session.run` with `trace_level=FULL_TRACE`: one step a file."""

from __future__ import annotations

from typing import Any

from breakdown.store.profiles.device_stats import RECV_TENSOR, Run, labelled, received
from breakdown.store.profiles.devices import is_second_account
from breakdown.store.profiles.profile import Operation
from breakdown.store.profiles.readable import MOST_BYTES, NO_SIZE, NO_TIME, LeftOut, is_stretch, text

_US = 1000


def read(path: str, message: Any, left_out: LeftOut) -> Run:
    """The operations in a parsed RunMetadata."""
    run = Run(path)
    for device in message.step_stats.dev_stats:
        name = text(device.device)
        if is_second_account(name):
            run.again[name] += len(device.node_stats)
        elif len(device.node_stats):
            _device(run, name, device.node_stats, left_out)
    return run


def _device(run: Run, device: str, nodes: Any, left_out: LeftOut) -> None:
    found: list[Operation] = []
    for node in nodes:
        name = text(node.node_name)
        start_ns, length_ns = node.all_start_nanos, node.all_end_rel_nanos
        if not length_ns:  # RecvTensor has microseconds alone, and so has all of TensorFlow before 1.12
            start_ns, length_ns = node.all_start_micros * _US, node.all_end_rel_micros * _US
        end_ns = start_ns + length_ns
        if not is_stretch(start_ns, end_ns):
            left_out.add(NO_TIME, f"{name!r} on {device} in {run.path}")
        elif name == RECV_TENSOR:
            tensor, source = received(text(node.timeline_label))
            run.received(device, tensor, source, start_ns, end_ns, _size(node, run.path, left_out))
        else:
            kind, needs = labelled(text(node.timeline_label))
            ready_ns = node.scheduled_nanos or None
            found.append(Operation(name, kind, "", start_ns, end_ns, end_ns, needs, ready_ns))
    if found:
        run.operations.setdefault(device, []).extend(found)


def _size(node: Any, path: str, left_out: LeftOut) -> int | None:
    """Its label rounds the size of a large tensor."""
    if not len(node.output):
        return None
    size: int = sum(output.tensor_description.allocation_description.requested_bytes for output in node.output)
    if not 0 <= size <= MOST_BYTES:
        left_out.add(NO_SIZE, f"{text(node.timeline_label)!r} in {path}")
        return None
    return size
