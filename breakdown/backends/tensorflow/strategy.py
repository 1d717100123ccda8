"""ParameterServerStrategy with a ClusterCoordinator, as its users write it: a process of its own that drives all workers.

The coordinator has a thread for each worker. It takes the next scheduled step, has the worker run it, fetches the loss, and
takes the next: that is the worker's step, so this thread records it, as the main thread of that worker. Which worker runs
how many steps is the coordinator's choice.
Runs in TensorFlow's environment: standard library, tensorflow, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

import tensorflow as tf

from breakdown.backends.tensorflow import closures, tracing
from breakdown.backends.tensorflow.closures import READ, STEP, TAKE, Process
from breakdown.backends.tensorflow.function import Model, set_threads
from breakdown.backends.tensorflow.networks import Task
from breakdown.backends.tensorflow.placement import partitioner
from breakdown.clock.clocks import now_ns
from breakdown.model.stages import Stage
from breakdown.record.api import Recorder


def coordinate(cell: Mapping[str, Any], task: Task, threads: int, recorders: Sequence[Recorder]) -> None:
    """Runs all steps of the cell, as many for each worker on average. `recorders`: one a worker."""
    set_threads(threads, threads)
    drivers = [Driver(cell, rank, recorder) for rank, recorder in enumerate(recorders)]
    closures.watch(lambda worker, closure, process: drivers[worker].run(closure, process))
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.TFConfigClusterResolver(), variable_partitioner=partitioner(cell)
    )
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        model = Model(cell, task)
    batches = iter(coordinator.create_per_worker_dataset(lambda: _dataset(cell, task)))

    def train_step(iterator: Any) -> Any:
        return strategy.run(model.step, next(iterator))

    steps = cell["workers"] * (cell["warmup_steps"] + cell["steps"])
    # The losses are kept, so that each worker's thread fetches its own as the step ends.
    scheduled = tf.function(train_step)
    losses = [coordinator.schedule(scheduled, (batches,)) for _ in range(steps)]
    coordinator.join()
    del losses


class Driver:
    """The coordinator's thread for one worker: records what that does."""

    def __init__(self, cell: Mapping[str, Any], rank: int, recorder: Recorder) -> None:
        self._cell, self._rank, self._recorder = cell, rank, recorder
        self._main = recorder.thread("main")
        self._take, self._execute, self._read = map(recorder.intern, (TAKE, STEP, READ))
        self._step = 0
        self._start_ns = 0  # of the step that comes; 0: none has been yet

    def run(self, closure: Any, process: Process) -> None:
        """One step: `process` has the worker run the closure, and fetches what it returns."""
        taken = now_ns()
        start = self._start_ns or taken
        tracing.step(self._step, self._rank)
        executed: List[int] = []
        succeeded = process(lambda: executed.append(now_ns()))
        end = self._start_ns = now_ns()
        if not succeeded:
            return  # the coordinator says why
        for op, begin, until in (
            (self._take, start, taken),
            (self._execute, taken, executed[-1]),
            (self._read, executed[-1], end),
        ):
            self._main.span(Stage.OTHER, op, 0, self._step, 0, begin, until)
        loss = closure.maybe_call_with_output_remote_value(lambda value: float(value.fetch()))
        warm_up = self._step < self._cell["warmup_steps"]
        self._recorder.step(self._step, start, end, self._cell["batch_size"], warm_up, loss)
        self._step += 1


def _dataset(cell: Mapping[str, Any], task: Task) -> Any:
    """The batches of the worker on which this is called: the same samples as `Task.batch` gives it."""
    rank = tf.cast(tf.distribute.coordinator.experimental_get_current_worker_index(), tf.int64)
    size, workers, pool = cell["batch_size"], cell["workers"], len(task.inputs)
    inputs, targets = tf.constant(task.inputs), tf.constant(task.targets)

    def batch(step: Any) -> Tuple[Any, Any]:
        index = ((step * workers + rank) * size + tf.range(size, dtype=tf.int64)) % pool
        return tf.gather(inputs, index), tf.gather(targets, index)

    return tf.data.Dataset.range(tf.int64.max).map(batch)
