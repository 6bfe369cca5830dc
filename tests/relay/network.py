"""A network in memory with our own servers in it, and a clock that stands still.

Nothing waits and nothing takes time: octets arrive at the next turn of the loop, and a server that
is down refuses at once. `House` puts a relay into it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pillarbox import Server
from pillarbox.asyncio.client import Client, ClientOptions
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.server import Listener
from pillarbox.handler import AnyHandler
from pillarbox.relay.dsn import Reporter
from pillarbox.relay.event import Attempted
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import LookupFailed, MailExchanger, NoSuchName
from pillarbox.relay.route import Hop, NextHop, Routes
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Backoff, NewMessage, NewRecipient, QueuedMessage
from tests.asyncio.wire import config
from tests.relay.memory_spool import MemorySpool

__all__ = ["NOW", "TEXT", "FakeResolver", "House", "Network", "StillClock", "turns"]

NOW = 1_700_000_000.0
TEXT = b"Subject: hi\r\n\r\n.text\r\n"
# A message takes some thirty turns of the loop.
TURNS = 100


async def turns(number: int = TURNS) -> None:
    """Let the loop go round."""
    for _ in range(number):
        await asyncio.sleep(0)


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class StillClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def jump(self, seconds: float) -> None:
        """Let time pass and nobody do anything, as for a process that was stopped."""
        self._now += seconds

    async def advance(self, seconds: float, *, each: int = TURNS) -> None:
        """Let time pass, and everybody do what is due in it."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
                await turns(each)
        self._now = end


class _End(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, protocol: asyncio.Protocol, local: object, peer: object) -> None:
        super().__init__({"peername": peer, "sockname": local})
        self.other: _End
        self.said = bytearray()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes | None] = []
        self._is_paused = False
        self._is_closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._is_closed and data:
            self.said += data
            self._loop.call_soon(self.other.arrive, bytes(data))

    def arrive(self, data: bytes | None) -> None:
        self._waiting.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._waiting and not self._is_paused and not self._is_closed:
            data = self._waiting.pop(0)
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._is_paused

    def is_closing(self) -> bool:
        return self._is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self.other.arrive, None)

    abort = close


