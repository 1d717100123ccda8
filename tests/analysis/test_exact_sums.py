"""Sums of ns, by code, are exact where float64 is not."""

from __future__ import annotations

import numpy as np

from breakdown.analysis.stages import _sums


def test_sums_beyond_2_to_the_53_lose_no_ns() -> None:
    weights = np.array([1_700_000_000_000_000_001, 3, 2**60 + 1, 7, 1], dtype=np.int64)
    code = np.array([0, 1, 0, 1, 3])
    assert _sums(code, weights, 5).tolist() == [1_700_000_000_000_000_001 + 2**60 + 1, 10, 0, 1, 0]
