"""What `pillarbox relay` runs: spool, routes, relay and intake, put together and taken apart.

`pillarbox mailman` runs the same with a `Front` before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening
from pillarbox.cli.relay_config import RelayConfig
from pillarbox.cli.run import Opening, run
from pillarbox.cli.spool_place import open_spool
from pillarbox.envelope import Session
from pillarbox.handler import AnyHandler
from pillarbox.listen import ListenAddress
from pillarbox.protocol.address import MAX_MAILBOX_OCTETS, Path
from pillarbox.relay.dsn import Reporter
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.intake import Intake
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.notice import Notices
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import DnsResolver, Resolver, SystemResolver
from pillarbox.relay.route import Resolves, Route, Routes
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Backoff, SpoolError, Statistics
from pillarbox.relay.telling import EventLog
from pillarbox.relay.webhook import Webhook

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from pillarbox.cli.spool_place import OpenSpool
    from pillarbox.relay.metrics import RelayFigures

__all__ = ["Front", "serve_relay"]

log = logging.getLogger("pillarbox")

# Counting all that waits takes some time where that is much.
LOOK_SECONDS = 15.0
# Transactions and deliveries together, from the signal on; and the least for deliveries.
DRAIN_SECONDS = 30.0
LEAST_DRAIN_SECONDS = 2.0


class Front(Protocol):
    """Takes some mail aside before a relay does. Made in the event loop."""

    def routes(self, others: Route, resolver: Resolves) -> Route:
        """Put its own routes before those of all other mail."""
        ...

    def notices(self, notices: Notices) -> Notices:
        """Put itself before what writes to senders."""
        ...

    def chooses(self, session: Session, path: Path) -> str | None:
        """Give the destination of a recipient that is its own; see `Intake`."""
        ...

    def tell(self) -> None:
        """Log what it takes, once clients can come."""
        ...

    def handler(self, intake: Intake) -> AnyHandler:
        """Put itself before the relay's handler."""
        ...

    async def close(self) -> None:
        """Let go of what it has open."""
        ...


def serve_relay(
    listening: Listening, options: RelayConfig, front: Callable[[], Front] | None = None
) -> None:
    """Take mail and deliver it, until a signal comes.

    Args:
        listening: What the common options say.
        options: What the relay does.
        front: Makes what takes some of the mail aside.

    Raises:
        Failure: It cannot listen, or the spool cannot be used.
    """
    running = _Running(options, front, takes_logins=listening.logins is not None)
    # Addresses that bounces go to have tokens in them, or the recipient's own address.
    config = replace(listening.config, max_local_part_octets=MAX_MAILBOX_OCTETS)
    listening = replace(listening, config=config)
    run(
        running.opening,
        listening,
        on_ready=running.tell_whom,
        more_figures=running.collectors,
    )


