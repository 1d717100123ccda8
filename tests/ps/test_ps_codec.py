"""Compression and codecs: what arrives is what the scheme says, and nothing is lost for ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from breakdown.config.cell import COMPRESSIONS, SERIALIZERS
from breakdown.errors import ConfigError, WireError
from breakdown.ps.codec import Codec, push_codec, reply_codec
from breakdown.ps.compress import TwoBit, compressed_bytes, compressor, decompress

VALUES = st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=40)


def there_and_back(codec: Codec, parts: list[Tensor]) -> list[Tensor]:
    payload = codec.encode(codec.compressor(), parts)
    joined = bytearray(b"".join(payload))
    codec.check(codec.flags, len(joined), sum(part.numel() for part in parts))
    arrived = [torch.full_like(part, 9.0) for part in parts]
    codec.decode([memoryview(joined)], arrived)
    return arrived


@given(VALUES, st.sampled_from(SERIALIZERS))
def test_uncompressed_values_arrive_as_they_are(values: list[float], serializer: str) -> None:
    sent = torch.tensor(values)
    (arrived,) = there_and_back(Codec(serializer, "none"), [sent])
    assert torch.equal(arrived, sent)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_several_parts_travel_as_one(serializer: str, compression: str) -> None:
    parts = [torch.tensor([0.5, -0.5, 0.0]), torch.tensor([0.5]), torch.tensor([-0.5, 0.5])]
    for sent, arrived in zip(parts, there_and_back(Codec(serializer, compression, 0.5), parts), strict=True):
        assert torch.equal(sent, arrived)


@given(VALUES)
def test_fp16_rounds_to_nearest(values: list[float]) -> None:
    sent = torch.tensor(values)
    (arrived,) = there_and_back(Codec("raw", "fp16"), [sent])
    assert torch.equal(arrived, torch.tensor(np.array(values, dtype=np.float16).astype(np.float32)))


def test_every_half_precision_value_arrives_as_it_is() -> None:
    """Subnormal, infinite and not-a-number among them."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    arrived = torch.empty(halves.size)
    decompress("fp16", halves, arrived)
    np.testing.assert_array_equal(arrived.numpy(), halves.astype(np.float32))


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from([0.25, 0.5, 1.0]))
def test_2bit_sends_plus_minus_threshold_and_keeps_the_rest(rounds: list[list[float]], threshold: float) -> None:
    size = len(rounds[0])
    sender = compressor("2bit", threshold)
    assert isinstance(sender, TwoBit)
    residual = np.zeros(size, dtype=np.float32)
    for values in rounds:
        gradient = np.resize(np.array(values, dtype=np.float32), size)
        packed = sender.compress(torch.from_numpy(gradient.copy()))
        assert packed.nbytes == compressed_bytes("2bit", size) == -(-size // 4)
        arrived = torch.empty(size)
        decompress("2bit", packed.numpy(), arrived, threshold)
        residual += gradient
        expected = np.where(residual >= threshold, threshold, np.where(residual <= -threshold, -threshold, 0))
        residual -= expected.astype(np.float32)
        np.testing.assert_array_equal(arrived.numpy(), expected)
        np.testing.assert_array_equal(sender.residual.numpy(), residual)


def test_2bit_delivers_small_gradients_in_the_end() -> None:
    sender = compressor("2bit", 0.5)
    total, arrived = torch.zeros(3), torch.empty(3)
    for _ in range(100):
        decompress("2bit", sender.compress(torch.tensor([0.01, -0.02, 0.125])).numpy(), arrived, 0.5)
        total += arrived
    torch.testing.assert_close(total, torch.tensor([1.0, -2.0, 12.5]), rtol=0, atol=0.5)


def test_a_wrong_size_or_encoding_is_refused() -> None:
    codec = push_codec("raw", "none", 0.5)
    codec.check(codec.flags, 40, 10)
    with pytest.raises(WireError, match="takes 40"):
        codec.check(codec.flags, 44, 10)
    with pytest.raises(WireError, match="encoded as 0x1"):
        codec.check(push_codec("pickle", "none", 0.5).flags, 40, 10)
    with pytest.raises(WireError, match="40 to"):
        Codec("pickle", "none").check(Codec("pickle", "none").flags, 1 << 20, 10)
    with pytest.raises(WireError, match="bytes of uint8 came"):
        decompress("fp16", np.zeros(4, dtype=np.uint8), torch.empty(2))


def test_every_codec_has_flags_of_its_own() -> None:
    flags = {Codec(serializer, compression).flags for serializer in SERIALIZERS for compression in COMPRESSIONS}
    assert len(flags) == len(SERIALIZERS) * len(COMPRESSIONS)


def test_replies_are_never_cut_to_two_bits() -> None:
    assert reply_codec("raw", "2bit").straight
    assert not reply_codec("raw", "fp16").straight
    assert not push_codec("raw", "2bit", 0.5).straight


def test_an_unknown_compression_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="2bit, fp16, none"):
        compressor("zip")
