"""What people change, and what a start puts in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pillarbox.relay.row import LANE_BITS
from pillarbox.relay.spool import Selection
from pillarbox.relay.sqlite.body import Bodies
from pillarbox.relay.sqlite.change import Transaction
from pillarbox.relay.sqlite.lease import QUEUED
from pillarbox.relay.sqlite.outcome import remove
from pillarbox.relay.sqlite.row import chunks, condition, free, marks

__all__ = ["Control", "recover"]

# See due_behind_lease() in leasing.py.
AFTER_LEASE = """
    CASE WHEN lease_expires IS NULL THEN next_attempt WHEN is_attempt THEN lease_expires
        ELSE max(lease_expires, next_attempt) END
"""


class Control:
    """Holds, releases, hastens and removes messages; suspends and resumes destinations.

    Args:
        bodies: The large ones.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    def hold(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Deliver messages no more."""
        return [self._set_held(transaction.connection, some, True) for some in selections]

    def release(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Deliver messages again."""
        return [self._set_held(transaction.connection, some, False) for some in selections]

    def _set_held(self, connection: sqlite3.Connection, selection: Selection, is_held: bool) -> int:
        numbers = _select(connection, selection, f"is_held = {not is_held}")
        due = "NULL" if is_held else AFTER_LEASE
        for some in chunks(numbers):
            connection.execute(
                f"UPDATE messages SET is_held = {is_held} WHERE id IN ({marks(some)})", some
            )
            connection.execute(
                f"UPDATE recipients SET due = {due}"
                f" WHERE message IN ({marks(some)}) AND state IN (0, 1)",
                some,
            )
        return len(numbers)

    def retry(
        self, transaction: Transaction, asked: Sequence[tuple[Selection, float]]
    ) -> Sequence[int]:
        """Make messages due now."""
        answers = []
        for selection, now in asked:
            where = f"EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = id AND {free('r')})"
            numbers = _select(transaction.connection, selection, where, now)
            for some in chunks(numbers):
                transaction.connection.execute(
                    f"UPDATE recipients SET {QUEUED}, next_attempt = ?,"
                    " due = iif(due IS NULL, NULL, ?)"
                    f" WHERE {free('recipients')} AND message IN ({marks(some)})",
                    (now, now, now, *some),
                )
            answers.append(len(numbers))
        return answers

    def delete(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Remove messages."""
        answers = []
        for selection in selections:
            numbers = _select(transaction.connection, selection, "TRUE")
            remove(transaction, self._bodies, numbers)
            answers.append(len(numbers))
        return answers

    def suspend(self, transaction: Transaction, names: Sequence[str]) -> Sequence[None]:
        """Deliver nothing to destinations."""
        for name in names:
            transaction.connection.execute(
                "INSERT INTO destinations (name, is_suspended) VALUES (?, 1)"
                " ON CONFLICT (name) DO UPDATE SET is_suspended = 1",
                (name,),
            )
        return [None] * len(names)

    def resume(self, transaction: Transaction, names: Sequence[str]) -> Sequence[bool]:
        """Deliver to destinations again."""
        return [
            transaction.connection.execute(
                "UPDATE destinations SET is_suspended = 0 WHERE name = ? AND is_suspended", (name,)
            ).rowcount
            > 0
            for name in names
        ]

    def version(self, transaction: Transaction, asked: Sequence[None]) -> Sequence[int]:
        """Tell a number that changes when another connection has changed anything."""
        (version,) = transaction.connection.execute("PRAGMA data_version").fetchone()
        return [version] * len(asked)


def recover(connection: sqlite3.Connection) -> None:
    """Void all leases: only one process delivers from a spool, and it has just begun.

    What was on its first attempt is due at once, since a restart should not cost fresh mail five
    minutes; the rest when its next attempt is. So a message that ends whoever delivers it does so
    once more, and then at the pace of its retries.
    """
    connection.execute(
        f"UPDATE recipients SET {QUEUED},"
        " next_attempt = iif(is_attempt AND attempts = 1,"
        "     (SELECT created FROM messages WHERE id = message), next_attempt)"
        " WHERE state = 1"
    )
    connection.execute(
        "UPDATE recipients SET due = next_attempt"
        " WHERE due IS NOT NULL AND due <> next_attempt AND state = 0"
    )
    connection.execute(
        "DELETE FROM destinations AS d WHERE NOT d.is_suspended AND NOT EXISTS ("
        f" SELECT 1 FROM recipients AS r WHERE r.lane >= d.number << {LANE_BITS}"
        f" AND r.lane < (d.number + 1) << {LANE_BITS})"
    )


def _select(
    connection: sqlite3.Connection, selection: Selection, further: str, *values: object
) -> list[int]:
    where, selected = condition(selection)
    found = connection.execute(
        f"SELECT id FROM messages WHERE {where} AND {further}", (*selected, *values)
    )
    return [number for (number,) in found]
