"""The graph of an executor: what each operation waits for, and which variable a tensor on the wire belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
"""Types of operations that stand for a variable; their name is the variable's."""

ARGUMENT = "_Arg"

SEND, RECEIVE = "_Send", "_Recv"

SENDS, RECEIVES = frozenset({SEND, "_HostSend"}), frozenset({RECEIVE, "_HostRecv"})
"""Types of operations that pass a tensor on to another process; a loop's condition is sent by one of its own."""

FETCH, RESULTS = "_send_", frozenset({"_Retval", "_DeviceRetval"})
"""How the names of the operations begin that hand a value to the program; the types of those that a function returns by."""


QUEUED = "QueueDequeue"
"""How the types of operations begin that take from a queue: a batch, or a token by which workers wait for each other."""

TAKES = ("IteratorGetNext", "Unstage", "MapUnstage", "OrderedMapUnstage", "ReaderRead", "RecordInput")
"""How the types of operations begin that take a batch, from whatever it was prepared in."""

_COUNTS, _PASSES = ("Assign",), ("Identity", "Cast", "Reshape", SEND)
"""How the types of operations begin that keep a token's value (the step); and that only hand a value on."""


class Graph:
    """`nodes`: [name, type, inputs, tensor] of each operation; an input is "name", "name:2", or "^name" for mere order.

    `tensor` is what one that sends or receives calls the tensor that it passes on, the place of an `_Arg` among a function's
    arguments, and "" for others.
    """

    def __init__(self, nodes: Iterable[Sequence[Any]]) -> None:
        self.types: dict[str, str] = {}
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.tensors: dict[str, str] = {}
        self.arguments: dict[str, int] = {}
        self._values: dict[str, tuple[str, ...]] = {}  # inputs, but for mere order
        for name, kind, inputs, tensor in nodes:
            self.types[name] = kind
            self.inputs[name] = tuple(_producer(text) for text in inputs)
            self._values[name] = tuple(_producer(text) for text in inputs if not text.startswith("^"))
            if tensor and kind == ARGUMENT:
                self.arguments[name] = int(tensor)
            elif tensor:
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
        """The operations whose values lead to what the program fetches (the loss): all others that compute are backward."""
        found: set[str] = set()
        open_ = [name for name, kind in self.types.items() if name.startswith(FETCH) or kind in RESULTS]
        while open_:
            one = open_.pop()
            if one not in found:
                found.add(one)
                open_.extend(self._values.get(one, ()))
        return frozenset(found)

    def is_computed(self, names: Iterable[str], sent: set[str] | None = None) -> bool:
        """Whether something is computed of what these operations bring: what is only counted or passed on is a token.

        `sent`: gets the tensors by which it is passed on to other processes.
        """
        open_ = list(names)
        seen = set(open_)
        while open_:
            for one in self._uses.get(open_.pop(), ()):
                if not self.types[one].startswith((*_COUNTS, *_PASSES)):
                    return True
                if one not in seen and self.types[one].startswith(_PASSES):
                    seen.add(one)
                    open_.append(one)
                    if sent is not None and one in self.tensors:
                        sent.add(self.tensors[one])
        return False

    def receivers(self, tensors: Collection[str]) -> list[str]:
        """The operations that receive one of these tensors."""
        return [name for name, own in self.tensors.items() if own in tensors and self.types[name] in RECEIVES]

    @cached_property
    def variables_of_tensors(self) -> Mapping[str, str]:
        """Of a server's graph, the variable of each tensor that it sends (read from it) or receives (applied to it).

        A gradient that is only summed has its accumulator's name: see `variables_of_accumulators`.
        """
        found = {}
        for name, tensor in self.tensors.items():
            owner = self._variable(name) if self.types[name] in SENDS else self._one_variable(self._appliers(name))
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
    def arguments_of_tensors(self) -> Mapping[str, int]:
        """Of a function's part on a server, the argument that each tensor is read from, or that it is received to change.

        Where a received tensor changes several (a variable and its momenta), it is for the one that is also sent.
        """
        found: dict[str, int] = {}
        received: dict[str, set[int]] = {}
        for name, tensor in self.tensors.items():
            if self.types[name] in SENDS:
                owners = self._arguments(name)
                if len(owners) == 1:
                    found[tensor] = owners.pop()
            else:
                received[tensor] = self._changed_by(name)
        sent = set(found.values())
        for tensor, changed in received.items():
            one = changed if len(changed) == 1 else changed & sent
            if len(one) == 1:
                found[tensor] = one.pop()
        return found

    def _arguments(self, name: str) -> set[int]:
        """The arguments whose values an operation needs."""
        found, open_, seen = set(), [name], {name}
        while open_:
            one = open_.pop()
            if one in self.arguments:
                found.add(self.arguments[one])
            for other in self._values.get(one, ()):
                if other not in seen:
                    seen.add(other)
                    open_.append(other)
        return found

    def _changed_by(self, name: str) -> set[int]:
        """The arguments that are changed by what comes of an operation, also by way of what is read of those."""
        found: set[int] = set()
        open_, seen = [name], {name}
        while open_:
            for one in self._uses.get(open_.pop(), ()):
                if one in seen:
                    continue
                seen.add(one)
                open_.append(one)
                if self.types[one].startswith("Assign") or "Apply" in self.types[one]:
                    changed = self._arguments(self._values[one][0])
                    open_.extend(name for name, place in self.arguments.items() if place in changed - found)
                    found |= changed
        return found

    @cached_property
    def _consumers(self) -> Mapping[str, Sequence[str]]:
        return _turned_round(self.inputs)

    @cached_property
    def _uses(self) -> Mapping[str, Sequence[str]]:
        return _turned_round(self._values)

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
                elif (
                    one in self.types
                    and self.types[one] not in RECEIVES
                    and not self.types[one].endswith("AccumulatorTakeGradient")
                ):
                    open_.append(one)
        return owners.pop() if len(owners) == 1 else None


def _turned_round(inputs: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """By operation, those that it is an input of."""
    consumers = defaultdict(list)
    for name, own in inputs.items():
        for one in own:
            consumers[one].append(name)
    return consumers


def _producer(text: str) -> str:
    return text.removeprefix("^").split(":")[0]
