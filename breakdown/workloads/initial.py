"""First parameters that depend on the seed alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from breakdown.workloads.data import Stream, generator


def he_initialised(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """The net that `make` builds, with He's initialisation (arXiv:1502.01852) of its weights, and biases of zero.

    Torch's own default lets the signal of a deep chain of ReLU layers die out, so that its first gradients vanish. The net
    is built without memory first, so that a big one is filled with random numbers only once.
    """
    with torch.device("meta"):
        model = make()
    model.to_empty(device="cpu")
    random = generator(seed, Stream.PARAMETERS)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=random)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
