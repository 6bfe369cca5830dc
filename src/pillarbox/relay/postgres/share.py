"""How many sessions all nodes together have with a destination, so that they keep to one limit.

Each node has a row for each destination that it has sessions with, and writes into it how many
there are: not one more or one less, but the number, so that nothing adds up to a fault. A row
counts while the connection that wrote it is there, which ends with its process, and was heard of
lately: the connection of a machine that lost its power stays for long. None of this outlives the
server, and no commit waits for its disk: after a crash there may be too many for a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, LiteralString

from psycopg import AsyncClientCursor

from pillarbox.relay.postgres.clock import DatabaseClock
from pillarbox.relay.postgres.link import Connection, Pool

__all__ = ["NO_WAIT", "Sessions", "locked"]

# What is said first of a connection whose commits wait for no disk.
NO_WAIT: Final = "SET synchronous_commit = off"

# A node touches its rows every ten seconds (spool.py). One that stands still has its sessions for
# so long, and the others may have none meanwhile.
ALIVE_SECONDS: Final = 30.0

# Those who want something of the same destination go one after the other, so that two do not take
# the last.
LOCK: Final = "SELECT pg_advisory_xact_lock(1348628856, hashtext(%(destination)s));"

ENTER: Final = """
    INSERT INTO sessions (destination, node, count, seen, pid)
    SELECT %(destination)s, %(node)s, %(count)s, %(now)s::float8, pg_backend_pid()
    WHERE %(count)s + (
        SELECT coalesce(sum(s.count), 0) FROM sessions AS s
        WHERE s.destination = %(destination)s AND s.node <> %(node)s AND s.seen > %(alive)s
        AND EXISTS (SELECT FROM pg_stat_get_activity(s.pid))
    ) <= %(most)s
    ON CONFLICT (destination, node) DO UPDATE
    SET count = excluded.count, seen = excluded.seen, pid = excluded.pid
    RETURNING count
"""

# The row may be gone: others remove those of a node that stood still.
WRITE: Final = """
    INSERT INTO sessions (destination, node, count, seen, pid)
    VALUES (%s, %s, %s, %s, pg_backend_pid())
    ON CONFLICT (destination, node) DO UPDATE
    SET count = excluded.count, seen = excluded.seen, pid = excluded.pid
"""


class Sessions:
    """Counts a node's sessions, where the other nodes see it.

    Args:
        pool: Connections that wait for no disk; one, which goes with its process.
        clock: Tells the time.
        key: The node's.
    """

    def __init__(self, pool: Pool, clock: DatabaseClock, key: str) -> None:
        self._pool = pool
        self._clock = clock
        self._key = key
        self._counts: Counter[str] = Counter()

    async def enter(self, destination: str, most: int) -> bool:
        """Count one more; tell whether all nodes together have no more than so many with it.

        Raises:
            SpoolError: The database cannot be asked.
        """
        now = self._clock.now()
        self._counts[destination] += 1  # before anybody else of this node asks
        has_entered = False
        try:
            values = {
                "node": self._key,
                "count": self._counts[destination],
                "now": now,
                "alive": now - ALIVE_SECONDS,
                "most": most,
            }
            async with self._pool.use() as connection:
                has_entered = await locked(connection, destination, ENTER, values) is not None
        finally:
            if not has_entered:
                self._counts[destination] -= 1
        return has_entered

    async def leave(self, destination: str) -> None:
        """Count one less.

        Raises:
            SpoolError: The others do not know yet; they will.
        """
        self._counts[destination] -= 1
        async with self._pool.use() as connection:
            await self._write(connection, destination)

    async def touch(self) -> None:
        """Tell that we are here, and write again what may not have been written."""
        async with self._pool.use() as connection:
            for destination in list(self._counts):
                await self._write(connection, destination)
                if not self._counts[destination]:
                    del self._counts[destination]
            await connection.execute(
                "DELETE FROM sessions WHERE seen < %s OR node = %s AND count = 0",
                [self._clock.now() - ALIVE_SECONDS, self._key],
            )

    async def _write(self, connection: Connection, destination: str) -> None:
        await connection.execute(
            WRITE, [destination, self._key, self._counts[destination], self._clock.now()]
        )


async def locked(
    connection: Connection, destination: str, statement: LiteralString, values: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Do something with a destination that nobody else does at the same time; give its first row.

    Both statements go out as one text, and are one transaction that the database ends by itself: a
    node that is stopped in the middle of it holds up no other.
    """
    cursor = AsyncClientCursor(connection)
    await cursor.execute(LOCK + statement, {"destination": destination, **values})
    cursor.nextset()
    return await cursor.fetchone()
