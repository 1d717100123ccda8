"""What a workload is: a model with its first parameters, samples, a loss, and what a sample costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from breakdown.workloads.data import Pool

LossFunction = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Workload:
    """A model and all that is needed to train it on made-up data.

    FLOPs count a multiplication and an addition as one each, and of neural nets only the matrix products and convolutions,
    as `torch.utils.flop_counter` does.
    """

    name: str
    model: nn.Module  # its parameters depend on the seed and the options alone
    batch_size: int  # samples a worker and step
    pool: Pool
    loss: LossFunction  # (outputs of the model, targets) -> mean over the batch
    forward_flops_per_sample: int
    flops_per_sample: int  # forward and backward

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all trainable parameters: what an uncompressed push of every gradient carries."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)

    def batch(self, step: int, worker: int, workers: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one worker's step.

        Sample i of the batch is number `step * workers * batch_size + worker * batch_size + i` of an endless sequence, so
        the batches of all workers, in order of rank, are the batch of one node that takes `workers * batch_size` samples.
        """
        return self.pool.take((step * workers + worker) * self.batch_size, self.batch_size)
