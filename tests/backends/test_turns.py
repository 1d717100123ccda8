"""When several that train take turns in each batch, a turn is a step; where that is not certain, it is said."""

from __future__ import annotations

import pytest

from breakdown.backends.turns import MOST_MEMBERS, Turns


def ends(calls: str) -> tuple[list[int], str | None]:
    """Of calls by those with these letters, at 1, 2, ...; a dot in front: a batch was loaded before. Also what is said."""
    turns, now, loaded, found = Turns(), 0, False, []
    for letter in calls:
        if letter == ".":
            loaded = True
            continue
        now += 1
        found += turns.trained(letter, loaded, now)
        loaded = False
    return [*found, *turns.closed()], turns.warning


@pytest.mark.parametrize(
    ("calls", "expected", "said"),
    [
        ("a", [1], None),
        ("aaaa", [1, 2, 3, 4], None),
        (".a.a.a", [1, 2, 3], None),
        (".ab.ab.ab", [2, 4, 6], None),  # a GAN
        ("ababab", [2, 4, 6], "2 trainers or training functions take turns, and no batch is seen to be loaded"),
        (".abc.abc", [3, 6], None),
        (".a.b.a.b", [1, 2, 3, 4], None),  # each has batches of its own
        (".a.a.ab.a.a.ab", [1, 2, 3, 5, 6, 7], "take turns unevenly"),  # one is trained less often
        (".ab.a.ab", [2, 3, 5], "take turns unevenly"),  # one was left out once
        (".a.a.b.b.b", [1, 2, 3, 4, 5], None),  # each epoch makes its own
        ("aabbb", [1, 2, 4, 5], "take turns unevenly"),
    ],
)
def test_a_turn_is_a_step(calls: str, expected: list[int], said: str | None) -> None:
    found, warning = ends(calls)
    assert found == expected
    assert (said or "") in (warning or "")
    assert (said is None) == (warning is None)


def test_many_that_train_once_each_are_steps_of_their_own() -> None:
    letters = "abcdefgh"
    assert len(letters) > MOST_MEMBERS
    assert ends(letters)[0] == list(range(1, len(letters) + 1))
