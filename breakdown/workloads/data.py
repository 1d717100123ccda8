"""Samples that are made once and then only indexed, so that taking a batch costs no more than copying it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

POOL_BYTES = 16 << 20
"""A pool's inputs fill about this much: more than a cache holds, made in a fraction of a second."""

FEWEST, MOST = 64, 65536
"""Bounds on a pool's samples. They depend on no batch size, or batches of different sizes would not join."""


class Stream(IntEnum):
    """What random numbers are for. Streams of one seed are independent of each other."""

    PARAMETERS = 0
    TRUTH = 1  # the model that the data come from
    SAMPLES = 2


def generator(seed: int, stream: Stream) -> torch.Generator:
    """Random numbers that depend on the seed and their purpose alone."""
    return torch.Generator().manual_seed(seed * len(Stream) + stream)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread inside. Sums depend on how they are shared out, and a rounded sum can flip a sample."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pool_size(sample_bytes: int, pool_bytes: int = POOL_BYTES) -> int:
    """How many samples of this size a pool holds."""
    return max(FEWEST, min(MOST, pool_bytes // sample_bytes))


@dataclass(frozen=True)
class Pool:
    """A fixed number of samples, read as an endless sequence."""

    inputs: Tensor  # samples first
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Copies of samples `first` to `first + count - 1` of the sequence."""
        index = torch.arange(first, first + count) % len(self)
        return self.inputs.index_select(0, index), self.targets.index_select(0, index)


def classes_pool(seed: int, shape: tuple[int, ...], classes: int) -> Pool:
    """Samples for a classifier: a centre of its own for each class, and as much noise as there is signal, float32."""
    centres = torch.randn(classes, *shape, generator=generator(seed, Stream.TRUTH))
    random = generator(seed, Stream.SAMPLES)
    size = pool_size(centres[0].nbytes)
    labels = torch.randint(classes, (size,), generator=random)
    inputs = torch.randn(size, *shape, generator=random).add_(centres[labels]).mul_(0.5**0.5)
    return Pool(inputs, labels)
