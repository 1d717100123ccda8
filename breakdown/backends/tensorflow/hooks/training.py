"""Whether a graph of TensorFlow trains: it computes gradients and changes variables, or has an optimizer's operations."""

from __future__ import annotations

import re
from typing import Any, Iterable, Iterator, List, Set, Tuple

_GRADIENT = re.compile(r"(^|/)(gradients(_\d+)?|gradient_tape)/")
"""In the names of operations that compute gradients: tf.gradients' and GradientTape's."""

_CHANGES = ("Assign", "Scatter", "ResourceScatter")
"""How the types of operations begin that change a variable; Keras 3 updates with these."""

_PASSES = ("Identity", "Cast", "Reshape")
"""How the types of operations begin that only hand a value on."""

_APPLIES = "Apply"
"""In the types of operations that are an optimizer's: ApplyAdam, ResourceApplyMomentum, ResourceAccumulatorApplyGradient."""

_SUMS = "Accumulator"
"""In the types of operations by which SyncReplicasOptimizer collects the gradients of all workers."""


def trains(operations: Iterable[Tuple[str, str]]) -> bool:
    """Whether these operations do, each a name and a type."""
    has_gradient = has_change = False
    for name, kind in operations:
        if _APPLIES in kind:
            return True
        has_gradient = has_gradient or _GRADIENT.search(name) is not None
        has_change = has_change or kind.startswith(_CHANGES)
    return has_gradient and has_change


def is_synchronous(operations: Iterable[Tuple[str, str]]) -> bool:
    """Whether workers' gradients are collected before they are applied."""
    return any(_SUMS in kind and _APPLIES in kind for _, kind in operations)


def needed(roots: Iterable[Any], by_data_only: bool = False) -> List[Any]:
    """All operations of a graph that these need, themselves among them. `by_data_only`: not those that only come before."""
    found: List[Any] = []
    seen: Set[Any] = set()
    open_ = list(roots)
    while open_:
        one = open_.pop()
        if one in seen:
            continue
        seen.add(one)
        found.append(one)
        open_.extend(tensor.op for tensor in one.inputs)
        if not by_data_only:
            open_.extend(one.control_inputs)
    return found


def gradients(operations: Iterable[Any]) -> List[Any]:
    """Those that compute gradients, or apply them: what brings data to these brings a step's batch."""
    return [one for one in operations if _GRADIENT.search(one.name) is not None or _APPLIES in one.type]


def takes_tokens(operations: Iterable[Any]) -> bool:
    """Whether something is taken from a queue of which nothing is computed: workers may wait for each other so."""
    taken = (one for one in operations if one.type.startswith("QueueDequeue"))
    return any(not _is_computed(one) for one in taken)


def _is_computed(taken: Any) -> bool:
    """Whether its data goes on to more than a count: to a gradient, or to where the next batch is kept."""
    open_, seen = [taken], {taken}
    while open_:
        for tensor in open_.pop().outputs:
            for one in tensor.consumers():
                if not one.type.startswith((*_CHANGES, *_PASSES)):
                    return True
                if one not in seen and one.type.startswith(_PASSES):
                    seen.add(one)
                    open_.append(one)
    return False


def of_function(function: Any) -> Iterator[Tuple[str, str]]:
    """Name and type of each operation of a traced function (a ConcreteFunction), and of those that it calls."""
    graph = function.graph.as_graph_def()
    for node in graph.node:
        yield node.name, node.op
    for called in graph.library.function:
        for node in called.node_def:
            yield node.name, node.op
