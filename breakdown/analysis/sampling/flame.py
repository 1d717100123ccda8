"""Merges stacks into the boxes of a flame graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from breakdown.analysis.sampling.findings import Frame, StackTime
from breakdown.analysis.sampling.stackmap import UNNAMED
from breakdown.model.stages import Stage


@dataclass
class _Node:
    time_ns: int = 0
    stages: set[Stage] = field(default_factory=set)
    inner: dict[str, _Node] = field(default_factory=dict)


def flame(stacks: Sequence[StackTime]) -> tuple[Frame, ...]:
    """Boxes from left to right and from the bottom up; a thread's frames that all its stacks share are left out but one.

    Sleeping stacks are no part of it: threads mostly sleep, and what they do would be too thin to see.
    """
    awake = [stack for stack in stacks if stack.stage is not None]
    roots: dict[str, _Node] = {}
    for thread, own in _by_thread(awake).items():
        paths = [_named(stack.stack.split(";")) for stack in own]
        shared = _shared(paths)
        for stack, path in zip(own, paths, strict=True):
            _add(roots.setdefault(thread, _Node()), path[max(shared - 1, 0) :], stack)
    return tuple(_boxes(roots, 0, 0))


def _by_thread(stacks: Sequence[StackTime]) -> Mapping[str, list[StackTime]]:
    found: dict[str, list[StackTime]] = {}
    for stack in stacks:
        found.setdefault(stack.thread, []).append(stack)
    return found


def _named(path: list[str]) -> list[str]:
    """Without frames that have no name, unless none has."""
    return [frame for frame in path if not frame.startswith(UNNAMED)] or path[-1:]


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many outer frames all paths have in common."""
    count = 0
    for frames in zip(*paths, strict=False):
        if len(set(frames)) > 1:
            break
        count += 1
    return count


def _add(node: _Node, path: Sequence[str], stack: StackTime) -> None:
    for name in ("", *path):
        node = node.inner.setdefault(name, _Node()) if name else node
        node.time_ns += stack.time_ns
        if stack.stage is not None:
            node.stages.add(stack.stage)


def _boxes(nodes: Mapping[str, _Node], start_ns: int, depth: int) -> Iterator[Frame]:
    for name, node in sorted(nodes.items(), key=lambda item: (-item[1].time_ns, item[0])):
        stage = next(iter(node.stages)) if len(node.stages) == 1 else None
        yield Frame(name, depth, start_ns, node.time_ns, stage)
        yield from _boxes(node.inner, start_ns, depth + 1)
        start_ns += node.time_ns
