"""What can go wrong with a client's session, each a class that a caller may want to catch.

What a server says of a message is no exception but an `Outcome`.
"""

from __future__ import annotations

from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.reply import Reply

__all__ = [
    "CertificateRefused",
    "LoginFailed",
    "SessionError",
    "SessionLost",
    "SessionRefused",
    "TlsFailed",
    "TlsUnavailable",
]


class SessionError(Exception):
    """There is no session, or no more, or not the one that was asked for.

    Attributes:
        reply: What the server said, or words of our own.
        outcome: What became of the message under way, if there was one. Recipients that the server
            refused keep its replies, and `outcome.is_in_doubt` warns of duplicates.
    """

    def __init__(self, text: str, reply: Reply, outcome: Outcome | None = None) -> None:
        super().__init__(text)
        self.reply = reply
        self.outcome = outcome


class SessionRefused(SessionError):
    """The server does not want a session: it said so in its greeting, or to EHLO."""


class SessionLost(SessionError):
    """The connection broke, or the server took too long, or it broke the protocol."""


class TlsUnavailable(SessionError):
    """The server offers no STARTTLS, or refuses it. Nothing secret was sent."""


class TlsFailed(SessionError):
    """The TLS handshake failed. The connection is closed.

    Attributes:
        said: What the server said in the clear where TLS was due, if it did.
    """

    def __init__(self, text: str, reply: Reply, *, said: str | None = None) -> None:
        super().__init__(text, reply)
        self.said = said


class CertificateRefused(TlsFailed):
    """The server's certificate does not verify. The connection is closed.

    Attributes:
        reason: Why, in OpenSSL's words.
    """

    def __init__(self, text: str, reply: Reply, *, reason: str) -> None:
        super().__init__(text, reply)
        self.reason = reason


class LoginFailed(SessionError):
    """The server does not know us. Where that came of `login()`, the session goes on without.

    Attributes:
        mechanism: What was tried; `None` where nothing could be, and nothing was sent.
    """

    def __init__(self, text: str, reply: Reply, *, mechanism: str | None) -> None:
        super().__init__(text, reply)
        self.mechanism = mechanism
