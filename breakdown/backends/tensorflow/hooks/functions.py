"""One node without a session: a step is a call of a tf.function, by the main thread, that trains.

The outermost call is the step's. Where the program applies gradients outside of any tf.function, a step ends when the
optimizer has done so.
"""

from __future__ import annotations

from typing import Any, Callable, Tuple
from weakref import WeakKeyDictionary

from breakdown.backends import injection
from breakdown.backends.tensorflow.closures import STEP
from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import Finder, Program
from breakdown.backends.watcher import BETWEEN, What
from breakdown.backends.wrapping import Call, Observation
from breakdown.model.stages import Op, Stage

_TRAIN, _CALL, _LOAD = (Stage.COMPUTE, STEP), (Stage.COMPUTE, "function"), (Stage.INPUT, Op.LOAD)
_FORWARD, _BACKWARD, _APPLY = (Stage.COMPUTE, Op.FORWARD), (Stage.COMPUTE, Op.BACKWARD), (Stage.COMPUTE, Op.UPDATE)


class _Functions:
    def __init__(self, program: Program) -> None:
        from tensorflow.python.eager import context
        from tensorflow.python.util import nest

        self._program = program
        self._is_eager: Callable[[], bool] = context.executing_eagerly
        self._context: Callable[[], Any] = context.context
        self._flatten: Callable[[Any], Any] = nest.flatten
        self._known: WeakKeyDictionary[Any, Tuple[int, bool]] = WeakKeyDictionary()

    def call(self, call: Call) -> Observation:
        """Of any tf.function."""
        watcher, function = self._program.watcher, call.owner
        if not watcher.watches or not self._is_eager():
            return
        count = samples.of_values(self._flatten((call.args[1:], call.named)))
        if count:
            watcher.has_samples(count)
        if watcher.inside:
            return
        _, trained = self._known.get(function, (0, True))  # one that is called for the first time probably will
        watcher.enter(*(_TRAIN if trained else _CALL), between=BETWEEN)
        try:
            yield
        finally:
            watcher.leave()
        if self._trains(function):
            self._program.ends_step(Finder.FUNCTION, self._program.batches.size, who=id(function))

    def is_asynchronous(self) -> bool:
        """Whether what the calling thread asks for is handed to an executor that it does not wait for."""
        return bool(self._context().executor.is_async())

    def forward(self, call: Call) -> None:
        """Of the begin of `with tf.GradientTape()`."""
        call.owner.breakdown_entered = self._enters(_FORWARD)

    def forward_ends(self, call: Call) -> None:
        """Of its end."""
        if getattr(call.owner, "breakdown_entered", False):
            self._program.watcher.leave()

    def backward(self, call: Call) -> Observation:
        """Of a tape's `gradient`."""
        if self._enters(_BACKWARD):
            try:
                yield
            finally:
                self._program.watcher.leave()

    def apply(self, call: Call) -> Observation:
        """Of an optimizer's update of the variables."""
        if self._enters(_APPLY):
            try:
                yield
            finally:
                self._program.watcher.leave()
            self._program.ends_step(Finder.OPTIMIZER, self._program.batches.size, who=id(call.owner))

    def load(self, call: Call) -> Observation:
        """Of the taking of a dataset's next element."""
        if self._enters(_LOAD):
            try:
                element = yield
            finally:
                self._program.watcher.leave()
            count = samples.of_values(self._flatten(element))
            if count:
                self._program.watcher.has_samples(count)

    def _enters(self, what: What) -> bool:
        """Whether it is recorded: outside of all graphs, and within nothing else."""
        watcher = self._program.watcher
        return self._is_eager() and not watcher.inside and watcher.enter(*what, between=BETWEEN)

    def _trains(self, function: Any) -> bool:
        traced = function.experimental_get_tracing_count()
        known = self._known.get(function)
        if known is None or known[0] != traced:
            concrete = function._list_all_concrete_functions()
            known = traced, any(training.trains(training.of_function(one)) for one in concrete)
            self._known[function] = known
        return known[1]


def install(program: Program) -> None:
    """Of tf.function, of the optimizers of both Keras and of tf.compat.v1, and of datasets."""
    from tensorflow.python.data.ops import dataset_ops, iterator_ops
    from tensorflow.python.eager import backprop
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    functions = _Functions(program)
    program.is_asynchronous = functions.is_asynchronous
    watch = program.hooks.watch
    watch(polymorphic_function.Function, "__call__", functions.call)
    watch(backprop.GradientTape, "__enter__", functions.forward)
    watch(backprop.GradientTape, "__exit__", functions.forward_ends)
    watch(backprop.GradientTape, "gradient", functions.backward)
    watch(iterator_ops.OwnedIterator, "__next__", functions.load)

    def batched(call: Call) -> None:
        if isinstance(call["batch_size"], int):
            program.batches.seen(call["batch_size"])

    watch(dataset_ops.DatasetV2, "batch", batched)

    def keras(module: Any) -> None:
        watch(module.BaseOptimizer, "apply", functions.apply)

    def own_optimizer(name: str) -> Callable[[Any], None]:
        return lambda module: watch(getattr(module, name), "apply_gradients", functions.apply)

    injection.after_import("keras.src.optimizers.base_optimizer", keras)
    for module, name in (
        ("tf_keras.src.optimizers.optimizer", "_BaseOptimizer"),
        ("tf_keras.src.optimizers.optimizer", "Optimizer"),
        ("tf_keras.src.optimizers.legacy.optimizer_v2", "OptimizerV2"),
        ("tensorflow.python.training.optimizer", "Optimizer"),
    ):
        injection.after_import(module, own_optimizer(name))
