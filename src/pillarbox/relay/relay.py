"""The relay: takes messages, and sees that each is delivered, bounced or still there.

::

    relay = Relay(spool, routes)
    await relay.start()
    await relay.submit(message, body)
    ...
    await relay.close()

What is submitted is durable when `submit()` returns, and goes to its destination at once where
there is room in memory; otherwise it is read from the spool when its turn comes. Who may submit is
intake.py's concern.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from dataclasses import replace

from pillarbox.protocol.client_state import Timeouts
from pillarbox.relay.backlog import Backlog
from pillarbox.relay.clock import Clock
from pillarbox.relay.dispatch import Dispatcher
from pillarbox.relay.event import Attempted, RelayCounters
from pillarbox.relay.lease import Leases
from pillarbox.relay.notice import NoNotices, Notices
from pillarbox.relay.pool import HOST_BACKOFF, Connector, Pool, connect_to
from pillarbox.relay.record import Recorder
from pillarbox.relay.route import Route
from pillarbox.relay.schedule import Limits
from pillarbox.relay.shared import Shared
from pillarbox.relay.spool import Backoff, Draft, NewMessage, Spool

__all__ = ["Relay"]


class Relay:
    """Delivers what is in a spool, and what is submitted; call `start()` next.

    Args:
        spool: Where messages are safe. It stays open when the relay is closed.
        route: Where they go.
        hostname: What we call ourselves; the machine's name where it is not given.
        limits: How much, how many, how long.
        notices: Writes to senders; nobody does where it is not given.
        host_backoff: How long a server is left alone that cannot be talked to.
        timeouts: How long to wait for other servers.
        context: Whom to trust; the system's authorities where it is not given.
        clock: Tells the time.
        chance: Gives a random number from 0 to 1.
        connector: Makes clients.
    """

    def __init__(
        self,
        spool: Spool,
        route: Route,
        *,
        hostname: str | None = None,
        limits: Limits | None = None,
        notices: Notices | None = None,
        host_backoff: Backoff = HOST_BACKOFF,
        timeouts: Timeouts | None = None,
        context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        connector: Connector = connect_to,
    ) -> None:
        self.limits = limits or Limits()
        self.route = route
        self.clock = clock or spool.clock
        self._spool = spool
        self._counters = RelayCounters()
        self._pool = Pool(
            route,
            clock=self.clock,
            chance=chance,
            hostname=hostname,
            connector=connector,
            backoff=host_backoff,
            timeouts=timeouts,
            context=context,
        )
        self._backlog = Backlog(self.limits, self.clock, self._counters)
        self._recorder = Recorder(
            spool,
            clock=self.clock,
            notices=notices or NoNotices(),
            counters=self._counters,
            delay_notice_seconds=self.limits.delay_notice_seconds,
            backlog=self._backlog,
            noticed=lambda destination: self._dispatcher.mark(destination),
        )
        self._shared = Shared(
            spool,
            self._pool,
            self.clock,
            self.limits,
            self._recorder,
            Leases(spool, self.clock, self.limits.lease_seconds),
            self._backlog,
            self._counters,
        )
        self._dispatcher = Dispatcher(self._shared)

    # Beginning and end

    async def start(self) -> None:
        """Begin to deliver.

        Raises:
            SpoolError: The spool cannot be used.
        """
        await self._dispatcher.start()

    async def close(self, *, seconds: float | None = None) -> None:
        """Let deliveries end that are under way, give back the rest, and deliver no more.

        Args:
            seconds: How long to wait for them; `limits.drain_seconds` where it is not given.
        """
        wait = self.limits.drain_seconds if seconds is None else seconds
        await self._dispatcher.close(wait)

    # What goes in

    async def submit(self, message: NewMessage, body: bytes | Draft) -> str:
        """Keep a message, and deliver it soon; give its name.

        Where delivery is behind, this takes its time, so that whoever sends slows down: for a
        second or two where there will be room in memory by then, or once much waits.

        Raises:
            SpoolFull: There is no room, or the backlog has outgrown its bound.
            SpoolError: The message was not kept.
        """
        limits, counters = self.limits, self._counters
        self._backlog.check()
        octets = len(body) if isinstance(body, bytes) else 0
        destinations = {one.destination for one in message.recipients}
        goes = destinations, message.mail_from, octets
        is_taken = not message.is_held and (
            self._dispatcher.takes(*goes) or await self._dispatcher.room(*goes)
        )
        stored = await self._spool.put(
            message, body, lease_seconds=limits.lease_seconds if is_taken else None
        )
        counters.submitted += 1
        counters.submitted_octets += octets or (0 if isinstance(body, bytes) else body.size)
        for lease in stored.leases:
            self._dispatcher.add(lease)
        if not stored.leases and not message.is_held:
            for name in destinations:
                self._dispatcher.mark(name)
        self._backlog.add(len(message.recipients))
        await self._backlog.slow_down()
        return stored.id

    # What is told

    def subscribe(self, subscriber: Callable[[Attempted], None]) -> None:
        """Have a function called with each attempt to deliver, once its outcome is on record."""
        self._recorder.subscribers.append(subscriber)

    @property
    def counters(self) -> RelayCounters:
        """The figures as they are now: a copy, which does not go on counting."""
        return replace(
            self._counters,
            sessions_opened=self._pool.opened,
            sessions_failed=self._pool.failed,
            ready=self._dispatcher.ready,
            ready_octets=self._shared.memory_octets,
        )
