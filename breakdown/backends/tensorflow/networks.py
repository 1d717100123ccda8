"""The workloads as functions of their parameters, layer by layer the torch ones (`breakdown.workloads`).

Weights and images lie in memory as TensorFlow's users have them: dense weights inputs first, images channels last. Random
numbers come from numpy and TensorFlow here, so parameters and samples are other numbers of the same distribution. They
depend on the seed alone, not on the mode or on how a variable is cut into pieces.
Runs in TensorFlow's environment: standard library, numpy and tensorflow only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import tensorflow as tf

POOL_BYTES, FEWEST, MOST = 16 << 20, 64, 65536  # as in workloads.data
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG_HIDDEN = 4096
COLOURS = 3

Options = Dict[str, Any]
Values = Mapping[str, Any]
"""A tensor for each parameter's name."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, named as in torch, and the standard deviation of its first numbers."""

    name: str
    shape: Tuple[int, ...]
    deviation: float

    @property
    def size_bytes(self) -> int:
        return 4 * int(np.prod(self.shape))


@dataclass(frozen=True)
class Task:
    """A model's parameters, the samples that it learns from, and the loss of a batch."""

    parameters: Sequence[Parameter]
    inputs: Any  # numpy arrays, samples first
    targets: Any
    loss: Callable[[Values, Any, Any], Any]  # (parameters, inputs, targets) -> the mean over the batch
    seed: int

    def batch(self, step: int, worker: int, workers: int, size: int) -> Tuple[Any, Any]:
        """Inputs and targets of one worker's step: the same samples as in `workloads.api.Workload.batch`."""
        first = (step * workers + worker) * size
        index = np.arange(first, first + size) % len(self.inputs)
        return self.inputs[index], self.targets[index]

    def first_value(self, number: int, shape: Any, offset: Any = None) -> Any:
        """A tensor: parameter `number` before the first step, or the piece of this shape at this offset."""
        parameter = self.parameters[number]
        if not parameter.deviation:
            return tf.zeros(shape)
        # All of it, so that the numbers are the same however it is cut.
        whole = tf.random.stateless_normal(parameter.shape, seed=(self.seed, number), stddev=parameter.deviation)
        return whole if offset is None else tf.slice(whole, offset, shape)


def build(workload: str, options: Options, seed: int) -> Task:
    """The workload, ready to be trained."""
    return BUILDERS[workload](options, seed)


def describe(cell: Mapping[str, Any], task: Task) -> Dict[str, Any]:
    """What is known of the workload, for the run's notes."""
    return {
        "name": cell["workload"],
        "batch_size": cell["batch_size"],
        "parameters": {parameter.name: list(parameter.shape) for parameter in task.parameters},
        "parameter_bytes": sum(parameter.size_bytes for parameter in task.parameters),
    }


def _mlp(options: Options, seed: int) -> Task:
    layers, width = options["layers"], options["hidden"]
    sizes = [options["features"], *[width] * layers, options["classes"]]
    names = [f"fc{number}" for number in range(1, layers + 2)]
    parameters: List[Parameter] = []
    for number, name in enumerate(names):
        parameters += _dense(name, sizes[number], sizes[number + 1])

    def outputs(values: Values, inputs: Any) -> Any:
        return _chain(values, names, inputs)

    return _classifier(parameters, outputs, (options["features"],), options["classes"], seed)


def _cnn(options: Options, seed: int) -> Task:
    channels = [COLOURS, *(options["width"] << stage for stage in range(3))]
    parameters: List[Parameter] = []
    for number in range(1, len(channels)):
        parameters += _convolution(f"conv{number}", channels[number - 1], channels[number])
    size = options["image_size"]
    parameters += _dense("fc", channels[-1] * (size >> 3) ** 2, options["classes"])

    def outputs(values: Values, images: Any) -> Any:
        for number in range(1, len(channels)):
            images = _halved(_convolved(values, f"conv{number}", images))
        return _chain(values, ["fc"], _flat(images))

    return _classifier(parameters, outputs, (size, size, COLOURS), options["classes"], seed)


def _vgg16(options: Options, seed: int) -> Task:
    parameters: List[Parameter] = []
    inputs, size = COLOURS, options["image_size"]
    blocks: List[List[str]] = []
    for block, widths in enumerate(VGG_BLOCKS, start=1):
        blocks.append([f"conv{block}_{number}" for number in range(1, len(widths) + 1)])
        for number, name in enumerate(blocks[-1]):
            parameters += _convolution(name, inputs, widths[number])
            inputs = widths[number]
    inputs *= (size >> len(VGG_BLOCKS)) ** 2
    for name, width in (("fc1", VGG_HIDDEN), ("fc2", VGG_HIDDEN), ("fc3", options["classes"])):
        parameters += _dense(name, inputs, width)
        inputs = width

    def outputs(values: Values, images: Any) -> Any:
        for names in blocks:
            for name in names:
                images = _convolved(values, name, images)
            images = _halved(images)
        return _chain(values, ["fc1", "fc2", "fc3"], _flat(images))

    return _classifier(parameters, outputs, (size, size, COLOURS), options["classes"], seed)


