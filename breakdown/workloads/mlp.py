"""A fully connected classifier.

Parameters: features*hidden + hidden, then (layers - 1) times hidden*hidden + hidden, then hidden*classes + classes.
FLOPs a sample, forward: 2*(features*hidden + (layers - 1)*hidden^2 + hidden*classes); see `flops.training` for both ways.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch.nn.functional as F
from torch import nn

from breakdown.workloads import flops
from breakdown.workloads.api import Workload
from breakdown.workloads.data import classes_pool
from breakdown.workloads.initial import he_initialised


def network(features: int, hidden: int, layers: int, classes: int) -> nn.Sequential:
    """`layers` hidden layers with ReLU, and an output layer: fc1, relu1, ..., fc<layers + 1>."""
    sizes = [features, *[hidden] * layers]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        parts[f"fc{number}"] = nn.Linear(inputs, outputs)
        parts[f"relu{number}"] = nn.ReLU()
    parts[f"fc{layers + 1}"] = nn.Linear(sizes[-1], classes)
    return nn.Sequential(parts)


def build(batch_size: int, seed: int, *, features: int, hidden: int, layers: int, classes: int) -> Workload:
    """The classifier on `features` numbers a sample."""
    forward = [
        flops.linear(features, hidden),
        *[flops.linear(hidden, hidden)] * (layers - 1),
        flops.linear(hidden, classes),
    ]
    return Workload(
        name="mlp",
        model=he_initialised(seed, lambda: network(features, hidden, layers, classes)),
        batch_size=batch_size,
        pool=classes_pool(seed, (features,), classes),
        loss=F.cross_entropy,
        forward_flops_per_sample=sum(forward),
        flops_per_sample=flops.training(forward),
    )
