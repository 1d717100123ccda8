"""What two clocks differ by, from pings, with a bound that holds.

A ping is (sent, remote, received): this node's clock, the reference's clock when it answered, this node's clock again. The
answer was made at some moment between sent and received, so the offset (reference minus this node) lies within
remote - received .. remote - sent: the midpoint is off by at most half the round trip. Source: F. Cristian, "Probabilistic
clock synchronization", Distributed Computing 3 (1989); NTP (RFC 5905) rests on the same interval. Several pings close
together narrow it: the offset lies in all their intervals at once, each widened by what the clocks can drift in between.

Assumptions, stated because the bound rests on them: the two clocks' rates differ by at most `MAX_DRIFT_PPB`, and where pings
from the beginning and the end of a run give a drift, that difference stayed the same in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Sequence

from breakdown.errors import TraceError

MAX_DRIFT_PPB = 500_000
"""500 parts per million: the most that NTP corrects a clock by (RFC 5905); crystals are within 100."""

_PPB = 1_000_000_000
_RESOLUTION_NS = 1  # a reading is a whole number of ns: the difference of two is off by less than one


class Ping(NamedTuple):
    """One exchange. `sent_ns` and `received_ns` on this node's clock, `remote_ns` on the reference's."""

    sent_ns: int
    remote_ns: int
    received_ns: int


@dataclass(frozen=True)
class Offset:
    """What to add to a node's times to read them on the reference's clock.

    At time t of the node: offset_ns + drift_ppb * (t - at_ns) / 1e9, right to within `bound_ns` from `at_ns` to `until_ns`,
    and to within `bound_ns` + `drift_bound_ppb` * (time outside of that) / 1e9 elsewhere.
    """

    offset_ns: int
    bound_ns: int
    drift_ppb: float
    drift_bound_ppb: float
    at_ns: int
    until_ns: int

    def offset_at(self, time_ns: int) -> int:
        """The offset at this time of the node's own clock, in ns."""
        return self.offset_ns + round(self.drift_ppb * (time_ns - self.at_ns) / _PPB)

    def bound_at(self, time_ns: int) -> int:
        """The most that `offset_at` can be wrong by, in ns."""
        outside_ns = max(self.at_ns - time_ns, time_ns - self.until_ns, 0)
        return self.bound_ns + math.ceil(self.drift_bound_ppb * outside_ns / _PPB)


SAME_KERNEL = Offset(offset_ns=0, bound_ns=0, drift_ppb=0.0, drift_bound_ppb=0.0, at_ns=0, until_ns=0)
"""Two processes on one kernel read one clock."""


def estimate(pings: Sequence[Ping]) -> Offset:
    """The offset from all pings of one node to one reference.

    Pings from the beginning and from the end of the run (parted at the middle of their time) also give the drift. Raises
    `TraceError` when there are none, or when they contradict each other: a clock was set, or a machine was suspended.
    """
    if not pings:
        raise TraceError("there are no clock pings to estimate an offset from.")
    for ping in pings:
        if ping.received_ns < ping.sent_ns:
            raise TraceError(f"the clock ping {tuple(ping)} was received before it was sent.")
    ordered = sorted(pings)
    middle_ns = (ordered[0].sent_ns + ordered[-1].received_ns) // 2
    early = [ping for ping in ordered if ping.received_ns <= middle_ns]
    late = [ping for ping in ordered if ping.sent_ns > middle_ns]
    if early and late:
        begin, end = _narrow(early), _narrow(late)
        elapsed_ns = end.at_ns - begin.at_ns
        drift_bound_ppb = (begin.bound_ns + end.bound_ns) * _PPB / elapsed_ns
        if drift_bound_ppb < MAX_DRIFT_PPB:  # far enough apart to know more than before
            return Offset(
                offset_ns=begin.offset_ns,
                bound_ns=max(begin.bound_ns, end.bound_ns) + 1,  # 1 ns: `offset_at` rounds
                drift_ppb=(end.offset_ns - begin.offset_ns) * _PPB / elapsed_ns,
                drift_bound_ppb=drift_bound_ppb,
                at_ns=begin.at_ns,
                until_ns=end.at_ns,
            )
    only = _narrow(ordered)
    return Offset(only.offset_ns, only.bound_ns, 0.0, float(MAX_DRIFT_PPB), only.at_ns, only.at_ns)


class _Reading(NamedTuple):
    """The offset lies within low_ns .. high_ns at time `at_ns`."""

    at_ns: int
    low_ns: int
    high_ns: int

    @property
    def offset_ns(self) -> int:
        return (self.low_ns + self.high_ns) // 2

    @property
    def bound_ns(self) -> int:
        return self.high_ns - self.offset_ns  # rounded up where the width is odd


def _narrow(pings: Sequence[Ping]) -> _Reading:
    """What all of them allow, at the middle of the shortest round trip."""
    best = min(pings, key=lambda ping: ping.received_ns - ping.sent_ns)
    at_ns = (best.sent_ns + best.received_ns) // 2
    low_ns = max(ping.remote_ns - ping.received_ns - _most_drift_ns(ping, at_ns) for ping in pings) - _RESOLUTION_NS
    high_ns = min(ping.remote_ns - ping.sent_ns + _most_drift_ns(ping, at_ns) for ping in pings) + _RESOLUTION_NS
    if low_ns > high_ns:
        raise TraceError(
            f"clock pings contradict each other by {low_ns - high_ns} ns: a clock was set or a machine was suspended during "
            "the run. Run again."
        )
    return _Reading(at_ns, low_ns, high_ns)


def _most_drift_ns(ping: Ping, at_ns: int) -> int:
    """The most the offset can have changed between the answer to `ping`, whenever that was, and `at_ns`."""
    away_ns = max(ping.received_ns - at_ns, at_ns - ping.sent_ns)
    return -(-MAX_DRIFT_PPB * away_ns // _PPB)
