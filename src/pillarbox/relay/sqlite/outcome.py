"""What becomes of leases, and how a message goes when nothing of it is left to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pillarbox.relay.row import State, number_of
from pillarbox.relay.sealed import Put
from pillarbox.relay.spool import Lease, Outcome, Result
from pillarbox.relay.sqlite.arrival import Arrivals
from pillarbox.relay.sqlite.body import INLINE_OCTETS, Bodies
from pillarbox.relay.sqlite.change import Transaction
from pillarbox.relay.sqlite.lease import FREE
from pillarbox.relay.sqlite.row import chunks, marks
from pillarbox.relay.sqlite.token import is_ours

__all__ = ["End", "Outcomes", "remove"]


@dataclass(frozen=True, slots=True)
class End:
    """What became of a lease."""

    lease: Lease
    outcomes: Mapping[int, Outcome]
    notices: Sequence[Put]

    @property
    def removes_message(self) -> bool:
        """Whether the message goes with it for certain, and nothing comes in its place."""
        return (
            not self.notices
            and len(self.lease.recipients) == len(self.lease.message.recipients)
            and len(self.outcomes) == len(self.lease.recipients)
            and all(outcome.result is not Result.DEFERRED for outcome in self.outcomes.values())
        )


FINISH = f"""
    UPDATE recipients SET {FREE}, state = :state,
        next_attempt = ifnull(:next_attempt, next_attempt),
        due = iif(
            :state = {State.QUEUED} AND due IS NOT NULL, ifnull(:next_attempt, next_attempt), NULL
        ),
        last_reply = ifnull(:reply, last_reply),
        is_delay_told = max(is_delay_told, :is_delay_told)
    WHERE message = :message AND number = :number
"""


STATES = {
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

    def __init__(self, *, arrivals: Arrivals, bodies: Bodies) -> None:
        self._arrivals = arrivals
        self._bodies = bodies

    def finish(self, transaction: Transaction, ends: Sequence[End]) -> Sequence[bool]:
        """Record what became of leases."""
        # Most messages are delivered at once to all. These go together, if all is as expected.
        whole = [end for end in ends if end.removes_message]
        if whole and self._remove_leased(transaction, [end.lease for end in whole]):
            tokens = {end.lease.token for end in whole}
        else:
            tokens = set()
        return [end.lease.token in tokens or self._finish(transaction, end) for end in ends]

    def _remove_leased(self, transaction: Transaction, leases: Sequence[Lease]) -> bool:
        """Remove messages with all of their recipients if all of these leases are ours."""
        numbers = [number_of(lease.id) for lease in leases]
        if len(set(numbers)) < len(numbers):
            return False
        pairs = list(zip(numbers, leases, strict=True))
        connection = transaction.connection
        large = [number for number, lease in pairs if lease.size > INLINE_OCTETS]
        removals = _removals(connection, self._bodies, large)
        # One statement tells and does it: each costs a handing over between threads.
        done = connection.execute(
            f"DELETE FROM messages WHERE id IN ({marks(numbers)}) AND ("
            f" WITH ended (message, token) AS (VALUES {','.join(['(?,?)'] * len(pairs))})"
            " SELECT count(*) FROM ended CROSS JOIN recipients AS r"
            " ON r.message = ended.message AND r.token = ended.token"
            ") = ?",
            [
                *numbers,
                *(value for number, lease in pairs for value in (number, lease.token)),
                sum(len(lease.recipients) for lease in leases),
            ],
        )
        if not done.rowcount:
            return False
        transaction.afterwards += removals
        return True

    def _finish(self, transaction: Transaction, end: End) -> bool:
        connection, lease = transaction.connection, end.lease
        if not is_ours(connection, lease):
            return False
        number = number_of(lease.id)
        connection.executemany(
            FINISH,
            [
                _after(end.outcomes.get(recipient.number))
                | {"message": number, "number": recipient.number}
                for recipient in lease.recipients
            ],
        )
        if end.notices:
            self._arrivals.add(transaction, end.notices)
        (is_pending,) = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM recipients WHERE message = ? AND state IN (0, 1))",
            (number,),
        ).fetchone()
        if not is_pending:
            remove(transaction, self._bodies, [number])
        return True


def remove(transaction: Transaction, bodies: Bodies, numbers: Sequence[int]) -> None:
    """Remove messages, and then their files."""
    connection = transaction.connection
    transaction.afterwards += _removals(connection, bodies, numbers)
    for some in chunks(numbers):
        # What belongs to them goes with them: see REMOVAL in schema.py.
        connection.execute(f"DELETE FROM messages WHERE id IN ({marks(some)})", some)


def _removals(
    connection: sqlite3.Connection, bodies: Bodies, numbers: Sequence[int]
) -> list[Callable[[], None]]:
    """Give what removes the files of messages."""
    return [
        partial(bodies.remove, file)
        for some in chunks(numbers)
        for (file,) in connection.execute(
            f"SELECT file FROM messages WHERE id IN ({marks(some)}) AND file IS NOT NULL", some
        )
    ]


def _after(outcome: Outcome | None) -> dict[str, object]:
    """Give what FINISH writes; `None` is what stays as it is."""
    if outcome is None:
        return {
            "state": State.QUEUED,
            "next_attempt": None,
            "reply": None,
            "is_delay_told": False,
        }
    return {
        "state": STATES[outcome.result],
        "next_attempt": outcome.next_attempt if outcome.result is Result.DEFERRED else None,
        "reply": outcome.reply,
        "is_delay_told": outcome.is_delay_told,
    }
