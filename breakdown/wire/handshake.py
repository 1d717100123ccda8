"""How both ends prove that they hold the run's token, without the token ever travelling. Messages only, no I/O.

The listener sends a challenge (a fresh nonce); the peer answers with a nonce of its own and an HMAC-SHA256 over both; the
listener's verdict carries an HMAC of its own, so the peer also knows that it talks to the right listener. All three have
a fixed size. A recorded exchange is worth nothing later, since both nonces are new each time.
"""

from __future__ import annotations

import hmac
import os

from breakdown.errors import WireError
from breakdown.wire.framing import MAGIC, VERSION

TIME_LIMIT_S = 5.0
"""A peer that connects must answer within this time. Proofs take microseconds; the rest is for a machine under load."""

MAX_PENDING = 64
"""Peers that may be in the handshake at once; further ones are dropped (they could only be strangers: roles are few)."""

_PREFIX = MAGIC + bytes([VERSION])
_NONCE_BYTES = 32
_MAC_BYTES = 32
_ACCEPTED = b"\x01"
_REFUSED = b"\x00"

CHALLENGE_BYTES = len(_PREFIX) + _NONCE_BYTES
ANSWER_BYTES = len(_PREFIX) + _NONCE_BYTES + _MAC_BYTES
VERDICT_BYTES = 1 + _MAC_BYTES


def challenge() -> bytes:
    """The listener's first message."""
    return _PREFIX + os.urandom(_NONCE_BYTES)


def answer(token: str, challenge: bytes, listener: str) -> bytes:
    """The peer's reply. Raises `WireError` when `challenge` is not from a listener of this protocol and version."""
    if len(challenge) != CHALLENGE_BYTES or not challenge.startswith(MAGIC):
        raise WireError(f"{listener} does not speak this protocol: another program listens there. Check host and port.")
    if not challenge.startswith(_PREFIX):
        version = challenge[len(MAGIC)]
        raise WireError(f"{listener} speaks protocol version {version}, not {VERSION}. Install the same release on both.")
    greeting = _PREFIX + os.urandom(_NONCE_BYTES)
    return greeting + _mac(token, b"peer", challenge, greeting)


def plausible(start: bytes) -> bool:
    """Whether the first bytes of an answer can still become one; a stranger is dropped at its first wrong byte."""
    return start[: len(_PREFIX)] == _PREFIX[: len(start)]


def proves(token: str, challenge: bytes, answer: bytes) -> bool:
    """Whether the answer's sender holds the token. Takes the same time for every wrong proof."""
    if len(answer) != ANSWER_BYTES or not plausible(answer):
        return False
    greeting, mac = answer[:-_MAC_BYTES], answer[-_MAC_BYTES:]
    return same(mac, _mac(token, b"peer", challenge, greeting))


def acceptance(token: str, challenge: bytes, answer: bytes) -> bytes:
    """The verdict for a peer that proved the token; it proves the listener's."""
    return _ACCEPTED + _mac(token, b"listener", challenge, answer[:-_MAC_BYTES])


def same(one: bytes, other: bytes) -> bool:
    """Whether two proofs are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def refusal() -> bytes:
    """The verdict for any other peer."""
    return _REFUSED + bytes(_MAC_BYTES)


def check_verdict(token: str, challenge: bytes, answer: bytes, verdict: bytes, listener: str) -> None:
    """Raises `WireError` unless the listener accepted this peer and proved the token itself."""
    if verdict == refusal():
        raise WireError(f"{listener} refused this process's token. Both must belong to the same run.")
    if not same(verdict, acceptance(token, challenge, answer)):
        raise WireError(f"{listener} did not prove the run's token: it belongs to another run. Check host and port.")


def _mac(token: str, side: bytes, challenge: bytes, greeting: bytes) -> bytes:
    return hmac.digest(token.encode(), side + challenge + greeting, "sha256")
