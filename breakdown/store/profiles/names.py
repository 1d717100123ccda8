"""What tensors and operations are called: by their variable where the profile tells what operations read and change."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from breakdown.model.identity import Role
from breakdown.store.profiles.profile import Operation, Part, Step, received_name
from breakdown.store.tensorflow.graphs import SEND, VARIABLES, Graph

_UNNAMED = received_name("")


def names_of_tensors(step: Step) -> Mapping[str, str]:
    """The variable that each tensor on its way is read from or meant for."""
    received = {one.tensor for part in step.parts.values() for one in part.operations if one.receives and one.tensor}
    found: dict[str, str] = {}
    for part in step.parts.values():
        if part.node.role is Role.SERVER:
            nodes = [(one.name, one.kind, one.needs or (), one.tensor if one.receives else "") for one in part.operations]
            own = {one.name for one in part.operations}
            sent = [(f"{SEND} {tensor}", SEND, (tensor,), tensor) for tensor in received if tensor in own]
            found |= Graph([*nodes, *sent]).variables_of_tensors
    return found


def key_of(one: Operation, names: Mapping[str, str], owners: Collection[str]) -> str:
    """A tensor's variable, what a server's operation reads or changes, else the operation's own name.

    `owners`: the names of the server's variables and accumulators.
    """
    if one.tensor:
        return names.get(one.tensor, one.tensor)
    owner = next((name for name in one.needs or () if name in owners), None) if owners else None
    return one.name.removeprefix(_UNNAMED) if owner is None else owner


def owners(part: Part) -> frozenset[str]:
    """The operations of a server that stand for a variable or an accumulator; none of a worker."""
    if part.node.role is not Role.SERVER:
        return frozenset()
    return frozenset(
        one.name for one in part.operations if one.kind in VARIABLES or one.kind.endswith("ConditionalAccumulator")
    )
