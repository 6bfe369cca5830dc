"""A session's life: it takes a lease, opens a connection if it has none, delivers, takes the next.

One task for as long as it lasts. Outcomes are written while the next messages are on their way.
What there is to deliver, and what is learnt from how it went, is destination.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol, cast

from pillarbox.log import visible
from pillarbox.relay.delivery import Attempt, Session, attempt
from pillarbox.relay.lease import Held
from pillarbox.relay.pool import Unreachable
from pillarbox.relay.route import NoRoute
from pillarbox.relay.shared import Shared
from pillarbox.relay.spool import Lease

__all__ = ["UNWRITTEN", "Source", "deliver_all"]

log = logging.getLogger("pillarbox")

# A message is begun while so many outcomes of its session are on their way to the spool, which
# likes to take many at once. After a crash these messages are delivered again.
UNWRITTEN: Final = 3


class Source(Protocol):
    """What there is to deliver, and who learns from it: a `Destination`."""

    @property
    def name(self) -> str:
        """The destination."""
        ...

    async def next(self, session: Session | None) -> Held | None:
        """Give the next lease; `None` ends the session."""
        ...

    async def turn(self) -> bool:
        """Take the right to begin a message; without it nothing is begun."""
        ...

    async def give_back(self, leases: Sequence[Lease], reply: str = "") -> None:
        """Let the spool have leases that nobody acted on."""
        ...

    def opening(self, task: asyncio.Task[None]) -> None:
        """Take note that a session is being opened; until it is, the task may be cancelled."""
        ...

    def opened(self, task: asyncio.Task[None], error: Unreachable | NoRoute | None = None) -> None:
        """Take note that it is open, or not to be had."""
        ...

    def left(self) -> None:
        """Take note that it is closed."""
        ...

    def learn(self, session: Session, fault: str) -> None:
        """Draw conclusions from how a message went."""
        ...


async def deliver_all(source: Source, shared: Shared) -> None:
    """Deliver one message after the other, as long as there are any."""
    await _Life(source, shared).run()


class _Life:
    """One session after the other, as servers end them; never two at once."""

    def __init__(self, source: Source, shared: Shared) -> None:
        self._source = source
        self._shared = shared
        self._session: Session | None = None
        self._held: Held | None = None  # until it is known what becomes of it
        self._writing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """See `deliver_all()`."""
        try:
            while (held := await self._source.next(self._session)) is not None:
                self._held = held
                await self._deliver(held)
                if self._session is None and self._shared.hungry:
                    return
        except BaseException:
            if self._held is not None:
                await self._return(self._held)
            raise
        finally:
            await self._leave()
            if self._writing:
                await asyncio.wait(self._writing)

    async def _deliver(self, held: Held) -> None:
        shared = self._shared
        began = shared.clock.now()
        if (session := self._session or await self._begin(held)) is None:
            return
        made = await self._attempt(session, held)
        if made.is_void and made.fault and session.messages > 1 and not shared.is_closing:
            # A server may end a session that was used; that says nothing of the next.
            await self._leave()
            if (session := await self._begin(held)) is None:
                return
            made = await self._attempt(session, held)
        if made.is_void and (not made.fault or shared.is_closing):
            await self._return(held)
        else:
            self._held = None
            write = self._write(held, made, began, session)
            task = asyncio.get_running_loop().create_task(write)
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            if len(self._writing) > UNWRITTEN:
                await asyncio.wait(self._writing, return_when=asyncio.FIRST_COMPLETED)
        self._source.learn(session, made.fault)
        is_worn = session.messages >= shared.limits.messages_per_session
        if is_worn or not session.client.is_open:
            await self._leave()

    async def _begin(self, held: Held) -> Session | None:
        """Open a session, and have a turn for the message, which an old one may be over by then."""
        session = await self._open(held)
        if session is not None and not await self._source.turn():
            await self._return(held)
            return None
        return session

    async def _open(self, held: Held) -> Session | None:
        """Open a session; where there is none, see to the lease."""
        source, shared = self._source, self._shared
        task = cast("asyncio.Task[None]", asyncio.current_task())
        source.opening(task)
        try:
            await shared.enter(source.name)
            try:
                self._session = await shared.pool.open(source.name)
            except BaseException:
                await shared.leave(source.name)
                raise
        except NoRoute as error:
            source.opened(task, error)
            self._held = None
            await shared.recorder.fail(held.lease, error.reply)
            shared.leases.drop(held)
            return None
        except Unreachable as error:
            source.opened(task, error)
            await self._return(held, str(error.reply))
            return None
        source.opened(task)
        return self._session

    async def _attempt(self, session: Session, held: Held) -> Attempt:
        self._shared.counters.attempts += 1
        made = await attempt(session, held, self._shared.spool.read, self._source.turn)
        if made.trouble:
            log.error("%s: cannot be read: %s", held.lease.id, visible(made.trouble))
        return made

    async def _write(self, held: Held, made: Attempt, began: float, session: Session) -> None:
        shared = self._shared
        try:
            await shared.recorder.record(held.lease, made, began=began, session=session)
        except Exception:
            name = held.lease.id
            log.exception("%s: what became of it is not on record; it is tried again", name)
        finally:
            shared.leases.drop(held)

    async def _return(self, held: Held, reply: str = "") -> None:
        self._held = None
        self._shared.leases.drop(held)
        await self._source.give_back([held.lease], reply)

    async def _leave(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            self._source.left()
            await self._shared.pool.close(session)
            await self._shared.leave(self._source.name)
