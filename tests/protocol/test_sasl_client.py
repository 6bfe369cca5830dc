"""The client's mechanisms: what they say, and which of them is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    External,
    Password,
    Question,
    SaslError,
    TlsFacts,
    Token,
)
from pillarbox.protocol.sasl_client import (
    CLIENT_MECHANISMS,
    ClientCredentials,
    ClientMechanism,
    choose_mechanism,
)

ANN = Password("ann", "secret")
TOKEN = Token("ann@example.org", "abc.def")
TLS = TlsFacts()
BOUND = TlsFacts({"tls-unique": b"x"})
SCRAM = {
    name: lambda _credentials, facts, name=name: Scram(name, facts)
    for name in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
}
ALL = {**CLIENT_MECHANISMS, **SCRAM}


class Scram:
    """Stands where scram_client.py's would, which is above this package."""

    def __init__(self, name: str, facts: TlsFacts | None) -> None:
        self.name = name
        self.facts = facts

    def start(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        raise NotImplementedError

    def check_success(self) -> None:
        raise NotImplementedError


def made(name: str, credentials: ClientCredentials) -> ClientMechanism:
    return CLIENT_MECHANISMS[name](credentials, TLS)


# What they say


@pytest.mark.parametrize(
    ("name", "credentials", "response"),
    [
        ("PLAIN", ANN, b"\0ann\0secret"),
        ("PLAIN", Password("né", "sécret", "ben"), "ben\0né\0sécret".encode()),
        ("EXTERNAL", External(), b""),
        ("EXTERNAL", External("ann"), b"ann"),
        ("OAUTHBEARER", TOKEN, b"n,a=ann@example.org,\1auth=Bearer abc.def\1\1"),
        ("OAUTHBEARER", Token("a,b=c", "x"), b"n,a=a=2Cb=3Dc,\1auth=Bearer x\1\1"),
        ("OAUTHBEARER", Token("", "x"), b"n,,\1auth=Bearer x\1\1"),
        ("XOAUTH2", TOKEN, b"user=ann@example.org\1auth=Bearer abc.def\1\1"),
    ],
)
def test_one_response(name: str, credentials: ClientCredentials, response: bytes) -> None:
    mechanism = made(name, credentials)
    assert mechanism.start() == response
    mechanism.check_success()
    # And the server's side of it reads the same.
    question = STANDARD_MECHANISMS[name](None).start(response)
    assert question == Question(credentials)


def test_login() -> None:
    mechanism = made("LOGIN", ANN)
    assert mechanism.start() is None
    with pytest.raises(SaslError, match="before the password was asked for"):
        mechanism.check_success()
    assert mechanism.respond(b"Username:") == b"ann"
    with pytest.raises(SaslError, match="before the password was asked for"):
        mechanism.check_success()
    assert mechanism.respond(b"") == b"secret"
    mechanism.check_success()
    with pytest.raises(SaslError, match="a third question"):
        mechanism.respond(b"")


@pytest.mark.parametrize(("name", "assent"), [("OAUTHBEARER", b"\1"), ("XOAUTH2", b"")])
def test_a_failure_that_is_explained(name: str, assent: bytes) -> None:
    mechanism = made(name, TOKEN)
    mechanism.start()
    assert mechanism.respond(b'{"status":"invalid_token"}') == assent
    with pytest.raises(SaslError, match="success came after a failure"):
        mechanism.check_success()
    with pytest.raises(SaslError, match="explained twice"):
        mechanism.respond(b"{}")


def test_nothing_is_left_to_say() -> None:
    mechanism = made("PLAIN", ANN)
    mechanism.start()
    with pytest.raises(SaslError, match="a challenge came where all had been said"):
        mechanism.respond(b"")


@pytest.mark.parametrize(
    ("name", "credentials"),
    [
        ("PLAIN", Password("an\0n", "secret")),
        ("PLAIN", Password("ann", "sec\0ret")),
        ("PLAIN", Password("ann", "sec\ud800ret")),
        ("LOGIN", Password("ann", "sec\0ret")),
        ("XOAUTH2", Token("a\1auth=", "secret")),
        ("XOAUTH2", Token("ann", "sec\1ret")),
        ("OAUTHBEARER", Token("ann", "sécret")),
        ("OAUTHBEARER", Token("ann", "")),
        ("EXTERNAL", External("a\0b")),
    ],
)
def test_what_cannot_be_said(name: str, credentials: ClientCredentials) -> None:
    with pytest.raises(ValueError, match=r"SASL cannot carry|printable ASCII") as caught:
        made(name, credentials)
    assert "ret" not in str(caught.value).replace("secret has", "")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=10), st.text(max_size=10))
