"""What people change: some messages at a time, so that nobody waits long for them.

Whatever changes is told to all nodes in the same step (listen.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from pillarbox.relay.postgres.body import LargeBodies
from pillarbox.relay.postgres.lease import QUEUED
from pillarbox.relay.postgres.listen import Channel
from pillarbox.relay.postgres.outcome import remove
from pillarbox.relay.postgres.row import FREE, lock
from pillarbox.relay.postgres.writer import Transaction
from pillarbox.relay.row import State
from pillarbox.relay.spool import Change

__all__ = ["Control", "Retry"]

_PENDING: Final = f"state IN ({State.QUEUED}, {State.ACTIVE})"

HOLD: Final = f"""
    WITH held AS (
        UPDATE messages SET is_held = TRUE WHERE id = ANY(%s::bigint[]) AND NOT is_held
        RETURNING id
    ), theirs AS (
        UPDATE recipients SET due = NULL FROM held WHERE message = held.id AND {_PENDING}
    )
    SELECT count(*) FROM held
"""

RELEASE: Final = f"""
    WITH released AS (
        UPDATE messages SET is_held = FALSE WHERE id = ANY(%s::bigint[]) AND is_held
        RETURNING id
    ), theirs AS (
        UPDATE recipients SET due = CASE WHEN lease_expires IS NOT NULL AND is_attempt
            THEN lease_expires ELSE greatest(lease_expires, next_attempt) END
        FROM released WHERE message = released.id AND {_PENDING}
    )
    SELECT count(*) FROM released
"""

RETRY: Final = f"""
    WITH retried AS (
        UPDATE recipients AS r SET {QUEUED}, next_attempt = %(now)s,
            due = CASE WHEN r.due IS NOT NULL THEN %(now)s END
        WHERE r.message = ANY(%(numbers)s::bigint[]) AND {FREE}
        RETURNING r.message
    )
    SELECT count(DISTINCT message) FROM retried
"""


@dataclass(frozen=True, slots=True)
class Retry:
    """Messages that are to be due."""

    numbers: Sequence[int]
    now: float


class Control:
    """Holds, releases, hastens and removes messages; suspends and resumes destinations.

    Args:
        bodies: The large ones.
        channel: Where nodes are told.
    """

    def __init__(self, bodies: LargeBodies, channel: Channel) -> None:
        self._bodies = bodies
        self._channel = channel

    async def hold(self, transaction: Transaction, asked: Sequence[Sequence[int]]) -> Sequence[int]:
        """Deliver messages no more."""
        return [await self._change(transaction, HOLD, numbers) for numbers in asked]

    async def release(
        self, transaction: Transaction, asked: Sequence[Sequence[int]]
    ) -> Sequence[int]:
        """Deliver messages again."""
        return [await self._change(transaction, RELEASE, numbers) for numbers in asked]

    async def _change(
        self, transaction: Transaction, statement: LiteralString, numbers: Sequence[int]
    ) -> int:
        connection = transaction.connection
        await lock(connection, numbers)
        found = await connection.execute(statement, [list(numbers)])
        row = await found.fetchone()
        await self._channel.tell(connection, Change.WORD)
        return int(row[0]) if row else 0

    async def retry(self, transaction: Transaction, asked: Sequence[Retry]) -> Sequence[int]:
        """Make messages due now."""
        connection = transaction.connection
        answers = []
        for ask in asked:
            await lock(connection, ask.numbers)
            found = await connection.execute(RETRY, {"numbers": list(ask.numbers), "now": ask.now})
            row = await found.fetchone()
            answers.append(int(row[0]) if row else 0)
        await self._channel.tell(connection, Change.WORD)
        return answers

    async def delete(
        self, transaction: Transaction, asked: Sequence[Sequence[int]]
    ) -> Sequence[int]:
        """Remove messages."""
        answers = []
        for numbers in asked:
            await lock(transaction.connection, numbers)
            answers.append(await remove(transaction, self._bodies, numbers))
        return answers

    async def suspend(self, transaction: Transaction, names: Sequence[str]) -> Sequence[None]:
        """Deliver nothing to destinations."""
        await transaction.connection.execute(
            "INSERT INTO destinations (name, is_suspended)"
            " SELECT DISTINCT name, TRUE FROM unnest(%s::text[]) AS given (name)"
            " ON CONFLICT (name) DO UPDATE SET is_suspended = TRUE",
            [sorted(names)],
        )
        await self._channel.tell(transaction.connection, Change.WORD)
        return [None] * len(names)

    async def resume(self, transaction: Transaction, names: Sequence[str]) -> Sequence[bool]:
        """Deliver to destinations again."""
        found = await transaction.connection.execute(
            "UPDATE destinations SET is_suspended = FALSE"
            " WHERE name = ANY(%s::text[]) AND is_suspended RETURNING name",
            [list(names)],
        )
        resumed = {name for (name,) in await found.fetchall()}
        await self._channel.tell(transaction.connection, Change.WORD)
        return [name in resumed for name in names]
