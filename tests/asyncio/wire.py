"""A client on the wire, and what else the tests of the driver have in common."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from pillarbox import Config, Server, serve
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.server import Listener
from pillarbox.handler import AnyHandler
from pillarbox.protocol.extension import Offer
from pillarbox.testing import FakeClock, MemoryTransport
from tests.grammar import Answer, split_answers

__all__ = [
    "BEGIN",
    "InMemory",
    "MemoryServer",
    "Wire",
    "config",
    "connected",
    "on_the_wire",
    "turns",
]

BEGIN = b"EHLO client.test\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\n"
"""What comes before a message: three replies."""


class Wire:
    """A client's end of a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> Answer:
        """Read one reply."""
        octets = await self.reader.readline()
        while octets.rpartition(b"\n")[0].rpartition(b"\n")[2][3:4] == b"-":
            octets += await self.reader.readline()
        (answer,) = split_answers(octets)
        return answer

    async def codes(self, number: int) -> list[int]:
        """Read so many replies; give their codes."""
        return [(await self.reply()).code for _ in range(number)]

    async def ask(self, octets: bytes) -> int:
        """Send a command; give the code of the reply."""
        self.writer.write(octets)
        return (await self.reply()).code

    async def send(self, octets: bytes) -> None:
        """Send, and wait for as long as the server lets us wait."""
        self.writer.write(octets)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Read up to the end."""
        return await self.reader.read()

    def reset(self) -> None:
        """Break the connection."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(server: Server, *, reads_greeting: bool = True) -> AsyncIterator[Wire]:
    """Connect to the first address of a server."""
    address = server.addresses[0]
    if isinstance(address, str):
        wire = Wire(*await asyncio.open_unix_connection(address))
    else:
        wire = Wire(*await asyncio.open_connection(*address))
    try:
        if reads_greeting:
            assert (await wire.reply()).code == 220
        yield wire
    finally:
        await wire.close()


def config(**values: Any) -> Config:
    return Config(hostname="mx.test", **values)


@contextlib.asynccontextmanager
async def on_the_wire(
    handler: AnyHandler, offer: Offer | None = None, **values: Any
) -> AsyncIterator[tuple[Server, Wire]]:
    """Serve on a free port, and connect."""
    async with serve(handler, port=0, config=config(**values)) as server:
        if offer is not None:
            server.offer = offer
        async with connected(server) as wire:
            yield server, wire


class InMemory:
    """Makes servers with no network, and ends their connections when a test is over."""

    def __init__(self, ending: contextlib.AsyncExitStack) -> None:
        self._ending = ending

    def __call__(
        self, handler: AnyHandler, offer: Offer | None = None, **values: Any
    ) -> MemoryServer:
        server = MemoryServer(handler, offer, **values)
        self._ending.push_async_callback(server.close)
        return server


class MemoryServer:
    """A server with no network, whose clock stands still."""

    def __init__(self, handler: AnyHandler, offer: Offer | None, **values: Any) -> None:
        self.clock = FakeClock()
        self.server = Server(handler, config=config(**values), clock=self.clock)
        if offer is not None:
            self.server.offer = offer
        self._clients: list[MemoryTransport] = []

    def connect(self, **options: Any) -> MemoryTransport:
        """Connect a client."""
        client = MemoryTransport(Connection(self.server, Listener(is_tls=False)), **options)
        self._clients.append(client)
        return client

    def wait(self, seconds: float) -> None:
        """Let the clock go on, by ticks as the server has them."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.server.check_deadlines()

    async def close(self) -> None:
        """End all connections."""
        for client in self._clients:
            client.lose()
        await turns()
        await self.server.close()


async def turns(number: int = 10) -> None:
    """Let the loop go round; every callback that is due is called."""
    for _ in range(number):
        await asyncio.sleep(0)
