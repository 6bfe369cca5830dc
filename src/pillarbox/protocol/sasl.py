"""SASL mechanisms, the server's side: responses in, challenges and questions out (RFC 4422).

A mechanism knows neither base64 nor SMTP (server.py frames it by RFC 4954), and it decides nothing:
when it has the client's credentials it gives a `Question`, and whoever holds the secrets answers.
SCRAM needs arithmetic that is a library's; it has the same shape, in scram.py above this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

__all__ = [
    "STANDARD_MECHANISMS",
    "Challenge",
    "Credentials",
    "External",
    "Failure",
    "Mechanism",
    "MechanismFactory",
    "Outcome",
    "Password",
    "Question",
    "SaslError",
    "ScramSecret",
    "ScramUser",
    "Success",
    "TlsFacts",
    "Token",
    "check_identity",
]


class SaslError(ValueError):
    """A response that the mechanism does not allow; the text is fit for a reply."""


@dataclass(frozen=True, slots=True)
class Password:
    """A user's name and password (PLAIN, LOGIN).

    Attributes:
        username: Who logs in.
        password: The secret, never shown by `repr()`.
        authorization_id: As whom to act; empty for the user itself.
    """

    username: str
    password: str = field(repr=False)
    authorization_id: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token (OAUTHBEARER, XOAUTH2; RFC 7628)."""

    username: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class External:
    """Who the client is, by what TLS told already (EXTERNAL, RFC 4422 appendix A)."""

    authorization_id: str = ""


@dataclass(frozen=True, slots=True)
class ScramUser:
    """A user whose SCRAM secret is wanted (RFC 5802); answer with it, or `None`."""

    username: str


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """What proves a user's password without knowing it (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


Credentials: TypeAlias = Password | Token | External | ScramUser


@dataclass(frozen=True, slots=True)
class Challenge:
    """Octets for the client, which has to respond."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """Something for the holder of the secrets; go on by `Mechanism.answer()`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Success:
    """The client is who it says."""

    identity: str


@dataclass(frozen=True, slots=True)
class Failure:
    """It is not, or may not be told."""


Outcome: TypeAlias = Challenge | Question | Success | Failure


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a mechanism may want to know of the TLS connection it runs in.

    Attributes:
        bindings: Channel bindings by their names, such as `tls-exporter` (RFC 9266).
        client_name: Whom the client's certificate was made out to, if it showed a valid one.
    """

    bindings: Mapping[str, bytes] = field(default_factory=dict)
    client_name: str | None = None


class Mechanism(Protocol):
    """One exchange. Each call gives what comes next; none may follow `Success` or `Failure`."""

    def start(self, initial: bytes | None) -> Outcome:
        """Begin, with the client's initial response if it sent one.

        Raises:
            SaslError: The response breaks the mechanism's grammar.
        """

    def respond(self, response: bytes) -> Outcome:
        """Take the response to a challenge.

        Raises:
            SaslError: The response breaks the mechanism's grammar.
        """

    def answer(self, answer: object) -> Outcome:
        """Take the answer to a question: an identity or a secret, `None` for nobody."""


MechanismFactory: TypeAlias = Callable[[TlsFacts | None], Mechanism]
"""Makes a mechanism for one exchange; `None` without TLS."""


def check_identity(text: str) -> str:
    """Refuse names that would do harm in a log or a header.

    Raises:
        SaslError: The name is empty, too long, or has a character that does not print.
    """
    if not text or len(text) > 255 or not text.isprintable():
        raise SaslError("A name that is empty, too long or not printable")
    return text


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError("Not UTF-8") from None


class _OneQuestion:
    """What most mechanisms do: gather credentials, ask once, and that is the outcome."""

    __slots__ = ()

    def answer(self, answer: object) -> Outcome:
        return Success(answer) if isinstance(answer, str) and answer else Failure()


class Plain(_OneQuestion):
    """PLAIN (RFC 4616): everything in one response."""

    __slots__ = ()

    def start(self, initial: bytes | None) -> Outcome:
        """Read the response, or ask for it."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        """Read `authzid NUL authcid NUL password`."""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise SaslError("Syntax: authorization-id NUL username NUL password")
        authorization_id, username, password = map(_utf8, parts)
        if authorization_id:
            check_identity(authorization_id)
        return Question(Password(check_identity(username), password, authorization_id))


class Login(_OneQuestion):
    """LOGIN (draft-murchison-sasl-login): two questions that every old client knows."""

    __slots__ = ("_username",)

    def __init__(self) -> None:
        self._username: str | None = None

    def start(self, initial: bytes | None) -> Outcome:
        """Ask for the user's name, unless it came with the command."""
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        """Take the name, then the password."""
        if self._username is None:
            self._username = check_identity(_utf8(response))
            return Challenge(b"Password:")
        return Question(Password(self._username, _utf8(response)))


