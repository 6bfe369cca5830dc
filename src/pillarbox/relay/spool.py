"""The spool: where mail is safe until its outcome is known. The interface, and the values in it.

A message is put with all of its recipients, durably or not at all. Recipients of one message that
go to one destination are leased together, tried, and finished with an outcome each; when none is
left, the message is gone. What a lease does not finish in time is tried again by somebody else.

The attempt is counted, and the time of the next one written, when the lease is given: a message
that kills whoever delivers it does so once in the time of a lease, and no faster. A lease's token
guards its results: one that comes too late is told so, and nothing of it is recorded.

sqlite/ keeps this promise in a folder, postgres/ in a database that several relays share.
tests/relay/conformance.py is what every spool has to pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Protocol, runtime_checkable

from pillarbox.protocol.dsn import MailDsn, RcptDsn
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN
from pillarbox.relay.clock import Clock
from pillarbox.relay.rate import Rate, Turns

__all__ = [
    "Backoff",
    "Change",
    "Draft",
    "Lease",
    "LeasedRecipient",
    "NewMessage",
    "NewRecipient",
    "Node",
    "Outcome",
    "QueuedMessage",
    "QueuedRecipient",
    "RecipientState",
    "Result",
    "Selection",
    "SharesSessions",
    "Spool",
    "SpoolError",
    "SpoolFull",
    "Statistics",
    "Stored",
]


class SpoolError(Exception):
    """The spool cannot do what was asked, and has not done it; the text is for an operator."""


class SpoolFull(SpoolError):
    """There is no room: a client hears 452, not 451."""


# What goes in


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecipient:
    """A recipient of a message that is put.

    Attributes:
        address: The mailbox, as the client spelled it.
        destination: Where it goes: what route.py made of the address. Recipients of one
            destination share connections.
        dsn: What the sender wants to hear of it.
    """

    address: str
    destination: str
    dsn: RcptDsn = NO_RCPT_DSN


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message that is put, but for its octets.

    Attributes:
        mail_from: The sender; empty for a notification, of which nobody is notified.
        recipients: One at least.
        created: When it was accepted, in seconds since 1970.
        expires: When it is given up.
        is_held: Keep it, and do not deliver it before somebody says so.
        is_smtputf8: It needs SMTPUTF8 (RFC 6531).
        body_type: `7BIT`, `8BITMIME` or `BINARYMIME`.
        requires_tls: REQUIRETLS was said (RFC 8689).
        dsn: What MAIL said of notifications.
        origin: Where it came from, for people: peer, name, login.
    """

    mail_from: str
    recipients: tuple[NewRecipient, ...]
    created: float
    expires: float
    is_held: bool = False
    is_smtputf8: bool = False
    body_type: str = "7BIT"
    requires_tls: bool = False
    dsn: MailDsn = NO_MAIL_DSN
    origin: str = ""


class Draft(Protocol):
    """The octets of a large message on their way into the spool.

    Hand it to `put()`, or `discard()` it; one that is forgotten is swept at the next start.
    """

    @property
    def size(self) -> int:
        """How many octets were written."""
        ...

    async def write(self, octets: bytes) -> None:
        """Add octets.

        Raises:
            SpoolError: They cannot be written.
        """
        ...

    async def discard(self) -> None:
        """Let go of all that was written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """When the next attempt is due.

    Attributes:
        first_seconds: After the first attempt.
        factor: By which the wait grows from one to the next.
        most_seconds: The longest wait.
        jitter: By which part of itself a wait is made shorter or longer by chance, so that what
            failed together is not tried together.
    """

    first_seconds: float = 300.0
    factor: float = 2.0
    most_seconds: float = 14_400.0
    jitter: float = 0.2

    def wait(self, attempts: int, chance: float) -> float:
        """Give the seconds from attempt number `attempts` to the next one.

        Args:
            attempts: Counted from 1.
            chance: A random number from 0 to 1.
        """
        # A float has no room for factor ** 2000, and the most is reached long before.
        plain = self.first_seconds * self.factor ** min(attempts - 1, 64)
        return min(plain, self.most_seconds) * (1 + self.jitter * (2 * chance - 1))


# What is given out to be delivered


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedRecipient:
    """A recipient to be tried now.

    Attributes:
        number: Names it in `Spool.finish()`.
        address: The mailbox.
        attempts: Which attempt this is, counted from 1.
        next_attempt: When the next one is due if this one tells nothing.
        is_delay_told: Whether the sender has been told that it takes long.
        last_reply: What was said to the attempt before; empty without one.
        dsn: What the sender wants to hear of it.
    """

    number: int
    address: str
    attempts: int
    next_attempt: float
    is_delay_told: bool = False
    last_reply: str = ""
    dsn: RcptDsn = NO_RCPT_DSN


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Recipients of one message and one destination, which nobody else tries meanwhile.

    Attributes:
        token: Proves in `renew()`, `finish()` and `give_back()` that it is still ours.
        id: The message.
        destination: Where it goes.
        recipients: Who is to be tried.
        expires: When somebody else may try, in seconds since 1970.
        message: All of the message but its octets; `recipients` in it are all that it began with.
        size: How many octets it has.
        octets: The message if it is at hand; otherwise `Spool.read()` gives it.
    """

    token: str
    id: str
    destination: str
    recipients: tuple[LeasedRecipient, ...]
    expires: float
    message: NewMessage
    size: int
    octets: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """What `put()` gives: the message's name, and leases if it was to be tried at once."""

    id: str
    leases: tuple[Lease, ...] = ()


