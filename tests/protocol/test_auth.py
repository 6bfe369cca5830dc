"""AUTH: the frame around a mechanism (RFC 4954 §4)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.auth import BAD_RESPONSE, CANCELLED, NOT_BASE64, AuthExchange
from pillarbox.protocol.note import LoginDecided
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import (
    Challenge,
    Credentials,
    External,
    Failure,
    Outcome,
    Password,
    Question,
    SaslError,
    Success,
)


class Echo:
    """Takes everything down; a word of the test says what comes of it."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def start(self, initial: bytes | None) -> Outcome:
        self.heard.append(initial)
        return Challenge(b"Hello \xff")

    def respond(self, response: bytes) -> Outcome:
        self.heard.append(response)
        if response == b"wrong":
            raise SaslError("No such word")
        return Question(Password("ann", "secret"))

    def answer(self, answer: object) -> Outcome:
        self.heard.append(answer)
        if answer == "wrong":
            raise SaslError("No such answer")
        return Success("ann") if answer else Failure()


def exchange() -> tuple[AuthExchange, Echo]:
    mechanism = Echo()
    return AuthExchange("ECHO", mechanism), mechanism


INITIAL = {None: None, b"=": b"", b"YW5u": b"ann", b"AP8=": b"\0\xff"}


@pytest.mark.parametrize(("initial", "decoded"), INITIAL.items())
def test_initial_response(initial: bytes | None, decoded: bytes | None) -> None:
    auth, mechanism = exchange()
    assert auth.start(initial) == Reply(334, None, "SGVsbG8g/w==")
    assert mechanism.heard == [decoded]


NO_BASE64 = [
    b"=",
    b"==",
    b"YW5",
    b"YW5u=",
    b"YX==",
    b"Y W5u",
    b"YW5u\r",
    b"\xff",
    b"YW5uYQ",
    b"*x",
    b"-_==",
]


@pytest.mark.parametrize("octets", NO_BASE64)
def test_not_base64(octets: bytes) -> None:
    auth, mechanism = exchange()
    if octets != b"=":
        assert auth.start(octets) is NOT_BASE64
    assert auth.respond(octets) is NOT_BASE64
    assert mechanism.heard == []


def test_cancelled() -> None:
    auth, mechanism = exchange()
    assert auth.respond(b"*") is CANCELLED
    assert mechanism.heard == []


def test_an_empty_line_is_an_empty_response() -> None:
    auth, mechanism = exchange()
    assert isinstance(auth.respond(b""), Question)
    assert mechanism.heard == [b""]


def test_the_answer_is_handed_on() -> None:
    auth, mechanism = exchange()
    assert auth.answer("ann") == Success("ann")
    assert auth.answer(None) == Failure()
    assert mechanism.heard == ["ann", None]


def test_what_the_mechanism_does_not_allow() -> None:
    auth, _ = exchange()
    assert auth.respond(base64.b64encode(b"wrong")) == BAD_RESPONSE.saying("No such word")
    assert auth.answer("wrong") == BAD_RESPONSE.saying("No such answer")

    class Refuses(Echo):
        def start(self, initial: bytes | None) -> Outcome:
            raise SaslError("Not so")

    assert AuthExchange("X", Refuses()).start(None) == BAD_RESPONSE.saying("Not so")


@pytest.mark.parametrize(
    ("credentials", "username"),
    [(Password("ann", "secret", "ben"), "ann"), (External("carl"), "carl"), (External(), "")],
)
def test_what_is_decided(credentials: Credentials, username: str) -> None:
    auth, _ = exchange()
    auth.claims(credentials)
    assert auth.decided("ann", NOT_BASE64) == LoginDecided("ECHO", username, "ann", NOT_BASE64)


@given(st.binary())
def test_any_line(line: bytes) -> None:
    auth, mechanism = exchange()
    for step in (auth.start(line), auth.respond(line)):
        if isinstance(step, Reply):
            assert step.code in (334, 501)
    for heard in mechanism.heard:
        assert isinstance(heard, bytes)
        assert line in (b"=", base64.b64encode(heard))