class _Counted(asyncio.Protocol):
    """A client's end, which is counted as long as it lasts."""

    def __init__(self, protocol: asyncio.Protocol, network: Network) -> None:
        self._protocol = protocol
        self._network = network
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        network.open += 1
        network.most_open = max(network.most_open, network.open)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(self._network.hears(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._network.open -= 1
        self._protocol.connection_lost(exc)


class Network:
    """Servers by their addresses; what has none refuses connections."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self.dialled: list[str] = []
        """The addresses that were connected to, whether there was a server or not."""
        self.open = 0
        self.most_open = 0
        """How many connections there were at once."""
        self.said: list[bytearray] = []
        """What the clients said, in each connection."""
        self.hears: Callable[[bytes], bytes] = lambda octets: octets
        """Makes what a client hears of what a server says, right before it does."""

    def serve(self, address: str, handler: AnyHandler, **values: Any) -> Server:
        """Put a server at an address."""
        self.servers[address] = server = Server(handler, config=config(**values))
        return server

    def connector(self, hop: Hop, options: ClientOptions, /) -> Client:
        """Make clients, as `Relay` asks for them."""

        async def dial(factory: Callable[[], asyncio.Protocol]) -> object:
            self.dialled.append(hop.address)
            await asyncio.sleep(0)
            server = self.servers.get(hop.address)
            if server is None:
                raise ConnectionRefusedError(111, "Connection refused")
            near = _Counted(factory(), self)
            far = Connection(server, Listener(is_tls=False))
            ends = (
                _End(near, ("192.0.2.1", 49152), (hop.host, hop.port)),
                _End(far, (hop.host, hop.port), ("192.0.2.1", 49152)),
            )
            ends[0].other, ends[1].other = ends[1], ends[0]
            self.said.append(ends[0].said)
            far.connection_made(ends[1])
            near.connection_made(ends[0])
            return None

        return Client(dial, **options)

    def connector_to_nobody(self) -> Client:
        """Make a client that has not connected."""
        return self.connector(Hop(host="192.0.2.99", port=25), ClientOptions(hostname="x.test"))

    async def close(self) -> None:
        for server in self.servers.values():
            await server.close()


class FakeResolver:
    """DNS as a table: a list of records, or what goes wrong."""

    def __init__(
        self,
        exchangers: Mapping[str, Sequence[tuple[int, str]] | Exception] | None = None,
        addresses: Mapping[str, Sequence[str] | Exception] | None = None,
    ) -> None:
        self.exchangers = dict(exchangers or {})
        self.hosts = dict(addresses or {})
        self.asked: list[str] = []

    async def mail_exchangers(self, domain: str) -> Sequence[MailExchanger]:
        self.asked.append(f"{domain} MX")
        found = self.exchangers.get(domain, ())
        if isinstance(found, Exception):
            raise found
        if not found and domain not in self.exchangers and domain not in self.hosts:
            raise NoSuchName(domain)
        return [MailExchanger(preference, host) for preference, host in found]

    async def addresses(self, host: str) -> Sequence[str]:
        self.asked.append(f"{host} A")
        found = self.hosts.get(host)
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise NoSuchName(host)
        return found


SERVFAIL = LookupFailed("SERVFAIL")


class House:
    """A relay in a network of its own.

    Args:
        to: The next hop; `None` is by DNS.
        beside: Another one, whose network, time and spool it has.
        options: Of the relay.
    """

    def __init__(
        self,
        to: str | None = "192.0.2.25:25",
        *,
        resolver: FakeResolver | None = None,
        backoff: Backoff | None = None,
        limits: Limits | None = None,
        beside: House | None = None,
        **options: Any,
    ) -> None:
        self.network: Network = Network() if beside is None else beside.network
        self.clock: StillClock = StillClock() if beside is None else beside.clock
        self.resolver = resolver or FakeResolver()
        memory = None if beside is None else beside.spool.memory
        self.spool: MemorySpool = MemorySpool(memory, backoff=backoff)
        chance = random.Random(7).random
        routes = Routes(
            None if to is None else NextHop.parse(to),
            resolver=MailExchangers(self.resolver, chance=chance, own_names=["relay.test"]),
        )
        self.routes = routes
        self.events: list[Attempted] = []
        self.relay = Relay(
            self.spool,
            routes,
            hostname="relay.test",
            clock=self.clock,
            chance=chance,
            connector=self.network.connector,
            limits=limits,
            notices=Reporter("relay.test", routes.destination, now=self.clock.now),
            **options,
        )
        self.relay.subscribe(self.events.append)

    async def __aenter__(self) -> House:
        await self.relay.start()
        await turns()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.relay.close(seconds=5)
        await self.network.close()

    def message(
        self, *to: str, mail_from: str = "ann@example.org", lifetime: float = 432_000, **values: Any
    ) -> NewMessage:
        """Make a message."""
        now = self.clock.now()
        return NewMessage(
            mail_from=mail_from,
            recipients=tuple(
                NewRecipient(address=one, destination=self.routes.destination(one))
                for one in to or ("bob@example.org",)
            ),
            created=now,
            expires=now + lifetime,
            **values,
        )

    async def submit(self, *to: str, text: bytes = TEXT, **values: Any) -> str:
        """Submit a message, and let it go as far as it goes."""
        name = await self.relay.submit(self.message(*to, **values), text)
        await turns()
        return name

    async def queued(self) -> list[QueuedMessage]:
        """Give what is in the spool."""
        return list(await self.spool.list(limit=1000))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the loop go round until something is so."""
        for _ in range(100_000):
            if is_so():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came so")
