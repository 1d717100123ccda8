"""Receive buffers, used again and again: new memory costs a page fault every 4 KiB, more than the copy into it.

A pool is last in, first out for each size, so the memory that comes back first is still in the cache. Any thread may take
and give: both are one atomic operation on a list.
"""

from __future__ import annotations

import torch
from torch import Tensor

from breakdown.ps.codec import byte_view


class Buffer:
    """One stretch of memory, as bytes and as float32 values. `values` is there when the size is a multiple of four."""

    __slots__ = ("nbytes", "values", "view")

    def __init__(self, nbytes: int) -> None:
        memory = torch.empty(nbytes, dtype=torch.uint8)
        self.nbytes = nbytes
        self.view: memoryview = byte_view(memory)
        self.values: Tensor = memory.view(torch.float32) if nbytes % 4 == 0 else torch.empty(0)


class Pool:
    """Buffers by size. It never shrinks: it holds what was in use at the busiest moment."""

    def __init__(self) -> None:
        self._free: dict[int, list[Buffer]] = {}

    def take(self, nbytes: int) -> Buffer:
        """A free buffer of exactly this size, or a new one. Its content is what was left in it."""
        try:
            return self._free[nbytes].pop()
        except (KeyError, IndexError):
            return Buffer(nbytes)

    def give(self, buffer: Buffer) -> None:
        """Returns a buffer that nobody reads or writes any more."""
        self._free.setdefault(buffer.nbytes, []).append(buffer)
