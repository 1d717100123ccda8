"""A pairwise Markov random field (Ising model), learned from samples of a known one by pseudo-likelihood.

The truth is a square grid of spins s_i = +-1 with p(s) ~ exp(sum_i h_i s_i + sum_{i<j} J_ij s_i s_j), where couplings J and
fields h are drawn at random and J is zero but between neighbours on the grid. The learner does not know the grid: it has a
coupling for every pair. It maximises the pseudo-likelihood (Besag 1975), the product over all spins of the probability of
each given all others, p(s_i | others) = sigmoid(2 s_i (h_i + sum_j J_ij s_j)): exact gradients, no sampling, and an optimum
that tends to the true parameters with more samples.

Samples are the ends of many independent Gibbs chains, one a sample. The grid is a chess board: all its white squares are
independent given the black ones, so half a board is drawn at once.

Parameters, with n = side^2: n^2 couplings (in use are those above and below the diagonal, as one: (J + J^T)/2), n fields.
FLOPs a sample: 2 n^2 forward (the couplings times the spins), 2 n^2 backward (their gradient; the spins need none).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from breakdown.workloads import flops
from breakdown.workloads.api import Workload
from breakdown.workloads.data import Pool, Stream, generator, pool_size

COUPLING, FIELD = 0.5, 0.2
"""Bounds of the true couplings and fields: strong enough to see, weak enough for the chains to forget their start."""

SWEEPS = 40
"""Updates of all spins between a random start and the sample. Weak couplings forget a start within a few."""

CHAIN_BYTES = 4 << 20
"""The samples' memory: sampling takes time in proportion."""


class Couplings(nn.Module):
    """Maps spins to the field that each feels: h_i + sum_j J_ij s_j. Starts at no couplings and no fields."""

    def __init__(self, spins: int) -> None:
        super().__init__()
        self.couplings = nn.Parameter(torch.zeros(spins, spins))
        self.fields = nn.Parameter(torch.zeros(spins))

    def symmetric(self) -> Tensor:
        """The couplings in use: symmetric, and none of a spin to itself."""
        return ((self.couplings + self.couplings.T) / 2).fill_diagonal_(0)

    def forward(self, spins: Tensor) -> Tensor:
        return F.linear(spins, self.symmetric(), self.fields)


def loss(felt: Tensor, spins: Tensor) -> Tensor:
    """Minus the logarithm of the pseudo-likelihood: summed over spins, mean over samples."""
    return F.softplus(-2 * spins * felt).sum(1).mean()


def truth(seed: int, side: int) -> Couplings:
    """The model that the data come from."""
    random = generator(seed, Stream.TRUTH)
    model = Couplings(side * side)
    number = torch.arange(side * side).view(side, side)
    right = (number[:, :-1].flatten(), number[:, 1:].flatten())
    below = (number[:-1].flatten(), number[1:].flatten())
    with torch.no_grad():
        for one, other in (right, below):
            drawn = torch.empty(len(one)).uniform_(-COUPLING, COUPLING, generator=random)
            model.couplings[one, other] = drawn
            model.couplings[other, one] = drawn
        model.fields.uniform_(-FIELD, FIELD, generator=random)
    return model


@torch.no_grad()
def sample(model: Couplings, side: int, count: int, random: torch.Generator) -> Tensor:
    """`count` independent samples of spins, one a row, in rows of the board."""
    rows = torch.arange(side)
    white = ((rows[:, None] + rows) % 2 == 0).flatten()
    halves = [mask.nonzero().flatten() for mask in (white, ~white)]
    couplings = model.symmetric()
    spins = torch.randint(0, 2, (count, side * side), generator=random).mul_(2).sub_(1).float()
    for _ in range(SWEEPS):
        for half in halves:
            felt = spins @ couplings[:, half] + model.fields[half]
            up = torch.rand(felt.shape, generator=random) < torch.sigmoid(2 * felt)
            spins[:, half] = up.float().mul_(2).sub_(1)
    return spins


def build(batch_size: int, seed: int, *, side: int) -> Workload:
    """The learner of a `side` x `side` board. Inputs and targets are the same spins."""
    spins = side * side
    samples = sample(truth(seed, side), side, pool_size(4 * spins, CHAIN_BYTES), generator(seed, Stream.SAMPLES))
    forward = flops.linear(spins, spins)
    return Workload(
        name="ising",
        model=Couplings(spins),
        batch_size=batch_size,
        pool=Pool(samples, samples),
        loss=loss,
        forward_flops_per_sample=forward,
        flops_per_sample=flops.training([forward]),
    )
