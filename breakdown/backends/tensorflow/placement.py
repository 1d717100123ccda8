"""Which server holds what: pieces of variables, and where a worker's graph puts them.

Runs in TensorFlow's environment: standard library and tensorflow only.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional

import tensorflow as tf


def partitioner(cell: Mapping[str, Any]) -> Optional[Callable[..., List[int]]]:
    """Cuts a variable above the cell's bound over all servers, along its first axis; None where all stay whole."""
    if cell["sharding"] != "split":
        return None

    def pieces(shape: Any, dtype: Any) -> List[int]:
        above = shape.num_elements() * dtype.size > cell["split_bound_bytes"]
        return [min(cell["servers"], shape[0]) if above else 1] + [1] * (shape.rank - 1)

    return pieces


def graph_placement(cell: Mapping[str, Any], rank: int) -> Callable[[Any], str]:
    """The device of each operation of a worker's graph: variables on servers, all else on the worker."""
    strategy = None if cell["sharding"] == "round_robin" else LeastLoaded(cell["servers"])
    place: Callable[[Any], str] = tf.compat.v1.train.replica_device_setter(
        ps_tasks=cell["servers"], worker_device=f"/job:worker/task:{rank}", ps_strategy=strategy
    )
    return place


class LeastLoaded:
    """A strategy of placement: each variable, as it comes, to the server that has the fewest bytes so far."""

    def __init__(self, servers: int) -> None:
        self._sizes_bytes = [0] * servers

    def __call__(self, operation: Any) -> int:
        """The server for the variable that this operation makes."""
        server = self._sizes_bytes.index(min(self._sizes_bytes))
        shape, kind = operation.get_attr("shape"), tf.as_dtype(operation.get_attr("dtype"))
        self._sizes_bytes[server] += tf.TensorShape(shape).num_elements() * kind.size
        return server
