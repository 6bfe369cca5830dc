"""Leases in our hands: renewed while work on them takes long, given back where nobody acts on them.

A lease that ends while its message is on its way would have the message delivered by somebody else
as well. So it is renewed in time; and where that cannot be, the final dot is not sent any more: the
client asks right before it, since a process may be stopped at any point and go on much later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from pillarbox.asyncio.client import Client
from pillarbox.log import visible
from pillarbox.relay.clock import Clock
from pillarbox.relay.spool import Lease, Spool, SpoolError

__all__ = ["DOT_MARGIN_SECONDS", "Held", "Leases"]

log = logging.getLogger("pillarbox")

# The final dot is not sent when the lease ends before a server could well have answered.
DOT_MARGIN_SECONDS: Final = 30.0

# So many are given back at once.
BATCH = 100


class Held:
    """A lease in our hands, which is renewed under a delivery that takes long.

    Args:
        lease: The lease.
        now: Tells the time.
        margin_seconds: The final dot is not sent with less left.
    """

    __slots__ = ("client", "is_lost", "is_renewing", "lease", "margin_seconds", "now")

    def __init__(
        self, lease: Lease, now: Callable[[], float], margin_seconds: float = DOT_MARGIN_SECONDS
    ) -> None:
        self.lease = lease
        self.now = now
        self.margin_seconds = margin_seconds
        self.client: Client | None = None
        """The session that it goes over now."""
        self.is_lost = False
        """Whether it has been given up: it is somebody else's, or will be before all is sent."""
        self.is_renewing = False

    def may_end(self) -> bool:
        """Whether enough time is left to send the final dot."""
        return not self.is_lost and self.lease.expires - self.now() >= self.margin_seconds


class Leases:
    """All leases that are being worked on.

    Args:
        spool: Whose they are.
        clock: Tells the time.
        seconds: For how long a lease is taken and renewed.
    """

    def __init__(self, spool: Spool, clock: Clock, seconds: float) -> None:
        self._spool = spool
        self._clock = clock
        self._seconds = seconds
        self._margin_seconds = min(DOT_MARGIN_SECONDS, seconds / 4)
        self._held: set[Held] = set()
        self._renewing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, held: Held) -> bool:
        return held in self._held

    async def hold(self, lease: Lease) -> Held | None:
        """Begin to work on a lease; `None` where it is somebody else's by now."""
        held = Held(lease, self._clock.now, self._margin_seconds)
        self._held.add(held)
        if lease.expires - self._clock.now() > self._seconds / 2 or await self._renew(held):
            return held
        self._held.discard(held)
        return None

    def drop(self, held: Held) -> None:
        """Take note that what became of a lease is on record."""
        self._held.discard(held)

    async def give_back(self, leases: Sequence[Lease], reply: str = "") -> None:
        """Let the spool have leases that nobody acted on.

        Args:
            leases: These.
            reply: Why, for people who look at the queue.
        """
        for start in range(0, len(leases), BATCH):
            done = await asyncio.gather(
                *(self._spool.give_back(one, reply=reply) for one in leases[start : start + BATCH]),
                return_exceptions=True,
            )
            for error in done:
                if isinstance(error, SpoolError):
                    text = visible(str(error))
                    log.error("the spool: %s; messages wait for their lease to end", text)
                    return
                if isinstance(error, BaseException):
                    raise error

    def watch(self) -> None:
        """Renew what takes long, and break off what may not end any more; call it each second.

        Who was stopped and goes on finds leases that are over. A message whose end is not sent yet
        is broken off before anybody can send it.
        """
        now = self._clock.now()
        for held in self._held:
            if held.client is not None and not held.may_end():
                self._break_off(held, held.client)
            if held.lease.expires - now < self._seconds / 2 and not held.is_renewing:
                held.is_renewing = True
                self._later(self._renew_in_time(held))

    async def abort(self) -> None:
        """Break off everything that is under way."""
        clients = [held.client for held in self._held if held.client is not None]
        await asyncio.gather(*(client.abort() for client in clients))

    async def _renew(self, held: Held) -> bool:
        """Ask for more time; tell whether there is enough."""
        held.is_renewing = True
        try:
            lease = await self._spool.renew(held.lease, self._clock.now(), seconds=self._seconds)
        except SpoolError as error:
            log.error("%s: its lease was not renewed: %s", held.lease.id, visible(str(error)))
            return held.may_end()
        finally:
            held.is_renewing = False
        if lease is None:
            held.is_lost = True
            return False
        held.lease = lease
        return True

    async def _renew_in_time(self, held: Held) -> None:
        if not await self._renew(held) and held.client is not None:
            self._break_off(held, held.client)

    def _break_off(self, held: Held, client: Client) -> None:
        if client.protocol.is_ending or client.protocol.closing_reply is not None:
            return
        text = "%s: broken off in the middle, since its lease is over; it is tried again"
        log.warning(text, held.lease.id)
        self._later(client.abort())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)
