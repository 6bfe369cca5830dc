"""What comes in: messages, and with them the leases for their first attempt."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from pillarbox.relay.row import (
    RecipientRow,
    Tokens,
    first_leases,
    id_of,
    message_row,
    new_recipients,
)
from pillarbox.relay.sealed import Put
from pillarbox.relay.spool import Backoff, SpoolError, SpoolFull, Stored
from pillarbox.relay.sqlite.body import Bodies
from pillarbox.relay.sqlite.change import Transaction
from pillarbox.relay.sqlite.disk import Room
from pillarbox.relay.sqlite.row import chunks, insert, marks

__all__ = ["Arrivals"]


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
            rows = new_recipients(
                number,
                put.message,
                destinations,
                lease_seconds=put.lease_seconds,
                backoff=self._backoff,
                chance=self._chance,
                tokens=self._tokens,
            )
            recipients += rows
            leases = first_leases(put.message, rows, size=body.size, octets=body.octets)
            stored.append(Stored(id_of(number), tuple(leases)))
        insert(connection, "messages", messages)
        insert(connection, "bodies", bodies)
        insert(connection, "recipients", recipients)
        return stored


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
