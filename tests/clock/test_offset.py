"""The offset's bound must hold: simulated clocks whose true offset is known exactly."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.clock.kernel import kernel_id
from breakdown.clock.offset import MAX_DRIFT_PPB, SAME_KERNEL, Ping, estimate
from breakdown.errors import TraceError

Exchanges = list[tuple[int, int, int]]  # (pause before, time there, time back), ns

SECOND_NS = 1_000_000_000
DELAYS_NS = st.integers(0, 2_000_000)
PINGS = st.lists(st.tuples(st.integers(0, 50_000_000), DELAYS_NS, DELAYS_NS), min_size=1, max_size=12)


class Clocks:
    """A node's clock that is the truth, and a reference that is ahead by `ahead_ns` and runs `drift_ppb` faster."""

    def __init__(self, ahead_ns: int, drift_ppb: int) -> None:
        self._ahead_ns = ahead_ns
        self._rate = 1 + Fraction(drift_ppb, SECOND_NS)

    def reference(self, time_ns: Fraction) -> Fraction:
        return self._ahead_ns + self._rate * time_ns

    def offset(self, time_ns: Fraction) -> Fraction:
        return self.reference(time_ns) - time_ns

    def ping(self, sent: Fraction, there_ns: int, back_ns: int) -> Ping:
        answered = sent + there_ns
        return Ping(math.floor(sent), math.floor(self.reference(answered)), math.floor(answered + back_ns))


def burst(clocks: Clocks, begin_ns: int, exchanges: Exchanges) -> list[Ping]:
    pings, time = [], begin_ns + Fraction(1, 3)  # between two readings, to bring rounding out
    for pause, there, back in exchanges:
        time += pause
        pings.append(clocks.ping(time, there, back))
        time += there + back
    return pings


@given(
    ahead_ns=st.integers(-(10**15), 10**15),
    drift_ppb=st.integers(-MAX_DRIFT_PPB, MAX_DRIFT_PPB),
    begin=PINGS,
    end=PINGS,
    run_s=st.integers(1, 3600),
    at_share=st.fractions(-1, 2),
)
def test_the_true_offset_is_always_inside_the_bound(
    ahead_ns: int, drift_ppb: int, begin: Exchanges, end: Exchanges, run_s: int, at_share: Fraction
) -> None:
    clocks = Clocks(ahead_ns, drift_ppb)
    pings = burst(clocks, 10 * SECOND_NS, begin) + burst(clocks, (10 + run_s) * SECOND_NS, end)
    offset = estimate(pings)
    at_ns = round((10 + at_share * run_s) * SECOND_NS)
    assert abs(offset.offset_at(at_ns) - clocks.offset(Fraction(at_ns))) <= offset.bound_at(at_ns)


@given(ahead_ns=st.integers(-(10**15), 10**15), drift_ppb=st.integers(-MAX_DRIFT_PPB, MAX_DRIFT_PPB), begin=PINGS)
def test_pings_at_the_beginning_alone_bound_the_whole_run(ahead_ns: int, drift_ppb: int, begin: Exchanges) -> None:
    clocks = Clocks(ahead_ns, drift_ppb)
    offset = estimate(burst(clocks, 0, begin))
    for at_ns in (0, SECOND_NS, 60 * SECOND_NS):
        assert abs(offset.offset_at(at_ns) - clocks.offset(Fraction(at_ns))) <= offset.bound_at(at_ns)


def test_a_worked_example() -> None:
    # Round trips of 100 and 40 ns; the second one says 1000 +-20 at 1020.
    offset = estimate([Ping(0, 1050, 100), Ping(1000, 2020, 1040)])
    assert (offset.offset_ns, offset.at_ns, offset.drift_ppb) == (1000, 1020, 0.0)
    assert offset.bound_ns == 20 + 1 + 1  # half the round trip, the resolution, what 500 ppm make of 20 ns
    assert offset.bound_at(1020 + SECOND_NS) == 22 + 500_000


def test_unequal_ways_narrow_the_bound_below_half_the_shortest_round_trip() -> None:
    # Truth 0. The first ping was slow on its way there, the second on its way back: together they pin the offset.
    pings = [Ping(0, 100, 101), Ping(200, 201, 300)]
    assert estimate(pings).bound_ns <= 3


def test_drift_is_found_from_both_ends_of_a_run() -> None:
    clocks = Clocks(ahead_ns=5_000, drift_ppb=20_000)
    exchanges = [(1000, 30_000, 40_000)] * 5
    offset = estimate(burst(clocks, 0, exchanges) + burst(clocks, 100 * SECOND_NS, exchanges))
    assert offset.drift_ppb == pytest.approx(20_000, abs=offset.drift_bound_ppb)
    assert offset.drift_bound_ppb < 1000
    assert offset.bound_at(50 * SECOND_NS) < 36_000


def test_pings_too_close_together_claim_no_drift() -> None:
    offset = estimate(burst(Clocks(0, 0), 0, [(1000, 30_000, 40_000)] * 8))
    assert (offset.drift_ppb, offset.drift_bound_ppb) == (0.0, MAX_DRIFT_PPB)


def test_a_clock_that_was_set_is_refused() -> None:
    with pytest.raises(TraceError, match="contradict each other by"):
        estimate([Ping(0, 10, 20), Ping(100, 5_000_000, 120)])


@pytest.mark.parametrize(("pings", "text"), [([], "no clock pings"), ([Ping(5, 0, 4)], "received before it was sent")])
def test_impossible_pings_are_refused(pings: list[Ping], text: str) -> None:
    with pytest.raises(TraceError, match=text):
        estimate(pings)


def test_one_kernel_is_one_clock() -> None:
    assert kernel_id() == kernel_id()
    assert (SAME_KERNEL.offset_at(10**18), SAME_KERNEL.bound_at(10**18)) == (0, 0)
