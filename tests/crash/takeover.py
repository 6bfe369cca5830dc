"""How long what a dead node held waits for another one: read from the tables, four times a second.

A lease is taken over when its token is gone from the rows. The time counts from the lease's end,
and only while somebody could take it: the database answers, and there is a node that runs and has
not been refused by the next hop, which it leaves alone for a while then; nor has a node that stands
still all the sessions that there may be, which are others' when it was not heard of for 30 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psycopg

__all__ = ["Taken", "Takeovers", "most_seconds"]

LOOK_SECONDS = 0.25
# What the nodes have with the next hop, all together, by default.
MOST_SESSIONS = 20

# Nodes are called by their machine and process.
HELD = """
    SELECT split_part(n.name, ':', 2)::int, r.token, min(r.lease_expires)
    FROM recipients AS r JOIN nodes AS n ON n.key = split_part(r.token, '-', 1)
    WHERE split_part(n.name, ':', 2)::int = ANY(%s::int[])
    GROUP BY 1, 2
"""
CROWDED = """
    SELECT coalesce(sum(s.count), 0) FROM sessions AS s JOIN nodes AS n ON n.key = s.node
    WHERE split_part(n.name, ':', 2)::int = ANY(%s::int[])
"""
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


def most_seconds(lease_seconds: float) -> float:
    """Tell how long it may take from the end of a lease.

    A node looks at the spool when something falls due that it knows of; within half a lease where
    it knows of nothing, and each five seconds while there is more than it can send (see
    `relay/dispatch.py`). To this come the tick of a second, the five seconds for which it leaves a
    spool alone that has failed, and as much for what has waited for longer, on a busy machine.
    """
    return max(5.0, lease_seconds / 2) + 1.0 + 5.0 + 5.0


@dataclass(slots=True)
class Taken:
    """What was measured.

    Attributes:
        seconds: From each lease's end until it was taken over.
        waiting: How long one has waited that is not taken over yet.
    """

    seconds: list[float] = field(default_factory=list)
    waiting: float = 0.0

    @property
    def worst(self) -> float:
        """The longest."""
        return max(*self.seconds, self.waiting, 0.0)

    @property
    def median(self) -> float:
        """Half of them took no longer."""
        return median(self.seconds) if self.seconds else 0.0


class Takeovers:
    """Looks at leases of the dead; `watch()` it.

    Args:
        url: The database.
        runs: Tells whether any node runs, and has not been refused by the next hop.
        stopped: Gives the nodes that stand still.
    """

    def __init__(
        self, url: str, *, runs: Callable[[], bool], stopped: Callable[[], Sequence[int]]
    ) -> None:
        self.taken = Taken()
        self._url = url
        self._runs = runs
        self._stopped = stopped
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._dead: list[int] = []
        self._ends: dict[str, float] = {}
        self._since = 0.0  # nobody could take anything before

    def died(self, process_id: int) -> None:
        """Take note that a node is dead."""
        self._dead.append(process_id)

    async def watch(self) -> None:
        """Look, until this is cancelled."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._close()

    async def held(self, processes: Sequence[int]) -> Counter[int]:
        """Tell how many leases nodes have now; nothing where the database does not answer."""
        try:
            async with await psycopg.AsyncConnection.connect(self._url) as connection:
                await connection.execute("SET search_path = pillarbox")
                found = await connection.execute(HELD, [list(processes)])
                return Counter(process for process, *_ in await found.fetchall())
        except psycopg.Error:
            return Counter()

    async def _look(self) -> None:
        try:
            now, held, sessions = await self._ask()
        except psycopg.Error:
            await self._close()
            self._since = float("inf")  # until the database tells what time it is
            return
        if self._since == float("inf") or not self._runs() or sessions >= MOST_SESSIONS:
            self._since = now
        for token in self._ends.keys() - held.keys():
            seconds = now - max(self._ends.pop(token), self._since)
            # Before its end: the result was on its way when the node died.
            if seconds >= 0:
                self.taken.seconds.append(seconds)
        self._ends.update(held)
        self.taken.waiting = max(
            (now - max(end, self._since) for end in held.values()), default=0.0
        )

    async def _ask(self) -> tuple[float, dict[str, float], int]:
        """Ask what time it is, what the dead held, and how many sessions those have that stand."""
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            await self._connection.execute("SET search_path = pillarbox")
        connection = self._connection
        [(now,)] = await (await connection.execute(NOW)).fetchall()
        found = await connection.execute(HELD, [self._dead])
        held = {token: end for _, token, end in await found.fetchall()}
        [(sessions,)] = await (await connection.execute(CROWDED, [self._stopped()])).fetchall()
        return now, held, sessions

    async def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None
