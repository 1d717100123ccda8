"""How a single node updates its parameters: by torch's own optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from breakdown.clock.clocks import now_ns
from breakdown.clock.thread_time import spent, thread_time
from breakdown.errors import unknown_name
from breakdown.model.stages import Op, Stage
from breakdown.ps.optim import ADAM_BETAS, ADAM_EPS, MOMENTUM
from breakdown.record.api import Recorder, ThreadRecorder

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
    "momentum": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM),
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, lr=rate, betas=ADAM_BETAS, eps=ADAM_EPS),
}
"""Torch's own, with the constants of the parameter server's, which are written after them."""


class LocalUpdate:
    """The synchronizer of a single node: torch's own optimizer, recorded as compute/update."""

    def __init__(self, optimizer: str, learning_rate: float, recorder: Recorder) -> None:
        if optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", optimizer, OPTIMIZERS)
        self._make = OPTIMIZERS[optimizer]
        self._learning_rate = learning_rate
        self._op = recorder.intern(Op.UPDATE)

    def start(self, parameters: Sequence[tuple[str, nn.Parameter]], main: ThreadRecorder) -> None:
        self._optimizer = self._make([parameter for _, parameter in parameters], self._learning_rate)
        self._main = main

    def gradient_ready(self, index: int, step: int) -> None:
        """Nothing to send."""

    def finish_step(self, step: int) -> None:
        start, start_time = now_ns(), thread_time()
        self._optimizer.step()
        (cpu_ns, runnable_ns), end = spent(start_time, thread_time()), now_ns()
        self._main.span(Stage.COMPUTE, self._op, 0, step, 0, start, end, cpu_ns=cpu_ns, runnable_ns=runnable_ns)

    def close(self) -> None:
        """Nothing to end."""
