"""Leases: who may try what, and until when."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pillarbox.relay.leasing import (
    Late,
    LeaseAll,
    Next,
    Renewal,
    attempts,
    by_destination,
    due_behind_lease,
    late_rows,
    lease_of,
)
from pillarbox.relay.row import LANE_BITS, Loaded, RecipientRow, State, Tokens, number_of
from pillarbox.relay.spool import Backoff, Lease
from pillarbox.relay.sqlite.change import Transaction
from pillarbox.relay.sqlite.row import condition, free, load
from pillarbox.relay.sqlite.token import is_ours

__all__ = ["FREE", "QUEUED", "Leases"]


# What is left of a lease that has ended.
FREE = "token = NULL, lease_expires = NULL"
QUEUED = f"{FREE}, state = {State.QUEUED}"

MAX_TURNS = 10_000

# Only by what the index is in the order of: sorting would read all that waits.
WAITING_IN_LANE = """
    SELECT message FROM recipients WHERE lane = ? AND due <= ? ORDER BY due
"""

LANES_OF_DESTINATION = """
    WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM recipients WHERE lane BETWEEN :first AND :last
        UNION ALL
        SELECT (
            SELECT min(r.lane) FROM recipients AS r WHERE r.lane > lanes.lane AND r.lane <= :last
        )
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes WHERE lane IS NOT NULL
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

    def lease(self, transaction: Transaction, asked: Sequence[Next]) -> Sequence[Sequence[Lease]]:
        """Lease what is due, by turns of the senders."""
        return [self._lease(transaction.connection, ask) for ask in asked]

    def _lease(self, connection: sqlite3.Connection, ask: Next) -> list[Lease]:
        row = connection.execute(
            "SELECT number FROM destinations WHERE name = ? AND NOT is_suspended",
            (ask.destination,),
        ).fetchone()
        if row is None:
            return []
        (destination,) = row
        numbers = self._by_turns(connection, destination, ask.now, ask.limit)
        leases = []
        for loaded in load(connection, numbers):
            rows = attempts(
                loaded, destination, ask.now, backoff=self._backoff, chance=self._chance
            )
            leases.append(self._give_out(connection, loaded, rows, ask.now + ask.seconds))
        return leases

    def _by_turns(
        self, connection: sqlite3.Connection, destination: int, now: float, limit: int
    ) -> list[int]:
        """Choose messages: from each lane the one that is longest due, until there are enough."""
        first = destination << LANE_BITS
        bounds = {"first": first, "last": first + (1 << LANE_BITS) - 1}
        lanes = [lane for (lane,) in connection.execute(LANES_OF_DESTINATION, bounds)]
        after = self._turns.get(destination, -1)
        lanes.sort(key=lambda lane: (lane <= after, lane))
        waiting = [
            (lane, (number for (number,) in connection.execute(WAITING_IN_LANE, (lane, now))))
            for lane in lanes
        ]
        if len(self._turns) > MAX_TURNS:
            self._turns.clear()
        chosen: dict[int, None] = {}
        while waiting and len(chosen) < limit:
            left = []
            for lane, numbers in waiting:
                number = next((number for number in numbers if number not in chosen), None)
                if number is None:
                    continue
                chosen[number] = None
                self._turns[destination] = lane
                if len(chosen) == limit:
                    break
                left.append((lane, numbers))
            else:
                waiting = left
        return list(chosen)

    def lease_all(
        self, transaction: Transaction, asked: Sequence[LeaseAll]
    ) -> Sequence[Sequence[Lease]]:
        """Lease what is selected and not leased."""
        return [self._lease_all(transaction.connection, ask) for ask in asked]

    def _lease_all(self, connection: sqlite3.Connection, ask: LeaseAll) -> list[Lease]:
        where, values = condition(ask.selection)
        found = connection.execute(
            f"SELECT id FROM messages WHERE {where} AND EXISTS (SELECT 1 FROM recipients AS r"
            f" WHERE r.message = id AND {free('r')}) ORDER BY id LIMIT ?",
            (*values, ask.now, ask.limit),
        )
        leases: list[Lease] = []
        for loaded in load(connection, [number for (number,) in found]):
            rows = [row for row in loaded.recipients if row.is_free(ask.now)]
            leases += self._give_out_uncounted(connection, loaded, rows, ask.now + ask.seconds)
        return leases

    def lease_late(
        self, transaction: Transaction, asked: Sequence[Late]
    ) -> Sequence[Sequence[Lease]]:
        """Lease that whose sender has something to be told."""
        return [self._lease_late(transaction.connection, ask) for ask in asked]

    def _lease_late(self, connection: sqlite3.Connection, ask: Late) -> list[Lease]:
        leases: list[Lease] = []
        for loaded in load(connection, ask.numbers):
            rows = late_rows(loaded, ask)
            leases += self._give_out_uncounted(connection, loaded, rows, ask.now + ask.seconds)
        return leases

    def _give_out_uncounted(
        self,
        connection: sqlite3.Connection,
        loaded: Loaded,
        rows: Sequence[RecipientRow],
        expires: float,
    ) -> Iterator[Lease]:
        """Lease recipients of any destinations, for something else than an attempt."""
        for uncounted in by_destination(rows):
            yield self._give_out(connection, loaded, uncounted, expires)

    def _give_out(
        self,
        connection: sqlite3.Connection,
        loaded: Loaded,
        rows: Sequence[RecipientRow],
        expires: float,
    ) -> Lease:
        """Lease recipients of one destination, whose rows are as they are to be."""
        token = self._tokens.new()
        connection.executemany(
            "UPDATE recipients SET state = ?, attempts = ?, next_attempt = ?, due = ?, token = ?,"
            " lease_expires = ?, is_attempt = ? WHERE message = ? AND number = ?",
            [
                (
                    State.ACTIVE,
                    row.attempts,
                    row.next_attempt,
                    None if row.due is None else due_behind_lease(row, expires),
                    token,
                    expires,
                    row.is_attempt,
                    row.message,
                    row.number,
                )
                for row in rows
            ],
        )
        return lease_of(loaded, rows, token, expires)

    def renew(
        self, transaction: Transaction, renewals: Sequence[Renewal]
    ) -> Sequence[Lease | None]:
        """Make leases longer."""
        answers: list[Lease | None] = []
        for renewal in renewals:
            lease = renewal.lease
            if not is_ours(transaction.connection, lease):
                answers.append(None)
                continue
            transaction.connection.execute(
                "UPDATE recipients SET lease_expires = :expires,"
                " due = iif(due IS NULL, NULL,"
                "     iif(is_attempt, :expires, max(:expires, next_attempt)))"
                " WHERE message = :message AND token = :token",
                {
                    "expires": renewal.expires,
                    "message": number_of(lease.id),
                    "token": lease.token,
                },
            )
            answers.append(replace(lease, expires=renewal.expires))
        return answers

    def give_back(
        self, transaction: Transaction, asked: Sequence[tuple[Lease, str]]
    ) -> Sequence[bool]:
        """End leases as if they had not been; say why, or nothing."""
        answers = []
        for lease, reply in asked:
            done = transaction.connection.execute(
                f"UPDATE recipients SET {QUEUED}, attempts = attempts - is_attempt,"
                " next_attempt = iif(is_attempt, :created, next_attempt),"
                " due = iif(due IS NULL, NULL, iif(is_attempt, :created, next_attempt)),"
                " last_reply = iif(:reply = '', last_reply, :reply)"
                " WHERE message = :message AND token = :token",
                {
                    "created": lease.message.created,
                    "reply": reply,
                    "message": number_of(lease.id),
                    "token": lease.token,
                },
            )
            answers.append(done.rowcount > 0)
        return answers
