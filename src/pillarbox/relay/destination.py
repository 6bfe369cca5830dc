"""One destination: what waits for it, and the sessions that take one message after the other.

Each session is one task, for as long as it lasts: it takes a lease, opens a connection if it has
none, delivers, and takes the next. The outcome is written while the next message is on its way. A
destination that is down is probed by one session with one message; all others wait in the spool.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from pillarbox.log import visible
from pillarbox.relay.backlog import Backlog
from pillarbox.relay.clock import Clock
from pillarbox.relay.delivery import Attempt, Held, Session, attempt
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.pool import Pool, Unreachable
from pillarbox.relay.record import Recorder
from pillarbox.relay.route import NoRoute
from pillarbox.relay.schedule import Limits, Ready, Window
from pillarbox.relay.spool import Lease, Spool, SpoolError

__all__ = ["Destination", "Shared"]

log = logging.getLogger("pillarbox")

# A spool that cannot be used is asked again after so long.
SPOOL_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class Shared:
    """What all destinations have in common."""

    spool: Spool
    pool: Pool
    clock: Clock
    limits: Limits
    recorder: Recorder
    backlog: Backlog
    counters: RelayCounters
    held: set[Held] = field(default_factory=set)
    """All leases that are being delivered."""
    sessions: int = 0
    """How many sessions there are in all."""
    memory_octets: int = 0
    """What waits in memory for a session."""
    is_closing: bool = False
    hungry: dict[Destination, None] = field(default_factory=dict)
    """Destinations that could have no session, since there are too many in all."""
    make_room: Callable[[], None] = lambda: None
    """Closes a session that has nothing to do."""


@dataclass(slots=True, eq=False)
class _Idle:
    """A session that waits for something to do."""

    future: asyncio.Future[bool]
    since: float


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
        self._shared = shared
        self._ready = Ready()
        self._window = Window(shared.limits.first_sessions, shared.limits.most_sessions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._connected = 0
        self._idle: deque[_Idle] = deque()
        self._promised = 0  # sessions that were told to look, and have not looked yet
        self._marks = 0
        self._has_more = False
        self._filling: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()

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
        return (
            not (self._tasks or self._chores or self._ready or self._has_more or self._is_down)
            and not self.is_suspended
        )

    # What comes in

    def takes(self, sender: str, octets: int) -> bool:
        """Tell whether a message that is put now may go straight to a session."""
        limits, shared = self._shared.limits, self._shared
        return (
            self._runs()
            and not self._is_down
            and len(self._ready) < limits.ready_messages
            and self._ready.of(sender) < limits.ready_messages // 2
            and shared.memory_octets + octets <= limits.memory_octets
        )

    def add(self, lease: Lease) -> None:
        """Take a lease."""
        self._push(lease)
        if self._runs():
            self.wake()
        else:
            self.give_back_all()

    def mark(self) -> None:
        """Take note that there may be something due in the spool."""
        self._expect_more()
        self.wake()

    def _expect_more(self) -> None:
        self._marks += 1  # what is asked of the spool meanwhile may not know of it
        self._has_more = True

    def wake(self) -> None:
        """Have as many sessions look for work as there is work and room for."""
        if not self._runs():
            return
        work = 1 if self._is_down else len(self._ready) + self._has_more
        while self._promised < work:
            if self._idle:
                idle = self._idle.pop()
                if idle.future.done():
                    continue
                idle.future.set_result(True)
            elif not self._may_open():
                return
            elif self._shared.sessions < self._shared.limits.all_sessions:
                self._begin()
            else:
                self._shared.hungry[self] = None
                self._shared.make_room()
                return
            self._promised += 1

    def _runs(self) -> bool:
        return (
            not self.is_suspended
            and not self._shared.is_closing
            and self.down_until <= self._shared.clock.now()
        )

    def _may_open(self) -> bool:
        most = 1 if self._is_down else self._window.size
        return len(self._tasks) < most

    def _begin(self) -> None:
        self._shared.sessions += 1
        task = asyncio.get_running_loop().create_task(self._session())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

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
        oldest = now - self._shared.limits.idle_seconds
        while self._idle and self._idle[0].since <= oldest:
            idle = self._idle.popleft()
            if not idle.future.done():
                idle.future.set_result(False)
        if self._has_more or self._ready:
            self.wake()

    def close_one(self) -> bool:
        """Close a session that has nothing to do; tell whether there was one."""
        while self._idle:
            idle = self._idle.popleft()
            if not idle.future.done():
                idle.future.set_result(False)
                return True
        return False

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
        self.down_until = 0.0
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

    def _push(self, lease: Lease) -> None:
        self._ready.push(lease)
        self._shared.memory_octets += 0 if lease.octets is None else len(lease.octets)

    def _pop(self) -> Lease | None:
        lease = self._ready.pop()
        if lease is not None and lease.octets is not None:
            self._shared.memory_octets -= len(lease.octets)
        return lease

    def give_back_all(self, reply: str = "") -> None:
        """Let the spool have what waits."""
        self._shared.memory_octets -= self._ready.octets
        leases = self._ready.clear()
        if leases:
            self._later(self._give_back(leases, reply))

    async def _give_back(self, leases: list[Lease], reply: str = "") -> None:
        spool = self._shared.spool
        for start in range(0, len(leases), 100):
            done = await asyncio.gather(
                *(spool.give_back(lease, reply=reply) for lease in leases[start : start + 100]),
                return_exceptions=True,
            )
            for error in done:
                if isinstance(error, SpoolError):
                    text = visible(str(error))
                    log.error("the spool: %s; messages wait for their lease to end", text)
                    return
                if isinstance(error, BaseException):
                    raise error
        self.mark()

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def _next(self, session: Session | None) -> Held | None:
        """Give the next lease, waiting for one if there is a session to use it; `None` ends it."""
        shared = self._shared
        while self._runs() and len(self._tasks) <= max(1, self._window.size):
            lease = self._pop()
            if lease is not None:
                if self._has_more and not self._is_down and len(self._ready) < self._window.size:
                    self._fill()
                held = Held(lease, shared.clock.now)
                shared.held.add(held)
                if lease.expires - shared.clock.now() > shared.limits.lease_seconds / 2:
                    return held
                if await self.renew(held):
                    return held
                shared.held.discard(held)
            elif self._has_more:
                await self._fill()
            elif session is None or not session.client.is_open or shared.hungry:
                return None
            else:
                idle = _Idle(asyncio.get_running_loop().create_future(), shared.clock.now())
                self._idle.append(idle)
                if not await idle.future:
                    return None
                self._promised -= 1
        return None

    def _fill(self) -> asyncio.Task[None]:
        """Take more from the spool; one does so for all."""
        if self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._refill())
        return self._filling

    async def _refill(self) -> None:
        shared = self._shared
        marks = self._marks
        limit = 1 if self._is_down else shared.limits.batch
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
            self._push(lease)
        if self._runs():
            self.wake()
        else:
            self.give_back_all()

    async def renew(self, held: Held) -> bool:
        """Ask for more time; tell whether there is enough."""
        shared = self._shared
        held.is_renewing = True
        try:
            lease = await shared.spool.renew(
                held.lease, shared.clock.now(), seconds=shared.limits.lease_seconds
            )
        except SpoolError as error:
            log.error("%s: its lease was not renewed: %s", held.lease.id, visible(str(error)))
            return held.may_end
        finally:
            held.is_renewing = False
        if lease is None:
            held.is_lost = True
            return False
        held.lease = lease
        return True

    def watch(self, held: Held) -> None:
        """Renew the lease of a delivery that takes long, or end it before it does harm."""
        left = held.lease.expires - self._shared.clock.now()
        if left < self._shared.limits.lease_seconds / 2 and not held.is_renewing:
            held.is_renewing = True
            self._later(self._renew_in_time(held))

    async def _renew_in_time(self, held: Held) -> None:
        await self.renew(held)
        if held.client is not None and not held.may_end and not held.client.protocol.is_ending:
            log.warning(
                "%s: given up in the middle, since its lease is over; it is tried again",
                held.lease.id,
            )
            await held.client.abort()

    # Sessions

    async def _session(self) -> None:
        """Deliver one message after the other, as long as there are any."""
        self._promised -= 1
        shared = self._shared
        session: Session | None = None
        held: Held | None = None
        try:
            while (held := await self._next(session)) is not None:
                if session is None and (session := await self._open(held)) is None:
                    continue
                began = shared.clock.now()
                made = await self._attempt(session, held)
                if made.is_void and session.messages > 1 and not shared.is_closing:
                    # A server may end a session that was used; that says nothing of the next.
                    self._disconnected()
                    if (session := await self._open(held)) is None:
                        continue
                    made = await self._attempt(session, held)
                await session.written()
                if made.is_void and (not made.fault or shared.is_closing):
                    await self._return(held)
                else:
                    session.writing = asyncio.get_running_loop().create_task(
                        self._write(held, made, began, session)
                    )
                self._learn(session, made.fault)
                if (
                    not session.client.is_open
                    or session.messages >= shared.limits.messages_per_session
                ):
                    await self._leave(session)
                    session = None
                    if shared.hungry:
                        return
        except BaseException:
            if held is not None and held in shared.held:
                await self._return(held)
            raise
        finally:
            if session is not None:
                await self._leave(session)

    async def _attempt(self, session: Session, held: Held) -> Attempt:
        self._shared.counters.attempts += 1
        made = await attempt(session, held, self._shared.spool.read)
        if made.trouble:
            log.error("%s: cannot be read: %s", held.lease.id, visible(made.trouble))
        return made

    async def _leave(self, session: Session) -> None:
        self._disconnected()
        await session.client.quit()
        await session.written()

    def _disconnected(self) -> None:
        self._connected -= 1
        self._shared.counters.sessions_open -= 1

    async def _write(self, held: Held, made: Attempt, began: float, session: Session) -> None:
        try:
            await self._shared.recorder.record(held.lease, made, began=began, session=session)
        except Exception:
            log.exception(
                "%s: what became of it is not on record; it is tried again", held.lease.id
            )
        finally:
            self._shared.held.discard(held)

    async def _return(self, held: Held, reply: str = "") -> None:
        self._shared.held.discard(held)
        await self._give_back([held.lease], reply)

    async def _open(self, held: Held) -> Session | None:
        """Open a session; where there is none, see to the lease."""
        shared = self._shared
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._opening.add(task)
        try:
            session = await shared.pool.open(self.name)
        except NoRoute as error:
            shared.held.discard(held)
            await shared.recorder.fail(held.lease, error.reply)
            return None
        except Unreachable as error:
            self._down(error)
            await self._return(held, str(error.reply))
            return None
        finally:
            self._opening.discard(task)
        self._connected += 1
        shared.counters.sessions_open += 1
        if self._is_down:
            self._is_down = False
            self._window.restart()
            self.wake()
        return session

    def _down(self, error: Unreachable) -> None:
        """Take note that no further session is to be had."""
        if self._connected:
            # It has no room for more, and that is no reason to leave those alone that are open.
            self._window.narrow(self._connected)
            return
        self._is_down = True
        self.down_until = max(error.until, self.down_until)
        self.give_back_all(str(error.reply))

    def _learn(self, session: Session, fault: str) -> None:
        """Draw conclusions from how a session went."""
        if not fault:
            size = self._window.size
            self._window.succeed()
            if self._window.size > size:
                self.wake()
            return
        self._window.fail()
        if self._window.is_broken:
            self._is_down = True
            self.down_until = self._shared.pool.blame(session.hop, fault)
            self.give_back_all()

    def _pause(self, seconds: float) -> None:
        self.down_until = self._shared.clock.now() + seconds
