"""AUTH's frame: base64, the initial response and where it may stand, and `*`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.client_auth import MAX_COMMAND_OCTETS, AuthLine, ClientAuthExchange
from pillarbox.protocol.sasl import SaslError


class Echo:
    """A mechanism that says back what it is told."""

    def __init__(self, initial: bytes | None) -> None:
        self._initial = initial
        self.error: str | None = None

    def start(self) -> bytes | None:
        return self._initial

    def respond(self, challenge: bytes) -> bytes:
        if challenge == b"bad":
            raise SaslError("bad")
        return challenge

    def check_success(self) -> None:
        if self.error is not None:
            raise SaslError(self.error)


def test_the_initial_response() -> None:
    assert ClientAuthExchange("X", Echo(b"abc")).start() == AuthLine(b"AUTH X YWJj", b"AUTH X ****")


def test_an_empty_initial_response() -> None:
    assert ClientAuthExchange("X", Echo(b"")).start() == AuthLine(b"AUTH X =", b"AUTH X ****")


def test_none() -> None:
    assert ClientAuthExchange("X", Echo(None)).start() == AuthLine(b"AUTH X", b"AUTH X")


@pytest.mark.parametrize("more", [0, 1])
def test_an_initial_response_that_is_too_long_waits(more: int) -> None:
    room = MAX_COMMAND_OCTETS - len(b"AUTH XX \r\n")
    assert room % 4 == 2
    name = "XX" + "X" * (2 + more)  # what is left of the line is a whole number of quartets, or not
    octets = b"a" * (room // 4 * 3)
    exchange = ClientAuthExchange(name, Echo(octets))
    line = exchange.start()
    if not more:
        assert len(line.octets) == MAX_COMMAND_OCTETS - 2
        exchange.check_success()
        return
    assert line == AuthLine(b"AUTH XXXXX", b"AUTH XXXXX")
    with pytest.raises(SaslError, match="before anything was proved"):
        exchange.check_success()
    assert exchange.respond("") == AuthLine(b"YWFh" * (room // 4), b"(credentials)")
    exchange.check_success()
    assert exchange.respond("QQ==").octets == b"QQ=="


def test_responses() -> None:
    exchange = ClientAuthExchange("X", Echo(None))
    exchange.start()
    assert exchange.respond("") == AuthLine(b"", b"(credentials)")
    assert exchange.respond("YWJj ") == AuthLine(b"YWJj", b"(credentials)")
    assert exchange.given_up is None


@pytest.mark.parametrize(
    ("challenge", "why"),
    [
        ("Y", "the server's challenge is not base64"),
        ("é", "the server's challenge is not base64"),
        ("YWJj\nYWJj", "the server's challenge is not base64"),
        ("YmFk", "bad"),
        ("AAAA" * 3073, "the server's challenge is too long"),
    ],
    ids=lambda text: text[:10],
)
def test_given_up(challenge: str, why: str) -> None:
    exchange = ClientAuthExchange("X", Echo(None))
    exchange.start()
    assert exchange.respond(challenge) == AuthLine(b"*", b"*")
    assert str(exchange.given_up) == f"535 5.7.8 X was given up: {why}"


def test_the_mechanism_has_the_last_word() -> None:
    mechanism = Echo(None)
    mechanism.error = "no"
    with pytest.raises(SaslError, match="no"):
        ClientAuthExchange("X", mechanism).check_success()


@given(st.text())
def test_any_challenge(challenge: str) -> None:
    exchange = ClientAuthExchange("X", Echo(None))
    line = exchange.respond(challenge)
    assert not set(line.octets) & set(b"\r\n\0")
    assert (line.octets == b"*") is (exchange.given_up is not None)
