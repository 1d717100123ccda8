"""A small convolutional classifier: three 3x3 convolutions, each followed by halving the image, and an output layer.

Parameters, with w = width: 27*w + w, 18*w^2 + 2*w, 72*w^2 + 4*w, and 4*w*(image_size/8)^2*classes + classes.
FLOPs: see `layers_flops` and `flops.training`.
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

COLOURS = 3
STAGES = 3


def channels(width: int) -> list[int]:
    """Of the image and after each convolution."""
    return [COLOURS, *(width << stage for stage in range(STAGES))]


def network(image_size: int, width: int, classes: int) -> nn.Sequential:
    """conv1, relu1, pool1, ..., flatten, fc."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    sizes = channels(width)
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"pool{number}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(sizes[-1] * (image_size >> STAGES) ** 2, classes)
    return nn.Sequential(parts)


def layers_flops(image_size: int, width: int, classes: int) -> list[int]:
    """Forward, layer by layer. A convolution sees the image before it is halved."""
    sizes = channels(width)
    convolutions = [
        flops.convolution(inputs, outputs, 3, image_size >> stage) for stage, (inputs, outputs) in enumerate(pairwise(sizes))
    ]
    return [*convolutions, flops.linear(sizes[-1] * (image_size >> STAGES) ** 2, classes)]


def build(batch_size: int, seed: int, *, image_size: int, width: int, classes: int) -> Workload:
    """The classifier on colour images, whose size is a multiple of 8: they are halved three times."""
    forward = layers_flops(image_size, width, classes)
    return Workload(
        name="cnn",
        model=he_initialised(seed, lambda: network(image_size, width, classes)),
        batch_size=batch_size,
        pool=classes_pool(seed, (COLOURS, image_size, image_size), classes),
        loss=F.cross_entropy,
        forward_flops_per_sample=sum(forward),
        flops_per_sample=flops.training(forward),
    )
