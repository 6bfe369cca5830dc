"""The bound on what is in the spool: who sends slows down before there is no room any more.

Over a first bound each message is answered late: after another one has been delivered, or after a
while. Mail that arrives faster than it leaves is slowed down to the pace at which it leaves, by
senders that wait for their 250. Over a second bound nothing is taken.
"""

from __future__ import annotations

import asyncio
from collections import deque

from pillarbox.relay.clock import Clock
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import SpoolFull

__all__ = ["Backlog"]


class Backlog:
    """Counts the recipients in the spool, nearly.

    Args:
        limits: The bounds.
        clock: Tells the time.
        counters: Where figures are added to; `counters.backlog` is the count.
    """

    def __init__(self, limits: Limits, clock: Clock, counters: RelayCounters) -> None:
        self._limits = limits
        self._clock = clock
        self._counters = counters
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._is_closed = False

    def check(self) -> None:
        """See whether more may come.

        Raises:
            SpoolFull: No.
        """
        if self._counters.backlog >= self._limits.most_backlog:
            self._counters.refused += 1
            raise SpoolFull(
                f"{self._counters.backlog} recipients are in the spool, and most_backlog is"
                f" {self._limits.most_backlog}: see why mail does not leave, or allow more"
            )

    def add(self, recipients: int) -> None:
        """Count what has come."""
        self._counters.backlog += recipients

    async def slow_down(self) -> None:
        """Wait, where there is too much: until something has left, and not for ever."""
        if self._counters.backlog <= self._limits.slow_backlog or self._is_closed:
            return
        self._counters.held_back += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((future, self._clock.now() + self._limits.slow_seconds))
        await future

    def settle(self, recipients: int) -> None:
        """Count what has left."""
        self._counters.backlog -= recipients
        for _ in range(min(recipients, len(self._waiting))):
            self._release()

    def tick(self, now: float) -> None:
        """Let those go on who have waited long enough."""
        while self._waiting and (
            self._waiting[0][1] <= now or self._counters.backlog <= self._limits.slow_backlog
        ):
            self._release()

    def correct(self, recipients: int) -> None:
        """Take what the spool itself has counted."""
        self._counters.backlog = recipients

    def close(self) -> None:
        """Let all go on: what they brought is safe."""
        self._is_closed = True
        while self._waiting:
            self._release()

    def _release(self) -> None:
        future, _ = self._waiting.popleft()
        if not future.done():
            future.set_result(None)
