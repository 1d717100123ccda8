"""The token's proof, as messages."""

from __future__ import annotations

import pytest

from breakdown.errors import WireError
from breakdown.wire import handshake


def test_both_sides_prove_the_token_and_it_never_travels() -> None:
    challenge = handshake.challenge()
    answer = handshake.answer("secret", challenge, "listener")
    assert handshake.proves("secret", challenge, answer)
    verdict = handshake.acceptance("secret", challenge, answer)
    handshake.check_verdict("secret", challenge, answer, verdict, "listener")
    assert b"secret" not in challenge + answer + verdict
    assert (len(challenge), len(answer), len(verdict)) == (
        handshake.CHALLENGE_BYTES,
        handshake.ANSWER_BYTES,
        handshake.VERDICT_BYTES,
    )


def test_another_token_an_old_answer_and_any_flipped_bit_prove_nothing() -> None:
    challenge = handshake.challenge()
    answer = handshake.answer("secret", challenge, "listener")
    assert not handshake.proves("other", challenge, answer)
    assert not handshake.proves("secret", handshake.challenge(), answer)
    assert not handshake.proves("secret", challenge, answer[:-1])
    assert not handshake.proves("secret", challenge, b"")
    for index in range(len(answer)):
        assert not handshake.proves("secret", challenge, answer[:index] + bytes([answer[index] ^ 1]) + answer[index + 1 :])


def test_a_peers_proof_cannot_be_sent_back_as_the_listeners() -> None:
    challenge = handshake.challenge()
    answer = handshake.answer("secret", challenge, "listener")
    with pytest.raises(WireError, match="another run"):
        handshake.check_verdict("secret", challenge, answer, b"\x01" + answer[-32:], "listener")


def test_a_refusal_and_a_listener_without_the_token() -> None:
    challenge = handshake.challenge()
    answer = handshake.answer("secret", challenge, "listener")
    with pytest.raises(WireError, match="refused this process's token"):
        handshake.check_verdict("secret", challenge, answer, handshake.refusal(), "listener")
    with pytest.raises(WireError, match="another run"):
        handshake.check_verdict("secret", challenge, answer, handshake.acceptance("x", challenge, answer), "listener")


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "another program"),
        (b"", "another program"),
        (b"\x00" * handshake.CHALLENGE_BYTES, "another program"),
        (b"BRKD\x02" + bytes(32), "protocol version 2"),
    ],
)
def test_what_listens_there_is_something_else(challenge: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        handshake.answer("secret", challenge, "listener")


def test_a_stranger_shows_at_its_first_wrong_byte() -> None:
    answer = handshake.answer("secret", handshake.challenge(), "listener")
    assert all(handshake.plausible(answer[:length]) for length in range(len(answer) + 1))
    assert not handshake.plausible(b"G")
    assert not handshake.plausible(b"BRKD\x02")
