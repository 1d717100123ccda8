"""What overlaps a stretch of time is found as by looking at all, and without doing so."""

from __future__ import annotations

import random

import pytest

from breakdown.report.touching import Touching


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("longest", [1, 5, 60])
def test_finds_what_looking_at_all_finds_in_the_same_order(seed: int, longest: int) -> None:
    draw = random.Random(seed)
    starts = [draw.randrange(100) for _ in range(draw.randrange(80))]
    timed = [(start, start + draw.randrange(longest + 1), number) for number, start in enumerate(starts)]
    found = Touching(timed)
    for start in range(-2, 104, 3):
        for end in (start - 1, start, start + 1, start + 7, start + 300):
            over = [number for begin, until, number in timed if min(until, end) > max(begin, start)]
            assert found.during(start, end) == over


def test_things_one_behind_the_other_are_one_layer_whatever_their_order() -> None:
    timed = [(at, at + 1, at) for at in range(1_000)]
    random.Random(0).shuffle(timed)
    found = Touching([*timed, (0, 1_000, -1)])
    assert len(found._layers) == 2
    assert sorted(found.during(500, 502)) == [-1, 500, 501]
