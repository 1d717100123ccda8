"""The workloads in gluon, layer by layer the torch ones (`breakdown.workloads`), with data of the same shapes and make-up.

Random numbers come from numpy and MXNet here, so parameters and samples are other numbers of the same distribution.
Runs in MXNet's environment: standard library, numpy and mxnet only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Tuple

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

POOL_BYTES, FEWEST, MOST = 16 << 20, 64, 65536  # as in workloads.data
VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG_HIDDEN = 4096
COLOURS = 3

Options = Dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A net with its first parameters, the samples that it learns from, and the loss of each sample of a batch."""

    net: Any  # gluon.HybridBlock
    inputs: Any  # numpy arrays, samples first
    targets: Any
    loss: Callable[[Any, Any], Any]  # (outputs, targets) -> NDArray, one number a sample

    def batch(self, step: int, worker: int, workers: int, size: int) -> Tuple[Any, Any]:
        """Inputs and targets of one worker's step: the same samples as in `workloads.api.Workload.batch`."""
        first = (step * workers + worker) * size
        index = np.arange(first, first + size) % len(self.inputs)
        return mx.nd.array(self.inputs[index]), mx.nd.array(self.targets[index])


def build(workload: str, options: Options, seed: int) -> Task:
    """The workload, ready to be trained."""
    mx.random.seed(seed)
    return BUILDERS[workload](options, np.random.RandomState(seed))


def _mlp(options: Options, random: Any) -> Task:
    features, hidden, layers = options["features"], options["hidden"], options["layers"]
    parts: List[Any] = []
    for number in range(1, layers + 1):
        parts += [_dense(f"fc{number}", hidden, hidden if number > 1 else features), _relu()]
    parts.append(_dense(f"fc{layers + 1}", options["classes"], hidden))
    return _classifier(parts, (features,), options["classes"], random)


def _cnn(options: Options, random: Any) -> Task:
    parts: List[Any] = []
    channels = [COLOURS, *(options["width"] << stage for stage in range(3))]
    for number in range(1, len(channels)):
        parts += [_convolution(f"conv{number}", channels[number], channels[number - 1]), _relu(), nn.MaxPool2D()]
    size = options["image_size"]
    parts.append(_dense("fc", options["classes"], channels[-1] * (size >> 3) ** 2))
    return _classifier(parts, (COLOURS, size, size), options["classes"], random)


def _vgg16(options: Options, random: Any) -> Task:
    parts: List[Any] = []
    inputs, size = COLOURS, options["image_size"]
    for block, widths in enumerate(VGG_BLOCKS, start=1):
        for number, outputs in enumerate(widths, start=1):
            parts += [_convolution(f"conv{block}_{number}", outputs, inputs), _relu()]
            inputs = outputs
        parts.append(nn.MaxPool2D())
    inputs *= (size >> len(VGG_BLOCKS)) ** 2
    for name in ("fc1", "fc2"):
        parts += [_dense(name, VGG_HIDDEN, inputs), _relu()]
        inputs = VGG_HIDDEN
    parts.append(_dense("fc3", options["classes"], inputs))
    return _classifier(parts, (COLOURS, size, size), options["classes"], random)


class Factors(mx.gluon.HybridBlock):  # type: ignore[misc]  # mxnet has no types
    """Predicts ratings of (user, item) pairs; gives with them the squared length of the factors that each of them used."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__(prefix="")
        start = mx.init.Normal(rank**-0.25)  # so that a rating, a sum of `rank` products, has variance one
        self.users = nn.Embedding(users, rank, weight_initializer=start, prefix="users_")
        self.items = nn.Embedding(items, rank, weight_initializer=start, prefix="items_")

    def hybrid_forward(self, F: Any, pairs: Any) -> Tuple[Any, Any]:
        user = self.users(F.slice_axis(pairs, axis=1, begin=0, end=1).reshape((-1,)))
        item = self.items(F.slice_axis(pairs, axis=1, begin=1, end=2).reshape((-1,)))
        return (user * item).sum(axis=1), user.square().sum(axis=1) + item.square().sum(axis=1)


def _matrix_factorisation(options: Options, random: Any) -> Task:
    users, items, rank = options["users"], options["items"], options["rank"]
    size = _pool_size(2 * 8)
    pairs = np.stack([random.randint(count, size=size) for count in (users, items)], axis=1).astype(np.float32)
    true_users, true_items = (random.randn(count, rank).astype(np.float32) * rank**-0.25 for count in (users, items))
    ratings = (true_users[pairs[:, 0].astype(int)] * true_items[pairs[:, 1].astype(int)]).sum(axis=1)
    net = Factors(users, items, rank)
    net.initialize()
    net.hybridize()
    weight = options["regularisation"]

    def loss(outputs: Tuple[Any, Any], targets: Any) -> Any:
        predicted, lengths = outputs
        return (targets - predicted).square() + weight * lengths

    return Task(net, pairs, ratings, loss)


def _classifier(parts: List[Any], shape: Tuple[int, ...], classes: int, random: Any) -> Task:
    """A chain of layers with He's initialisation; samples of a class lie around its centre, as much noise as signal."""
    net = nn.HybridSequential(prefix="")
    net.add(*parts)
    net.initialize(mx.init.MSRAPrelu(factor_type="in", slope=0.0))
    net.hybridize()
    centres = random.randn(classes, *shape).astype(np.float32)
    size = _pool_size(centres[0].nbytes)
    labels = random.randint(classes, size=size)
    inputs = (random.randn(size, *shape).astype(np.float32) + centres[labels]) * np.float32(0.5**0.5)
    return Task(net, inputs, labels.astype(np.float32), mx.gluon.loss.SoftmaxCrossEntropyLoss())


def _pool_size(sample_bytes: int) -> int:
    return max(FEWEST, min(MOST, POOL_BYTES // sample_bytes))


def _dense(name: str, outputs: int, inputs: int) -> Any:
    return nn.Dense(outputs, in_units=inputs, prefix=f"{name}_")


def _convolution(name: str, outputs: int, inputs: int) -> Any:
    return nn.Conv2D(outputs, 3, padding=1, in_channels=inputs, prefix=f"{name}_")


def _relu() -> Any:
    return nn.Activation("relu")


BUILDERS: Dict[str, Callable[[Options, Any], Task]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "vgg16": _vgg16,
    "matrix_factorisation": _matrix_factorisation,
}