def test_nothing_slips_in_between(username: str, password: str) -> None:
    try:
        response = made("PLAIN", Password(username, password)).start()
    except ValueError:
        return
    assert response is not None
    assert response.split(b"\0") == [b"", username.encode(), password.encode()]


# Which is taken


def chosen(
    credentials: ClientCredentials,
    offered: str,
    *,
    facts: TlsFacts | None = TLS,
    allow_plaintext: bool = False,
) -> tuple[str, ClientMechanism] | Reply:
    return choose_mechanism(
        credentials,
        offered.split(),
        mechanisms=ALL,
        facts=facts,
        allow_plaintext=allow_plaintext,
    )


@pytest.mark.parametrize(
    ("credentials", "offered", "facts", "name"),
    [
        (ANN, "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", BOUND, "SCRAM-SHA-256-PLUS"),
        (ANN, "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", TLS, "SCRAM-SHA-256"),
        (ANN, "LOGIN PLAIN SCRAM-SHA-256", None, "SCRAM-SHA-256"),
        (ANN, "SCRAM-SHA-1 CRAM-MD5 LOGIN PLAIN", TLS, "PLAIN"),
        (ANN, "LOGIN", TLS, "LOGIN"),
        (Password("ann", "secret", "ben"), "SCRAM-SHA-256 PLAIN", TLS, "PLAIN"),
        (TOKEN, "PLAIN XOAUTH2 OAUTHBEARER", TLS, "OAUTHBEARER"),
        (TOKEN, "PLAIN XOAUTH2", TLS, "XOAUTH2"),
        (External(), "PLAIN EXTERNAL", None, "EXTERNAL"),
    ],
)
def test_the_strongest(
    credentials: ClientCredentials, offered: str, facts: TlsFacts | None, name: str
) -> None:
    found = chosen(credentials, offered, facts=facts)
    assert isinstance(found, tuple)
    assert found[0] == name


@pytest.mark.parametrize(
    ("credentials", "offered", "code"),
    [
        (ANN, "", 503),
        (ANN, "CRAM-MD5 XOAUTH2", 504),
        (Password("ann", "secret", "ben"), "SCRAM-SHA-256", 504),
        (TOKEN, "PLAIN", 504),
        (External(), "PLAIN", 504),
    ],
)
def test_none_fits(credentials: ClientCredentials, offered: str, code: int) -> None:
    found = chosen(credentials, offered)
    assert isinstance(found, Reply)
    assert found.code == code


@pytest.mark.parametrize(
    ("credentials", "offered"),
    [(ANN, "PLAIN LOGIN"), (ANN, "LOGIN"), (TOKEN, "OAUTHBEARER"), (TOKEN, "XOAUTH2")],
)
def test_no_secret_in_the_clear(credentials: ClientCredentials, offered: str) -> None:
    found = chosen(credentials, offered, facts=None)
    assert isinstance(found, Reply)
    assert found.code == 538
    assert isinstance(chosen(credentials, offered, facts=None, allow_plaintext=True), tuple)


def test_what_scram_is_told_of_tls() -> None:
    """It says that it could bind only where the server seems to have no -PLUS (RFC 5802 §6)."""
    for offered, facts in (
        ("SCRAM-SHA-256 SCRAM-SHA-256-PLUS", BOUND),
        ("SCRAM-SHA-256", BOUND),
        ("SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN", TLS),
    ):
        found = chosen(ANN, offered, facts=facts)
        assert isinstance(found, tuple)
        mechanism = found[1]
        assert isinstance(mechanism, Scram)
        assert mechanism.facts == (None if facts is TLS else BOUND)


def test_scram_is_not_had_without_its_library() -> None:
    found = choose_mechanism(ANN, ["SCRAM-SHA-256", "PLAIN"], facts=TLS)
    assert isinstance(found, tuple)
    assert found[0] == "PLAIN"
