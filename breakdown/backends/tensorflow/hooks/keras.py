"""Keras: a step is a call of the function that `fit` and `train_on_batch` train with. One call may hold several batches
(`steps_per_execution`): that is one step, of all their samples.

Both Keras are known: the one that TensorFlow brings along, and tf_keras, which alone trains with ParameterServerStrategy.
There the call only schedules a closure, and the step is that.
"""

from __future__ import annotations

import functools
from typing import Any, Optional

from breakdown.backends import injection
from breakdown.backends.tensorflow.closures import STEP
from breakdown.backends.tensorflow.hooks.program import Finder, Program
from breakdown.backends.watcher import BETWEEN
from breakdown.backends.wrapping import Call, Observation
from breakdown.model.stages import Stage

_TRAIN = (Stage.COMPUTE, STEP)


class _Keras:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._samples = 0  # of the call that comes; 0: not known

    def make(self, call: Call) -> Observation:
        """Of `make_train_function`, which leaves the function with the model."""
        model = call.owner
        before = model.train_function
        result = yield
        function = model.train_function
        if function is None or function is before:
            return None
        observe = functools.partial(self._train, model)
        model.train_function = self._program.hooks.watched(function, observe, "a model's train_function")
        return None if result is None else model.train_function

    def _train(self, model: Any, call: Call) -> Observation:
        """Of the function that trains with the next batches of an iterator."""
        program, watcher = self._program, self._program.watcher
        if getattr(model, "_cluster_coordinator", None) is not None:
            with program.scheduling(_steps(model)):
                yield
            return
        if watcher.inside or not watcher.enter(*_TRAIN, between=BETWEEN):
            return
        try:
            yield  # at the end of the data it raises: then there was no step
        finally:
            watcher.leave()
        if self._samples:
            watcher.has_samples(self._samples)
        program.ends_step(Finder.FIT, _steps(model) * program.batches.size)
        self._samples = 0

    def next_of_epoch(self, call: Call) -> Observation:
        """Of Keras 3's taking of the next (first batch, last batch, iterator)."""
        first, last, _ = yield
        adapter = call.owner.data_adapter
        self._will_take(first, last, adapter.batch_size, adapter.partial_batch_size, adapter.num_batches)

    def steps_of_epoch(self, call: Call) -> Observation:
        """Of tf_keras' numbers of an epoch's batches, one after the other."""
        numbers = yield
        observe = functools.partial(self._next_step, call.owner)
        return self._program.hooks.iterator(numbers, observe, "the steps of an epoch")

    def _next_step(self, handler: Any, call: Call) -> Observation:
        first = yield
        adapter, last = handler._adapter, first + handler.step_increment
        self._will_take(first, last, adapter.batch_size(), adapter.partial_batch_size(), adapter.get_size())

    def _will_take(self, first: int, last: int, size: Optional[int], partial: Optional[int], batches: Optional[int]) -> None:
        """These batches of an epoch. `partial`: what the last of all has, where that is less than `size`."""
        end = last + 1 if batches is None else min(last + 1, batches)
        self._samples = (size or 0) * (end - first)
        if size and partial and end == batches:
            self._samples -= size - partial


def _steps(model: Any) -> int:
    """How many batches a call takes."""
    own = getattr(model, "_steps_per_execution", None)  # tf_keras: a variable, or None for 1
    if own is not None and hasattr(own, "numpy"):
        return int(own.numpy())
    return int(getattr(model, "steps_per_execution", 1) or 1)


def install(program: Program) -> None:
    """Of whichever Keras the program imports."""
    keras = _Keras(program)

    watch = program.hooks.watch

    def new(module: Any) -> None:
        watch(module.TensorFlowTrainer, "make_train_function", keras.make)
        watch(module.TFEpochIterator, "__next__", keras.next_of_epoch)

    def legacy(module: Any) -> None:
        watch(module.Model, "make_train_function", keras.make)
        watch(module.data_adapter.DataHandler, "steps", keras.steps_of_epoch)

    injection.after_import("keras.src.backend.tensorflow.trainer", new)
    injection.after_import("tf_keras.src.engine.training", legacy)