class Result(Enum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """For good: the sender is told."""
    DEFERRED = "deferred"
    """It is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one recipient.

    Attributes:
        result: Of this attempt.
        reply: What the other server said, or our own words for it.
        next_attempt: For a deferred one, when to try again in place of what the lease says.
        is_delay_told: The sender is told now that it takes long.
    """

    result: Result
    reply: str
    next_attempt: float | None = None
    is_delay_told: bool = False


# What people look at


class RecipientState(Enum):
    """Where a recipient stands."""

    QUEUED = "queued"
    """Due now or later; `attempts` tells whether it was tried."""
    ACTIVE = "active"
    """Being tried."""
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRecipient:
    """A recipient as people see it; `holder` is the node that tries it, where there are several."""

    address: str
    state: RecipientState
    destination: str
    attempts: int
    next_attempt: float | None
    last_reply: str
    holder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message as people see it."""

    id: str
    mail_from: str
    size: int
    created: float
    expires: float
    is_held: bool
    origin: str
    recipients: tuple[QueuedRecipient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which messages something is done to: those that meet all that is given.

    Attributes:
        ids: Any of these.
        mail_from: A pattern of senders; `*` stands for anything.
        rcpt_to: A pattern of recipients, of which one is enough.
    """

    ids: tuple[str, ...] | None = None
    mail_from: str | None = None
    rcpt_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A relay that shares a spool with others.

    Attributes:
        name: What it is called.
        began: When it started, in seconds since 1970.
        seen: When it was last heard of.
        active: How many recipients it has leased.
    """

    name: str
    began: float
    seen: float
    active: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a spool holds.

    Attributes:
        messages: How many messages.
        octets: How many octets of them.
        held: How many of them are held.
        oldest: When the oldest came; `None` without one.
        destinations: For each destination, how many recipients are queued and active, and
            whether it is suspended.
        nodes: The relays that share it; empty for a spool that has one.
    """

    messages: int
    octets: int
    held: int
    oldest: float | None
    destinations: Mapping[str, tuple[int, int, bool]]
    nodes: tuple[Node, ...] = ()


class Change(Flag):
    """What another process may have changed."""

    NOTHING = 0
    MAIL = auto()
    """Something may be due."""
    WORD = auto()
    """Somebody may have suspended, resumed, hastened or held something."""


class Spool(Protocol):
    """Where mail is safe. All methods raise `SpoolError` when the spool cannot be used."""

    @property
    def clock(self) -> Clock:
        """What tells the times that are passed to it, for all who use it."""
        ...

    # In

    def draft(self) -> Draft:
        """Begin a message that is too large to be held in memory."""
        ...

    async def put(
        self, message: NewMessage, body: bytes | Draft, *, lease_seconds: float | None = None
    ) -> Stored:
        """Keep a message; it survives whatever happens to us once this returns.

        Args:
            message: All but the octets.
            body: The octets. A draft is the spool's from now on, whether it is kept or not.
            lease_seconds: Lease all recipients to the caller at once, with their first attempt,
                from `message.created` on. Nothing that is held or suspended is leased.

        Raises:
            SpoolFull: There is no room.
            SpoolError: It was not kept.
        """
        ...

    # Delivering

    async def due(self, now: float) -> Sequence[str]:
        """Tell the destinations that have recipients to be tried now; none that is suspended."""
        ...

    async def next_due(self) -> float | None:
        """Tell when anything will be due next; `None` for never."""
        ...

    async def lease(
        self, destination: str, now: float, *, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out messages for a destination, those that are longest due first.

        Senders take turns, so that one with thousands of messages does not hold up the others.
        Counts the attempt, and writes the time of the next one.
        """
        ...

    async def renew(self, lease: Lease, now: float, *, seconds: float) -> Lease | None:
        """Ask for more time; `None` where the lease is not ours any more."""
        ...

    def read(self, lease: Lease) -> AsyncIterator[bytes]:
        """Give the octets of a leased message, some ten thousand at a time.

        The last of them come only when all are known to be right. Whoever sends them on has to
        break off when this fails: half a message must not look like one.

        Raises:
            SpoolError: They are not what was put, or the message is gone.
        """
        ...

    async def finish(
        self,
        lease: Lease,
        outcomes: Mapping[int, Outcome],
        *,
        notices: Sequence[tuple[NewMessage, bytes]] = (),
    ) -> bool:
        """Record what became of recipients, by their numbers; the lease ends.

        Args:
            lease: Ours.
            outcomes: Those that are missing are tried again when the lease has said.
            notices: Messages to the sender, put in the same step: never one without the other.

        Returns:
            Whether it was recorded; `False` where the lease is not ours any more.
        """
        ...

    async def give_back(self, lease: Lease, *, reply: str = "") -> bool:
        """End a lease that nobody has acted on: the attempt does not count, and is due at once.

        Recipients whose lease did not count one are due as before.

        Args:
            lease: Ours.
            reply: Why, to be shown as the last reply; the one before stays where it is empty.

        Returns:
            Whether it was ours still.
        """
        ...

    async def lease_late(
        self, now: float, *, created_before: float, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out what its sender has to be told of though nobody tries it, whether due or not.

        That is recipients of messages that have expired, and of those created before a time whose
        sender has not been told that it takes long: of any destination, suspended or not, but of no
        message that is held. Attempts do not count, and the times of the next ones stay.
        """
        ...

    async def take_turns(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        """Take the right to begin so many messages to a destination, as far as there is any.

        All who share the spool have one rate together, and those who ask say the same one.

        Args:
            destination: Where to.
            rate: How many there may be in a time.
            now: The time.
            wanted: How many to take, 1 at least.
        """
        ...

    # For people

    async def list(
        self, selection: Selection | None = None, *, start: int = 0, limit: int = 100
    ) -> Sequence[QueuedMessage]:
        """Give messages, the oldest first; `None` selects all."""
        ...

    async def octets(self, id: str) -> bytes | None:  # noqa: A002
        """Give a message's octets for people to look at; `None` where it is gone."""
        ...

    async def hold(self, selection: Selection) -> int:
        """Deliver these no more, until `release()`; tell how many."""
        ...

    async def release(self, selection: Selection) -> int:
        """Deliver these again; tell how many were held."""
        ...

    async def retry(self, selection: Selection, now: float) -> int:
        """Have these due now, but for what is being tried; tell how many messages."""
        ...

    async def delete(self, selection: Selection) -> int:
        """Remove these without a word to anybody, being tried or not; tell how many."""
        ...

    async def lease_all(
        self, selection: Selection, now: float, *, seconds: float, limit: int = 1000
    ) -> Sequence[Lease]:
        """Lease these whether due or not, held or not, to bounce them; attempts do not count.

        What is being tried now is not among them: it may be delivered. Ask again after `limit`
        messages, until there are no more.
        """
        ...

    async def statistics(self) -> Statistics:
        """Tell what there is."""
        ...

    async def suspend(self, destination: str) -> None:
        """Deliver nothing to a destination, until `resume()`."""
        ...

    async def resume(self, destination: str) -> bool:
        """Deliver to it again; tell whether it was suspended."""
        ...

    async def suspended(self) -> Sequence[str]:
        """Tell the destinations that are suspended."""
        ...

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something that needs no spool: at once, or soon, while this one waits for its disk."""
        ...

    async def changed(self, seconds: float) -> Change:
        """Wait until another process may have changed something, or so many seconds."""
        ...

    async def close(self) -> None:
        """Finish what is being written, and let go of the spool."""
        ...


@runtime_checkable
class SharesSessions(Protocol):
    """What a spool has beside where relays share it: a limit that holds for all of them."""

    async def enter(self, destination: str, most: int) -> bool:
        """Count one more session with a destination.

        Args:
            destination: With whom.
            most: How many all relays together may have.

        Returns:
            Whether it may be opened; then `leave()` belongs to it.
        """
        ...

    async def leave(self, destination: str) -> None:
        """Count one session less."""
        ...
