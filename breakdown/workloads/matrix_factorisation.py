"""Matrix factorisation: a rating of item i by user u is the product of their factors, p_u . q_i.

The loss of a rating r is (r - p_u . q_i)^2 + regularisation * (|p_u|^2 + |q_i|^2) (Koren, Bell and Volinsky, "Matrix
factorization techniques for recommender systems", 2009). The gradients are dense tensors of the size of both factors, as a
parameter server is given them, although a batch touches few of their rows. The data are 65536 ratings by true factors of
the same rank, without noise, of pairs drawn at random. Only factors with fewer numbers than that can be found again from
them, so those of the default size, which is made for its traffic, cannot.

Parameters: (users + items) * rank.
FLOPs a sample, with k = rank: forward 6k + 2 (the product and two squared lengths 2k - 1 each, and five single operations),
backward 6k + 1 (each number of both factors' gradients 3, and 1 for twice the error).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from breakdown.workloads.api import Workload
from breakdown.workloads.data import Pool, Stream, generator, pool_size


class Factors(nn.Module):
    """Predicts ratings of (user, item) pairs."""

    def __init__(self, users: int, items: int, rank: int, random: torch.Generator) -> None:
        super().__init__()
        scale = rank**-0.25  # so that a rating, a sum of `rank` products, has variance one
        self.users = nn.Embedding(users, rank, _weight=torch.randn(users, rank, generator=random) * scale)
        self.items = nn.Embedding(items, rank, _weight=torch.randn(items, rank, generator=random) * scale)

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """The ratings, and the squared length of the factors that each of them used."""
        user, item = self.users(pairs[:, 0]), self.items(pairs[:, 1])
        return (user * item).sum(1), user.square().sum(1) + item.square().sum(1)


def ratings(seed: int, users: int, items: int, rank: int) -> Pool:
    """Ratings of random pairs by the true factors."""
    truth = Factors(users, items, rank, generator(seed, Stream.TRUTH))
    random = generator(seed, Stream.SAMPLES)
    size = pool_size(2 * 8)
    pairs = torch.stack([torch.randint(count, (size,), generator=random) for count in (users, items)], 1)
    with torch.no_grad():
        return Pool(pairs, truth(pairs)[0])


def build(batch_size: int, seed: int, *, users: int, items: int, rank: int, regularisation: float) -> Workload:
    """The model of the true factors' own size."""

    def loss(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        predicted, lengths = outputs
        return ((targets - predicted).square() + regularisation * lengths).mean()

    forward, backward = 6 * rank + 2, 6 * rank + 1
    return Workload(
        name="matrix_factorisation",
        model=Factors(users, items, rank, generator(seed, Stream.PARAMETERS)),
        batch_size=batch_size,
        pool=ratings(seed, users, items, rank),
        loss=loss,
        forward_flops_per_sample=forward,
        flops_per_sample=forward + backward,
    )
