"""What the mailbox tells of its messages: frozen values, made by store.py.

`Summary` is a line of a list, `Page` a piece of a list, `Stored` a message with all that is known
of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.header import Address
from pillarbox.catcher.message import ParsedMessage

__all__ = ["Counts", "Page", "Stored", "Summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A message in a list.

    Attributes:
        id: Names it: 22 characters.
        time: When it arrived, in UTC.
        message_id: What the message calls itself, without the angle brackets; may be empty.
        is_read: Whether somebody has looked at it.
        from_: The first author; `None` if the message names none.
        to: The recipients that the message names.
        cc: Those of a copy.
        bcc: The envelope's recipients that no header names.
        reply_to: Where answers should go.
        subject: Empty without.
        snippet: The beginning of the text.
        size: How many octets it has.
        attachments: How many parts are to be opened by themselves.
        inlines: How many parts the HTML refers to.
        tags: In their order.
        identity: Who logged in by AUTH; `None` for nobody.
        mailboxes: The named mailboxes that it is in.
    """

    id: str
    time: datetime
    message_id: str
    is_read: bool
    from_: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    snippet: str
    size: int
    attachments: int
    inlines: int
    tags: tuple[str, ...] = ()
    identity: str | None = None
    mailboxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many messages there are, and how many of them nobody has looked at."""

    total: int
    unread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A piece of a list or of what a search found, newest first.

    Attributes:
        summaries: The messages of this piece.
        start: How many are before it.
        found: How many there are in the whole list, and how many of them are unread.
        mailbox: How many there are in the mailbox, found or not.
        tags: All tags of the mailbox, in their order.
    """

    summaries: tuple[Summary, ...]
    start: int
    found: Counts
    mailbox: Counts
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message with all that is known of it.

    Attributes:
        summary: As in a list.
        arrival: The envelope, the session, the dialogue and the octets.
    """

    summary: Summary
    arrival: Arrival = field(repr=False)

    def parse(self) -> ParsedMessage:
        """Take the message apart."""
        return self.arrival.parse()
