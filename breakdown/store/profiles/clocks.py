"""Brings the processes of a profile to one clock.

Processes of one host have one. Where hosts differ, and where a profile names none and tensors arrive before they were made,
the offset is bounded by tensors that went both ways: one that left at this clock, was there at the other's, and a later one
that came back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from breakdown.clock.offset import Ping, estimate
from breakdown.errors import TraceError
from breakdown.model.identity import Node, Role
from breakdown.store.profiles.pairs import Pair, pairs
from breakdown.store.profiles.profile import Profile

_ONE_CLOCK = "profile"
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Clock:
    """What a process's trace says of its clock: whose it is, and notes."""

    kernel: str
    notes: tuple[Mapping[str, object], ...] = ()


def align(profile: Profile) -> tuple[Mapping[Node, Clock], tuple[str, ...]]:
    """Moves all times to the clock of the first server (or worker). Returns each process's clock, and remarks."""
    found = [pair for step in profile.steps for pair in pairs(step)]
    early_ns = max((pair.ready_ns - pair.receive.done_ns for pair in found), default=0)
    hosts = set(profile.hosts.values())
    if len(hosts) == 1 and (None not in hosts or early_ns <= 0):
        return _one_clock(profile, found, early_ns)
    nodes = sorted(profile.nodes, key=lambda node: (node.role is not Role.SERVER, node))
    reference = nodes[0]
    clocks = {reference: Clock(_kernel(profile, reference))}
    aligned = {node for node in nodes if node == reference or _same_host(profile, node, reference)}
    remarks: list[str] = []
    for node in nodes[1:]:
        same = next((other for other in clocks if _same_host(profile, other, node)), None)
        if same is not None:
            clocks[node] = clocks[same]
            continue
        clocks[node] = Clock(_kernel(profile, node))
        pings = list(_pings(node, aligned, found))
        try:
            offset = estimate(pings)
        except TraceError as error:
            why = error if pings else "no tensors went both ways in the profile"
            remarks.append(f"the clock of {node} cannot be compared with {reference}'s: {why}")
            continue
        moved_ns, bound_ns = offset.offset_ns, offset.bound_ns
        for other in nodes:
            if other == node or _same_host(profile, other, node):
                _move(profile, other, moved_ns)
                aligned.add(other)
        at_ns = offset.at_ns + moved_ns
        ping = [at_ns - bound_ns, at_ns, at_ns + bound_ns]
        clocks[node] = Clock(clocks[node].kernel, ({"reference": str(reference), "pings": [ping]},))
        remarks.append(
            f"the times of {node} were moved by {moved_ns / _NS_PER_MS:.3f} ms to {reference}'s clock, which is right to "
            f"within {bound_ns / _NS_PER_MS:.3f} ms, as far as tensors that went both ways tell"
        )
    return clocks, tuple(remarks)


def _one_clock(profile: Profile, found: Sequence[Pair], early_ns: int) -> tuple[Mapping[Node, Clock], tuple[str, ...]]:
    hosts = set(profile.hosts.values())
    remarks = []
    if None in hosts and len(profile.hosts) > 1:
        remarks.append(
            "the profile does not name the hosts: its processes are taken to share one clock, which none of "
            f"{len(found)} tensors contradicts"
        )
    if early_ns > 0:
        remarks.append(f"tensors arrive up to {early_ns} ns before they were made, though all processes are of one host")
    return {node: Clock(_kernel(profile, profile.nodes[0])) for node in profile.nodes}, tuple(remarks)


def _kernel(profile: Profile, node: Node) -> str:
    host = profile.hosts[node]
    one_clock = len(set(profile.hosts.values())) == 1
    return f"host {host}" if host is not None else _ONE_CLOCK if one_clock and node == profile.nodes[0] else str(node)


def _same_host(profile: Profile, first: Node, second: Node) -> bool:
    host = profile.hosts[first]
    return host is not None and host == profile.hosts[second]


def _pings(node: Node, known: set[Node], found: Sequence[Pair]) -> Iterator[Ping]:
    """A tensor left here before `remote`, and one that came here left there after it: two moments serve as `remote`."""
    there = sorted((pair.receive.done_ns, pair.ready_ns) for pair in found if pair.sender == node and pair.receiver in known)
    back = sorted((pair.ready_ns, pair.receive.done_ns) for pair in found if pair.receiver == node and pair.sender in known)
    arrived = [there_ns for there_ns, _ in there]
    left = [left_ns for left_ns, _ in back]
    latest_sent = list(accumulate((sent_ns for _, sent_ns in there), max))
    first_back = list(accumulate((came_ns for _, came_ns in reversed(back)), min))[::-1]
    for remote_ns, sent_ns in there:
        place = bisect_left(left, remote_ns)
        if place < len(back):
            yield Ping(sent_ns, remote_ns, first_back[place])
    for remote_ns, came_ns in back:
        place = bisect_right(arrived, remote_ns)
        if place:
            yield Ping(latest_sent[place - 1], remote_ns, came_ns)


def _move(profile: Profile, node: Node, by_ns: int) -> None:
    for step in profile.steps:
        for part in step.parts.values():
            for one in part.operations:
                if part.node == node:
                    one.start_ns, one.end_ns, one.done_ns = one.start_ns + by_ns, one.end_ns + by_ns, one.done_ns + by_ns
                    one.ready_ns = None if one.ready_ns is None else one.ready_ns + by_ns
                if one.peer == node and one.sent_ns is not None:
                    one.sent_ns += by_ns  # which the sender's clock told
        own = step.parts.get(node)
        if own is not None and own.told_ns is not None:
            own.told_ns = own.told_ns[0] + by_ns, own.told_ns[1] + by_ns
        if step.worker == node:
            step.start_ns, step.end_ns = step.start_ns + by_ns, step.end_ns + by_ns
            step.calls = [(start + by_ns, end + by_ns) for start, end in step.calls]
            step.runs = [(start + by_ns, end + by_ns) for start, end in step.runs]
    beside = profile.beside.get(node, ())
    profile.beside[node] = [replace(one, start_ns=one.start_ns + by_ns, end_ns=one.end_ns + by_ns) for one in beside]
