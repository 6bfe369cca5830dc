"""How many messages all nodes together begin with a destination in a time (rate.py).

A row for each slot in which somebody took turns, until it counts no more. The time is the
database's, whatever a node says, so that one whose clock is ahead takes nothing from the future.
A node that dies leaves what it took and did not use counted: the others get less, never more.
"""

from __future__ import annotations

from typing import Final

from pillarbox.relay.postgres.link import Pool
from pillarbox.relay.postgres.share import locked
from pillarbox.relay.rate import ROUNDING, Rate, Turns

__all__ = ["SharedTurns"]

# The same as `TurnCount.take()`.
TAKE: Final = """
    WITH time AS (
        SELECT least(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8) AS now
    ), slot AS (
        SELECT floor(time.now / %(slot)s::float8 + %(rounding)s::float8) * %(slot)s::float8 AS began
        FROM time
    ), known AS (
        SELECT t.ctid AS row, t.ends, t.count,
            t.ends > slot.began + %(slot)s::float8 / 2
            AND t.began < slot.began + %(window)s::float8 AS counts
        FROM turns AS t, slot WHERE t.destination = %(destination)s
    ), given AS (
        SELECT least(%(wanted)s, %(most)s - coalesce(sum(count), 0))::integer AS count,
            min(ends) AS ends
        FROM known WHERE counts
    ), forgotten AS (
        DELETE FROM turns WHERE ctid = ANY (ARRAY (SELECT row FROM known WHERE NOT counts))
    ), taken AS (
        INSERT INTO turns (destination, began, ends, count)
        SELECT %(destination)s, slot.began, slot.began + %(window)s::float8, given.count
        FROM slot, given WHERE given.count > 0
        ON CONFLICT (destination, began, ends) DO UPDATE SET count = turns.count + excluded.count
    )
    SELECT greatest(given.count, 0),
        CASE WHEN given.count > 0 THEN slot.began + %(slot)s::float8 ELSE given.ends END
    FROM slot, given
"""

SWEEP: Final = "DELETE FROM turns WHERE ends < least(%s, extract(epoch FROM clock_timestamp()))"


class SharedTurns:
    """Takes turns, where the other nodes see it.

    Args:
        pool: Connections that wait for no disk.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._has_taken = False

    async def take(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        """Take turns, as far as there are any; see `Spool.take_turns()`.

        Raises:
            SpoolError: The database cannot be asked. There may be fewer turns from now on.
        """
        self._has_taken = True
        values = {
            "destination": destination,
            "now": now,
            "slot": rate.slot_seconds,
            "window": rate.window_seconds,
            "rounding": ROUNDING,
            "wanted": wanted,
            "most": rate.messages,
        }
        async with self._pool.use() as connection:
            row = await locked(connection, destination, TAKE, values)
        return Turns(*row) if row is not None else Turns(0, now)

    async def sweep(self, now: float) -> None:
        """Forget what counts no more, of destinations as well that nobody asks for."""
        if self._has_taken:
            async with self._pool.use() as connection:
                await connection.execute(SWEEP, [now])
