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
from breakdown.backends.tensorflow.hooks.program import BETWEEN, Finder, Program
from breakdown.backends.tensorflow.hooks.wrapping import before, wrap
from breakdown.backends.watcher import What
from breakdown.model.stages import Op, Stage

_TRAIN, _CALL, _LOAD = (Stage.COMPUTE, STEP), (Stage.COMPUTE, "function"), (Stage.INPUT, Op.LOAD)
_FORWARD, _BACKWARD, _APPLY = (Stage.COMPUTE, Op.FORWARD), (Stage.COMPUTE, Op.BACKWARD), (Stage.COMPUTE, Op.UPDATE)


class _Functions:
    def __init__(self, program: Program) -> None:
        from tensorflow.python.eager import context
        from tensorflow.python.util import nest

        self._program = program
        self._is_eager: Callable[[], bool] = context.executing_eagerly
        self._flatten: Callable[[Any], Any] = nest.flatten
        self._known: WeakKeyDictionary[Any, Tuple[int, bool]] = WeakKeyDictionary()

    def call(self, real: Callable[..., Any], function: Any, *args: Any, **kwargs: Any) -> Any:
        """Around a call of any tf.function."""
        watcher = self._program.watcher
        if not watcher.watches or not self._is_eager():
            return real(function, *args, **kwargs)
        count = samples.of_values(self._flatten((args, kwargs)))
        if count:
            watcher.has_samples(count)
        if watcher.inside:
            return real(function, *args, **kwargs)
        _, trained = self._known.get(function, (0, True))  # one that is called for the first time probably will
        watcher.enter(*(_TRAIN if trained else _CALL), between=BETWEEN)
        try:
            result = real(function, *args, **kwargs)
        finally:
            watcher.leave()
        if self._trains(function):
            self._program.ends_step(Finder.FUNCTION, self._program.batches.size)
        return result

    def forward(self, real: Callable[..., Any], tape: Any) -> Any:
        """Around the begin of `with tf.GradientTape()`."""
        watcher = self._program.watcher
        tape.breakdown_entered = self._is_eager() and not watcher.inside and watcher.enter(*_FORWARD, between=BETWEEN)
        return real(tape)

    def forward_ends(self, real: Callable[..., Any], tape: Any, *error: Any) -> Any:
        """Around its end."""
        if tape.breakdown_entered:
            self._program.watcher.leave()
        return real(tape, *error)

    def backward(self, real: Callable[..., Any], tape: Any, *args: Any, **kwargs: Any) -> Any:
        """Around a tape's `gradient`."""
        _, result = self._watched(_BACKWARD, real, tape, *args, **kwargs)
        return result

    def apply(self, real: Callable[..., Any], optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Around an optimizer's update of the variables."""
        watched, result = self._watched(_APPLY, real, optimizer, *args, **kwargs)
        if watched:
            self._program.ends_step(Finder.OPTIMIZER, self._program.batches.size)
        return result

    def load(self, real: Callable[..., Any], iterator: Any) -> Any:
        """Around the taking of a dataset's next element."""
        watched, element = self._watched(_LOAD, real, iterator)
        count = samples.of_values(self._flatten(element)) if watched else 0
        if count:
            self._program.watcher.has_samples(count)
        return element

    def _watched(self, what: What, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Tuple[bool, Any]:
        """Calls it; whether that was recorded (outside of all graphs, and within nothing else), and what it returned."""
        watcher = self._program.watcher
        if not self._is_eager() or watcher.inside or not watcher.enter(*what, between=BETWEEN):
            return False, real(*args, **kwargs)
        try:
            return True, real(*args, **kwargs)
        finally:
            watcher.leave()

    def _trains(self, function: Any) -> bool:
        traced = function.experimental_get_tracing_count()
        known = self._known.get(function)
        if known is None or known[0] != traced:
            concrete = function._list_all_concrete_functions()
            known = traced, any(training.trains(training.of_function(one)) for one in concrete)
            self._known[function] = known
        return known[1]


def install(program: Program) -> None:
    """Of tf.function, of optimizers that are Keras', and of datasets."""
    from tensorflow.python.data.ops import dataset_ops, iterator_ops
    from tensorflow.python.eager import backprop
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    functions = _Functions(program)
    wrap(polymorphic_function.Function, "__call__", functions.call)
    wrap(backprop.GradientTape, "__enter__", functions.forward)
    wrap(backprop.GradientTape, "__exit__", functions.forward_ends)
    wrap(backprop.GradientTape, "gradient", functions.backward)
    wrap(iterator_ops.OwnedIterator, "__next__", functions.load)

    def batched(_: Any, batch_size: Any = None, *rest: Any, **named: Any) -> None:
        if isinstance(batch_size, int):
            program.batches.seen(batch_size)

    before(dataset_ops.DatasetV2, "batch", batched)

    def keras(module: Any) -> None:
        wrap(module.BaseOptimizer, "apply", functions.apply)

    injection.after_import("keras.src.optimizers.base_optimizer", keras)
