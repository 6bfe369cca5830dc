"""A relay to a next hop over real sockets, and what comes of each attempt."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

from pillarbox.protocol.client_state import Timeouts
from pillarbox.relay.event import Attempted
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import Resolver, SystemResolver
from pillarbox.relay.route import NextHop, Routes
from pillarbox.relay.spool import NewMessage, NewRecipient, QueuedMessage
from tests.relay.memory_spool import MemorySpool
from tests.relay.network import TEXT
from tests.relay.next_hop import HALF, HANG, STALL, NextHopServer, serving

__all__ = ["Sending", "between", "relaying", "waiting"]

# So long that nothing is in a hurry on a busy machine; what is to take too long has less.
PATIENT = 20.0
SOON = 0.2
_WAITS = {"greeting": "greeting", "DATA": "data", "body": "block", "dot": "end", "QUIT": "quit"}


def waiting(*points: str) -> Timeouts:
    """Wait for next to nothing at these points of a session, such as `connect` and `MAIL`."""
    waits = {one.name: PATIENT for one in fields(Timeouts)}
    for point in points:
        waits[point if point in waits else _WAITS.get(point, "command")] = SOON
    return Timeouts(**waits)


class Sending:
    """A relay to a next hop, and what came of each attempt."""

    def __init__(
        self,
        to: str,
        *,
        resolver: Resolver | None = None,
        passwords: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.spool = MemorySpool()
        self.routes = Routes(
            NextHop.parse(to),
            resolver=MailExchangers(resolver or SystemResolver()),
            passwords=passwords,
        )
        options = {"timeouts": waiting(), "hostname": "relay.test", **options}
        self.relay = Relay(self.spool, self.routes, **options)
        self.events: asyncio.Queue[Attempted] = asyncio.Queue()
        self.relay.subscribe(self.events.put_nowait)

    async def put(self, *to: str | NewRecipient, text: bytes = TEXT, **values: Any) -> None:
        """Submit a message."""
        now = time.time()
        recipients = tuple(
            one
            if isinstance(one, NewRecipient)
            else NewRecipient(address=one, destination=self.routes.destination(one))
            for one in to or ("bob@example.org",)
        )
        values = {"mail_from": "ann@example.org", "created": now, "expires": now + 1000, **values}
        await self.relay.submit(NewMessage(recipients=recipients, **values), text)

    async def send(self, *to: str | NewRecipient, **values: Any) -> Attempted:
        """Submit a message, and wait for what came of it."""
        await self.put(*to, **values)
        return await self.events.get()

    async def results(self, *to: str | NewRecipient, **values: Any) -> list[tuple[str, str]]:
        event = await self.send(*to, **values)
        return [(one.result.value, one.reply) for one in event.recipients]

    async def queued(self) -> list[QueuedMessage]:
        return list(await self.spool.list())


@contextlib.asynccontextmanager
async def relaying(to: str, **options: Any) -> AsyncIterator[Sending]:
    sending = Sending(to, **options)
    await sending.relay.start()
    try:
        yield sending
    finally:
        await sending.relay.close(seconds=2)


@contextlib.asynccontextmanager
async def between(
    faults: dict[str, str] | None = None, *, scheme: str = "smtp", **values: Any
) -> AsyncIterator[tuple[NextHopServer, Sending]]:
    silent = [point for point, fault in (faults or {}).items() if fault in (HANG, HALF, STALL)]
    async with (
        serving(faults, **values) as server,
        relaying(f"{scheme}://127.0.0.1:{server.port}", timeouts=waiting(*silent)) as sending,
    ):
        yield server, sending
