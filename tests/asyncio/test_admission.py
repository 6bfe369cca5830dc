"""Who is let in, who is sent away, and how late: caps, proxies, handshakes, failed logins."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pillarbox import Server, Session
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.server import Listener
from pillarbox.certificate import Certificates
from pillarbox.protocol.event import Mail
from pillarbox.protocol.sasl import Credentials
from pillarbox.testing import MemoryTransport, Recorder
from tests.asyncio.secure import client_context, files, open_wire, secured
from tests.asyncio.wire import BEGIN, InMemory, config, connected, on_the_wire, turns

pytestmark = pytest.mark.usefixtures("new_loop")

HEADER = b"PROXY TCP4 192.0.2.9 198.51.100.2 49152 25\r\n"
PROXIES = (ipaddress.ip_network("198.51.100.0/24"),)


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pillarbox")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [re.sub(r"^[0-9a-f]{6}-\d+: ", "ID: ", line) for line in caplog.messages]


# Caps.


async def test_a_flood_from_one_address_on_the_wire() -> None:
    async with on_the_wire(Recorder(), max_connections_per_ip=2) as (server, first):

        async def come() -> bytes:
            async with connected(server, reads_greeting=False) as wire:
                return await wire.reader.readline()

        said = await asyncio.gather(*(come() for _ in range(200)))
        assert said.count(b"421 4.7.0 Too many connections from your address\r\n") >= 100
        assert {line[:4] for line in said} <= {b"421 ", b"220 "}
        counters = server.counters
        assert counters.connections == 201
        assert counters.refused_per_ip == sum(line.startswith(b"421") for line in said)
        assert await first.ask(b"NOOP\r\n") == 250


@pytest.mark.parametrize("cap", ["max_connections", "max_connections_per_ip"])
async def test_one_too_many_is_told_nothing_before_tls(tmp_path: Path, cap: str) -> None:
    """What is said in the clear there is no TLS, and only confuses."""
    server = Server(
        Recorder(), config=config(**{cap: 1}), certificates=Certificates(files(tmp_path))
    )
    first = MemoryTransport(Connection(server, Listener(is_tls=True)))
    second = MemoryTransport(Connection(server, Listener(is_tls=True)))
    await turns()
    assert second.is_lost
    assert second.heard() == b""
    assert second.writes == 0
    assert not first.is_closing()
    first.lose()
    await turns()
    await server.close()


@pytest.mark.parametrize(
    ("hosts", "welcome"),
    [
        # Whoever has one IPv6 address has a /64 of them (RFC 6177).
        (("2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"), 2),
        (("2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"), 3),
        (("fe80::1%eth0", "fe80::2%eth0", "fe80::3%eth1"), 2),
        # RFC 4291 §2.5.5.2: these are IPv4 addresses, whatever 64 bits they begin with.
        (("::ffff:192.0.2.1", "::ffff:c000:202", "192.0.2.3"), 3),
        (("::ffff:192.0.2.1", "::ffff:c000:201", "192.0.2.1"), 2),
    ],
)
async def test_who_counts_as_one_client(
    in_memory: InMemory, hosts: tuple[str, ...], welcome: int
) -> None:
    memory = in_memory(Recorder(), max_connections_per_ip=2)
    clients = [memory.connect(peername=(host, 1, 0, 0)) for host in hosts]
    assert sum(client.heard().startswith(b"220 ") for client in clients) == welcome
    for client in clients:
        client.lose()
    await turns()
    assert memory.server.admission.clients == 0


# Proxies.


@pytest.mark.parametrize(
    "peer",
    [
        ("198.51.100.7", 1),
        ("::ffff:198.51.100.7", 1, 0, 0),
        ("::ffff:c633:6407", 1, 0, 0),
    ],
)
async def test_a_proxy_that_comes_by_ipv6(in_memory: InMemory, peer: object) -> None:
    """A socket that takes both gives an IPv4 address as `::ffff:198.51.100.7`."""
    recorder = Recorder()
    memory = in_memory(recorder, proxy_networks=PROXIES)
    client = memory.connect(peername=peer)
    assert client.heard() == b""
    client.feed(HEADER + BEGIN + b"DATA\r\n.\r\n")
    assert client.heard().endswith(b"250 2.0.0 Message accepted\r\n")
    assert recorder.messages[0].session.peer == ("192.0.2.9", 49152)


@pytest.mark.parametrize("peer", [("::ffff:192.0.2.1", 1, 0, 0), ("fe80::1%eth0", 1, 0, 2)])
async def test_who_is_no_proxy_is_greeted(in_memory: InMemory, peer: object) -> None:
    memory = in_memory(Recorder(), proxy_networks=PROXIES)
    assert memory.connect(peername=peer).heard().startswith(b"220 ")


async def test_no_right_header(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory = in_memory(Recorder(), proxy_networks=PROXIES)
    client = memory.connect(peername=("198.51.100.7", 1))
    client.feed(b"EHLO client.test\r\n")
    await turns()
    assert client.is_lost
    assert memory.server.counters.connections == memory.server.counters.refused_proxy == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert vars(record)["peer"] == "198.51.100.7:1"
    assert lines(caplog)[0].startswith("ID: connection from 198.51.100.7:1 closed: ")


async def test_no_header_in_time(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory = in_memory(Recorder(), proxy_networks=PROXIES)
    memory.connect(peername=("198.51.100.7", 1))
    memory.wait(33)
    assert memory.server.counters.timeouts_handshake == 1
    assert lines(caplog) == ["ID: connection from 198.51.100.7:1 closed: no handshake in time"]


# Handshakes.


async def test_handshakes_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with secured(Recorder(), files(tmp_path), is_tls=True) as server:
        async with open_wire(server, ssl=client_context(), server_hostname="mx.test") as wire:
            await wire.reply()
        async with open_wire(server) as clear:
            clear.writer.write(b"EHLO client.test\r\n")
            with contextlib.suppress(ConnectionResetError):
                await clear.rest()
        counters = server.counters
        assert (counters.handshakes_succeeded, counters.handshakes_failed) == (1, 1)
    [line] = lines(caplog)
    assert re.fullmatch(r"ID: TLS with 127\.0\.0\.1:\d+ failed: [A-Z0-9_]+", line)


# Failed logins.


class Timers:
    """An event loop whose `call_later` waits for the test."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.due.append((delay, callback))


