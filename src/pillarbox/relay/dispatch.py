"""What is due goes to its destination: the one loop that looks at the clock and at the spool.

Once a second it closes what is idle, renews what takes long and wakes what may be tried again. The
spool is asked when something is due in it, when another process has changed it, and for what is
late although nobody tries it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from pillarbox.log import visible
from pillarbox.relay.clock import Timer
from pillarbox.relay.destination import Destination
from pillarbox.relay.shared import Shared
from pillarbox.relay.spool import Change, Lease, SpoolError

__all__ = ["Dispatcher"]

log = logging.getLogger("pillarbox")

TICK_SECONDS = 1.0
# How often the spool is asked at the least; and while something is due that cannot go.
LOOK_SECONDS = 60.0
BUSY_LOOK_SECONDS = 5.0
# What is late is told in pieces of this size.
LATE_BATCH = 100
# A destination that is down is tried before its time at most so often, when people ask for it.
RETRY_SECONDS = 10.0
# Outcomes that the spool does not take are written again so often, once there is no time to lose.
WRITE_AGAIN_SECONDS = 0.2
# What is aborted has so long to say so.
ABORT_SECONDS = 5.0


class Dispatcher:
    """Hands out what is due.

    Args:
        shared: What the destinations share.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        shared.make_room = self._make_room
        self._destinations: dict[str, Destination] = {}
        self._suspended: frozenset[str] = frozenset()
        self._timer: Timer | None = None
        self._look_at = 0.0
        self._was_stuck = False
        self._has_news = False  # of mail that another process put
        self._late_at = 0.0
        # What another node had when it died is due before anybody could have known.
        self._look_seconds = min(LOOK_SECONDS, shared.limits.lease_seconds / 2)
        self._retried_at = 0.0
        self._wants_retry = False
        self._looking: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    # What others ask

    def destination(self, name: str) -> Destination:
        """Give a destination."""
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = Destination(name, self._shared)
            destination.is_suspended = name in self._suspended
        return destination

    def takes(self, destinations: set[str], sender: str, octets: int) -> bool:
        """Tell whether a message may go straight to sessions, to all of its destinations."""
        return not self._shared.recorder.is_stuck and all(
            self.destination(name).takes(sender, octets) for name in destinations
        )

    async def room(self, destinations: set[str], sender: str, octets: int) -> bool:
        """Wait a moment for room, if there will be some; tell whether the message may go."""
        if len(destinations) > 1 or self._shared.recorder.is_stuck:
            return False
        (name,) = destinations
        return await self.destination(name).room(sender, octets)

    def add(self, lease: Lease) -> None:
        """Take a lease."""
        self.destination(lease.destination).add(lease)

    def mark(self, name: str) -> None:
        """Take note that something may be due in the spool."""
        self.destination(name).mark()

    @property
    def ready(self) -> int:
        """How many messages wait in memory."""
        return sum(map(len, self._destinations.values()))

    # Beginning and end

    async def start(self) -> None:
        """Begin.

        Raises:
            SpoolError: The spool cannot be used.
        """
        # First this: what is changed from here on, `_follow` will hear of.
        await self._shared.spool.changed(0.0)
        self._suspended = frozenset(await self._shared.spool.suspended())
        self._following = self._task(self._follow())
        self._tick()

    async def close(self, seconds: float) -> None:
        """Let what is under way end, for so long, and give back the rest."""
        shared = self._shared
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        shared.is_closing = True
        shared.backlog.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._following, self._looking):
            if task is not None:
                task.cancel()
        for destination in self._destinations.values():
            destination.stop()
        ending = asyncio.gather(*(one.join() for one in self._destinations.values()))
        done, _ = await asyncio.wait((ending,), timeout=seconds)
        if not done:
            log.warning(
                "%d deliveries did not end within %.0f seconds and are broken off; they are tried"
                " again at the next start",
                *(len(shared.leases), seconds),
            )
            await shared.leases.abort()
            done, _ = await asyncio.wait((ending,), timeout=ABORT_SECONDS)
        if not done:
            for destination in self._destinations.values():
                destination.cancel()
            await asyncio.wait((ending,))
        await shared.recorder.write_again()
        while shared.recorder.is_stuck and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, WRITE_AGAIN_SECONDS))
            await shared.recorder.write_again()
        if shared.recorder.is_stuck:
            log.error(
                "the spool has not taken what became of %d deliveries; messages that were"
                " delivered may be delivered again at the next start",
                shared.recorder.unwritten,
            )

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    # The clock

    def _tick(self) -> None:
        shared = self._shared
        now = shared.clock.now()
        shared.backlog.tick(now)
        shared.leases.watch()
        self._retry(now)
        for name, destination in tuple(self._destinations.items()):
            destination.tick(now)
            if destination.is_finished:
                del self._destinations[name]
        if shared.recorder.is_stuck and not self._was_stuck:
            self._look_at = now  # nothing is delivered until the spool takes it
        self._was_stuck = shared.recorder.is_stuck
        is_time = now >= self._look_at or self._has_news
        if is_time and (self._looking is None or self._looking.done()):
            self._looking = self._task(self._look(now))
        self._timer = shared.clock.call_at(now + TICK_SECONDS, self._tick)

    def _make_room(self) -> None:
        """Close a session that has nothing to do: another destination needs one."""
        for destination in self._destinations.values():
            if destination.close_one():
                return

    # The spool

    async def _look(self, now: float) -> None:
        """Find what is due, and when the next thing will be."""
        shared = self._shared
        spool = shared.spool
        self._look_at = now + BUSY_LOOK_SECONDS
        self._has_news = False
        try:
            await shared.recorder.write_again()
            if shared.recorder.is_stuck:
                return
            for name in await spool.due(now):
                self.destination(name).mark()
            if now >= self._late_at:
                self._late_at = now + LOOK_SECONDS
                await self._tell_late()
                await self._count()
            then = await spool.next_due()
        except SpoolError as error:
            log.error("the spool: %s; it is asked again", visible(str(error)))
            return
        if then is None or then > now + self._look_seconds:
            self._look_at = now + self._look_seconds
        elif then > now:
            self._look_at = then
        shared.pool.forget()

    async def _tell_late(self) -> None:
        """See to messages that expire, or wait long, while nobody tries them."""
        shared = self._shared
        while not shared.is_closing:
            now = shared.clock.now()
            leases = await shared.spool.lease_late(
                now,
                created_before=now - shared.limits.delay_notice_seconds,
                limit=LATE_BATCH,
                seconds=shared.limits.lease_seconds,
            )
            await asyncio.gather(*map(shared.recorder.tell_late, leases))
            if len(leases) < LATE_BATCH or shared.recorder.is_stuck:
                return

    async def _count(self) -> None:
        statistics = await self._shared.spool.statistics()
        numbers = statistics.destinations.values()
        self._shared.backlog.correct(sum(queued + active for queued, active, _ in numbers))

    async def _follow(self) -> None:
        """Do what other processes ask for, such as `pillarbox queue`."""
        spool = self._shared.spool
        while True:
            try:
                change = await spool.changed(LOOK_SECONDS)
                if Change.WORD in change:
                    await self._refresh()
                elif change:
                    self._has_news = True
            except SpoolError as error:
                log.error("the spool: %s; it is asked again", visible(str(error)))
                await asyncio.sleep(BUSY_LOOK_SECONDS)

    async def _refresh(self) -> None:
        now = self._shared.clock.now()
        suspended = frozenset(await self._shared.spool.suspended())
        for name in suspended - self._suspended:
            self.destination(name).suspend()
        self._suspended, before = suspended, self._suspended
        for name in before - suspended:
            self.destination(name).resume()
        self._wants_retry = True
        self._retry(now)
        self._look_at = now

    def _retry(self, now: float) -> None:
        """Try what is down, when people ask for it and it was not tried just now."""
        if self._wants_retry and now >= self._retried_at + RETRY_SECONDS:
            self._wants_retry = False
            self._retried_at = now
            self._shared.pool.retry()
            for destination in self._destinations.values():
                destination.retry()
