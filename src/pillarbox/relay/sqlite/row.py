"""Values to rows, and rows to values.

All rows that are read whole are read by `load()`, and all that are added by `insert()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN
from pillarbox.relay.spool import (
    LeasedRecipient,
    NewMessage,
    NewRecipient,
    QueuedMessage,
    QueuedRecipient,
    RecipientState,
    Selection,
)
from pillarbox.relay.sqlite.schema import LANE_BITS, State

__all__ = [
    "Loaded",
    "MessageRow",
    "RecipientRow",
    "chunks",
    "condition",
    "free",
    "id_of",
    "insert",
    "load",
    "marks",
    "message_row",
    "number_of",
]

_Value = TypeVar("_Value")

# What fits into one statement: SQLite allows 32,766 values in one.
CHUNK = 500
CHUNK_ROWS = 128
# So many rows at the most are inserted by a statement that is made for their number.
MANY_ROWS = 32

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

    def queued(self) -> QueuedMessage:
        """Give it for people."""
        row = self.row
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


def load(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[Loaded]:
    """Read messages, in this order; those that are gone are left out."""
    messages: dict[int, MessageRow] = {}
    recipients: dict[int, list[RecipientRow]] = {}
    for some in chunks(numbers):
        found = connection.execute(f"SELECT * FROM messages WHERE id IN ({marks(some)})", some)
        for values in found:
            messages[values[0]] = MessageRow._make(values)
            recipients[values[0]] = []
        found = connection.execute(
            f"SELECT * FROM recipients WHERE message IN ({marks(some)}) ORDER BY message, number",
            some,
        )
        for values in found:
            recipients[values[0]].append(RecipientRow._make(values))
    destinations: dict[int, str] = {}
    for some in chunks(list({row.destination for rows in recipients.values() for row in rows})):
        destinations.update(
            connection.execute(
                f"SELECT number, name FROM destinations WHERE number IN ({marks(some)})", some
            )
        )
    return [
        Loaded(messages[number], recipients[number], destinations)
        for number in numbers
        if number in messages
    ]


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows, many to a statement: each statement costs a handing over between threads."""
    at = 0
    while at < len(rows):
        size = len(rows) - at
        if size > MANY_ROWS:  # beyond, few different statements, so that SQLite knows them all
            size = min(CHUNK_ROWS, 1 << size.bit_length() - 1)
        some = rows[at : at + size]
        connection.execute(
            _insertion(table, len(some[0]), size), [value for row in some for value in row]
        )
        at += size


@lru_cache(maxsize=256)
def _insertion(table: str, columns: int, rows: int) -> str:
    one = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([one] * rows)}"


def marks(values: Sequence[object]) -> str:
    """Give a question mark for each value."""
    return ",".join("?" * len(values))


def chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Give values by as many as fit into a statement."""
    for at in range(0, len(values), CHUNK):
        yield values[at : at + CHUNK]


def condition(selection: Selection | None) -> tuple[str, list[object]]:
    """Give what a row of `messages` has to meet, as SQL and its values."""
    conditions: list[str] = ["TRUE"]
    values: list[object] = []
    if selection and selection.ids is not None:
        numbers = [number_of(id) for id in selection.ids]  # noqa: A001
        conditions.append(f"id IN ({','.join(map(str, numbers))})")
    if selection and selection.mail_from is not None:
        conditions.append("mail_from LIKE ? ESCAPE '\\'")
        values.append(_like(selection.mail_from))
    if selection and selection.rcpt_to is not None:
        conditions.append(
            "EXISTS (SELECT 1 FROM recipients AS r"
            " WHERE r.message = messages.id AND r.address LIKE ? ESCAPE '\\')"
        )
        values.append(_like(selection.rcpt_to))
    return " AND ".join(conditions), values


def free(table: str, now: str = "?") -> str:
    """Tell in SQL whether a recipient waits, and nobody tries it now."""
    return (
        f"({table}.state = {State.QUEUED}"
        f" OR {table}.state = {State.ACTIVE} AND {table}.lease_expires <= {now})"
    )


def _like(pattern: str) -> str:
    escaped: Iterable[str] = (
        f"\\{character}" if character in "\\%_" else character for character in pattern
    )
    return "".join(escaped).replace("*", "%")