def _matrix_factorisation(options: Options, seed: int) -> Task:
    users, items, rank = options["users"], options["items"], options["rank"]
    deviation = rank**-0.25  # so that a rating, a sum of `rank` products, has variance one
    parameters = [
        Parameter("users.weight", (users, rank), deviation),
        Parameter("items.weight", (items, rank), deviation),
    ]
    random = np.random.RandomState(seed)
    size = _pool_size(2 * 8)
    pairs = np.stack([random.randint(count, size=size) for count in (users, items)], axis=1).astype(np.int32)
    true_users, true_items = (random.randn(count, rank).astype(np.float32) * deviation for count in (users, items))
    ratings = (true_users[pairs[:, 0]] * true_items[pairs[:, 1]]).sum(axis=1).astype(np.float32)
    weight = options["regularisation"]

    def loss(values: Values, inputs: Any, targets: Any) -> Any:
        user = tf.gather(_with_dense_gradient(values["users.weight"]), inputs[:, 0])
        item = tf.gather(_with_dense_gradient(values["items.weight"]), inputs[:, 1])
        lengths = tf.reduce_sum(user**2, axis=1) + tf.reduce_sum(item**2, axis=1)
        return tf.reduce_mean((targets - tf.reduce_sum(user * item, axis=1)) ** 2 + weight * lengths)

    return Task(parameters, pairs, ratings, loss, seed)


@tf.custom_gradient  # type: ignore[untyped-decorator]  # tensorflow has no types here
def _with_dense_gradient(values: Any) -> Any:
    """The same values. `gather` alone would push only the rows that a batch touches; the other backends push all."""
    return tf.identity(values), tf.convert_to_tensor


def _classifier(
    parameters: List[Parameter],
    outputs: Callable[[Values, Any], Any],
    shape: Tuple[int, ...],
    classes: int,
    seed: int,
) -> Task:
    """A net with He's initialisation; samples of a class lie around its centre, as much noise as signal."""
    random = np.random.RandomState(seed)
    centres = random.randn(classes, *shape).astype(np.float32)
    size = _pool_size(centres[0].nbytes)
    labels = random.randint(classes, size=size).astype(np.int32)
    inputs = (random.randn(size, *shape).astype(np.float32) + centres[labels]) * np.float32(0.5**0.5)

    def loss(values: Values, batch: Any, targets: Any) -> Any:
        logits = outputs(values, batch)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits))

    return Task(parameters, inputs, labels, loss, seed)


def _pool_size(sample_bytes: int) -> int:
    return max(FEWEST, min(MOST, POOL_BYTES // sample_bytes))


def _dense(name: str, inputs: int, outputs: int) -> List[Parameter]:
    return [
        Parameter(f"{name}.weight", (inputs, outputs), (2 / inputs) ** 0.5),
        Parameter(f"{name}.bias", (outputs,), 0.0),
    ]


def _convolution(name: str, inputs: int, outputs: int) -> List[Parameter]:
    return [
        Parameter(f"{name}.weight", (3, 3, inputs, outputs), (2 / (9 * inputs)) ** 0.5),
        Parameter(f"{name}.bias", (outputs,), 0.0),
    ]


def _chain(values: Values, names: Sequence[str], inputs: Any) -> Any:
    """Dense layers with ReLU between them."""
    for number, name in enumerate(names):
        inputs = tf.nn.relu(inputs) if number else inputs
        inputs = tf.nn.bias_add(tf.matmul(inputs, values[f"{name}.weight"]), values[f"{name}.bias"])
    return inputs


def _convolved(values: Values, name: str, images: Any) -> Any:
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, values[f"{name}.weight"], 1, "SAME"), values[f"{name}.bias"]))


def _halved(images: Any) -> Any:
    return tf.nn.max_pool2d(images, 2, 2, "VALID")


def _flat(images: Any) -> Any:
    return tf.reshape(images, (tf.shape(images)[0], int(np.prod(images.shape[1:]))))


BUILDERS: Dict[str, Callable[[Options, int], Task]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "vgg16": _vgg16,
    "matrix_factorisation": _matrix_factorisation,
}
