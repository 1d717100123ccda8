"""FLOPs of layers, for one sample. A multiplication and an addition count one each; additions of a bias are left out."""

from __future__ import annotations

from collections.abc import Sequence


def linear(inputs: int, outputs: int) -> int:
    """Forward, of a fully connected layer."""
    return 2 * inputs * outputs


def convolution(inputs: int, outputs: int, kernel: int, output_size: int) -> int:
    """Forward, of a square convolution with this many channels in and out, onto `output_size` pixels a side."""
    return 2 * inputs * outputs * kernel**2 * output_size**2


def training(forward: Sequence[int]) -> int:
    """Forward and backward of layers in a chain, from what each costs forward.

    Backward, a layer takes its forward cost twice: for the gradient of its weights and that of its inputs. The first
    layer's inputs are the data, which need no gradient.
    """
    return 3 * sum(forward) - forward[0]
