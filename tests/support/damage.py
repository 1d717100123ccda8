"""Damage done at random to the bytes of a file. The same draws do it again."""

from __future__ import annotations

from random import Random


def damaged_bytes(content: bytes, draw: Random) -> bytes:
    """The content with one or more bytes changed, taken away, repeated or added, and now and then cut short."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        at = draw.randrange(max(len(found), 1))
        change = draw.randrange(4)
        if change == 0:
            found[at : at + 1] = bytes([draw.randrange(256)])
        elif change == 1:
            del found[at : at + draw.randrange(1, 20)]
        elif change == 2:
            found[at:at] = found[at : at + draw.randrange(1, 50)]
        else:
            found[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 4)))
    return bytes(found[: draw.randrange(len(found) + 1)] if draw.random() < 0.1 else found)
