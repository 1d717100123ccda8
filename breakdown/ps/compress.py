"""Gradient compression on flat float32 tensors: none, fp16, and 2 bits with the rest kept at the sender.

A compressor belongs to one wire key at its sender, because of the residual. What it gives is a flat array that `decompress`
turns back at the receiver, which needs no state.

2bit is MXNet's scheme (its docs: "Gradient Compression"): the gradient is added to the residual; where the residual is at
or beyond +-threshold, +-threshold is sent and taken off the residual; elsewhere zero is sent. Four values share a byte, the
first in its lowest bits, each as a two's complement sign: 0 is zero, 1 is +threshold, 3 is -threshold. fp16 rounds to
nearest; beyond 65504 it becomes infinite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from breakdown.config.cell import COMPRESSIONS
from breakdown.errors import WireError, unknown_name

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

_BITS_A_VALUE = {"none": 32, "fp16": 16, "2bit": 2}
_VALUES_A_BYTE = 4  # of 2bit


class Compressor(ABC):
    """Compresses the successive gradients of one wire key."""

    @abstractmethod
    def compress(self, flat: Tensor) -> Tensor:
        """`flat` as it travels: itself, or a new tensor. `flat` is not changed."""


class Identity(Compressor):
    """Sends the values themselves."""

    def compress(self, flat: Tensor) -> Tensor:
        return flat


class Half(Compressor):
    """Sends half-precision values: half the bytes."""

    def compress(self, flat: Tensor) -> Tensor:
        return flat.to(torch.float16)


class TwoBit(Compressor):
    """Sends 2 bits a value: a sixteenth of the bytes. The residual carries what was not sent to later steps."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.residual = torch.zeros(0)

    def compress(self, flat: Tensor) -> Tensor:
        if self.residual.numel() != flat.numel():
            self.residual = torch.zeros_like(flat)
        residual = self.residual.add_(flat)
        sign = (residual >= self.threshold).view(torch.int8) - (residual <= -self.threshold).view(torch.int8)
        residual.sub_(sign, alpha=self.threshold)
        codes = torch.zeros(-(-flat.numel() // _VALUES_A_BYTE) * _VALUES_A_BYTE, dtype=torch.int8)
        torch.bitwise_and(sign, 3, out=codes[: flat.numel()])
        # Four codes lie in one 32-bit word; folding the word's bytes onto each other packs them without strided reads.
        words = codes.numpy().view("<u4")
        words = words | (words >> np.uint32(6)) | (words >> np.uint32(12)) | (words >> np.uint32(18))
        return torch.from_numpy(words.astype(np.uint8))


def compressor(name: str, threshold: float = 0.5) -> Compressor:
    """A fresh compressor for one wire key. `threshold` is read for `2bit` only."""
    if name == "none":
        return Identity()
    if name == "fp16":
        return Half()
    if name == "2bit":
        return TwoBit(threshold)
    raise unknown_name("compression", name, COMPRESSIONS)


def compressed_dtype(name: str) -> np.dtype[Any]:
    """The type of the array that travels."""
    return np.dtype({"none": np.float32, "fp16": np.float16, "2bit": np.uint8}[name])


def compressed_bytes(name: str, numel: int) -> int:
    """The size of what travels for `numel` values."""
    return -(-numel * _BITS_A_VALUE[name] // 8)


def decompress(name: str, data: Array, out: Tensor, threshold: float = 0.5) -> None:
    """Writes the values of `data` to `out`, a contiguous flat float32 tensor. Raises `WireError` for a wrong size."""
    expected = compressed_bytes(name, out.numel())
    if data.nbytes != expected or data.dtype != compressed_dtype(name):
        raise WireError(f"{data.nbytes} bytes of {data.dtype} came, not {expected} of {compressed_dtype(name)} ({name})")
    if name != "2bit":
        out.copy_(torch.from_numpy(data))  # numpy takes 60 times as long over subnormal half-precision values
        return
    values = out.numpy()
    table = _two_bit_table(threshold)
    whole = out.numel() // _VALUES_A_BYTE
    np.take(table, data[:whole], axis=0, out=values[: whole * _VALUES_A_BYTE].reshape(-1, _VALUES_A_BYTE), mode="clip")
    rest = out.numel() % _VALUES_A_BYTE
    if rest:
        values[-rest:] = table[data[whole]][:rest]


def _two_bit_table(threshold: float) -> Array:
    """Row b: the four values that byte b stands for."""
    meaning = np.array([0, threshold, 0, -threshold], dtype=np.float32)
    codes = np.arange(256, dtype=np.uint8)
    return np.stack([meaning[(codes >> shift) & 3] for shift in (0, 2, 4, 6)], axis=1)
