"""What a sender is to be told, as values; `Notices` makes messages of them (dsn.py).

RFC 3461 says who wants to hear what; whoever writes the notices knows that, so all that happened to
a recipient is handed over, asked for or not.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pillarbox.protocol.reply import Reply
from pillarbox.relay.spool import Lease, LeasedRecipient, NewMessage

__all__ = ["Action", "NoNotices", "Notices", "Report"]


class Action(enum.Enum):
    """What became of a recipient, in RFC 3464's words (§2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    """To its mailbox, as LMTP does."""
    RELAYED = "relayed"
    """To a server that will send no notice of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one recipient.

    Attributes:
        recipient: The recipient.
        action: What became of it.
        reply: What was said last.
        remote: Who said it: the name of a server. Empty for our own words.
        tried: When, in seconds since 1970.
        is_expired: It failed since it took too long; the reply is that of the last attempt.
        gives_up: For a delay, when it will be given up.
    """

    recipient: LeasedRecipient
    action: Action
    reply: Reply
    remote: str = ""
    tried: float
    is_expired: bool = False
    gives_up: float | None = None


class Notices(Protocol):
    """Writes to senders."""

    async def write(
        self,
        lease: Lease,
        reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> Sequence[tuple[NewMessage, bytes]]:
        """Give the messages that are due for what happened, with their routes; often none.

        The null sender is told nothing (RFC 5321 §4.5.5).

        Args:
            lease: The message, and what its sender wants to hear.
            reports: What happened, at least one.
            octets: Gives the message itself.
        """
        ...


class NoNotices:
    """Writes nothing: senders never hear what became of their mail."""

    async def write(
        self,
        _lease: Lease,
        _reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> Sequence[tuple[NewMessage, bytes]]:
        """Give nothing."""
        return ()
