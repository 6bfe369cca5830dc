"""What comes in: messages, and with them the leases for their first attempt."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pillarbox.relay.spool import Backoff, Lease, NewMessage, SpoolError, SpoolFull, Stored
from pillarbox.relay.sqlite.body import Bodies, Sealed
from pillarbox.relay.sqlite.disk import Room
from pillarbox.relay.sqlite.row import RecipientRow, chunks, id_of, insert, marks, message_row
from pillarbox.relay.sqlite.schema import State, lane_of
from pillarbox.relay.sqlite.token import Tokens
from pillarbox.relay.sqlite.writer import Transaction

__all__ = ["Arrivals", "Put"]


@dataclass(frozen=True, slots=True)
class Put:
    """A message to be added."""

    message: NewMessage
    body: Sealed
    lease_seconds: float | None = None


class Arrivals:
    """Adds messages.

    Args:
        backoff: When the second attempt is due.
        chance: Gives random numbers from 0 to 1.
        tokens: For the leases.
        room: How much there is.
        bodies: The large ones.
    """

    def __init__(
        self,
        *,
        backoff: Backoff,
        chance: Callable[[], float],
        tokens: Tokens,
        room: Room,
        bodies: Bodies,
    ) -> None:
        self._backoff = backoff
        self._chance = chance
        self._tokens = tokens
        self._room = room
        self._bodies = bodies
        self._last_number = 0

    def put(self, transaction: Transaction, puts: Sequence[Put]) -> Sequence[Stored | SpoolError]:
        """Add messages, if there is room."""
        if lack := self._room.lack():
            return [SpoolFull(lack) for _ in puts]
        return self.add(transaction, puts)

    def add(self, transaction: Transaction, puts: Sequence[Put]) -> list[Stored]:
        """Add messages though there is little room."""
        connection = transaction.connection
        if any(put.body.file for put in puts):
            self._bodies.sync_folder()
        last, destinations = _look(
            connection, list({to.destination for put in puts for to in put.message.recipients})
        )
        messages: list[Sequence[object]] = []
        bodies: list[tuple[int, bytes]] = []
        recipients: list[RecipientRow] = []
        stored: list[Stored] = []
        for put in puts:
            message, body = put.message, put.body
            # By the time, so that names come in order and never come again; SQLite's own begin
            # anew in an empty spool, and "queue delete 7" would be somebody else's message.
            number = max(int(message.created * 1e6), last + 1, self._last_number + 1)
            self._last_number = number
            messages.append(
                message_row(number, message, size=body.size, digest=body.digest, file=body.file)
            )
            if body.octets is not None:
                bodies.append((number, body.octets))
            rows = self._new_recipients(number, put, destinations)
            recipients += rows
            stored.append(Stored(id_of(number), tuple(_leases_of(number, put, rows))))
        insert(connection, "messages", messages)
        insert(connection, "bodies", bodies)
        insert(connection, "recipients", recipients)
        return stored

    def _new_recipients(
        self, number: int, put: Put, destinations: Mapping[str, tuple[int, bool]]
    ) -> list[RecipientRow]:
        message = put.message
        tokens: dict[str, str] = {}
        expires = second_attempt = message.created
        if put.lease_seconds is not None and not message.is_held:
            expires += put.lease_seconds
            second_attempt += self._backoff.wait(1, self._chance())
            for to in message.recipients:
                is_suspended = destinations[to.destination][1]
                if not is_suspended and to.destination not in tokens:
                    tokens[to.destination] = self._tokens.new()
        rows = []
        for place, to in enumerate(message.recipients):
            token = tokens.get(to.destination)
            next_attempt = second_attempt if token else message.created
            due = max(next_attempt, expires) if token else next_attempt
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


def _look(
    connection: sqlite3.Connection, names: Sequence[str]
) -> tuple[int, dict[str, tuple[int, bool]]]:
    """Give the last message, and each destination's number and whether it is suspended.

    In one statement, where there are not very many: each costs a handing over between threads.
    """
    last = 0
    found: dict[str, tuple[int, bool]] = {}
    for some in chunks(names):
        rows = connection.execute(
            "SELECT last, name, number, is_suspended"
            " FROM (SELECT ifnull(max(id), 0) AS last FROM messages)"
            f" LEFT JOIN destinations ON name IN ({marks(some)})",
            some,
        )
        for last, name, number, is_suspended in rows:  # noqa: B007
            if name is not None:
                found[name] = (number, bool(is_suspended))
    for name in names:
        if name not in found:
            added = connection.execute("INSERT INTO destinations (name) VALUES (?)", (name,))
            assert added.lastrowid is not None
            found[name] = (added.lastrowid, False)
    return last, found


def _leases_of(number: int, put: Put, rows: Sequence[RecipientRow]) -> Iterator[Lease]:
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
            id=id_of(number),
            destination=put.message.recipients[some[0].number].destination,
            recipients=tuple(row.leased() for row in some),
            expires=expires,
            message=put.message,
            size=put.body.size,
            octets=put.body.octets,
        )
