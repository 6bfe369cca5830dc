"""What is read: which destinations are due, what is listed, counted and looked at.

From one lane to the next is a look-up in the index `waiting`, and so is the first of each, however
much waits. What counts all of it reads all of it, in the order in which it lies on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from pillarbox.relay.postgres.link import Connection
from pillarbox.relay.postgres.row import FREE, MESSAGES, condition, load
from pillarbox.relay.row import LANE_BITS, MessageRow, State
from pillarbox.relay.spool import Node, QueuedMessage, Selection, Statistics

__all__ = [
    "DUE",
    "LANES_OF_DESTINATION",
    "NEXT_DUE",
    "destination_lanes",
    "due",
    "late",
    "listed",
    "next_due",
    "select",
    "statistics",
    "stored_body",
    "suspended",
]

# The first of an index is one look-up; DISTINCT would read every row.
LANES: Final = """
    WITH RECURSIVE lanes (lane) AS (
        (SELECT r.lane FROM recipients AS r WHERE r.due IS NOT NULL ORDER BY r.lane LIMIT 1)
        UNION ALL
        SELECT (
            SELECT r.lane FROM recipients AS r
            WHERE r.lane > lanes.lane AND r.due IS NOT NULL ORDER BY r.lane LIMIT 1
        )
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
"""

LANES_OF_DESTINATION: Final = """
    WITH RECURSIVE lanes (lane) AS (
        (
            SELECT r.lane FROM recipients AS r
            WHERE r.lane >= %(first)s AND r.lane <= %(last)s AND r.due IS NOT NULL
            ORDER BY r.lane LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT r.lane FROM recipients AS r
            WHERE r.lane > lanes.lane AND r.lane <= %(last)s AND r.due IS NOT NULL
            ORDER BY r.lane LIMIT 1
        )
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes
    WHERE lane IS NOT NULL
    AND EXISTS (SELECT FROM recipients AS r WHERE r.lane = lanes.lane AND r.due <= %(now)s)
"""

DUE: Final = f"""
    {LANES}
    SELECT DISTINCT d.name
    FROM lanes JOIN destinations AS d ON d.number = lanes.lane >> {LANE_BITS}
    WHERE NOT d.is_suspended
    AND EXISTS (SELECT FROM recipients AS r WHERE r.lane = lanes.lane AND r.due <= %(now)s)
"""

NEXT_DUE: Final = f"""
    {LANES}
    SELECT min((
        SELECT r.due FROM recipients AS r
        WHERE r.lane = lanes.lane AND r.due IS NOT NULL ORDER BY r.due LIMIT 1
    ))
    FROM lanes JOIN destinations AS d ON d.number = lanes.lane >> {LANE_BITS}
    WHERE NOT d.is_suspended
"""

# Reads all messages, which are short rows: nobody asks often, and no commit waits for it. Those
# whose senders have all been told are passed over without a look at their recipients.
LATE: Final = f"""
    SELECT m.id FROM messages AS m
    WHERE NOT m.is_held
    AND (m.expires <= %(now)s OR m.created < %(created_before)s AND NOT m.is_delay_told)
    AND EXISTS (
        SELECT FROM recipients AS r WHERE r.message = m.id
        AND {FREE} AND (m.expires <= %(now)s OR NOT r.is_delay_told)
    )
    ORDER BY m.id LIMIT %(limit)s
"""

COUNT_MESSAGES: Final = """
    SELECT count(*), coalesce(sum(size), 0), count(*) FILTER (WHERE is_held), min(id) FROM messages
"""

COUNT_RECIPIENTS: Final = f"""
    SELECT lane >> {LANE_BITS}, count(*) FILTER (WHERE state = {State.QUEUED}),
        count(*) FILTER (WHERE state = {State.ACTIVE})
    FROM recipients GROUP BY 1
"""

NODES: Final = f"""
    SELECT n.name, n.began, n.seen, coalesce(held.active, 0)
    FROM nodes AS n LEFT JOIN (
        SELECT split_part(token, '-', 1) AS key, count(*) AS active
        FROM recipients WHERE state = {State.ACTIVE} GROUP BY 1
    ) AS held ON held.key = n.key
    ORDER BY n.name
"""

BODY: Final = sql.SQL(
    "SELECT {}, (SELECT octets FROM bodies WHERE message = id) FROM messages WHERE id = %s"
).format(MESSAGES.columns)


async def due(connection: Connection, now: float) -> list[str]:
    """Find the destinations that have something to be tried."""
    found = await connection.execute(DUE, {"now": now})
    return [name for (name,) in await found.fetchall()]


async def next_due(connection: Connection) -> float | None:
    """Find the first time at which something is due."""
    found = await (await connection.execute(NEXT_DUE)).fetchone()
    return None if found is None or found[0] is None else float(found[0])


async def destination_lanes(connection: Connection, destination: int, now: float) -> list[int]:
    """Find the lanes of a destination in which something is due."""
    first = destination << LANE_BITS
    found = await connection.execute(
        LANES_OF_DESTINATION,
        {"first": first, "last": first + (1 << LANE_BITS) - 1, "now": now},
    )
    return [lane for (lane,) in await found.fetchall()]


async def late(
    connection: Connection, now: float, created_before: float, limit: int
) -> Sequence[int]:
    """Find messages whose senders have something to be told."""
    found = await connection.execute(
        LATE, {"now": now, "created_before": created_before, "limit": limit}
    )
    return [number for (number,) in await found.fetchall()]


async def select(
    connection: Connection, selection: Selection, further: LiteralString, now: float = 0.0
) -> Sequence[int]:
    """Find the numbers of messages that are selected."""
    where, values = condition(selection)
    found = await connection.execute(
        f"SELECT m.id FROM messages AS m WHERE {where} AND {further} ORDER BY m.id",
        {**values, "now": now},
    )
    return [number for (number,) in await found.fetchall()]


async def listed(
    connection: Connection, selection: Selection | None, start: int, limit: int
) -> Sequence[QueuedMessage]:
    """Find messages, the oldest first."""
    where, values = condition(selection)
    found = await connection.execute(
        f"SELECT m.id FROM messages AS m WHERE {where}"
        " ORDER BY m.id LIMIT %(limit)s OFFSET %(start)s",
        {**values, "limit": limit, "start": start},
    )
    numbers = [number for (number,) in await found.fetchall()]
    nodes: dict[str, str] = dict(
        await (await connection.execute("SELECT key, name FROM nodes")).fetchall()
    )
    return [loaded.queued(nodes) for loaded in await load(connection, numbers)]


async def statistics(connection: Connection) -> Statistics:
    """Count everything."""
    found = await (await connection.execute(COUNT_MESSAGES)).fetchone()
    assert found is not None
    messages, octets, held, first = found
    oldest: float | None = None
    if first is not None:
        row = await (
            await connection.execute("SELECT created FROM messages WHERE id = %s", [first])
        ).fetchone()
        oldest = None if row is None else row[0]
    names = {
        number: (name, is_suspended)
        for number, name, is_suspended in await (
            await connection.execute("SELECT number, name, is_suspended FROM destinations")
        ).fetchall()
    }
    counts = {number: (0, 0) for number, (_, is_suspended) in names.items() if is_suspended}
    for number, queued, active in await (await connection.execute(COUNT_RECIPIENTS)).fetchall():
        if queued or active:
            counts[number] = (queued, active)
    nodes = await (await connection.execute(NODES)).fetchall()
    return Statistics(
        messages=messages,
        octets=int(octets),
        held=held,
        oldest=oldest,
        destinations={
            name: (*counts[number], is_suspended)
            for number, (name, is_suspended) in sorted(names.items(), key=lambda item: item[1])
            if number in counts
        },
        nodes=tuple(
            Node(name=name, began=began, seen=seen, active=active)
            for name, began, seen, active in nodes
        ),
    )


async def suspended(connection: Connection) -> Sequence[str]:
    """Find the destinations that are suspended."""
    found = await connection.execute(
        "SELECT name FROM destinations WHERE is_suspended ORDER BY name"
    )
    return [name for (name,) in await found.fetchall()]


async def stored_body(
    connection: Connection, number: int
) -> tuple[MessageRow, bytes | None] | None:
    """Find a message's row, and its octets unless they are large."""
    found = await (await connection.execute(BODY, [number], binary=True)).fetchone()
    if found is None:
        return None
    return MessageRow._make(found[:-1]), found[-1]
