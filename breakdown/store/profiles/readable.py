"""What may stand in a file that anybody wrote: texts and times that the tables can hold, and an account of all others.

What can be read is read. The rest is left out, and a remark says how much it was, why, and where it was found first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

LATEST_NS = 1 << 62
"""Times lie between 1970 and this (2116), so that a sum of two fits a column."""

MOST_BYTES = 1 << 48
"""Of one tensor: more are no size."""

LONGEST_NS = 24 * 3600 * 10**9
"""What lies further from the middle of its step or profile has no true time (0, say): no step takes a day."""

NO_TIME = "records whose times are no numbers, or lie before 1970 or after 2116, or that end before they begin"
FAR_TIME = "records that lie more than a day from the others of their process"
NO_SIZE = "sizes of tensors that are below 0 or above 256 TiB"


@dataclass
class LeftOut:
    """What was not read. By reason: how often, and where first."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, what: str, where: str, count: int = 1) -> None:
        """`what`: several things and why they cannot be read, such as "records that name no operation"."""
        before, first = self.found.get(what, (0, where))
        self.found[what] = before + count, first

    def remarks(self) -> tuple[str, ...]:
        """A sentence a reason."""
        return tuple(
            f"{what} were left out, {count} in all; the first is {first}" for what, (count, first) in self.found.items()
        )


def is_stretch(start_ns: int, end_ns: int) -> bool:
    """Whether something can have begun and ended at these times."""
    return 0 <= start_ns <= end_ns < LATEST_NS


def middle(times_ns: Iterable[int]) -> int:
    """The median; of an even number of times the later one, as a time that is not there is written as 0."""
    ordered = sorted(times_ns)
    return ordered[len(ordered) // 2]


@lru_cache(maxsize=1 << 16)
def text(raw: bytes) -> str:
    r"""A name from a protobuf message. Bytes that are not UTF-8 stay to be seen, as in "conv\xff"."""
    return raw.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=1 << 16)
def whole(given: str) -> str:
    """A name from JSON, with each half of a character (a lone surrogate) written out."""
    return given if given.isascii() else given.encode("utf-8", "backslashreplace").decode("utf-8")
