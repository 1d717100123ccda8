"""Steps from the records of single operations of one `session.run`, as RunMetadata and its timeline hold them.

A RecvTensor begins, by TensorFlow's own account, when the other process began to send (by that one's clock), and ends when
the tensor was there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.store.profiles.devices import job_of_device, node_of_device
from breakdown.store.profiles.profile import Operation, Part, Profile, Step, lost, received_name
from breakdown.store.profiles.readable import FAR_TIME, LONGEST_NS, LeftOut, middle
from breakdown.store.tensorflow.graphs import RECEIVE

RECV_TENSOR = "RecvTensor"

_LABEL = re.compile(r"(?P<name>\S+) = (?P<kind>\w+)\((?P<inputs>.*)\)", re.DOTALL)
_RECV_LABEL = re.compile(r"edge_\d+_(?P<tensor>\S+) from (?P<source>\S+) to \S+")
_RECEIVED = re.compile(r"(.+)_S\d+")
_FIRST_JOBS = ("chief", "master")


@dataclass
class Run:
    """All operations of one `session.run` by device, and where they were read.

    `sources`: the sending devices of received tensors. `again`: how many records tell the same work again, by their lane of
    a GPU.
    """

    path: str
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    sources: list[tuple[Operation, str]] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)

    def received(self, device: str, tensor: str, source: str, sent_ns: int, done_ns: int, size: int | None) -> None:
        """Adds a RecvTensor."""
        name = received_name(tensor)
        one = Operation(name, RECEIVE, "", sent_ns, sent_ns, done_ns, (), None, tensor, None, size, sent_ns)
        self.operations.setdefault(device, []).append(one)
        if source:
            self.sources.append((one, source))


@lru_cache(maxsize=1 << 16)
def labelled(label: str) -> tuple[str, tuple[str, ...]]:
    """The type of an operation and those that it needs, from what RunMetadata says of it: "name = Type(input, ...)"."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return "", ()
    return found["kind"], producers(tuple(text for text in found["inputs"].split(", ") if text))


@lru_cache(maxsize=1 << 16)
def producers(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """The operations that make these inputs. A received one is called by its maker, and a number."""
    return tuple(_producer(text) for text in inputs)


def received(label: str) -> tuple[str, str]:
    """The tensor and the sending device of a RecvTensor."""
    found = _RECV_LABEL.search(label)
    return (found["tensor"], found["source"]) if found else ("", "")


def profile(runs: Sequence[Run], remarks: Iterable[str], left_out: LeftOut) -> Profile:
    """The steps of all runs. Raises `UsageError` where no device is of a worker."""
    jobs = {job_of_device(device) for run in runs for device in run.operations}
    before = {"worker": 1} if jobs.intersection(_FIRST_JOBS) else {}
    steps = [step for run in runs if (step := _step(run, before, left_out)) is not None]
    if not steps:
        devices = sorted({device for run in runs for device in run.operations})
        named = f" The devices are {', '.join(devices[:5])}." if devices else ""
        why = "".join(f" {remark}." for remark in left_out.remarks())
        raise UsageError(
            f"{runs[0].path} holds no operation of a worker.{named}{why} Give the RunMetadata of a worker's session.run, or "
            "its timeline."
        )
    nodes = {node for step in steps for node in step.parts}
    said = (*remarks, *_gpus(runs), *left_out.remarks(), *_lost(steps))
    return Profile(steps, dict.fromkeys(sorted(nodes)), remarks=said)


def _gpus(runs: Sequence[Run]) -> Iterable[str]:
    again = sum((run.again for run in runs), Counter[str]())
    if again:
        yield (
            f"{again.total()} records of {', '.join(sorted(again))} were left out: they are the kernels and copies of "
            "operations that count already, for as long as they took to launch; what a GPU did after that does not count"
        )


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


def _step(run: Run, before: dict[str, int], left_out: LeftOut) -> Step | None:
    """None where no worker took part: what a program runs before and after training, on a server alone."""
    parts: dict[Node, Part] = {}
    for device, operations in run.operations.items():
        node = node_of_device(device, before)
        if node is None:
            left_out.add(
                f"records of {device}, whose name does not say its job and task,", f"in {run.path}", len(operations)
            )
        else:
            parts.setdefault(node, Part(node)).operations.extend(operations)
    for part in parts.values():
        part.operations = _near(part.operations, run.path, left_out)
    for one, source in run.sources:
        one.peer = node_of_device(source, before)
    workers = [part for part in parts.values() if part.node.role is Role.WORKER]
    if not workers:
        if parts:
            left_out.add("session.runs in which no worker took part", run.path)
        return None
    own = max(workers, key=lambda part: len(part.operations))
    return Step(own.node, own.start_ns, own.done_ns, [], [], parts=parts)


def _near(operations: list[Operation], path: str, left_out: LeftOut) -> list[Operation]:
    """Those that can be of one step. The beginning of a sending is another process's."""
    spread_ns = max(one.done_ns for one in operations) - min(one.done_ns for one in operations)
    if spread_ns <= LONGEST_NS and all(one.done_ns - one.start_ns <= LONGEST_NS for one in operations if not one.receives):
        return operations
    at_ns = middle(one.done_ns for one in operations)
    near = []
    for one in operations:
        start_ns = one.done_ns if one.receives else one.start_ns
        if abs(one.done_ns - at_ns) <= LONGEST_NS and abs(start_ns - at_ns) <= LONGEST_NS:
            near.append(one)
        else:
            left_out.add(FAR_TIME, f"{one.name!r} in {path}")
    return near


def _producer(text: str) -> str:
    name = text.removeprefix("^").split(":")[0]
    found = _RECEIVED.fullmatch(name)
    return received_name(found[1]) if found else name