class _Running:
    """A relay of this process, from its opening to its end.

    Args:
        options: What it does.
        front: Makes what takes some of the mail aside.
        takes_logins: Whether clients can log in.
    """

    def __init__(
        self, options: RelayConfig, front: Callable[[], Front] | None, *, takes_logins: bool
    ) -> None:
        self._options = options
        self._takes_logins = takes_logins
        self._resolver = _resolver(options)
        self._routes: Route = _routes(options, self._resolver)
        self._make_front = front
        self._front: Front | None = None
        self._opening: Opening | None = None
        self._relay: Relay | None = None
        self._spool: OpenSpool | None = None
        self._webhook: Webhook | None = None
        self._statistics: Statistics | None = None

    def opening(self) -> Opening:
        """Give what opens it, in the running event loop."""
        self._opening = Opening(self._open())
        return self._opening

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AnyHandler]:
        options = self._options
        if self._make_front is not None:
            self._front = self._make_front()
            self._routes = self._front.routes(self._routes, self._resolver)
        front = self._front
        self._spool = spool = await self._open_spool()
        try:
            self._relay = relay = self._make_relay(spool)
            await relay.start()
            looking = asyncio.ensure_future(self._look(spool)) if options.has_figures else None
            try:
                intake = Intake(
                    relay,
                    spool,
                    permission=options.permission,
                    hostname=options.hostname,
                    lifetime_seconds=options.lifetime_seconds,
                    header=options.header,
                    hooks=options.hooks,
                    now=relay.clock.now,
                    chooses=None if front is None else front.chooses,
                )
                yield intake if front is None else front.handler(intake)
            finally:
                if looking is not None:
                    looking.cancel()
                await relay.close(seconds=self._left())
                if self._webhook is not None:
                    await asyncio.to_thread(self._webhook.close)
                if front is not None:
                    await front.close()
        except SpoolError as error:
            raise Failure(str(error)) from None
        finally:
            await spool.close()

    async def _open_spool(self) -> OpenSpool:
        options = self._options
        backoff = Backoff(
            first_seconds=options.first_retry_seconds, most_seconds=options.longest_retry_seconds
        )
        try:
            return await open_spool(options.spool, backoff=backoff)
        except SpoolError as error:
            raise Failure(f"--spool: {error}") from None

    def _make_relay(self, spool: OpenSpool) -> Relay:
        options = self._options
        notices: Notices = Reporter(
            options.hostname,
            self._routes.destination,
            lifetime_seconds=options.lifetime_seconds,
        )
        if self._front is not None:
            notices = self._front.notices(notices)
        relay = Relay(
            spool,
            self._routes,
            hostname=options.hostname,
            limits=Limits(
                all_sessions=options.all_sessions,
                most_sessions=options.most_sessions,
                rate=options.rate,
                first_sessions=min(Limits().first_sessions, options.most_sessions),
                delay_notice_seconds=options.delay_notice_seconds,
                lease_seconds=options.lease_seconds,
            ),
            notices=notices,
            context=options.context,
        )
        if options.is_logged:
            relay.subscribe(EventLog())
        if options.webhook is not None:
            self._webhook = options.webhook()
            relay.subscribe(self._webhook)
        return relay

    def _left(self) -> float:
        """Tell how long deliveries may still take: transactions have had a part of the time."""
        stopped_at = self._opening.stopped_at if self._opening is not None else None
        if stopped_at is None:
            return LEAST_DRAIN_SECONDS
        left = stopped_at + DRAIN_SECONDS - asyncio.get_running_loop().time()
        return max(LEAST_DRAIN_SECONDS, left)

    def tell_whom(self, _addresses: Sequence[ListenAddress]) -> None:
        """Log for whom it relays, and where to."""
        options = self._options
        permission = options.permission
        whom = [
            *(["this machine"] if permission.allows_local else []),
            *(["those who log in"] if self._takes_logins else []),
            *map(str, permission.networks),
        ]
        domains = f"; for anybody to {', '.join(permission.domains)}" if permission.domains else ""
        log.info(
            "relaying to %s for %s%s",
            options.next_hop or "the servers that DNS names",
            ", ".join(whom) or "nobody",
            domains,
        )
        if self._front is not None:
            self._front.tell()

    # Figures

    def collectors(self) -> Iterable[Collector]:
        """Give what collects its figures."""
        from pillarbox.relay.metrics import RelayCollector

        return [RelayCollector(self._figures)]

    def _figures(self) -> RelayFigures:
        """Read the figures; from any thread."""
        from pillarbox.relay.metrics import RelayFigures

        relay, spool, webhook = self._relay, self._spool, self._webhook
        return RelayFigures(
            counters=RelayCounters() if relay is None else relay.counters,
            commits=0 if spool is None else spool.commits,
            statistics=self._statistics,
            missed_events=0 if webhook is None else webhook.missed,
        )

    async def _look(self, spool: OpenSpool) -> None:
        """Count what is in the spool, again and again."""
        while True:
            with suppress(SpoolError):  # the relay has more to say of that
                self._statistics = await spool.statistics()
            await asyncio.sleep(LOOK_SECONDS)


def _resolver(options: RelayConfig) -> Resolves:
    resolver: Resolver = SystemResolver()
    if options.next_hop is None:
        try:
            resolver = DnsResolver()
        except ImportError:
            raise Failure(
                '--mx needs the library dnspython; pip install "pillarbox[mx]", or write --to'
                " HOST:PORT"
            ) from None
        except Exception as error:  # such as no name server in /etc/resolv.conf
            raise Failure(f"--mx: {error}; see /etc/resolv.conf, or write --to HOST:PORT") from None
    return MailExchangers(resolver, system=SystemResolver(), own_names=(options.hostname,))


def _routes(options: RelayConfig, resolver: Resolves) -> Routes:
    hop = options.next_hop
    passwords = {str(hop): options.password} if hop and options.password is not None else {}
    return Routes(hop, resolver=resolver, passwords=passwords)