class Nobody(Recorder):
    """Lets nobody in."""

    def auth(self, _session: Session, _credentials: Credentials) -> None: ...


@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.5])
async def test_how_late_a_failed_login_is_answered(in_memory: InMemory, seconds: float) -> None:
    memory = in_memory(Nobody(), auth_delay_seconds=seconds)
    timers = Timers(memory.server.loop)
    memory.server.loop = cast("asyncio.AbstractEventLoop", timers)
    client = memory.connect()
    client.feed(b"EHLO client.test\r\n")
    assert client.heard().endswith(b"250 HELP\r\n")
    login = b"AUTH PLAIN " + base64.b64encode(b"\0ann\0secret") + b"\r\n"
    client.feed(login)
    client.feed(b"NOOP\r\n")
    await turns()
    assert client.heard() == b""
    assert client.is_paused
    [(delay, let_go)] = timers.due
    assert delay == seconds
    let_go()
    await turns()
    assert client.heard() == (b"535 5.7.8 Authentication credentials invalid\r\n250 2.0.0 OK\r\n")
    client.feed(login)
    assert [delay for delay, _ in timers.due] == [seconds] * 2
    # The connection ends while it waits: nothing is said to nobody.
    client.lose()
    await turns()
    timers.due[1][1]()
    assert client.heard() == b""


class SlowNobody:
    """Lets nobody in, and takes its time over senders."""

    def auth(self, _session: Session, _credentials: Credentials) -> None: ...

    async def mail(self, _session: Session, _mail: Mail) -> None:
        await asyncio.sleep(0)


async def test_what_is_said_behind_a_failed_login_stays_behind_it(in_memory: InMemory) -> None:
    """An answer that is ready sooner waits for the one that is held back (RFC 2920 §3.2)."""
    memory = in_memory(SlowNobody(), auth_delay_seconds=1.0)
    timers = Timers(memory.server.loop)
    memory.server.loop = cast("asyncio.AbstractEventLoop", timers)
    login = b"AUTH PLAIN " + base64.b64encode(b"\0ann\0secret") + b"\r\n"
    answers = b"535 5.7.8 Authentication credentials invalid\r\n250 2.1.0 Sender OK\r\n"
    clients = [memory.connect(), memory.connect()]
    for client in clients:
        client.feed(b"EHLO client.test\r\n")
        assert client.heard().endswith(b"250 HELP\r\n")
        client.feed(login + b"MAIL FROM:<>\r\n")
        await turns()
        assert client.heard() == b""
    (_, let_go), (_, let_go_too_late) = timers.due
    let_go()
    assert clients[0].heard() == answers
    clients[0].feed(b"NOOP\r\n")
    assert clients[0].heard() == b"250 2.0.0 OK\r\n"
    # Nor does the last word overtake it.
    memory.wait(302)
    await turns()
    assert clients[1].heard() == answers + b"421 4.4.2 Idle too long\r\n"
    let_go_too_late()
    assert clients[1].heard() == b""
