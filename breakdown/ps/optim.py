"""SGD, momentum and Adam on one flat tensor, in place, as `torch.optim` defines them (no weight decay, no dampening).

Each object holds the state of one tensor. `scale` is folded into the step, so a sum of W gradients becomes their mean
without another pass over the memory.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from breakdown.errors import unknown_name

MOMENTUM = 0.9  # the usual choice, and that of the examples of MXNet and PyTorch
ADAM_BETAS = (0.9, 0.999)  # Kingma & Ba 2015, and torch.optim.Adam
ADAM_EPS = 1e-8


class Optimizer(ABC):
    """The update rule and its state for one tensor."""

    @abstractmethod
    def step(self, value: Tensor, gradient: Tensor, scale: float = 1.0) -> None:
        """Moves `value` by the gradient `scale * gradient`. `gradient` is only read."""


class Sgd(Optimizer):
    """value -= learning_rate * gradient."""

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = learning_rate

    def step(self, value: Tensor, gradient: Tensor, scale: float = 1.0) -> None:
        value.add_(gradient, alpha=-self._learning_rate * scale)


class Momentum(Optimizer):
    """Heavy ball: velocity = momentum * velocity + gradient; value -= learning_rate * velocity."""

    def __init__(self, learning_rate: float, momentum: float = MOMENTUM) -> None:
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._velocity: Tensor | None = None

    def step(self, value: Tensor, gradient: Tensor, scale: float = 1.0) -> None:
        if self._velocity is None:
            self._velocity = torch.zeros_like(gradient)
        self._velocity.mul_(self._momentum).add_(gradient, alpha=scale)
        value.add_(self._velocity, alpha=-self._learning_rate)


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1, with epsilon outside the bias-corrected root as in torch.optim.Adam."""

    def __init__(self, learning_rate: float, betas: tuple[float, float] = ADAM_BETAS, eps: float = ADAM_EPS) -> None:
        self._learning_rate = learning_rate
        self._betas = betas
        self._eps = eps
        self._count = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None
        self._scratch: Tensor | None = None

    def step(self, value: Tensor, gradient: Tensor, scale: float = 1.0) -> None:
        if self._mean is None or self._square is None or self._scratch is None:
            self._mean, self._square = torch.zeros_like(gradient), torch.zeros_like(gradient)
            self._scratch = torch.empty_like(gradient)
        self._count += 1
        beta1, beta2 = self._betas
        self._mean.mul_(beta1).add_(gradient, alpha=(1 - beta1) * scale)
        self._square.mul_(beta2).addcmul_(gradient, gradient, value=(1 - beta2) * scale * scale)
        root = torch.sqrt(self._square, out=self._scratch)
        root.div_(math.sqrt(1 - beta2**self._count)).add_(self._eps)
        value.addcdiv_(self._mean, root, value=-self._learning_rate / (1 - beta1**self._count))


_KINDS: dict[str, Callable[[float], Optimizer]] = {"sgd": Sgd, "momentum": Momentum, "adam": Adam}


def optimizer(name: str, learning_rate: float) -> Optimizer:
    """A fresh optimizer for one tensor."""
    if name not in _KINDS:
        raise unknown_name("optimizer", name, _KINDS)
    return _KINDS[name](learning_rate)
