"""What comes in: messages, and with them the leases for their first attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pillarbox.relay.postgres.body import LargeBodies
from pillarbox.relay.postgres.link import Connection
from pillarbox.relay.postgres.row import BODIES, MESSAGES, RECIPIENTS, insert
from pillarbox.relay.postgres.writer import Transaction
from pillarbox.relay.row import (
    MessageRow,
    RecipientRow,
    Tokens,
    first_leases,
    id_of,
    message_row,
    new_recipients,
)
from pillarbox.relay.sealed import Put
from pillarbox.relay.spool import Backoff, SpoolError, Stored

__all__ = ["Arrivals"]


FIND_DESTINATIONS: Final = (
    "SELECT name, number, is_suspended FROM destinations WHERE name = ANY(%s::text[])"
)


class Arrivals:
    """Adds messages.

    Args:
        backoff: When the second attempt is due.
        chance: Gives random numbers from 0 to 1.
        tokens: For the leases.
        bodies: The large ones.
    """

    def __init__(
        self,
        *,
        backoff: Backoff,
        chance: Callable[[], float],
        tokens: Tokens,
        bodies: LargeBodies,
    ) -> None:
        self._backoff = backoff
        self._chance = chance
        self._tokens = tokens
        self._bodies = bodies

    async def put(
        self, transaction: Transaction, puts: Sequence[Put]
    ) -> Sequence[Stored | SpoolError]:
        """Add messages."""
        connection = transaction.connection
        names = {to.destination for put in puts for to in put.message.recipients}
        numbers, destinations = await self._begin(connection, len(puts), names)
        messages: list[MessageRow] = []
        bodies: list[tuple[int, bytes]] = []
        recipients: list[RecipientRow] = []
        answers: list[Stored | SpoolError] = []
        for number, put in zip(numbers, puts, strict=True):
            body = put.body
            if body.file is not None:
                # It was written before. Had the server lost it since, by beginning anew, this
                # transaction would have ended with it.
                try:
                    await self._bodies.confirm(body.file, body.size)
                except SpoolError as error:
                    answers.append(error)
                    continue
            messages.append(
                message_row(number, put.message, size=body.size, digest=body.digest, file=body.file)
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
            answers.append(Stored(id_of(number), tuple(leases)))
        await insert(connection, RECIPIENTS, recipients)
        await insert(connection, MESSAGES, messages)
        if bodies:
            await insert(connection, BODIES, bodies)
        return answers

    async def _begin(
        self, connection: Connection, count: int, names: set[str]
    ) -> tuple[list[int], Mapping[str, tuple[int, bool]]]:
        """Give numbers for messages; each destination's number, and whether it is suspended."""
        async with connection.pipeline():
            given = await connection.execute(
                "SELECT nextval('message_numbers') FROM generate_series(1, %s)", [count]
            )
            found = await connection.execute(FIND_DESTINATIONS, [list(names)])
        numbers = [number for (number,) in await given.fetchall()]
        destinations = {name: (number, is_) for name, number, is_ in await found.fetchall()}
        if unknown := names - destinations.keys():
            await connection.execute(
                "INSERT INTO destinations (name) SELECT unnest(%s::text[])"
                " ON CONFLICT (name) DO NOTHING",
                [sorted(unknown)],
            )
            found = await connection.execute(FIND_DESTINATIONS, [list(unknown)])
            destinations |= {name: (number, is_) for name, number, is_ in await found.fetchall()}
        return numbers, destinations
