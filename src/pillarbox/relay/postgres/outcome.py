"""What becomes of leases, and how a message goes when nothing of it is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pillarbox.relay.postgres.arrival import Arrivals
from pillarbox.relay.postgres.body import LargeBodies
from pillarbox.relay.postgres.row import ours, storable
from pillarbox.relay.postgres.writer import Transaction
from pillarbox.relay.row import State, number_of
from pillarbox.relay.sealed import Put
from pillarbox.relay.spool import Lease, Outcome, Result, SpoolError

__all__ = ["REMOVE_LEASED", "End", "Outcomes", "remove"]


@dataclass(frozen=True, slots=True)
class End:
    """What became of a lease."""

    lease: Lease
    outcomes: Mapping[int, Outcome]
    notices: Sequence[Put]

    @property
    def removes_message(self) -> bool:
        """Whether the message goes with it for certain: it has one recipient, and that is done."""
        return (
            not self.notices
            and len(self.lease.message.recipients) == 1
            and len(self.outcomes) == 1
            and all(outcome.result is not Result.DEFERRED for outcome in self.outcomes.values())
        )


# The recipient is the row by which nodes take turns. If another has leased it meanwhile, this waits
# and then finds its token there.
REMOVE_LEASED: Final = """
    WITH gone AS (
        DELETE FROM recipients AS r USING unnest(%s::bigint[], %s::text[]) AS lease (message, token)
        WHERE r.message = lease.message AND r.number = 0 AND r.token = lease.token
        RETURNING r.message, r.token
    ), their_messages AS (
        DELETE FROM messages USING gone WHERE id = gone.message RETURNING id, file
    ), their_bodies AS (
        DELETE FROM bodies USING gone WHERE bodies.message = gone.message
    )
    SELECT gone.token, their_messages.file
    FROM gone LEFT JOIN their_messages ON their_messages.id = gone.message
"""

REMOVE: Final = """
    WITH their_recipients AS (
        DELETE FROM recipients WHERE message = ANY(%(numbers)s::bigint[])
    ), their_bodies AS (
        DELETE FROM bodies WHERE message = ANY(%(numbers)s::bigint[])
    )
    DELETE FROM messages WHERE id = ANY(%(numbers)s::bigint[]) RETURNING file
"""

FINISH: Final = f"""
    UPDATE recipients AS r SET token = NULL, lease_expires = NULL, state = result.state,
        next_attempt = coalesce(result.next_attempt, r.next_attempt),
        due = CASE WHEN result.state = {State.QUEUED} AND r.due IS NOT NULL
            THEN coalesce(result.next_attempt, r.next_attempt) END,
        last_reply = coalesce(result.reply, r.last_reply),
        is_delay_told = r.is_delay_told OR result.is_delay_told
    FROM unnest(%s::bigint[], %s::int[], %s::smallint[], %s::float8[], %s::text[], %s::boolean[])
        AS result (message, number, state, next_attempt, reply, is_delay_told)
    WHERE r.message = result.message AND r.number = result.number
"""

TOLD: Final = f"""
    UPDATE messages AS m SET is_delay_told = TRUE
    WHERE id = ANY(%s::bigint[]) AND NOT EXISTS (
        SELECT FROM recipients AS r WHERE r.message = m.id
        AND r.state IN ({State.QUEUED}, {State.ACTIVE}) AND NOT r.is_delay_told
    )
"""

DONE: Final = f"""
    SELECT DISTINCT ended.message FROM unnest(%s::bigint[]) AS ended (message)
    WHERE NOT EXISTS (
        SELECT FROM recipients AS r WHERE r.message = ended.message
        AND r.state IN ({State.QUEUED}, {State.ACTIVE})
    )
"""

STATES: Final = {
    Result.DELIVERED: State.DELIVERED,
    Result.FAILED: State.FAILED,
    Result.DEFERRED: State.QUEUED,
}


class Outcomes:
    """Records what became of leases.

    Args:
        arrivals: Adds what senders are told.
        bodies: The large ones.
    """

    def __init__(self, *, arrivals: Arrivals, bodies: LargeBodies) -> None:
        self._arrivals = arrivals
        self._bodies = bodies

    async def finish(self, transaction: Transaction, ends: Sequence[End]) -> Sequence[bool]:
        """Record what became of leases."""
        # Most messages have one recipient, and are delivered at once. These go together.
        recorded: set[str] = set()
        if whole := [end.lease for end in ends if end.removes_message]:
            recorded |= await self._remove_leased(transaction, whole)
        if others := [end for end in ends if not end.removes_message]:
            recorded |= await self._finish(transaction, others)
        answers = []
        for end in ends:
            answers.append(end.lease.token in recorded)
            recorded.discard(end.lease.token)  # who says it twice is right once
        return answers

    async def _remove_leased(self, transaction: Transaction, leases: Sequence[Lease]) -> set[str]:
        # In order, so that two who lock several of the same messages do not wait for each other.
        inorder = sorted((number_of(lease.id), lease.token) for lease in leases)
        found = await transaction.connection.execute(
            REMOVE_LEASED,
            [[number for number, _ in inorder], [token for _, token in inorder]],
        )
        rows = await found.fetchall()
        _remove_files(transaction, self._bodies, [file for _, file in rows if file])
        return {token for token, _ in rows}

    async def _finish(self, transaction: Transaction, ends: Sequence[End]) -> set[str]:
        connection = transaction.connection
        are_ours = await ours(connection, [end.lease for end in ends])
        by_token = {
            end.lease.token: end for end, is_ours in zip(ends, are_ours, strict=True) if is_ours
        }
        mine = list(by_token.values())
        if not mine:
            return set()
        values = [
            (number_of(end.lease.id), recipient.number, *_after(end.outcomes.get(recipient.number)))
            for end in mine
            for recipient in end.lease.recipients
        ]
        await connection.execute(FINISH, [list(column) for column in zip(*values, strict=True)])
        notices = [put for end in mine for put in end.notices]
        if notices:
            for answer in await self._arrivals.put(transaction, notices):
                if isinstance(answer, SpoolError):
                    raise answer  # never the one without the other
        numbers = [number_of(end.lease.id) for end in mine]
        if any(outcome.is_delay_told for end in mine for outcome in end.outcomes.values()):
            await connection.execute(TOLD, [numbers])
        found = await connection.execute(DONE, [numbers])
        if done := [number for (number,) in await found.fetchall()]:
            await remove(transaction, self._bodies, done)
        return set(by_token)


async def remove(transaction: Transaction, bodies: LargeBodies, numbers: Sequence[int]) -> int:
    """Remove messages that are locked; tell how many there were."""
    found = await transaction.connection.execute(REMOVE, {"numbers": list(numbers)})
    rows = await found.fetchall()
    _remove_files(transaction, bodies, [file for (file,) in rows if file])
    return len(rows)


def _remove_files(transaction: Transaction, bodies: LargeBodies, files: Sequence[str]) -> None:
    if files:
        transaction.afterwards.append(partial(bodies.remove, files))


def _after(outcome: Outcome | None) -> tuple[int, float | None, str | None, bool]:
    """Give what FINISH writes; `None` is what stays as it is."""
    if outcome is None:
        return State.QUEUED, None, None, False
    return (
        STATES[outcome.result],
        outcome.next_attempt if outcome.result is Result.DEFERRED else None,
        storable(outcome.reply),
        outcome.is_delay_told,
    )
