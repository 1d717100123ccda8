"""VGG-16 (Simonyan and Zisserman, arXiv:1409.1556, table 1, column D), without dropout.

Dropout would make the gradient a matter of each worker's random numbers; without it a step depends on the parameters and
the batch alone, so that runs can be compared. Five blocks of 3x3 convolutions, each followed by halving the image, then
three fully connected layers; the first of them sees the whole last image, which is 7x7 at 224 pixels and 1x1 at 32.

Parameters at 224 pixels and 1000 classes: 138 357 544, of them 102 764 544 in fc1; at 32 pixels and 10 classes:
33 638 218. FLOPs a sample, forward: 30 940 528 640 (15.47 G multiply-adds) and 664 223 744; `flops.training` has both ways.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import nn

from breakdown.workloads import flops
from breakdown.workloads.api import Workload
from breakdown.workloads.data import classes_pool
from breakdown.workloads.initial import he_initialised

COLOURS = 3
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels after each convolution, block by block."""

HIDDEN = 4096


def flat_features(image_size: int) -> int:
    """Inputs of the first fully connected layer."""
    return BLOCKS[-1][-1] * (image_size >> len(BLOCKS)) ** 2


def network(image_size: int, classes: int) -> nn.Sequential:
    """conv1_1, relu1_1, ..., pool5, flatten, fc1, relu_fc1, fc2, relu_fc2, fc3."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = COLOURS
    for block, widths in enumerate(BLOCKS, start=1):
        for number, outputs in enumerate(widths, start=1):
            parts[f"conv{block}_{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            parts[f"relu{block}_{number}"] = nn.ReLU()
            inputs = outputs
        parts[f"pool{block}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    parts["fc1"] = nn.Linear(flat_features(image_size), HIDDEN)
    parts["relu_fc1"] = nn.ReLU()
    parts["fc2"] = nn.Linear(HIDDEN, HIDDEN)
    parts["relu_fc2"] = nn.ReLU()
    parts["fc3"] = nn.Linear(HIDDEN, classes)
    return nn.Sequential(parts)


def layers_flops(image_size: int, classes: int) -> list[int]:
    """Forward, layer by layer."""
    layers = []
    inputs = COLOURS
    for block, widths in enumerate(BLOCKS):
        for outputs in widths:
            layers.append(flops.convolution(inputs, outputs, 3, image_size >> block))
            inputs = outputs
    return [
        *layers,
        flops.linear(flat_features(image_size), HIDDEN),
        flops.linear(HIDDEN, HIDDEN),
        flops.linear(HIDDEN, classes),
    ]


def build(batch_size: int, seed: int, *, image_size: int, classes: int) -> Workload:
    """The classifier on colour images."""
    forward = layers_flops(image_size, classes)
    return Workload(
        name="vgg16",
        model=he_initialised(seed, lambda: network(image_size, classes)),
        batch_size=batch_size,
        pool=classes_pool(seed, (COLOURS, image_size, image_size), classes),
        loss=F.cross_entropy,
        forward_flops_per_sample=sum(forward),
        flops_per_sample=flops.training(forward),
    )
