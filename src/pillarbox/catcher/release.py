"""Letting a caught message go after all: to a real server, for the recipients that somebody names.

The message goes as it came, but for the header Bcc, which is nobody's business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pillarbox.asyncio.client import ClientOptions, connect
from pillarbox.asyncio.client_error import SessionError
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.sasl import Password

__all__ = ["Relay", "ReleaseError", "SMTPRelay", "without_bcc"]

TIMEOUT_SECONDS = 30.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_BCC = re.compile(rb"^bcc[ \t]*:.*?(?:\n|\Z)(?![ \t])", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_END_OF_HEADER = re.compile(rb"^\r?\n", re.MULTILINE)


class ReleaseError(Exception):
    """The message did not go, or not to everybody; the text says what the server said."""


class Relay(Protocol):
    """Where messages are let go to."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def send(self, mail_from: str, rcpt_tos: Sequence[str], octets: bytes) -> None:
        """Send a message.

        Raises:
            ReleaseError: It did not go, or not to everybody.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SMTPRelay:
    """A server of SMTP.

    Attributes:
        host: Its name or address.
        port: Its port.
        scheme: `smtp`, `smtp+starttls` or `smtps`.
        user: Who we are there; `None` for nobody.
        password: The password.
    """

    host: str
    port: int
    scheme: str = "smtp"
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> SMTPRelay:
        """Read `HOST:PORT`, `smtps://USER@HOST` or `smtp+starttls://USER:PASSWORD@HOST:587`.

        Raises:
            ValueError: It is none of these.
        """
        try:
            parts = urlsplit(text if "://" in text else f"smtp://{text}")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(
                f"{_without_password(text)!r} is no server; write one such as"
                " smtp.example.org:25, smtps://USER@smtp.example.org or smtp+starttls://..."
            )
        if port is None and "://" not in text:
            raise ValueError(f"{text!r} has no port; write one such as {text}:25")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            scheme=parts.scheme,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def with_password(self, password: str) -> SMTPRelay:
        """Give the same with a password."""
        return replace(self, password=password)

    @property
    def name(self) -> str:
        """What people call it: without who we are there."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def send(self, mail_from: str, rcpt_tos: Sequence[str], octets: bytes) -> None:
        """Send a message.

        Raises:
            ReleaseError: It did not go, or not to everybody.
        """
        options = ClientOptions(timeouts=Timeouts.all(TIMEOUT_SECONDS))
        if self.scheme == "smtps":
            options["tls"] = "implicit"
        elif self.scheme == "smtp+starttls":
            options["tls"] = "starttls"
        if self.user is not None:
            options["login"] = Password(self.user, self.password or "")
        octets = without_bcc(octets)
        try:
            async with connect(self.host, self.port, **options) as client:
                outcome = await client.send(
                    mail_from,
                    rcpt_tos,
                    octets,
                    smtputf8=not all(map(str.isascii, (mail_from, *rcpt_tos))),
                )
        except (OSError, SessionError, ValueError) as error:
            raise ReleaseError(f"{self.name}: {_reason(error)}") from None
        if not outcome.is_accepted:
            said = "; ".join(f"{one.address}: {one.reply}" for one in outcome.refused)
            raise ReleaseError(f"{self.name} refused {said}")


def _without_password(text: str) -> str:
    return re.sub(r"://[^@/]*@", "://...@", text)


def without_bcc(octets: bytes) -> bytes:
    """Take the header Bcc out of a message."""
    end = _END_OF_HEADER.search(octets)
    at = end.start() if end else len(octets)
    return _BCC.sub(b"", octets[:at]) + octets[at:]


def _reason(error: Exception) -> str:
    """Say what the system said, without its number; asyncio and uvloop word it differently."""
    if not isinstance(error, OSError) or not error.errno:
        return str(error)
    return os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
