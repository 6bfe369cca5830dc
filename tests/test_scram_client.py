"""SCRAM from the client: the vector of RFC 7677, and that no server is believed unproved."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.login import make_secret
from pillarbox.protocol.sasl import Challenge, Failure, Outcome, Password, SaslError, TlsFacts
from pillarbox.protocol.sasl import Success as LoggedIn
from pillarbox.scram import SCRAM_MECHANISMS
from pillarbox.scram_client import MAX_ITERATIONS, SCRAM_CLIENT_MECHANISMS, ScramClient

USER = Password("user", "pencil")
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
FACTS = TlsFacts({"tls-server-end-point": b"x" * 32, "tls-unique": b"y" * 12})
SECRET = make_secret("pencil")


def client(facts: TlsFacts | None = None, *, name: str = "SCRAM-SHA-256") -> ScramClient:
    return ScramClient(name, USER, facts=facts, nonce=NONCE)


def test_the_vector_of_rfc_7677() -> None:
    exchange = client()
    assert exchange.start() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.respond(FIRST) == (
        f"c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    )
    with pytest.raises(SaslError, match="did not prove"):
        exchange.check_success()
    assert exchange.respond(FINAL) == b""
    exchange.check_success()
    with pytest.raises(SaslError, match="all had been said"):
        exchange.respond(b"")


@pytest.mark.parametrize(
    ("facts", "name", "flag"),
    [
        (None, "SCRAM-SHA-256", b"n,,"),
        (TlsFacts(), "SCRAM-SHA-256", b"n,,"),
        (FACTS, "SCRAM-SHA-256", b"y,,"),
        (FACTS, "SCRAM-SHA-256-PLUS", b"p=tls-unique,,"),
        (
            TlsFacts({"tls-server-end-point": b"x"}),
            "SCRAM-SHA-256-PLUS",
            b"p=tls-server-end-point,,",
        ),
    ],
)
def test_what_is_said_of_bindings(facts: TlsFacts | None, name: str, flag: bytes) -> None:
    start = client(facts, name=name).start()
    assert start is not None
    assert start.startswith(flag + b"n=user,")


@pytest.mark.parametrize(
    "final",
    [
        b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        *(b"v=", b"v=?", b"v=AAAA", b"", b"ok", b"x=1"),
    ],
)
def test_a_server_that_does_not_know_the_secret(final: bytes) -> None:
    exchange = client()
    exchange.start()
    exchange.respond(FIRST)
    with pytest.raises(SaslError, match="the server did not prove that it knows the secret"):
        exchange.respond(final)
    with pytest.raises(SaslError, match="the server did not prove that it knows the secret"):
        exchange.check_success()


def test_a_server_that_tells_why() -> None:
    exchange = client()
    exchange.start()
    exchange.respond(FIRST)
    with pytest.raises(SaslError, match="the server says 'invalid-proof'"):
        exchange.respond(b"e=invalid-proof")
    with pytest.raises(SaslError, match="the server did not prove"):
        exchange.check_success()


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"", "not SCRAM's"),
        (b"\xff", "not UTF-8"),
        (b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "not SCRAM's"),
        (FIRST.replace(SERVER_NONCE.encode(), NONCE.encode()), "not SCRAM's"),
        (FIRST.replace(b"4096", b"0"), "not SCRAM's"),
        (FIRST.replace(b"4096", b"1"), "not SCRAM's"),
        (FIRST.replace(b"4096", b"99999999999999999999"), "not SCRAM's"),
        (FIRST.replace(b"4096", b"%d" % (MAX_ITERATIONS + 1)), "asks for 1000001 rounds of work"),
        (FIRST.replace(b"W22ZaJ0SNY7soEsUEjb6gQ==", b"?"), "not SCRAM's"),
        (b"m=x," + FIRST, "not SCRAM's"),
        (b"e=other-error", "not SCRAM's"),
    ],
)
def test_no_first_message(first: bytes, why: str) -> None:
    exchange = client()
    exchange.start()
    with pytest.raises(SaslError, match=why):
        exchange.respond(first)
    with pytest.raises(SaslError, match="did not prove"):
        exchange.check_success()


@pytest.mark.parametrize("password", ["\0", "\u0627a", "\ud800"])
def test_a_password_that_scram_does_not_allow(password: str) -> None:
    with pytest.raises(ValueError, match="what SCRAM does not allow"):
        ScramClient("SCRAM-SHA-256", Password("ann", password))
    with pytest.raises(ValueError, match="what SCRAM does not allow"):
        ScramClient("SCRAM-SHA-256", Password(password, "secret"))


@pytest.mark.parametrize("name", SCRAM_CLIENT_MECHANISMS)
@pytest.mark.parametrize("user", ["ann", "a,b=c", "né"])
@pytest.mark.parametrize("password", ["pencil", "wrong"])
def test_with_our_own_server(name: str, user: str, password: str) -> None:
    facts = TlsFacts({"tls-server-end-point": b"x" * 32})
    plus = name.endswith("-PLUS")
    ours = SCRAM_CLIENT_MECHANISMS[name](Password(user, password), facts if plus else None)
    theirs = SCRAM_MECHANISMS[name](facts)
    theirs.start(ours.start())
    outcome: Outcome = theirs.answer(SECRET)
    while isinstance(outcome, Challenge):
        outcome = theirs.respond(ours.respond(outcome.data))
    if password == "pencil":
        assert outcome == LoggedIn(user)
        ours.check_success()
    else:
        assert outcome == Failure()
        with pytest.raises(SaslError):
            ours.check_success()


WORDS = st.sampled_from(
    [FIRST, FINAL, b"r=", b"s=", b"i=4096", b",", b"e=", b"v=", SERVER_NONCE.encode(), b"="]
)


@given(st.lists(WORDS | st.binary(max_size=4), max_size=6).map(b"".join), st.booleans())
def test_any_message(message: bytes, has_begun: bool) -> None:
    exchange = client()
    exchange.start()
    if has_begun:
        exchange.respond(FIRST)
    with contextlib.suppress(SaslError):
        exchange.respond(message)
    if not (has_begun and message == FINAL):
        with pytest.raises(SaslError):
            exchange.check_success()