class ExternalMechanism(_OneQuestion):
    """EXTERNAL: the client's certificate has said who it is."""

    __slots__ = ()

    def start(self, initial: bytes | None) -> Outcome:
        """Take the name to act as, which may be empty."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        """Take the name to act as."""
        name = _utf8(response)
        return Question(External(check_identity(name) if name else ""))


class _Bearer:
    """The two OAuth mechanisms: a failure is explained, and the client has to say that it read it.

    RFC 7628 §3.2.3; XOAUTH2 does likewise.
    """

    __slots__ = ("_failed",)

    def __init__(self) -> None:
        self._failed = False

    def start(self, initial: bytes | None) -> Outcome:
        """Read the token, or ask for it."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        """Read the token; after a failure, any response ends the exchange."""
        return Failure() if self._failed else Question(self._token(response))

    def answer(self, answer: object) -> Outcome:
        """Give the identity, or begin to fail."""
        if isinstance(answer, str) and answer:
            return Success(answer)
        self._failed = True
        return Challenge(b'{"status":"invalid_token","schemes":"bearer"}')

    def _token(self, response: bytes) -> Token:
        raise NotImplementedError


class OAuthBearer(_Bearer):
    """OAUTHBEARER (RFC 7628): a GS2 header and key-value pairs, each ended by 0x01."""

    __slots__ = ()

    _MESSAGE: Final = re.compile(
        rb"n,(?:a=([^,\x01]*+))?+,\x01((?:[A-Za-z]++=[^\x01]*+\x01)*+)\x01"
    )

    def _token(self, response: bytes) -> Token:
        found = self._MESSAGE.fullmatch(response)
        if found is None:
            raise SaslError("Syntax: n,a=user,^Aauth=Bearer token^A^A")
        pairs = dict(pair.split(b"=", 1) for pair in found[2].split(b"\1")[:-1])
        name = _utf8(found[1] or b"").replace("=2C", ",").replace("=3D", "=")
        return Token(check_identity(name) if name else "", _bearer(pairs.get(b"auth", b"")))


class XOAuth2(_Bearer):
    """XOAUTH2, which came before it and is what many providers' clients still speak."""

    __slots__ = ()

    _MESSAGE: Final = re.compile(rb"user=([^\x01]++)\x01auth=([^\x01]++)\x01\x01")

    def _token(self, response: bytes) -> Token:
        found = self._MESSAGE.fullmatch(response)
        if found is None:
            raise SaslError("Syntax: user=name^Aauth=Bearer token^A^A")
        return Token(check_identity(_utf8(found[1])), _bearer(found[2]))


def _bearer(value: bytes) -> str:
    scheme, _, token = _utf8(value).partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or not token.isprintable():
        raise SaslError("Syntax: auth=Bearer token")
    return token


STANDARD_MECHANISMS: Final[Mapping[str, MechanismFactory]] = {
    "PLAIN": lambda _tls: Plain(),
    "LOGIN": lambda _tls: Login(),
    "EXTERNAL": lambda _tls: ExternalMechanism(),
    "OAUTHBEARER": lambda _tls: OAuthBearer(),
    "XOAUTH2": lambda _tls: XOAuth2(),
}
