"""Notes: what a session decided by itself, so that no event tells of it; for logs and figures.

A driver takes them from `ServerConnection.take_notes()` whenever it sends, or leaves them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pillarbox.protocol.reply import Reply

__all__ = ["ClientCutOff", "LoginDecided", "MessageAnswered", "Note"]


@dataclass(frozen=True, slots=True)
class LoginDecided:
    """A client logged in, or failed to.

    Attributes:
        mechanism: The SASL mechanism's name.
        username: Who the client says it is; empty where it did not say.
        identity: Who it is; `None` for nobody.
        reply: What the client is told.
    """

    mechanism: str
    username: str
    identity: str | None
    reply: Reply


@dataclass(frozen=True, slots=True)
class MessageAnswered:
    """A message came to its end and was answered with nobody asked at that moment.

    It broke a rule of ours, or the handler had answered before the end.

    Attributes:
        mailbox: The sender's address; empty for the null reverse-path.
        rcpt_count: How many recipients it had.
        octets: How long it was.
        replies: What the client is told: one, or one for each recipient (LMTP).
    """

    mailbox: str
    rcpt_count: int
    octets: int
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class ClientCutOff:
    """The session ends because of what the client does: too many errors, or no SMTP at all.

    Attributes:
        reply: What the client is told.
    """

    reply: Reply


Note: TypeAlias = LoginDecided | MessageAnswered | ClientCutOff
