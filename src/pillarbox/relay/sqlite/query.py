"""What is read: which destinations are due, what is listed, counted and looked at.

Nothing here takes longer because much waits, but for what counts all of it. From one lane to the
next is a look-up in the index (schema.py), and so is the first of each.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence

from pillarbox.relay.row import LANE_BITS, MessageRow, State
from pillarbox.relay.spool import QueuedMessage, Selection, Statistics
from pillarbox.relay.sqlite.row import condition, free, load

__all__ = ["due", "late", "listed", "next_due", "statistics", "stored_body", "suspended"]

# min() over an index is one look-up; DISTINCT would read every row.
LANES = """
    WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM recipients
        UNION ALL
        SELECT (SELECT min(r.lane) FROM recipients AS r WHERE r.lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
"""

DUE = f"""
    {LANES}
    SELECT DISTINCT d.name
    FROM lanes CROSS JOIN destinations AS d ON d.number = lanes.lane >> {LANE_BITS}
    WHERE NOT d.is_suspended
    AND EXISTS (SELECT 1 FROM recipients AS r WHERE r.lane = lanes.lane AND r.due <= ?)
"""

NEXT_DUE = f"""
    {LANES}
    SELECT min((SELECT min(r.due) FROM recipients AS r WHERE r.lane = lanes.lane))
    FROM lanes CROSS JOIN destinations AS d ON d.number = lanes.lane >> {LANE_BITS}
    WHERE NOT d.is_suspended
"""

# Reads all messages, which are short rows: nobody asks often, and no commit waits for it.
LATE = f"""
    SELECT m.id FROM messages AS m
    WHERE NOT m.is_held AND (m.expires <= :now OR m.created < :created_before)
    AND EXISTS (
        SELECT 1 FROM recipients AS r WHERE r.message = m.id
        AND {free("r", ":now")} AND (m.expires <= :now OR NOT r.is_delay_told)
    )
    ORDER BY m.id LIMIT :limit
"""

MESSAGES = "SELECT count(*), total(size), total(is_held), min(id) FROM messages"

# Counted by lanes, in the index's own order: sorting would cost more than the counting.
WAITING = f"""
    SELECT lane, sum(state = {State.QUEUED}), sum(state = {State.ACTIVE})
    FROM recipients GROUP BY lane
"""


def due(connection: sqlite3.Connection, now: float) -> Sequence[str]:
    """Find the destinations that have something to be tried."""
    return [name for (name,) in connection.execute(DUE, (now,))]


def next_due(connection: sqlite3.Connection) -> float | None:
    """Find the first time at which something is due."""
    (first,) = connection.execute(NEXT_DUE).fetchone()
    return None if first is None else float(first)


def late(
    connection: sqlite3.Connection, now: float, created_before: float, limit: int
) -> Sequence[int]:
    """Find messages whose senders have something to be told."""
    values = {"now": now, "created_before": created_before, "limit": limit}
    return [number for (number,) in connection.execute(LATE, values)]


def listed(
    connection: sqlite3.Connection, selection: Selection | None, start: int, limit: int
) -> Sequence[QueuedMessage]:
    """Find messages, the oldest first."""
    where, values = condition(selection)
    with _moment(connection):
        numbers = connection.execute(
            f"SELECT id FROM messages WHERE {where} ORDER BY id LIMIT ? OFFSET ?",
            (*values, limit, start),
        )
        return [loaded.queued() for loaded in load(connection, [number for (number,) in numbers])]


@contextlib.contextmanager
def _moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Ask several things of one moment: between two of them messages come and go."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # a disk that fails has ended it
            connection.execute("ROLLBACK")


def statistics(connection: sqlite3.Connection) -> Statistics:
    """Count everything."""
    with _moment(connection):
        return _count(connection)


def _count(connection: sqlite3.Connection) -> Statistics:
    messages, octets, held, first = connection.execute(MESSAGES).fetchone()
    oldest = None
    if first is not None:
        found = connection.execute("SELECT created FROM messages WHERE id = ?", (first,))
        (oldest,) = found.fetchone()
    names = {
        number: (name, bool(is_suspended))
        for number, name, is_suspended in connection.execute("SELECT * FROM destinations")
    }
    counts = {number: (0, 0) for number, (_, is_suspended) in names.items() if is_suspended}
    for lane, queued, active in connection.execute(WAITING):
        if queued or active:
            number = lane >> LANE_BITS
            before = counts.get(number, (0, 0))
            counts[number] = (before[0] + queued, before[1] + active)
    return Statistics(
        messages=messages,
        octets=int(octets),
        held=int(held),
        oldest=oldest,
        destinations={
            name: (*counts[number], is_suspended)
            for number, (name, is_suspended) in sorted(names.items(), key=lambda item: item[1])
            if number in counts
        },
    )


def suspended(connection: sqlite3.Connection) -> Sequence[str]:
    """Find the destinations that are suspended."""
    found = connection.execute("SELECT name FROM destinations WHERE is_suspended ORDER BY name")
    return [name for (name,) in found]


def stored_body(
    connection: sqlite3.Connection, number: int
) -> tuple[MessageRow, bytes | None] | None:
    """Find a message's row, and its octets unless they are in a file."""
    found = connection.execute(
        "SELECT messages.*, bodies.octets FROM messages LEFT JOIN bodies ON bodies.message = id"
        " WHERE id = ?",
        (number,),
    ).fetchone()
    if found is None:
        return None
    return MessageRow._make(found[:-1]), found[-1]
