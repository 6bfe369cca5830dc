"""The client's events: how a session opens, TLS, logins, and what became of each message.

`ClientConnection.next_event()` gives one at a time. What it needs besides is a `Need` of event.py,
or `NEED_BODY`. Outcomes are values, one for each recipient: who is refused by one server may be
taken by the next, and what cannot be sent at all is told in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from pillarbox.protocol.event import Need
from pillarbox.protocol.reply import Reply

__all__ = [
    "NEED_BODY",
    "ClientEvent",
    "LoggedIn",
    "LoginRefused",
    "Outcome",
    "Ready",
    "RecipientOutcome",
    "Refused",
    "Sent",
    "TlsRefused",
]

NEED_BODY: Final = Need("NEED_BODY")
"""Send what there is to send, and give the next part of the message by `send_part()`."""


@dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What became of a message for one recipient.

    Attributes:
        address: The recipient, as the caller wrote it.
        reply: What decided: positive where the server took the message for this recipient.
        command: What the reply answered: `MAIL`, `RCPT`, `DATA`, `BDAT`, `BDAT LAST` or `end of
            data`. `None` where the reply is our own: the session broke, or the server lacks what
            the message needs.
    """

    address: str
    reply: Reply
    command: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message.

    Attributes:
        recipients: One for each recipient, in the order in which they were given.
        is_in_doubt: The server has the whole message and the session broke before it answered, so
            that sending the message again may deliver it twice (RFC 5321 §4.5.3.2.6, RFC 1047).
            That concerns the recipients whose `command` is `None`.
    """

    recipients: tuple[RecipientOutcome, ...]
    is_in_doubt: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether the server took the message for every recipient."""
        return all(recipient.reply.is_positive for recipient in self.recipients)

    @property
    def refused(self) -> tuple[RecipientOutcome, ...]:
        """The recipients that the server did not take the message for."""
        return tuple(one for one in self.recipients if not one.reply.is_positive)


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is open: call `send_message()` or `quit()`.

    Attributes:
        reply: The answer to EHLO, or to HELO where the server knows no extensions.
    """

    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """There will be no session. QUIT goes out by itself; call `next_event()` until `NEED_CLOSE`.

    Attributes:
        reply: What the server said instead of its greeting, or to EHLO and HELO.
    """

    reply: Reply


@dataclass(frozen=True, slots=True)
class TlsRefused:
    """There is no TLS: the session is as it was, in the clear. Go on, or call `quit()`.

    Attributes:
        reply: What the server said to STARTTLS, or words of our own where it does not offer it.
    """

    reply: Reply


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server knows us now.

    Attributes:
        mechanism: The SASL mechanism that was used.
        reply: What the server said.
    """

    mechanism: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The server does not know us; the session goes on without.

    Attributes:
        mechanism: The SASL mechanism that was tried; `None` where none could be, and nothing of
            the credentials was sent.
        reply: What the server said, or words of our own.
    """

    mechanism: str | None
    reply: Reply


@dataclass(frozen=True, slots=True)
class Sent:
    """The message is done with, whatever became of it. Where the session goes on, send another.

    Attributes:
        outcome: What became of it, for each recipient.
    """

    outcome: Outcome


ClientEvent: TypeAlias = Ready | Refused | TlsRefused | LoggedIn | LoginRefused | Sent
