"""What `pillarbox relay` runs: spool, routes, relay and intake, put together and taken apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening
from pillarbox.cli.relay_config import RelayConfig
from pillarbox.cli.run import Opening, run
from pillarbox.cli.spool_place import open_spool
from pillarbox.listen import ListenAddress
from pillarbox.relay.dsn import Reporter
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.intake import Intake
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import DnsResolver, Resolver, SystemResolver
from pillarbox.relay.route import Routes
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Backoff, SpoolError, Statistics
from pillarbox.relay.telling import EventLog
from pillarbox.relay.webhook import Webhook

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from pillarbox.cli.spool_place import OpenSpool
    from pillarbox.relay.metrics import RelayFigures

__all__ = ["serve_relay"]

log = logging.getLogger("pillarbox")

# Counting all that waits takes some time where that is much.
LOOK_SECONDS = 15.0
# Transactions and deliveries together, from the signal on; and the least for deliveries.
DRAIN_SECONDS = 30.0
LEAST_DRAIN_SECONDS = 2.0


def serve_relay(listening: Listening, options: RelayConfig) -> None:
    """Take mail and deliver it, until a signal comes.

    Raises:
        Failure: It cannot listen, or the spool cannot be used.
    """
    running = _Running(options)
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
    """

    def __init__(self, options: RelayConfig) -> None:
        self._options = options
        self._routes = _routes(options)
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
    async def _open(self) -> AsyncIterator[Intake]:
        options = self._options
        self._spool = spool = await self._open_spool()
        try:
            self._relay = relay = self._make_relay(spool)
            await relay.start()
            looking = asyncio.ensure_future(self._look(spool)) if options.has_figures else None
            try:
                yield Intake(
                    relay,
                    spool,
                    permission=options.permission,
                    hostname=options.hostname,
                    lifetime_seconds=options.lifetime_seconds,
                    header=options.header,
                    hooks=options.hooks,
                    now=relay.clock.now,
                )
            finally:
                if looking is not None:
                    looking.cancel()
                await relay.close(seconds=self._left())
                if self._webhook is not None:
                    await asyncio.to_thread(self._webhook.close)
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
        relay = Relay(
            spool,
            self._routes,
            hostname=options.hostname,
            limits=Limits(
                all_sessions=options.all_sessions,
                most_sessions=options.most_sessions,
                first_sessions=min(Limits().first_sessions, options.most_sessions),
                delay_notice_seconds=options.delay_notice_seconds,
            ),
            notices=Reporter(
                options.hostname,
                self._routes.destination,
                lifetime_seconds=options.lifetime_seconds,
            ),
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
            "logins",
            *map(str, permission.networks),
        ]
        domains = f"; for anybody to {', '.join(permission.domains)}" if permission.domains else ""
        log.info(
            "relaying to %s for %s%s",
            options.next_hop or "the servers that DNS names",
            ", ".join(whom),
            domains,
        )

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


def _routes(options: RelayConfig) -> Routes:
    hop = options.next_hop
    resolver: Resolver = SystemResolver()
    if hop is None:
        try:
            resolver = DnsResolver()
        except ImportError:
            raise Failure(
                '--mx needs the library dnspython; pip install "pillarbox[mx]", or write --to'
                " HOST:PORT"
            ) from None
        except Exception as error:  # such as no name server in /etc/resolv.conf
            raise Failure(f"--mx: {error}; see /etc/resolv.conf, or write --to HOST:PORT") from None
    passwords = {str(hop): options.password} if hop and options.password is not None else {}
    return Routes(
        hop,
        resolver=MailExchangers(resolver, system=SystemResolver(), own_names=(options.hostname,)),
        passwords=passwords,
    )
