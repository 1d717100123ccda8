"""ParameterServerStrategy: a step is a closure that trains, as the coordinator's thread for a worker has it run there.

It lasts from the end of the worker's last step to the moment at which the coordinator has what the closure returns.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable
from weakref import WeakKeyDictionary

from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.closures import READ, STEP, TAKE
from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import Finder, Program
from breakdown.backends.watcher import Watcher
from breakdown.backends.wrapping import Call, Observation
from breakdown.model.stages import Stage

SUFFIX = ".coordinator"
"""Of the names of traces that are written here, for another process's node."""

_TAKE, _EXECUTE, _READ = (Stage.OTHER, TAKE), (Stage.OTHER, STEP), (Stage.OTHER, READ)


class _Closures:
    def __init__(self, program: Program) -> None:
        from tensorflow.python.distribute.coordinator.cluster_coordinator import ResourceClosure
        from tensorflow.python.util import nest

        self._program = program
        self._resource = ResourceClosure  # makes a dataset or an iterator at a worker
        self._flatten: Callable[[Any], Any] = nest.flatten
        self._trains: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # by concrete function

    def dataset(self, call: Call) -> Observation:
        """Of the making of a dataset that each worker has for itself, by a function of the program's."""
        with self._program.batches.making() as size:
            yield
            call.owner.breakdown_samples = size()

    def given(self, call: Call) -> Observation:
        """Of the same, from a dataset that the program has made."""
        yield  # in which `dataset` was told of it, too, and has not seen how it was made
        call.owner.breakdown_samples = samples.of_dataset(call["dataset"]) or call.owner.breakdown_samples

    def iterator(self, call: Call) -> Observation:
        """Of the taking of its iterator, which a closure is then given."""
        (yield).breakdown_samples = call.owner.breakdown_samples

    def made(self, call: Call) -> Observation:
        """Of the making of a closure, in the thread that schedules it."""
        yield
        closure = call.owner
        function = getattr(closure, "_concrete_function", None)
        closure.breakdown_trains = not isinstance(closure, self._resource) and (function is None or self._does(function))
        if closure.breakdown_trains:
            given = self._flatten((closure._args, closure._kwargs))
            of_iterator = next((one.breakdown_samples for one in given if getattr(one, "breakdown_samples", 0)), 0)
            batch = of_iterator or samples.of_values(given) or self._program.batches.size
            closure.breakdown_samples = batch * self._program.steps_a_closure

    def processed(self, call: Call) -> Observation:
        """Of the running of a closure and the fetching of what it returns, in the thread that drives its worker."""
        rank, closure = call.owner.worker_index, call["closure"]
        watcher = self._program.driven(rank, functools.partial(_watcher, rank))
        if not watcher.enter(*_EXECUTE, between=_TAKE):
            return
        succeeded = False

        def executed(_: Call) -> Observation:
            nonlocal succeeded
            yield
            succeeded = True
            watcher.leave()
            watcher.enter(*_READ)

        # Anew each time: one that failed for want of its worker is run again, by another.
        execute = functools.partial(type(closure).execute_on, closure)
        closure.execute_on = self._program.hooks.watched(execute, executed, "Closure.execute_on")
        try:
            yield
        finally:
            watcher.leave()
        if succeeded and closure.breakdown_trains:
            watcher.note("tf_mode", "strategy")
            watcher.note("consistency", "async")
            watcher.ends_step(Finder.CLOSURE, closure.breakdown_samples)

    def _does(self, function: Any) -> bool:
        if function not in self._trains:
            self._trains[function] = training.trains(training.of_function(function))
        return self._trains[function]


def _watcher(rank: int, folder: str, warmup_steps: int) -> Watcher:
    return Watcher(folder, warmup_steps, lambda step: tracing.step(step, rank), threading.current_thread(), SUFFIX)


def install(program: Program) -> None:
    """Of ParameterServerStrategy, and the coordinator's closures."""
    from tensorflow.python.distribute import parameter_server_strategy_v2
    from tensorflow.python.distribute.coordinator import cluster_coordinator, values

    closures_ = _Closures(program)
    strategy = parameter_server_strategy_v2.ParameterServerStrategyV2
    watch = program.hooks.watch
    watch(strategy, "__init__", lambda _: program.coordinates())
    watch(values.PerWorkerDatasetFromDatasetFunction, "__init__", closures_.dataset)
    watch(values.PerWorkerDatasetFromDatasetFunction, "__iter__", closures_.iterator)
    watch(values.PerWorkerDatasetFromDataset, "__init__", closures_.given)
    watch(cluster_coordinator.Closure, "__init__", closures_.made)
    watch(cluster_coordinator.Worker, "_process_closure", closures_.processed)
