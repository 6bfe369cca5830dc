"""What a search of texts has found: chosen once, then counted, and given a piece at a time.

Among 100,000 messages, of which nearly all are found, each look at a row of each counts: these are
the ways around it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pillarbox.catcher.condition import Condition
from pillarbox.catcher.index import IS_GONE
from pillarbox.catcher.row import summaries_of
from pillarbox.catcher.summary import Counts, Summary

__all__ = ["choose", "counts_and_piece"]

# Of many it is faster to begin at the newest and leave out what was not found; of a few, to put
# them in order.
MANY_FOUND = 10_000


def choose(
    connection: sqlite3.Connection, numbers: Sequence[Condition], *, is_indexed: bool
) -> None:
    """Put what was found into the table `chosen`.

    Args:
        connection: Reads; the table is its own (database.py).
        numbers: What `numbers_of()` gives.
        is_indexed: Whether there is an index, which may know of messages that are gone.
    """
    connection.execute("DELETE FROM chosen")
    for some in numbers:
        connection.execute(f"INSERT OR IGNORE INTO chosen {some.sql}", some.values)
    if is_indexed:
        connection.execute(
            "DELETE FROM chosen WHERE number IN"
            f" (SELECT number FROM backlog WHERE work = {IS_GONE})"
        )


def counts_and_piece(
    connection: sqlite3.Connection, *, start: int, limit: int
) -> tuple[Counts, list[Summary]]:
    """Count what is chosen, and give a piece of it, newest first."""
    (total,) = connection.execute("SELECT count(*) FROM chosen").fetchone()
    tables = "message CROSS JOIN chosen" if total > MANY_FOUND else "chosen CROSS JOIN message"
    summaries = summaries_of(
        connection,
        f"SELECT number FROM {tables} USING (number)"
        " ORDER BY time DESC, number DESC LIMIT ? OFFSET ?",
        (limit, start),
    )
    return Counts(total=total, unread=_unread(connection, total)), summaries


def _unread(connection: sqlite3.Connection, total: int) -> int:
    """Count what is unread of so many chosen messages, by whatever looks at the fewest."""
    every, unread = connection.execute("SELECT total, unread FROM tally").fetchone()
    if unread in (0, every):
        return min(total, int(unread))
    is_read = unread * 2 > every
    tables = "chosen CROSS JOIN message"
    if total > min(unread, every - unread):
        tables = "message INDEXED BY message_read CROSS JOIN chosen"
    (count,) = connection.execute(
        f"SELECT count(*) FROM {tables} USING (number) WHERE is_read = ?", (is_read,)
    ).fetchone()
    return total - int(count) if is_read else int(count)
