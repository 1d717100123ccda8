"""How tensors become the payload of a frame: compression, then serialisation. `flags` names both in the frame's header.

A codec that does no work is `straight`: senders send the tensors' own memory, receivers receive into it, and nothing here is
called. Only float32 travels, as one flat part a wire key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from breakdown.config.cell import COMPRESSIONS, SERIALIZERS
from breakdown.errors import WireError
from breakdown.ps import compress
from breakdown.wire.api import Buffer
from breakdown.wire.serialise import serialiser

_COMPRESSION_SHIFT = 4
_OVERHEAD_BYTES = 4096
"""What a serialiser other than raw may add to the values: names, shapes, lengths. Far more than any of them takes."""


def byte_view(flat: Tensor) -> memoryview:
    """The memory of a contiguous flat tensor."""
    return flat.detach().numpy().data.cast("B") if flat.numel() else memoryview(b"")


class Codec:
    """The pair of a compression and a serialiser, for one direction of a run. Holds no state of a key."""

    def __init__(self, serialization: str, compression: str, threshold: float = 0.5) -> None:
        self._serialiser = serialiser(serialization)
        self._compression = compression
        self._threshold = threshold
        self._dtype = compress.compressed_dtype(compression)
        self.straight = self._serialiser.passthrough and compression == "none"
        self.flags = SERIALIZERS.index(serialization) | COMPRESSIONS.index(compression) << _COMPRESSION_SHIFT

    def compressor(self) -> compress.Compressor:
        """A fresh compressor for one wire key."""
        return compress.compressor(self._compression, self._threshold)

    def check(self, flags: int, size_bytes: int, numel: int) -> None:
        """Raises `WireError` when a frame with these flags and this size cannot hold `numel` values in this codec."""
        if flags != self.flags:
            raise WireError(f"a frame is encoded as {flags:#x}, this run's encoding is {self.flags:#x}")
        least = compress.compressed_bytes(self._compression, numel)
        most = least if self._serialiser.passthrough else least + _OVERHEAD_BYTES
        if not least <= size_bytes <= most:
            expected = f"{least}" if least == most else f"{least} to {most}"
            raise WireError(f"a frame of {size_bytes} bytes came for a key of {numel} values, which takes {expected}")

    def encode(self, compressor: compress.Compressor, parts: Sequence[Tensor]) -> list[Buffer]:
        """The payload for the values of `parts`, one after the other."""
        flat = parts[0] if len(parts) == 1 else torch.cat(tuple(parts))
        return self._serialiser.encode([byte_view(compressor.compress(flat))], self._dtype.name)

    def decode(self, payload: Sequence[memoryview], parts: Sequence[Tensor]) -> None:
        """Writes the payload's values into `parts`. Raises `WireError` when it does not hold exactly as many."""
        numel = sum(part.numel() for part in parts)
        flat = parts[0] if len(parts) == 1 else torch.empty(numel)
        if self._compression == "none":
            self._serialiser.decode(payload, [byte_view(flat)], self._dtype.name)
        else:
            compress.decompress(self._compression, self._compressed(payload, numel), flat, self._threshold)
        if len(parts) > 1:
            for part, values in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
                part.copy_(values)

    def _compressed(self, payload: Sequence[memoryview], numel: int) -> compress.Array:
        """The compressed array, in the payload's own memory where it can be."""
        if self._serialiser.passthrough and len(payload) == 1:
            return np.frombuffer(payload[0], dtype=self._dtype)
        data = np.empty(compress.compressed_bytes(self._compression, numel), dtype=np.uint8)
        self._serialiser.decode(payload, [data.data], self._dtype.name)
        return data.view(self._dtype)


def push_codec(serialization: str, compression: str, threshold: float) -> Codec:
    """The codec of gradients on their way to a server."""
    return Codec(serialization, compression, threshold)


def reply_codec(serialization: str, compression: str) -> Codec:
    """The codec of what a server sends back: parameters (or summed gradients) are never cut to 2 bits, as in MXNet."""
    return Codec(serialization, "fp16" if compression == "fp16" else "none")
