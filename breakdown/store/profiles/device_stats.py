"""Steps from the records of single operations of one `session.run`, as RunMetadata and its timeline hold them.

A RecvTensor begins, by TensorFlow's own account, when the other process began to send (by that one's clock), and ends when
the tensor was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.store.profiles.profile import Operation, Part, Profile, Step, lost, node_of_job, received_name
from breakdown.store.tensorflow.graphs import RECEIVE

RECV_TENSOR = "RecvTensor"

_DEVICE = re.compile(r"/job:(?P<job>\w+)(?:/replica:\d+)?/task:(?P<task>\d+)/device:(?P<kind>\w+):\d+")
_LABEL = re.compile(r"(?P<name>\S+) = (?P<kind>\w+)\((?P<inputs>.*)\)")
_RECV_LABEL = re.compile(r"edge_\d+_(?P<tensor>\S+) from (?P<source>\S+) to \S+")
_RECEIVED = re.compile(r"(.+)_S\d+")
_FIRST_JOBS = ("chief", "master")


@dataclass(frozen=True)
class NodeStats:
    """One operation of one device."""

    device: str
    name: str
    kind: str
    inputs: tuple[str, ...]
    start_ns: int
    end_ns: int
    tensor: str = ""
    source: str = ""  # of a RecvTensor: the sending device
    size_bytes: int | None = None
    ready_ns: int | None = None  # when it could run; None: not told


@dataclass(frozen=True)
class Run:
    """All operations of one `session.run`, and where they were read."""

    path: str
    stats: tuple[NodeStats, ...]


def labelled(label: str) -> tuple[str, tuple[str, ...]]:
    """The type and the inputs of an operation, from what RunMetadata says of it: "name = Type(input, ...)"."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return "", ()
    return found["kind"], tuple(text for text in found["inputs"].split(", ") if text)


def received(label: str) -> tuple[str, str]:
    """The tensor and the sending device of a RecvTensor."""
    found = _RECV_LABEL.search(label)
    return (found["tensor"], found["source"]) if found else ("", "")


def profile(runs: Sequence[Run], remarks: Iterable[str]) -> Profile:
    """The steps of all runs. Raises `UsageError` where a device's name says no role."""
    jobs = {match["job"] for run in runs for one in run.stats if (match := _DEVICE.search(one.device))}
    before = {"worker": 1} if jobs.intersection(_FIRST_JOBS) else {}
    steps = [_step(run, before) for run in runs]
    nodes = {node for step in steps for node in step.parts}
    return Profile(steps, dict.fromkeys(sorted(nodes)), remarks=(*remarks, *_lost(steps)))


def _lost(steps: Sequence[Step]) -> list[str]:
    """TensorFlow now and then ends a step's statistics before the last records have come."""
    found = {
        (place, need)
        for place, step in enumerate(steps)
        for part in step.parts.values()
        for names in ({one.name for one in part.operations},)
        for one in part.operations
        for need in lost(one, names)
    }
    if not found:
        return []
    count = len({place for place, _ in found})
    return [
        f"TensorFlow did not record how {len(found)} tensors came, in {count} of {len(steps)} steps: their "
        "bytes are missing, and what waited for them waited for an unknown reason (other)"
    ]


def _step(run: Run, before: dict[str, int]) -> Step:
    parts: dict[Node, Part] = {}
    for one in run.stats:
        node = _node(one.device, before, run.path)
        if "/stream:" not in one.device and "memcpy" not in one.device:  # a GPU's second account of the same work
            parts.setdefault(node, Part(node)).operations.append(_operation(one, before, run.path))
    workers = [part for part in parts.values() if part.node.role is Role.WORKER]
    if not workers:
        raise UsageError(f"{run.path} holds no operation of a worker. Give the RunMetadata of a worker's session.run.")
    own = max(workers, key=lambda part: len(part.operations))
    return Step(own.node, own.start_ns, own.done_ns, [], [], parts=parts)


def _node(device: str, before: dict[str, int], path: str) -> Node:
    found = _DEVICE.search(device)
    if found is None:
        raise UsageError(f"{path} has a device {device!r}, which does not say its job and task.")
    return node_of_job(found["job"], int(found["task"]), before)


def _operation(one: NodeStats, before: dict[str, int], path: str) -> Operation:
    if one.name != RECV_TENSOR:
        needs = tuple(_producer(text) for text in one.inputs)
        return Operation(one.name, one.kind, "", one.start_ns, one.end_ns, one.end_ns, needs, one.ready_ns)
    peer = _node(one.source, before, path) if one.source else None
    sent_ns, done_ns = one.start_ns, one.end_ns
    name = received_name(one.tensor)
    return Operation(name, RECEIVE, "", sent_ns, sent_ns, done_ns, (), None, one.tensor, peer, one.size_bytes, sent_ns)


def _producer(text: str) -> str:
    """The operation that makes an input. A received one is called by its maker, and a number."""
    name = text.removeprefix("^").split(":")[0]
    found = _RECEIVED.fullmatch(name)
    return received_name(found[1]) if found else name
