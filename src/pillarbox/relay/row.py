"""Messages as rows: what the spools that keep them in a database have in common.

Destinations have numbers, and senders a small number by chance; a *lane* is both together. All
that waits is found by one index over lanes and times: a lane's first is a look-up, and going from
lane to lane is one for each, however much waits in it. Taking from the lanes of a destination by
turns is what makes delivery fair among senders. What is put: sealed.py; who is leased: leasing.py.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN
from pillarbox.relay.spool import (
    Backoff,
    Lease,
    LeasedRecipient,
    NewMessage,
    NewRecipient,
    QueuedMessage,
    QueuedRecipient,
    RecipientState,
)

__all__ = [
    "LANE_BITS",
    "Loaded",
    "MessageRow",
    "RecipientRow",
    "State",
    "Tokens",
    "first_leases",
    "id_of",
    "lane_of",
    "like",
    "message_row",
    "new_recipients",
    "number_of",
]

# Few enough to look at each for a destination, and enough that a sender of thousands seldom shares
# a lane with any given other one.
LANE_BITS = 5

_VARIABLE = re.compile("[-+=]")


class State:
    """What `recipients.state` holds."""

    QUEUED = 0
    ACTIVE = 1
    DELIVERED = 2
    FAILED = 3


STATES = (
    RecipientState.QUEUED,
    RecipientState.ACTIVE,
    RecipientState.DELIVERED,
    RecipientState.FAILED,
)


class MessageRow(NamedTuple):
    """A row of `messages`, in the order of its columns."""

    id: int
    mail_from: str
    created: float
    expires: float
    is_held: int
    is_smtputf8: int
    body_type: str
    requires_tls: int
    ret: str | None
    envid: str | None
    origin: str
    size: int
    digest: bytes
    file: str | None


class RecipientRow(NamedTuple):
    """A row of `recipients`, in the order of its columns."""

    message: int
    number: int
    address: str
    lane: int
    state: int
    attempts: int
    next_attempt: float
    due: float | None
    token: str | None
    lease_expires: float | None
    is_attempt: int
    is_delay_told: int
    last_reply: str
    notify: int | None
    orcpt_type: str | None
    orcpt: str | None

    @property
    def destination(self) -> int:
        """The destination's number."""
        return self.lane >> LANE_BITS

    @property
    def is_pending(self) -> bool:
        """Whether its outcome is not known."""
        return self.state in (State.QUEUED, State.ACTIVE)

    def is_free(self, now: float) -> bool:
        """Tell whether it waits, and nobody tries it now."""
        return self.state == State.QUEUED or (
            self.state == State.ACTIVE and (self.lease_expires or 0) <= now
        )

    @property
    def dsn(self) -> RcptDsn:
        """What the sender wants to hear."""
        if self.notify is None and self.orcpt is None:
            return NO_RCPT_DSN
        notify = None if self.notify is None else Notify(self.notify)
        return RcptDsn(notify=notify, orcpt_type=self.orcpt_type, orcpt=self.orcpt)

    def leased(self) -> LeasedRecipient:
        """Give it as one to be tried."""
        return LeasedRecipient(
            number=self.number,
            address=self.address,
            attempts=self.attempts,
            next_attempt=self.next_attempt,
            is_delay_told=bool(self.is_delay_told),
            last_reply=self.last_reply,
            dsn=self.dsn,
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """A message with all of its recipients and the names of their destinations."""

    row: MessageRow
    recipients: Sequence[RecipientRow]
    destinations: dict[int, str]

    def message(self) -> NewMessage:
        """Give it as it was put."""
        row = self.row
        dsn = NO_MAIL_DSN
        if row.ret is not None or row.envid is not None:
            dsn = MailDsn(ret=None if row.ret is None else Return(row.ret), envid=row.envid)
        return NewMessage(
            mail_from=row.mail_from,
            recipients=tuple(
                NewRecipient(
                    address=recipient.address,
                    destination=self.destinations[recipient.destination],
                    dsn=recipient.dsn,
                )
                for recipient in self.recipients
            ),
            created=row.created,
            expires=row.expires,
            is_held=bool(row.is_held),
            is_smtputf8=bool(row.is_smtputf8),
            body_type=row.body_type,
            requires_tls=bool(row.requires_tls),
            dsn=dsn,
            origin=row.origin,
        )

    def queued(self, nodes: Mapping[str, str] | None = None) -> QueuedMessage:
        """Give it for people.

        Args:
            nodes: The names of those that may have a lease, by the keys of their tokens.
        """
        row = self.row
        names = nodes or {}
        return QueuedMessage(
            id=id_of(row.id),
            mail_from=row.mail_from,
            size=row.size,
            created=row.created,
            expires=row.expires,
            is_held=bool(row.is_held),
            origin=row.origin,
            recipients=tuple(
                QueuedRecipient(
                    address=recipient.address,
                    state=STATES[recipient.state],
                    destination=self.destinations[recipient.destination],
                    attempts=recipient.attempts,
                    next_attempt=recipient.next_attempt if recipient.is_pending else None,
                    last_reply=recipient.last_reply,
                    holder=names.get((recipient.token or "").partition("-")[0], ""),
                )
                for recipient in self.recipients
            ),
        )


def id_of(number: int) -> str:
    """Write a message's number as people see it."""
    return f"{number:X}"


def number_of(id: str) -> int:  # noqa: A002
    """Read a message's number; what is none gives one that no message has."""
    try:
        number = int(id, 16)
    except ValueError:
        return -1
    return number if 0 < number < 1 << 63 else -1


def message_row(
    number: int, message: NewMessage, *, size: int, digest: bytes, file: str | None
) -> MessageRow:
    """Give the row of a message."""
    dsn = message.dsn
    return MessageRow(
        number,
        message.mail_from,
        message.created,
        message.expires,
        message.is_held,
        message.is_smtputf8,
        message.body_type,
        message.requires_tls,
        dsn.ret and dsn.ret.value,
        dsn.envid,
        message.origin,
        size,
        digest,
        file,
    )


def new_recipients(
    number: int,
    message: NewMessage,
    destinations: Mapping[str, tuple[int, bool]],
    *,
    lease_seconds: float | None,
    backoff: Backoff,
    chance: Callable[[], float],
    tokens: Tokens,
) -> list[RecipientRow]:
    """Give the rows of a message's recipients, and the leases for their first attempt in them.

    Args:
        number: The message's.
        message: What is put.
        destinations: Each one's number, and whether it is suspended.
        lease_seconds: See `Spool.put()`.
        backoff: When the second attempt is due.
        chance: Gives random numbers from 0 to 1.
        tokens: For the leases.
    """
    given: dict[str, str] = {}
    expires = second_attempt = message.created
    if lease_seconds is not None and not message.is_held:
        expires += lease_seconds
        second_attempt += backoff.wait(1, chance())
        for to in message.recipients:
            is_suspended = destinations[to.destination][1]
            if not is_suspended and to.destination not in given:
                given[to.destination] = tokens.new()
    rows = []
    for place, to in enumerate(message.recipients):
        token = given.get(to.destination)
        next_attempt = second_attempt if token else message.created
        due = expires if token else next_attempt  # see due_behind_lease() in leasing.py
        rows.append(
            RecipientRow(
                message=number,
                number=place,
                address=to.address,
                lane=lane_of(destinations[to.destination][0], message.mail_from),
                state=State.ACTIVE if token else State.QUEUED,
                attempts=1 if token else 0,
                next_attempt=next_attempt,
                due=None if message.is_held else due,
                token=token,
                lease_expires=expires if token else None,
                is_attempt=bool(token),
                is_delay_told=False,
                last_reply="",
                notify=None if to.dsn.notify is None else to.dsn.notify.value,
                orcpt_type=to.dsn.orcpt_type,
                orcpt=to.dsn.orcpt,
            )
        )
    return rows


def first_leases(
    message: NewMessage, rows: Sequence[RecipientRow], *, size: int, octets: bytes | None
) -> Iterator[Lease]:
    """Give the leases that a message was added with."""
    by_token: dict[str, list[RecipientRow]] = {}
    for row in rows:
        if row.token:
            by_token.setdefault(row.token, []).append(row)
    for token, some in by_token.items():
        expires = some[0].lease_expires
        assert expires is not None
        yield Lease(
            token=token,
            id=id_of(some[0].message),
            destination=message.recipients[some[0].number].destination,
            recipients=tuple(row.leased() for row in some),
            expires=expires,
            message=message,
            size=size,
            octets=octets,
        )


def lane_of(destination: int, mail_from: str) -> int:
    """Give the lane of a destination's number and a sender.

    What a list puts behind its name for each recipient or message makes no sender of its own.
    """
    local_part, _, domain = mail_from.lower().rpartition("@")
    sender = f"{_VARIABLE.split(local_part, maxsplit=1)[0]}@{domain}"
    return destination << LANE_BITS | zlib.crc32(sender.encode()) & (1 << LANE_BITS) - 1


class Tokens:
    """Gives tokens that come once: not again after a restart, nor from another process."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(6)
        """What all of them begin with, up to a hyphen."""
        self._given = 0

    def new(self) -> str:
        """Give one."""
        self._given += 1
        return f"{self.key}-{self._given:x}"


def like(pattern: str) -> str:
    """Give what SQL's LIKE calls a pattern, with a backslash to escape; `*` stands for anything."""
    escaped: Iterable[str] = (
        f"\\{character}" if character in "\\%_" else character for character in pattern
    )
    return "".join(escaped).replace("*", "%")
