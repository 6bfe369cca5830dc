"""One destination: what waits for it, and how many sessions there are for it (session.py).

Leases wait in memory, up to a bound, and are taken from the spool when they run short. What is down
is probed by one session with one message, while all others wait in the spool; when it is back,
sessions are opened as the window allows (schedule.py). Where there is a rate, an open session takes
a turn (pace.py) before it takes a lease; who has to wait for one more than a moment waits in the
spool, and sessions have nothing to do meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from pillarbox.log import visible
from pillarbox.protocol.reply import Reply
from pillarbox.relay.delivery import Session
from pillarbox.relay.idle import IdleSessions
from pillarbox.relay.lease import Held
from pillarbox.relay.pace import Pace
from pillarbox.relay.pool import Unreachable
from pillarbox.relay.room import Room
from pillarbox.relay.route import NoRoute
from pillarbox.relay.schedule import Window
from pillarbox.relay.session import deliver_all
from pillarbox.relay.shared import Shared
from pillarbox.relay.spool import Lease, SpoolError

__all__ = ["Destination"]

log = logging.getLogger("pillarbox")

# A spool that cannot be used is asked again after so long.
SPOOL_WAIT_SECONDS = 5.0
# Leases wait no longer than this for their turn.
TURN_WAIT_SECONDS = 2.0

PACED = Reply(451, "4.3.2", "As many messages as may go there in this time are gone")


class Destination:
    """What goes to one place.

    Args:
        name: The destination.
        shared: What it shares with the others.
    """

    def __init__(self, name: str, shared: Shared) -> None:
        self.name = name
        self.is_suspended = False
        """Whether an operator has stopped it."""
        self.down_until = 0.0
        """Until when nobody tries; after it one session does, until it is back."""
        self._is_down = False
        self._full_until = 0.0  # until when the server takes no more sessions than there are
        self._shared = shared
        self._window = Window(shared.limits.first_sessions, shared.limits.most_sessions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._connected = 0
        self._idle = IdleSessions()
        self._promised = 0  # sessions that were told to look, and have not looked yet
        self._wakes_soon = False
        self._pace: Pace | None = None
        self._most_ready = shared.limits.ready_messages
        self._batch = shared.limits.batch
        self._marks = 0
        self._has_more = False
        self._overtaken = 0  # how many came in while others waited in the spool
        self._filling: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        if (rate := shared.limits.rate) is not None:
            self._most_ready = self._batch = min(self._batch, rate.batch)
            self._pace = Pace(
                name,
                rate,
                spool=shared.spool,
                clock=shared.clock,
                wake=self.wake,
                later=self._later,
            )
        self._ready = Room(shared, self._most_ready)

    def __len__(self) -> int:
        """Count the leases that wait in memory."""
        return len(self._ready)

    @property
    def sessions(self) -> int:
        """How many sessions it has, those that are being opened among them."""
        return len(self._tasks)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to remember of it."""
        return not (
            self._tasks or self._chores or self._ready or self._has_more or self._is_down
        ) and not (self.is_suspended or self._ready.is_awaited)

    # What comes in

    def takes(self, sender: str, octets: int) -> bool:
        """Tell whether a message that is put now may go straight to a session."""
        return (
            self._delivers()
            and self._ready.has_place(sender, octets)
            and not self._ready.is_crowded(self._window.size)
        )

    async def room(self, sender: str, octets: int) -> bool:
        """Wait for room where there will be some in a moment; tell whether there is."""
        is_crowded = self._delivers() and self._ready.is_crowded(self._window.size)
        if is_crowded and not await self._ready.turn():
            return False
        return self._delivers() and self._ready.has_place(sender, octets)

    def _delivers(self) -> bool:
        return self._runs() and not self._is_down and not self._has_no_turn

    def add(self, lease: Lease) -> None:
        """Take a lease."""
        self._ready.push(lease)
        self._overtaken += self._has_more
        if not self._runs():
            self.give_back_all()
        elif not self._wakes_soon:
            self._wakes_soon = True
            self._shared.spool.meanwhile(self._use_added)

    def _use_added(self) -> None:
        self._wakes_soon = False
        self._use()

    def _use(self) -> None:
        """Have leases tried that came, or give them back."""
        if not self._runs():
            self.give_back_all()
        elif self._has_no_turn:
            self._keep_or_not()
        else:
            self.wake()

    def mark(self) -> None:
        """Take note that there may be something due in the spool."""
        self._expect_more()
        self.wake()

    def _expect_more(self) -> None:
        self._marks += 1  # what is asked of the spool meanwhile may not know of it
        self._has_more = True

    def wake(self) -> None:
        """Have as many sessions look for work as there is work and room for."""
        if not self._runs() or self._has_no_turn or self._shared.recorder.is_stuck:
            return
        work = 1 if self._is_down else len(self._ready) + self._has_more
        if self._pace is not None:
            work = min(work, self._pace.left or 1)  # who finds out that there are more wakes others
        while self._promised < work:
            if not self._idle.use_one():
                if not self._may_open():
                    return
                if self._shared.sessions >= self._shared.limits.all_sessions:
                    self._shared.hungry[self] = None
                    self._shared.make_room()
                    return
                self._begin()
            self._promised += 1

    def _runs(self) -> bool:
        return (
            not self.is_suspended
            and not self._shared.is_closing
            and self.down_until <= self._shared.clock.now()
        )

    @property
    def _has_no_turn(self) -> bool:
        return self._pace is not None and self._pace.is_waiting

    def _may_open(self) -> bool:
        most = 1 if self._is_down else self._window.size
        return len(self._tasks) < most

    def _begin(self) -> None:
        self._shared.sessions += 1
        task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self) -> None:
        self._promised -= 1
        await deliver_all(self, self._shared)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._shared.sessions -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery session to %s failed", visible(self.name), exc_info=error)
            self._pause(SPOOL_WAIT_SECONDS)
        # Who had to wait is first, for as long as anybody has.
        for destination in (*self._shared.hungry, self):
            self._shared.hungry.pop(destination, None)
            destination.wake()

    # What people and the clock do to it

    def tick(self, now: float) -> None:
        """Close sessions that have had nothing to do, and look whether it is time to try again."""
        self._ready.tick(now)
        self._idle.close_those_since(now - self._shared.limits.idle_seconds)
        if self._has_more or self._ready:
            self.wake()
        if self._overtaken and self._may_hold_more():
            self._fill()

    def _may_hold_more(self) -> bool:
        """Tell whether to take from the spool though enough is at hand for the sessions.

        While more comes in than goes out, what comes is always at hand. What waits in the spool has
        waited for longer: as many of these are taken as have come.
        """
        shared = self._shared
        return self._delivers() and not shared.recorder.is_stuck and self._ready.is_within_bounds

    def close_one(self) -> bool:
        """Close a session that has nothing to do; tell whether there was one."""
        return self._idle.close_one()

    def suspend(self) -> None:
        """Deliver nothing more, but for what is under way."""
        if not self.is_suspended:
            self.is_suspended = True
            log.info("%s is suspended", visible(self.name))
            self.stop()

    def resume(self) -> None:
        """Deliver again."""
        if self.is_suspended:
            self.is_suspended = False
            log.info("%s is resumed", visible(self.name))
            self.mark()

    def retry(self) -> None:
        """Try now, even where it is down."""
        self.down_until = self._full_until = 0.0
        self.mark()

    def stop(self) -> None:
        """Give back what waits, and let sessions end that do nothing, or are not open yet."""
        self.give_back_all()
        for task in tuple(self._opening):
            task.cancel()
        while self.close_one():
            pass

    async def join(self) -> None:
        """Wait until all sessions and what they left to do has ended."""
        while tasks := (*self._tasks, *self._chores, *((self._filling,) if self._filling else ())):
            await asyncio.wait(tasks)

    def cancel(self) -> None:
        """End everything now."""
        for task in (*self._tasks, *self._chores):
            task.cancel()

    # What waits

    def give_back_all(self, reply: str = "") -> None:
        """Let the spool have what waits."""
        leases = self._ready.clear()
        if leases:
            self._later(self.give_back(leases, reply))

    async def give_back(self, leases: Sequence[Lease], reply: str = "") -> None:
        """Let the spool have leases that nobody acted on, to be leased again."""
        await self._shared.leases.give_back(leases, reply)
        self.mark()

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def next(self, session: Session | None) -> Held | None:
        """Give the next lease, waiting for one if there is a session to use it; `None` ends it."""
        shared = self._shared
        while self._runs() and len(self._tasks) <= max(1, self._window.size):
            if shared.recorder.is_stuck:
                # What cannot be put on record is not tried: after our end it would be tried again.
                return None
            if self._has_no_turn or not (self._ready or self._has_more):
                if not await self._wait(session):
                    return None
            elif not self._ready:
                await self._fill()
            elif session is None or self._pace is None or await self.turn():
                held = await self._hold_next()
                if held is not None:
                    return held
                if session is not None and self._pace is not None:
                    self._pace.put_back()
        return None

    async def _hold_next(self) -> Held | None:
        """Take the next lease in hand; `None` where there is none any more."""
        if (lease := self._ready.pop(self._window.size)) is None:
            return None
        few = min(self._window.size, self._most_ready)
        if self._has_more and not self._is_down and len(self._ready) < few:
            self._fill()
        return await self._shared.leases.hold(lease)

    async def _wait(self, session: Session | None) -> bool:
        """Wait for something to do, with an open session; tell whether there is."""
        if session is None or not session.client.is_open or self._shared.hungry:
            return False
        if not await self._idle.wait(self._shared.clock.now()):
            return False
        self._promised -= 1
        return True

    async def turn(self) -> bool:
        """Take the right to begin a message; without it nothing is begun."""
        pace = self._pace
        if pace is None:
            return True
        if await pace.take(max(1, len(self._ready) + self._batch * self._has_more)):
            if pace.left:
                self.wake()
            return True
        self._keep_or_not()
        return False

    def _keep_or_not(self) -> None:
        """Let the spool have what would wait long for its turn, or has waited long already."""
        if self._pace is None or not self._ready:
            return
        now = self._shared.clock.now()
        fresh = self._shared.limits.lease_seconds / 2
        is_long = self._pace.until > now + TURN_WAIT_SECONDS
        if is_long or any(lease.expires < now + fresh for lease in self._ready):
            self.give_back_all(str(PACED))

    def _fill(self) -> asyncio.Task[None]:
        """Take more from the spool; one does so for all."""
        if self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._refill())
        return self._filling

    async def _refill(self) -> None:
        shared = self._shared
        marks = self._marks
        limit = 1 if self._is_down else self._batch
        if len(self._ready) >= self._window.size:
            limit = max(1, min(limit, self._overtaken))
        self._overtaken = 0
        try:
            leases = await shared.spool.lease(
                self.name,
                shared.clock.now(),
                limit=limit,
                seconds=shared.limits.lease_seconds,
            )
        except SpoolError as error:
            log.error("the spool gives out nothing: %s; it is asked again", visible(str(error)))
            self._pause(SPOOL_WAIT_SECONDS)
            return
        finally:
            self._filling = None
        if len(leases) < limit and marks == self._marks:
            self._has_more = False
            if not leases:
                self._is_down = False  # nobody asks for it any more
        for lease in leases:
            self._ready.push(lease)
        self._use()

    def _pause(self, seconds: float) -> None:
        self.down_until = self._shared.clock.now() + seconds

    # What sessions tell

    def opening(self, task: asyncio.Task[None]) -> None:
        """Take note that a session is being opened; until it is, the task may be cancelled."""
        self._opening.add(task)

    def opened(self, task: asyncio.Task[None], error: Unreachable | NoRoute | None = None) -> None:
        """Take note that it is open, or not to be had."""
        self._opening.discard(task)
        if isinstance(error, Unreachable):
            self._is_out_of_reach(error)
        elif error is None:
            self._connected += 1
            self._shared.counters.sessions_open += 1
            if self._is_down:
                self._is_down = False
                self._full_until = 0.0
                self._window.restart()
                self.wake()

    def _is_out_of_reach(self, error: Unreachable) -> None:
        # It has no room for more, and that is no reason to leave those alone that are open. Of
        # those that are being opened some may be in: which is heard of first is chance.
        others = self._connected + len(self._opening)
        if others:
            self._window.narrow(others)
            self._full_until = error.until
        else:
            self._is_down = True
            self.down_until = max(error.until, self.down_until)
            self.give_back_all(str(error.reply))

    def left(self) -> None:
        """Take note that a session is closed."""
        self._connected -= 1
        self._shared.counters.sessions_open -= 1

    def learn(self, session: Session, fault: str) -> None:
        """Draw conclusions from how a session went."""
        if not fault:
            size = self._window.size
            self._window.succeed(may_grow=self._full_until <= self._shared.clock.now())
            if self._window.size > size:
                self.wake()
            return
        self._window.fail()
        if self._window.is_broken:
            self._is_down = True
            self.down_until = self._shared.pool.blame(session.hop, fault)
            self.give_back_all()
