"""Which operation of another process a received tensor came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from breakdown.model.identity import Node
from breakdown.store.profiles.profile import Operation, Step


@dataclass(frozen=True)
class Pair:
    """A tensor on its way: who had it ready by `maker`, and who received it."""

    sender: Node
    maker: Operation
    receiver: Node
    receive: Operation

    @property
    def ready_ns(self) -> int:
        """On the sender's clock: not before this the tensor went."""
        return self.maker.start_ns if self.maker.sends else self.maker.done_ns


def pairs(step: Step) -> Iterator[Pair]:
    """All tensors of a step of which the profile names the maker and shows both ends."""
    if len(step.parts) < 2:
        return
    sends: dict[tuple[Node, str], Operation] = {}
    makers: dict[tuple[Node, str], Operation] = {}
    for part in step.parts.values():
        for one in part.operations:
            if one.sends:
                sends[part.node, one.tensor] = one
            elif not one.receives:
                makers[part.node, one.name] = one
    for part in step.parts.values():
        others = [node for node in step.parts if node != part.node]
        for one in part.operations:
            if not one.receives or not one.tensor:
                continue
            known = [one.peer] if one.peer is not None else others
            for found in (sends, makers):  # the `_Send`, where one was recorded, else the operation of that name
                sender = next((node for node in known if (node, one.tensor) in found), None)
                if sender is not None:
                    yield Pair(sender, found[sender, one.tensor], part.node, one)
                    break
