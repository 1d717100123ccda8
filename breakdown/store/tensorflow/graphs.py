"""The graph of an executor: what each operation waits for, and which variable a tensor on the wire belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
"""Types of operations that stand for a variable; their name is the variable's."""

SEND, RECEIVE = "_Send", "_Recv"

FETCH = "_send_"
"""How the names of the operations begin that hand a value to the program."""


class Graph:
    """`nodes`: [name, type, inputs, tensor] of each operation; an input is "name", "name:2", or "^name" for mere order.

    `tensor` is what a `_Send` or `_Recv` calls the tensor that it passes on, "" for others.
    """

    def __init__(self, nodes: Iterable[Sequence[Any]]) -> None:
        self.types: dict[str, str] = {}
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.tensors: dict[str, str] = {}
        for name, kind, inputs, tensor in nodes:
            self.types[name] = kind
            self.inputs[name] = tuple(_producer(text) for text in inputs)
            if tensor:
                self.tensors[name] = tensor

    def __len__(self) -> int:
        return len(self.types)

    def holds(self, ran: Collection[tuple[str, str]]) -> bool:
        """Whether all of these (name, type) are operations of this graph."""
        return all(self.types.get(name) == kind for name, kind in ran)

    def waits_for(self, name: str, ran: Collection[str]) -> set[str]:
        """The operations of `ran` that have to be done before this one can run.

        TensorFlow does not mark constants and operations that do nothing: what those wait for stands in their place.
        """
        found: set[str] = set()
        open_, seen = list(self.inputs.get(name, ())), {name}
        while open_:
            one = open_.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in ran:
                found.add(one)
            else:
                open_.extend(self.inputs.get(one, ()))
        return found

    @cached_property
    def forward(self) -> frozenset[str]:
        """The operations that lead to what the program fetches (the loss): all others that compute are the backward pass."""
        found: set[str] = set()
        open_ = [name for name in self.types if name.startswith(FETCH)]
        while open_:
            one = open_.pop()
            if one not in found:
                found.add(one)
                open_.extend(self.inputs.get(one, ()))
        return frozenset(found)

    @cached_property
    def variables_of_tensors(self) -> Mapping[str, str]:
        """Of a server's graph, the variable of each tensor that it sends (read from it) or receives (applied to it).

        A gradient that is only summed has its accumulator's name: see `variables_of_accumulators`.
        """
        found = {}
        for name, tensor in self.tensors.items():
            owner = self._variable(name) if self.types[name] == SEND else self._one_variable(self._appliers(name))
            if owner is not None:
                found[tensor] = owner
        return found

    @cached_property
    def variables_of_accumulators(self) -> Mapping[str, str]:
        """The variable that each accumulator's mean gradient is applied to, of a graph that does so."""
        found = {}
        for name, kind in self.types.items():
            if kind.endswith("AccumulatorTakeGradient"):
                accumulator, variable = self._variable(name), self._one_variable(self._appliers(name))
                if accumulator is not None and variable is not None:
                    found[accumulator] = variable
        return found

    @cached_property
    def _consumers(self) -> Mapping[str, Sequence[str]]:
        consumers = defaultdict(list)
        for name, inputs in self.inputs.items():
            for one in inputs:
                consumers[one].append(name)
        return consumers

    def _one_variable(self, names: Iterable[str]) -> str | None:
        owners = {owner for owner in map(self._variable, names) if owner is not None}
        return owners.pop() if len(owners) == 1 else None

    def _appliers(self, name: str) -> list[str]:
        """What a tensor is handed to, through operations that only pass it on."""
        found, open_, seen = [], [name], {name}
        while open_:
            for one in self._consumers.get(open_.pop(), ()):
                if one in seen:
                    continue
                seen.add(one)
                if self.types[one].startswith("Identity"):
                    open_.append(one)
                else:
                    found.append(one)
        return found

    def _variable(self, name: str) -> str | None:
        """The one variable that an operation reads or changes; None where there is none, or several."""
        owners, open_, seen = set(), [name], {name}
        while open_:
            for one in self.inputs.get(open_.pop(), ()):
                if one in seen:
                    continue
                seen.add(one)
                if self.types.get(one) in VARIABLES or self.types.get(one, "").endswith("ConditionalAccumulator"):
                    owners.add(one)
                elif self.types.get(one) not in (RECEIVE, None) and not self.types[one].endswith("AccumulatorTakeGradient"):
                    open_.append(one)
        return owners.pop() if len(owners) == 1 else None


def _producer(text: str) -> str:
    return text.removeprefix("^").split(":")[0]
