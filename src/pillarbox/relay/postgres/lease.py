"""Leases: who may try what, and until when.

Messages are chosen and locked by one statement, which passes over those that another node has just
now. What is leased is read once more under the lock: it may have changed before that was had.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pillarbox.relay.leasing import (
    Late,
    LeaseAll,
    Next,
    Renewal,
    attempts,
    by_destination,
    late_rows,
    lease_of,
)
from pillarbox.relay.postgres.link import Connection
from pillarbox.relay.postgres.query import destination_lanes, due, next_due
from pillarbox.relay.postgres.row import FREE, condition, load, lock, ours, storable
from pillarbox.relay.postgres.writer import Transaction
from pillarbox.relay.row import (
    Loaded,
    MessageRow,
    RecipientRow,
    State,
    Tokens,
    id_of,
    number_of,
)
from pillarbox.relay.sealed import digest_of
from pillarbox.relay.spool import Backoff, Lease

__all__ = ["CHOOSE", "QUEUED", "Leases"]


# What is left of a lease that has ended.
QUEUED: Final = f"token = NULL, lease_expires = NULL, state = {State.QUEUED}"

MAX_TURNS: Final = 10_000

# What of the messages of a lease comes with it.
AT_HAND_OCTETS: Final = 4 << 20

# A node whose clock is wrong takes nothing before its time: the database's own clock counts, too.
CHOOSE: Final = """
    SELECT found.message, lanes.lane
    FROM unnest(%(lanes)s::bigint[]) WITH ORDINALITY AS lanes (lane, turn)
    CROSS JOIN LATERAL (
        SELECT r.message, row_number() OVER () AS place FROM (
            SELECT r.message FROM recipients AS r
            JOIN recipients AS first ON first.message = r.message AND first.number = 0
            WHERE r.lane = lanes.lane
            AND r.due <= least(%(now)s, extract(epoch FROM statement_timestamp())::float8)
            AND r.message <> ALL(%(chosen)s::bigint[])
            ORDER BY r.due LIMIT %(each)s
            FOR UPDATE OF first SKIP LOCKED
        ) AS r
    ) AS found
    ORDER BY found.place, lanes.turn
"""

GIVE_OUT: Final = f"""
    UPDATE recipients AS r SET state = {State.ACTIVE}, attempts = given.attempts,
        next_attempt = given.next_attempt, token = given.token, lease_expires = given.expires,
        is_attempt = given.is_attempt,
        due = CASE WHEN r.due IS NULL THEN NULL WHEN given.is_attempt THEN given.expires
            ELSE greatest(given.expires, given.next_attempt) END
    FROM unnest(
        %s::bigint[], %s::int[], %s::int[], %s::float8[], %s::text[], %s::float8[], %s::boolean[]
    ) AS given (message, number, attempts, next_attempt, token, expires, is_attempt)
    WHERE r.message = given.message AND r.number = given.number
"""

RENEW: Final = """
    UPDATE recipients AS r SET lease_expires = lease.expires,
        due = CASE WHEN r.due IS NULL THEN NULL WHEN r.is_attempt THEN lease.expires
            ELSE greatest(lease.expires, r.next_attempt) END
    FROM unnest(%s::bigint[], %s::text[], %s::float8[]) AS lease (message, token, expires)
    WHERE r.message = lease.message AND r.token = lease.token
"""

GIVE_BACK: Final = f"""
    UPDATE recipients AS r SET {QUEUED}, attempts = r.attempts - r.is_attempt::int,
        next_attempt = CASE WHEN r.is_attempt THEN lease.created ELSE r.next_attempt END,
        due = CASE WHEN r.due IS NULL THEN NULL WHEN r.is_attempt THEN lease.created
            ELSE r.next_attempt END,
        last_reply = CASE WHEN lease.reply = '' THEN r.last_reply ELSE lease.reply END
    FROM unnest(%s::bigint[], %s::text[], %s::float8[], %s::text[])
        AS lease (message, token, created, reply)
    WHERE r.message = lease.message AND r.token = lease.token
    RETURNING lease.token
