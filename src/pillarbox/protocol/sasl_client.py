"""SASL mechanisms, the client's side: challenges in, responses out (RFC 4422).

The mirror of sasl.py. A mechanism knows neither base64 nor SMTP (client_auth.py frames it), and
which one is taken is decided here: the strongest that the server offers and that the credentials
serve, and none that shows a secret in the clear. SCRAM's arithmetic is in scram_client.py, above.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol, TypeAlias

from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import External, Password, SaslError, TlsFacts, Token

__all__ = [
    "CLIENT_MECHANISMS",
    "ClientCredentials",
    "ClientMechanism",
    "ClientMechanismFactory",
    "choose_mechanism",
]

NO_MECHANISM = Reply(504, "5.5.4", "The server offers no mechanism that these credentials serve")
NEEDS_TLS = Reply(538, "5.7.11", "The server offers no mechanism that keeps a secret without TLS")
NO_AUTH = Reply(503, "5.5.1", "The server offers no AUTH")

ClientCredentials: TypeAlias = Password | Token | External
"""What a client proves itself by."""

# The strongest first. What is here and not among the first two shows the secret to who listens.
_STRENGTH: Final[Mapping[type, tuple[str, ...]]] = {
    Password: ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"),
    Token: ("OAUTHBEARER", "XOAUTH2"),
    External: ("EXTERNAL",),
}
_SHOWS_SECRET: Final = frozenset({"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"})


class ClientMechanism(Protocol):
    """One exchange, seen from the client."""

    def start(self) -> bytes | None:
        """Give the initial response; `None` where the server has to speak first."""

    def respond(self, challenge: bytes) -> bytes:
        """Give the response to a challenge.

        Raises:
            SaslError: The server is not who it says, or does not speak this mechanism.
        """

    def check_success(self) -> None:
        """See whether the server may say that we are logged in.

        Raises:
            SaslError: It has not proved by now what this mechanism wants it to prove.
        """


ClientMechanismFactory: TypeAlias = Callable[[ClientCredentials, TlsFacts | None], ClientMechanism]
"""Makes a mechanism for one exchange; `None` without TLS.

It raises a `ValueError` for credentials that the mechanism cannot carry.
"""


class _OneResponse:
    """What most mechanisms are: everything in one response.

    Args:
        response: The response.
    """

    __slots__ = ("_response",)

    def __init__(self, response: bytes) -> None:
        self._response = response

    def start(self) -> bytes | None:
        """Give the response."""
        return self._response

    def respond(self, challenge: bytes) -> bytes:
        """Refuse: all is said."""
        raise SaslError("a challenge came where all had been said")

    def check_success(self) -> None:
        """Believe it: these mechanisms ask nothing of the server."""


class _Login:
    """LOGIN: the name, then the password, whatever the server's questions are called."""

    __slots__ = ("_answers",)

    def __init__(self, username: bytes, password: bytes) -> None:
        self._answers = [password, username]

    def start(self) -> bytes | None:
        """Let the server ask: not every one takes a name with the command."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Answer the next question."""
        if not self._answers:
            raise SaslError("a third question came, and LOGIN has two")
        return self._answers.pop()

    def check_success(self) -> None:
        """See that it asked for both."""
        if self._answers:
            raise SaslError("success came before the password was asked for")


class _Bearer(_OneResponse):
    """The OAuth mechanisms: a failure is explained in a challenge, which has to be answered.

    Args:
        response: The response.
        assent: What is said to the explanation (RFC 7628 §3.2.3).
    """

    __slots__ = ("_assent",)

    def __init__(self, response: bytes, assent: bytes) -> None:
        super().__init__(response)
        self._assent: bytes | None = assent

    def respond(self, challenge: bytes) -> bytes:
        """Say that the explanation was read; the server then refuses."""
        if self._assent is None:
            raise SaslError("a failure was explained twice")
        assent, self._assent = self._assent, None
        return assent

    def check_success(self) -> None:
        """See that there was no failure."""
        if self._assent is None:
            raise SaslError("success came after a failure")


def _plain(credentials: ClientCredentials, _facts: TlsFacts | None) -> ClientMechanism:
    assert isinstance(credentials, Password)
    parts = (credentials.authorization_id, credentials.username, credentials.password)
    return _OneResponse(b"\0".join(map(_octets, parts)))


def _login(credentials: ClientCredentials, _facts: TlsFacts | None) -> ClientMechanism:
    assert isinstance(credentials, Password)
    return _Login(_octets(credentials.username), _octets(credentials.password))


def _external(credentials: ClientCredentials, _facts: TlsFacts | None) -> ClientMechanism:
    assert isinstance(credentials, External)
    return _OneResponse(_octets(credentials.authorization_id))


def _oauth_bearer(credentials: ClientCredentials, _facts: TlsFacts | None) -> ClientMechanism:
    assert isinstance(credentials, Token)
    name = _octets(credentials.username).replace(b"=", b"=3D").replace(b",", b"=2C")
    who = b"n,a=%b," % name if name else b"n,,"
    return _Bearer(b"%b\1auth=Bearer %b\1\1" % (who, _token(credentials)), b"\1")


def _xoauth2(credentials: ClientCredentials, _facts: TlsFacts | None) -> ClientMechanism:
    assert isinstance(credentials, Token)
    name = _octets(credentials.username)
    return _Bearer(b"user=%b\1auth=Bearer %b\1\1" % (name, _token(credentials)), b"")


def _octets(text: str) -> bytes:
    """Encode a name or a secret; an error must not have it in its text."""
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        octets = b"\0"
    if b"\0" in octets or b"\1" in octets:
        raise ValueError("a name or a secret has a character that SASL cannot carry")
    return octets


def _token(credentials: Token) -> bytes:
    token = credentials.token
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("a token is printable ASCII, and not empty")
    return token.encode()


CLIENT_MECHANISMS: Final[Mapping[str, ClientMechanismFactory]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
    "EXTERNAL": _external,
    "OAUTHBEARER": _oauth_bearer,
    "XOAUTH2": _xoauth2,
}


def choose_mechanism(
    credentials: ClientCredentials,
    offered: Collection[str],
    *,
    mechanisms: Mapping[str, ClientMechanismFactory] = CLIENT_MECHANISMS,
    facts: TlsFacts | None = None,
    allow_plaintext: bool = False,
) -> tuple[str, ClientMechanism] | Reply:
    """Choose the strongest mechanism and make it, or tell why there is none.

    Args:
        credentials: What there is to prove.
        offered: The names that the server offers.
        mechanisms: Those that we have.
        facts: What is known of TLS; `None` without it.
        allow_plaintext: Let a password or a token go where everybody on the way can read it.

    Raises:
        ValueError: The mechanism cannot carry these credentials.
    """
    if not offered:
        return NO_AUTH
    known = [name for name in _STRENGTH[type(credentials)] if name in mechanisms]
    if isinstance(credentials, Password) and credentials.authorization_id:
        known = [name for name in known if not name.startswith("SCRAM")]  # scramp acts for nobody
    if facts is None or not facts.bindings:
        known = [name for name in known if not name.endswith("-PLUS")]
    usable = [name for name in known if name in offered]
    if not usable:
        return NO_MECHANISM
    name = usable[0]
    if name in _SHOWS_SECRET and facts is None and not allow_plaintext:
        return NEEDS_TLS
    # Who could bind to TLS and sees no -PLUS says so in the exchange, for somebody may have taken
    # it off the list (RFC 5802 §6); where it is on the list and not taken, nothing is to be said.
    if f"{name}-PLUS" in offered:
        facts = None
    return name, mechanisms[name](credentials, facts)
