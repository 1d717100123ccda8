"""How many samples a step has: the first dimension of what it is given."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

_BATCHES = ("IteratorGetNext", "QueueDequeue", "Unstage", "MapUnstage", "OrderedMapUnstage", "RecordInput")
"""How the types of operations begin that bring a batch in a graph."""


def of_feeds(feeds: Mapping[Any, Any]) -> int:
    """Of a session's feeds (a tensor's reference -> array); 0 where none is a batch.

    A placeholder whose first dimension is left open is a batch before one that has it fixed.
    """
    batches = [(reference.deref(), value) for reference, value in feeds.items() if getattr(value, "ndim", 0)]
    batches.sort(key=lambda one: _first(one[0].shape) != 0)
    return int(batches[0][1].shape[0]) if batches else 0


def of_operations(operations: Iterable[Any], otherwise: int) -> int:
    """Of the operations that bring a batch in a graph; 0 where there are none.

    `otherwise`: where the graph leaves the size of a dataset's batches open.
    """
    found = 0
    for operation in operations:
        if operation.type.startswith(_BATCHES):
            sizes = [size for size in (_first(tensor.shape) for tensor in operation.outputs) if size]
            found = found or (sizes[0] if sizes else 0)
            if not sizes and operation.type.startswith(_BATCHES[0]):
                found = found or otherwise
    return found


def of_random(operations: Iterable[Any]) -> int:
    """Of those that draw a batch at random within a graph, as benchmarks do; 0 where there are none."""
    drawn = (tensor for one in operations if one.type.startswith(("Random", "Truncated")) for tensor in one.outputs)
    return next((size for size in (_first(tensor.shape) for tensor in drawn) if size), 0)


def of_values(values: Iterable[Any]) -> int:
    """Of what a function is called with: its first tensor or array; 0 where there is none that has a first dimension."""
    return next((size for size in (_first(getattr(value, "shape", ())) for value in values) if size), 0)


def of_dataset(dataset: Any) -> int:
    """Of what a dataset gives, by the last of its transformations that makes batches; 0 where that is not known."""
    from tensorflow.python.framework import tensor_util

    open_ = [getattr(dataset, "_original_dataset", dataset)]  # of one that a strategy distributes
    while open_:
        one = open_.pop(0)
        size = getattr(one, "_batch_size", None)
        if size is not None:
            value = tensor_util.constant_value(size)
            return int(value) if value is not None else 0
        inputs = getattr(one, "_inputs", None)
        open_.extend(inputs() if callable(inputs) else ())
    return 0


def _first(shape: Any) -> int:
    """The first dimension of a shape; 0 where it has none, or that is open."""
    try:
        return int(shape[0]) if len(shape) and shape[0] is not None else 0
    except (TypeError, ValueError):  # its rank is open; no shape at all
        return 0