"""


class Leases:
    """Gives out leases, makes them longer, and takes them back.

    Args:
        backoff: When the next attempt is due.
        chance: Gives random numbers from 0 to 1.
        tokens: For the leases.
    """

    def __init__(self, *, backoff: Backoff, chance: Callable[[], float], tokens: Tokens) -> None:
        self._backoff = backoff
        self._chance = chance
        self._tokens = tokens
        # After which lane a destination's next turn begins.
        self._turns: dict[int, int] = {}

    # What is due

    async def due(
        self, transaction: Transaction, asked: Sequence[float]
    ) -> Sequence[Sequence[str]]:
        """Find the destinations that have something to be tried."""
        return [await due(transaction.connection, now) for now in asked]

    async def next_due(
        self, transaction: Transaction, asked: Sequence[None]
    ) -> Sequence[float | None]:
        """Find the first time at which something is due."""
        first = await next_due(transaction.connection)
        return [first] * len(asked)

    async def lease(
        self, transaction: Transaction, asked: Sequence[Next]
    ) -> Sequence[Sequence[Lease]]:
        """Lease what is due, by turns of the senders."""
        return [await self._lease(transaction.connection, ask) for ask in asked]

    async def _lease(self, connection: Connection, ask: Next) -> list[Lease]:
        found = await connection.execute(
            "SELECT number FROM destinations WHERE name = %s AND NOT is_suspended",
            [ask.destination],
        )
        row = await found.fetchone()
        if row is None:
            return []
        (destination,) = row
        chosen = await self._by_turns(connection, destination, ask.now, ask.limit)
        given: list[tuple[Loaded, list[RecipientRow]]] = []
        for loaded in await load(connection, chosen):
            rows = attempts(
                loaded, destination, ask.now, backoff=self._backoff, chance=self._chance
            )
            if rows:
                given.append((loaded, rows))
        leases = await self._give_out(connection, given, ask.now + ask.seconds)
        return await _with_octets(connection, leases, [loaded.row for loaded, _ in given])

    async def _by_turns(
        self, connection: Connection, destination: int, now: float, limit: int
    ) -> list[int]:
        """Choose messages, and lock them: from each lane as many, those that are longest due."""
        lanes = await destination_lanes(connection, destination, now)
        after = self._turns.get(destination, -1)
        lanes.sort(key=lambda lane: (lane <= after, lane))
        if len(self._turns) > MAX_TURNS:
            self._turns.clear()
        chosen: dict[int, None] = {}
        while lanes and len(chosen) < limit:
            wanted = limit - len(chosen)
            each = -(-wanted // len(lanes))
            asked = lanes[:wanted]
            found = await connection.execute(
                CHOOSE, {"lanes": asked, "now": now, "chosen": list(chosen), "each": each}
            )
            counts = dict.fromkeys(asked, 0)
            for message, lane in await found.fetchall():
                counts[lane] += 1
                if len(chosen) < limit and message not in chosen:
                    chosen[message] = None
                    self._turns[destination] = lane
            # A lane that gave less than it was asked for has no more.
            lanes = [lane for lane in asked if counts[lane] == each] + lanes[wanted:]
        return list(chosen)

    async def _give_out(
        self,
        connection: Connection,
        given: Sequence[tuple[Loaded, Sequence[RecipientRow]]],
        expires: float,
    ) -> list[Lease]:
        """Lease recipients, of one destination each time, whose rows are as they are to be."""
        leases: list[Lease] = []
        values: list[tuple[object, ...]] = []
        for loaded, rows in given:
            token = self._tokens.new()
            values += [
                (
                    *(row.message, row.number, row.attempts, row.next_attempt),
                    *(token, expires, row.is_attempt),
                )
                for row in rows
            ]
            leases.append(lease_of(loaded, rows, token, expires))
        if values:
            await connection.execute(
                GIVE_OUT, [list(column) for column in zip(*values, strict=True)]
            )
        return leases

    # For something else than an attempt

    async def lease_all(
        self, transaction: Transaction, asked: Sequence[LeaseAll]
    ) -> Sequence[Sequence[Lease]]:
        """Lease what is selected and not leased."""
        return [await self._lease_all(transaction.connection, ask) for ask in asked]

    async def _lease_all(self, connection: Connection, ask: LeaseAll) -> list[Lease]:
        where, values = condition(ask.selection)
        found = await connection.execute(
            f"SELECT m.id FROM messages AS m WHERE {where} AND EXISTS (SELECT FROM recipients AS r"
            f" WHERE r.message = m.id AND {FREE}) ORDER BY m.id LIMIT %(limit)s",
            {**values, "now": ask.now, "limit": ask.limit},
        )
        numbers = [number for (number,) in await found.fetchall()]
        await lock(connection, numbers)
        given = [
            (loaded, rows)
            for loaded in await load(connection, numbers)
            for rows in by_destination([row for row in loaded.recipients if row.is_free(ask.now)])
        ]
        return await self._give_out(connection, given, ask.now + ask.seconds)

    async def lease_late(
        self, transaction: Transaction, asked: Sequence[Late]
    ) -> Sequence[Sequence[Lease]]:
        """Lease that whose sender has something to be told."""
        return [await self._lease_late(transaction.connection, ask) for ask in asked]

    async def _lease_late(self, connection: Connection, ask: Late) -> list[Lease]:
        await lock(connection, ask.numbers)
        given: list[tuple[Loaded, Sequence[RecipientRow]]] = []
        for loaded in await load(connection, ask.numbers):
            given += [(loaded, rows) for rows in by_destination(late_rows(loaded, ask))]
        return await self._give_out(connection, given, ask.now + ask.seconds)

    # What becomes of them

    async def renew(
        self, transaction: Transaction, renewals: Sequence[Renewal]
    ) -> Sequence[Lease | None]:
        """Make leases longer."""
        are_ours = await ours(transaction.connection, [renewal.lease for renewal in renewals])
        answers = [
            replace(renewal.lease, expires=renewal.expires) if is_ours else None
            for renewal, is_ours in zip(renewals, are_ours, strict=True)
        ]
        renewed = [lease for lease in answers if lease is not None]
        await transaction.connection.execute(
            RENEW,
            [
                [number_of(lease.id) for lease in renewed],
                [lease.token for lease in renewed],
                [lease.expires for lease in renewed],
            ],
        )
        return answers

    async def give_back(
        self, transaction: Transaction, asked: Sequence[tuple[Lease, str]]
    ) -> Sequence[bool]:
        """End leases as if they had not been; say why, or nothing."""
        numbers = [number_of(lease.id) for lease, _ in asked]
        await lock(transaction.connection, numbers)
        found = await transaction.connection.execute(
            GIVE_BACK,
            [
                numbers,
                [lease.token for lease, _ in asked],
                [lease.message.created for lease, _ in asked],
                [storable(reply) for _, reply in asked],
            ],
        )
        tokens = {token for (token,) in await found.fetchall()}
        return [lease.token in tokens for lease, _ in asked]


async def _with_octets(
    connection: Connection, leases: Sequence[Lease], rows: Sequence[MessageRow]
) -> list[Lease]:
    """Add the small bodies, within bounds: each of them would be a question of its own."""
    wanted: dict[int, MessageRow] = {}
    left = AT_HAND_OCTETS
    for row in rows:
        left -= row.size
        if row.file is None and left >= 0:
            wanted[row.id] = row
    found = await connection.execute(
        "SELECT message, octets FROM bodies WHERE message = ANY(%s::bigint[])",
        [list(wanted)],
        binary=True,
    )
    # Of what is damaged `Spool.read()` tells.
    octets = {
        id_of(number): body
        for number, body in await found.fetchall()
        if hmac.compare_digest(digest_of(body), wanted[number].digest)
    }
    return [replace(lease, octets=octets.get(lease.id)) for lease in leases]
