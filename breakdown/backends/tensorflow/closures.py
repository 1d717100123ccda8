"""Stands in the coordinator's thread of each worker, where a scheduled function (a closure) is run on that worker.

Runs in TensorFlow's environment: standard library and tensorflow only.
"""

from __future__ import annotations

from typing import Any, Callable, List

TAKE, STEP, READ = "take", "train-step", "read"
"""The operations of waiting for the next closure, of having the worker run it, and of fetching what it returns."""

Process = Callable[[Callable[[], None]], bool]
"""Runs the closure and fetches what it returns; calls its argument in between. False where the closure failed."""


def watch(drive: Callable[[int, Any, Process], None]) -> None:
    """From here on the coordinator's threads call `drive(worker, closure, process)` for each closure.

    TensorFlow offers no place to stand there, so its method is wrapped.
    """
    from tensorflow.python.distribute.coordinator import cluster_coordinator

    real = cluster_coordinator.Worker._process_closure

    def watched(worker: Any, closure: Any) -> None:
        def process(executed: Callable[[], None]) -> bool:
            succeeded: List[bool] = []

            def execute(on: Any) -> None:
                type(closure).execute_on(closure, on)
                succeeded.append(True)
                executed()

            closure.execute_on = execute  # anew each time: one that failed for want of its worker is run again, by another
            real(worker, closure)
            return bool(succeeded)

        drive(worker.worker_index, closure, process)

    cluster_coordinator.Worker._process_closure = watched
