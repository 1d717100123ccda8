"""ParameterServerStrategy: a step is a closure that trains, as the coordinator's thread for a worker has it run there.

It lasts from the end of the worker's last step to the moment at which the coordinator has what the closure returns.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable
from weakref import WeakKeyDictionary

from breakdown.backends.tensorflow import closures, tracing
from breakdown.backends.tensorflow.closures import READ, STEP, TAKE, Process
from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import Finder, Program
from breakdown.backends.tensorflow.hooks.wrapping import before, wrap
from breakdown.backends.watcher import Watcher
from breakdown.model.stages import Stage

SUFFIX = ".coordinator"
"""Of the names of traces that are written here, for another process's node."""

_TAKE, _EXECUTE, _READ = (Stage.OTHER, TAKE), (Stage.OTHER, STEP), (Stage.OTHER, READ)


class _Closures:
    def __init__(self, program: Program) -> None:
        from tensorflow.python.util import nest

        self._program = program
        self._flatten: Callable[[Any], Any] = nest.flatten
        self._trains: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # by concrete function

    def made(self, real: Callable[..., Any], closure: Any, *args: Any, **kwargs: Any) -> None:
        """Around the making of a closure, in the thread that schedules it."""
        real(closure, *args, **kwargs)
        function = getattr(closure, "_concrete_function", None)
        closure.breakdown_trains = function is None or self._does(function)
        batch = samples.of_values(self._flatten((closure._args, closure._kwargs))) or self._program.batches.size
        closure.breakdown_samples = batch * self._program.steps_a_closure

    def run(self, worker: int, closure: Any, process: Process) -> None:
        """In the thread that drives the worker."""
        watcher = self._program.driven(worker, functools.partial(_watcher, worker))
        if not watcher.enter(*_EXECUTE, between=_TAKE):
            process(lambda: None)
            return

        def executed() -> None:
            watcher.leave()
            watcher.enter(*_READ)

        try:
            succeeded = process(executed)
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
    from tensorflow.python.distribute.coordinator import cluster_coordinator

    closures_ = _Closures(program)
    strategy = parameter_server_strategy_v2.ParameterServerStrategyV2
    before(strategy, "__init__", lambda *_, **__: program.coordinates())
    wrap(cluster_coordinator.Closure, "__init__", closures_.made)
    closures.watch(closures_.run)
