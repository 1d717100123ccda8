"""The training step as a tf.function with a GradientTape, and the single node that runs it.

ParameterServerStrategy runs the same step on its workers (`strategy`).
Runs in TensorFlow's environment: standard library, tensorflow, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping

import tensorflow as tf

from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.closures import READ, STEP
from breakdown.backends.tensorflow.networks import Task
from breakdown.clock.clocks import now_ns
from breakdown.model.stages import Op, Stage
from breakdown.record.api import Recorder

MOMENTUM = 0.9  # as in breakdown.ps.optim
ADAM_EPSILON = 1e-8

OPTIMIZERS: Mapping[str, Callable[[float], Any]] = {
    "sgd": tf.keras.optimizers.SGD,
    "momentum": lambda rate: tf.keras.optimizers.SGD(rate, momentum=MOMENTUM),
    "adam": lambda rate: tf.keras.optimizers.Adam(rate, epsilon=ADAM_EPSILON),
}


class Model:
    """The task's variables and their optimizer. Made inside a strategy's scope, the variables lie on its servers."""

    def __init__(self, cell: Mapping[str, Any], task: Task) -> None:
        self._task = task
        self._variables = {
            parameter.name: tf.Variable(
                _first_value(task, number), name=parameter.name, shape=parameter.shape, dtype=tf.float32
            )
            for number, parameter in enumerate(task.parameters)
        }
        self._pieces = [piece for variable in self._variables.values() for piece in _pieces(variable)]
        self._optimizer = OPTIMIZERS[cell["optimizer"]](cell["learning_rate"])
        self._optimizer.build(self._pieces)

    def step(self, inputs: Any, targets: Any) -> Any:
        """Updates the variables; the batch's loss before that. To be called inside a tf.function."""
        with tf.GradientTape() as tape:
            values = {name: tf.convert_to_tensor(variable) for name, variable in self._variables.items()}
            loss = self._task.loss(values, inputs, targets)
        self._optimizer.apply(tape.gradient(loss, self._pieces), self._pieces)
        return loss


def set_threads(threads: int, operations: int) -> None:
    """How many threads compute inside an operation, and how many operations run at a time. Before anything computes."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(operations)


def train(cell: Mapping[str, Any], task: Task, threads: int, recorder: Recorder) -> None:
    """Runs all steps of the cell on this node alone. A step ends when its loss has been read."""
    set_threads(threads, threads)
    train_step = tf.function(Model(cell, task).step)
    batch_size, warmup = cell["batch_size"], cell["warmup_steps"]
    main = recorder.thread("main")
    load, compute, read = map(recorder.intern, (Op.LOAD, STEP, READ))
    for step in range(warmup + cell["steps"]):
        start = now_ns()
        tracing.step(step, 0)
        inputs, targets = map(tf.constant, task.batch(step, 0, 1, batch_size))
        loaded = now_ns()
        result = train_step(inputs, targets)
        computed = now_ns()
        loss = float(result)
        end = now_ns()
        main.span(Stage.INPUT, load, 0, step, _size_bytes(inputs) + _size_bytes(targets), start, loaded)
        main.span(Stage.COMPUTE, compute, 0, step, 0, loaded, computed)
        main.span(Stage.COMPUTE, read, 0, step, 0, computed, end)
        recorder.step(step, start, end, batch_size, step < warmup, loss)


def _first_value(task: Task, number: int) -> Callable[..., Any]:
    def value(shard_info: Any = None) -> Any:
        if shard_info is None:
            return task.first_value(number, task.parameters[number].shape)
        return task.first_value(number, shard_info.shape, shard_info.offset)

    return value


def _pieces(variable: Any) -> List[Any]:
    """What a strategy has cut a variable into; the variable itself where it is whole."""
    return list(getattr(variable, "variables", [variable]))


def _size_bytes(tensor: Any) -> int:
    return int(tensor.dtype.size * tensor.shape.num_elements())
