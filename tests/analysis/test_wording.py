"""How numbers are written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Cost, Interval


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1, "<0.01"),
        (-1, ">−0.01"),
        (5_000, "0.01"),
        (14_302_871, "14.30"),
        (-14_302_871, "−14.30"),
        (99_994_000, "99.99"),
        (123_456_789, "123.5"),
        (12_345_678_901, "12,346"),
    ],
)
def test_milliseconds(ns: int | None, text: str) -> None:
    assert fmt.ms(ns) == text


@pytest.mark.parametrize(
    ("ns", "text"), [(1_200_000, "+1.20"), (-350_000, "−0.35"), (0, "0"), (10, "<0.01"), (-10, ">−0.01")]
)
def test_changes_carry_their_sign(ns: int, text: str) -> None:
    assert fmt.signed_ms(ns) == text


@given(st.integers(min_value=-(10**13), max_value=10**13))
def test_a_written_time_is_the_nearest_and_only_zero_reads_as_zero(ns: int) -> None:
    text = fmt.ms(ns)
    assert (text == "0") == (ns == 0)
    if text[0] in "<>":
        assert 0 < abs(ns) < 5_000
        return
    decimals = len(text.partition(".")[2])
    read = Decimal(text.replace(",", "").replace("−", "-"))
    # half of the last digit, and the rounding of a binary fraction that lies exactly between
    assert abs(read - Decimal(ns) / 1_000_000) <= Decimal(1).scaleb(-decimals) / 2 + Decimal("1e-9")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (fmt.duration(999), "999 ns"),
        (fmt.duration(1_500), "1.5 µs"),
        (fmt.duration(2_500_000), "2.50 ms"),
        (fmt.percent(0.1234), "12.3 %"),
        (fmt.percent(None), "–"),
        (fmt.rate(1763.4), "1,763"),
        (fmt.rate(12.34), "12.3"),
        (fmt.rate(None), "–"),
        (fmt.ratio(0.868), "0.87×"),
        (fmt.ratio(None), "–"),
        (fmt.size(999), "999 B"),
        (fmt.size(21_000_000), "21.0 MB"),
        (fmt.size(None), "–"),
        (fmt.integer(1_234_567), "1,234,567"),
        (fmt.cost(Cost(None, 4)), "none up to 4 workers"),
        (fmt.cost(Cost(1, 4)), "1 worker"),
        (fmt.cost(Cost(4, 4)), "4 workers"),
        (fmt.interval(None, fmt.rate), "[–]"),
        (fmt.interval(Interval(None, None), fmt.rate), "[–]"),
        (fmt.interval(Interval(1748.2, 1801.6), fmt.rate), "[1,748, 1,802]"),
        (fmt.number(-0.001, 1), "0.0"),
        (fmt.plain({"hidden": 512, "bias": True}), "hidden 512, bias yes"),
        (fmt.plain({}), "none"),
        (fmt.plain(None), "–"),
        (fmt.plain([1, 2]), "1, 2"),
        (fmt.words("batch_size"), "batch size"),
        (fmt.key_name(""), "(no key)"),
        (fmt.operation_name("submit"), "(submit)"),
        (fmt.operation_name("[dot,relu,dot]"), "(dot … dot, 3 operators)"),
    ],
)
def test_texts(written: str, text: str) -> None:
    assert written == text


@given(st.text(max_size=80), st.integers(min_value=3, max_value=60))
def test_a_shortened_key_keeps_both_ends(text: str, limit: int) -> None:
    short = fmt.shorten(text, limit)
    assert len(short) <= limit
    assert short == text if len(text) <= limit else "…" in short
