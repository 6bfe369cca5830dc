"""SASL: the vectors of the RFCs, and nothing but the exact secret ever succeeds."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    Challenge,
    Credentials,
    External,
    Failure,
    Mechanism,
    Outcome,
    Password,
    Question,
    SaslError,
    Success,
    Token,
    _Bearer,
    check_identity,
)

INVALID = Challenge(b'{"status":"invalid_token","schemes":"bearer"}')


def mechanism(name: str) -> Mechanism:
    return STANDARD_MECHANISMS[name](None)


RESPONSES: dict[str, tuple[str, bytes, Credentials]] = {
    # RFC 4616 §4.
    "PLAIN": ("PLAIN", b"\0tim\0tanstaaftanstaaf", Password("tim", "tanstaaftanstaaf")),
    "PLAIN for another": (
        "PLAIN",
        b"Ursel\0Kurt\0xipj3plmq",
        Password("Kurt", "xipj3plmq", "Ursel"),
    ),
    "PLAIN, UTF-8": ("PLAIN", "\0né\0pässword ".encode(), Password("né", "pässword ")),
    "PLAIN, no password": ("PLAIN", b"\0tim\0", Password("tim", "")),
    "EXTERNAL": ("EXTERNAL", b"", External()),
    "EXTERNAL as": ("EXTERNAL", b"ann@example.org", External("ann@example.org")),
    # RFC 7628 §4.1.
    "OAUTHBEARER": (
        "OAUTHBEARER",
        base64.b64decode(
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVy"
            "IHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
        ),
        Token("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
    ),
    "OAUTHBEARER without a name": (
        "OAUTHBEARER",
        b"n,,\1auth=bearer t\1\1",
        Token("", "t"),
    ),
    "OAUTHBEARER, escapes": (
        "OAUTHBEARER",
        b"n,a=a=2Cb=3Dc,\1auth=Bearer t\1\1",
        Token("a,b=c", "t"),
    ),
    "XOAUTH2": (
        "XOAUTH2",
        b"user=someuser@example.com\1auth=Bearer ya29.vF9dft4\1\1",
        Token("someuser@example.com", "ya29.vF9dft4"),
    ),
}


@pytest.mark.parametrize(("name", "response", "credentials"), RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("is_initial", [False, True])
def test_response(name: str, response: bytes, credentials: Credentials, is_initial: bool) -> None:
    exchange = mechanism(name)
    if is_initial:
        outcome = exchange.start(response)
    else:
        assert exchange.start(None) == Challenge(b"")
        outcome = exchange.respond(response)
    assert outcome == Question(credentials)
    assert exchange.answer("ann") == Success("ann")


WRONG: dict[str, list[bytes]] = {
    "PLAIN": [
        *(b"", b"tim", b"tim\0secret", b"\0\0secret", b"\0tim\0a\0b", b"\0\xff\0secret"),
        *(b"\0tim\0\xff", b"\xff\0tim\0secret", b"a\nb\0tim\0secret", b"\0a\x1bb\0secret"),
        b"\0" + b"x" * 256 + b"\0secret",
    ],
    "LOGIN": [b"", b"\xff", b"a\0b", b"a\r\nb"],
    "EXTERNAL": [b"\xff", b"a\nb", b"x" * 256],
    "OAUTHBEARER": [
        *(b"", b"n,,\1\1", b"n,,\1auth=Bearer \1\1", b"n,,\1auth=Basic t\1\1", b"y,,\1auth=\1\1"),
        *(b"n,a=\xff,\1auth=Bearer t\1\1", b"n,a=a\nb,\1auth=Bearer t\1\1", b"n,,\1host=x\1\1"),
        *(b"n,,\1auth=Bearer t\1", b"n,,\1auth=Bearer \xff\1\1", b"n,,\1auth=Bearer a\nb\1\1"),
        "n,,\1auth=Bearer é\1\1".encode(),
    ],
    "XOAUTH2": [b"", b"user=a\1\1", b"user=\1auth=Bearer t\1\1", b"user=\xff\1auth=Bearer t\1\1"],
}


@pytest.mark.parametrize(
    ("name", "response"),
    [(name, response) for name, responses in WRONG.items() for response in responses],
)
def test_no_response(name: str, response: bytes) -> None:
    with pytest.raises(SaslError) as caught:
        mechanism(name).start(response)
    # The text goes into a reply: it is ours from beginning to end.
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_login() -> None:
    exchange = mechanism("LOGIN")
    assert exchange.start(None) == Challenge(b"Username:")
    assert exchange.respond(b"tim") == Challenge(b"Password:")
    assert exchange.respond("ä ".encode()) == Question(Password("tim", "ä "))
    assert exchange.answer("tim") == Success("tim")


def test_login_with_the_name_at_once() -> None:
    exchange = mechanism("LOGIN")
    assert exchange.start(b"tim") == Challenge(b"Password:")
    assert exchange.respond(b"secret") == Question(Password("tim", "secret"))


@pytest.mark.parametrize("answer", [None, "", True, 1, b"ann", ["ann"], Failure()])
@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "EXTERNAL"])
def test_whatever_is_no_identity_is_nobody(name: str, answer: object) -> None:
    assert mechanism(name).answer(answer) == Failure()


@pytest.mark.parametrize("answer", [None, "", True, b"ann"])
@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("last", [b"\1", b"", b"n,,\1auth=Bearer t\1\1"])
def test_a_bearer_is_told_why_and_then_refused(name: str, answer: object, last: bytes) -> None:
    exchange = mechanism(name)
    assert isinstance(exchange.start(RESPONSES[name][1]), Question)
    assert exchange.answer(answer) == INVALID
    assert exchange.respond(last) == Failure()


@pytest.mark.parametrize("name", ["", "a\nb", "a\x7fb", "a\u202eb", "x" * 256])
def test_no_identity(name: str) -> None:
    with pytest.raises(SaslError):
        check_identity(name)


def test_identity() -> None:
    for name in ("a", "né", "ann@example.org", "x" * 255):
        assert check_identity(name) == name


@pytest.mark.parametrize("credentials", [Password("a", "secret"), Token("a", "secret")])
def test_secrets_are_not_shown(credentials: Credentials) -> None:
    assert "secret" not in repr(Question(credentials))


# Properties.

NAMES = st.sampled_from(list(STANDARD_MECHANISMS))
LIKELY = st.lists(
    st.one_of(
        st.sampled_from([b"\0", b"\1", b"n,", b",", b"a=", b"auth=", b"Bearer ", b"user=", b"ann"]),
        st.binary(max_size=4),
    )
).map(b"".join)


@given(NAMES, st.booleans(), st.lists(st.one_of(st.binary(), LIKELY), min_size=1, max_size=4))
def test_any_octets_are_an_outcome_or_an_error(
    name: str, is_initial: bool, responses: list[bytes]
) -> None:
    exchange = mechanism(name)
    try:
        outcome: Outcome = exchange.start(responses.pop() if is_initial else None)
        for response in responses:
            if isinstance(outcome, Challenge):
                outcome = exchange.respond(response)
            if isinstance(outcome, Question):
                outcome = exchange.answer(None)
    except SaslError:
        return
    assert not isinstance(outcome, Success)


@given(st.one_of(st.binary(), LIKELY, st.just(b"\0ann\0secret")))
def test_only_the_exact_secret(response: bytes) -> None:
    exchange = mechanism("PLAIN")
    try:
        outcome = exchange.start(response)
    except SaslError:
        return
    assert isinstance(outcome, Question)
    is_right = outcome.credentials == Password("ann", "secret")
    assert isinstance(exchange.answer("ann" if is_right else None), Success) is (
        response == b"\0ann\0secret"
    )


def test_a_bearer_mechanism_says_how_to_read_its_token() -> None:
    class Unfinished(_Bearer):
        pass

    with pytest.raises(NotImplementedError):
        Unfinished().start(b"")
