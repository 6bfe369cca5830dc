"""XCLIENT through the driver: who may say it, whom it counts for, and with PROXY and TLS."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import pytest

from pillarbox import Reject, Session
from pillarbox.testing import Recorder
from tests.asyncio.secure import LOOPBACK, client_context, files, open_wire, secured
from tests.asyncio.wire import BEGIN, InMemory, on_the_wire, turns
from tests.grammar import split_answers

pytestmark = pytest.mark.usefixtures("new_loop")

HELLO = b"EHLO front.test\r\n"
NETWORKS = (ipaddress.ip_network("192.0.2.0/28"), ipaddress.ip_network("2001:db8::/64"))
GREETING = b"220 mx.test ESMTP\r\n"


def codes(octets: bytes) -> list[int]:
    return [answer.code for answer in split_answers(octets)]


class Peers(Recorder):
    """Takes down whom the connection is from, and refuses one."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[object] = []

    def connect(self, session: Session) -> None:
        super().connect(session)
        self.peers.append(session.peer)
        if isinstance(session.peer, tuple) and session.peer[0] == "203.0.113.66":
            raise Reject(554, "5.7.1", "Not from there")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("192.0.2.1", True),
        ("192.0.2.16", False),
        ("2001:db8::1", True),
        ("2001:db8:1::1", False),
        ("::ffff:192.0.2.1", True),
        ("fe80::1%eth0", False),
    ],
)
async def test_who_may(in_memory: InMemory, host: str, may: bool) -> None:
    memory = in_memory(Peers(), xclient_networks=NETWORKS)
    client = memory.connect(peername=(host, 4711))
    client.feed(HELLO)
    assert (b"250-XCLIENT NAME ADDR " in client.heard()) is may
    client.feed(b"XCLIENT ADDR=203.0.113.9\r\n")
    if may:
        assert client.heard() == GREETING
    else:
        assert client.heard() == b"550 5.7.0 XCLIENT is not for you\r\n"


@pytest.mark.parametrize("peername", ["", "/run/client", None])
async def test_a_unix_socket_has_no_address(in_memory: InMemory, peername: object) -> None:
    everywhere = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    memory = in_memory(Peers(), xclient_networks=everywhere)
    client = memory.connect(peername=peername)
    client.heard()
    client.feed(b"XCLIENT ADDR=203.0.113.9\r\n")
    assert codes(client.heard()) == [550]


async def test_nobody_may_by_default(in_memory: InMemory) -> None:
    client = in_memory(Peers()).connect(peername=("127.0.0.1", 4711))
    client.heard()
    client.feed(b"XCLIENT ADDR=203.0.113.9\r\n")
    assert codes(client.heard()) == [550]


async def test_the_handler_judges_the_new_client(in_memory: InMemory) -> None:
    handler = Peers()
    memory = in_memory(handler, xclient_networks=NETWORKS)
    client = memory.connect()
    client.feed(b"XCLIENT ADDR=203.0.113.9 PORT=7\r\nXCLIENT ADDR=203.0.113.66\r\n" + HELLO)
    assert codes(client.heard()) == [220, 220, 554, 503]
    assert handler.peers == [("192.0.2.1", 49152), ("203.0.113.9", 7), ("203.0.113.66", 7)]
    client.lose()
    await turns()
    assert handler.calls == ["connect"] * 3 + ["disconnect"]


async def test_the_log_names_both(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pillarbox")
    client = in_memory(Peers(), xclient_networks=NETWORKS).connect()
    client.feed(b"XCLIENT ADDR=[UNAVAILABLE]\r\nXCLIENT ADDR=203.0.113.9 PORT=7\r\n")
    lines = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert lines == [
        "connection from 192.0.2.1 stands for [::]:0 by XCLIENT",
        "connection from nobody known stands for 203.0.113.9:7 by XCLIENT",
    ]
    assert caplog.records[-1].__dict__["peer"] == "203.0.113.9:7"


async def test_a_handler_that_thinks_about_it(in_memory: InMemory) -> None:
    class Slow(Recorder):
        async def connect(self, session: Session) -> None:  # type: ignore[override]  # as handlers may
            await asyncio.sleep(0)
            super().connect(session)

    handler = Slow()
    client = in_memory(handler, xclient_networks=NETWORKS).connect()
    client.feed(b"XCLIENT ADDR=203.0.113.9\r\n" + BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns(30)
    assert codes(client.heard()) == [220, 220, 250, 250, 250, 354, 250]
    assert handler.messages[0].session.peer == ("203.0.113.9", 0)


async def test_no_handler_has_to_greet(in_memory: InMemory) -> None:
    peers: list[object] = []
    memory = in_memory(
        lambda message: peers.append(message.session.peer), xclient_networks=NETWORKS
    )
    client = memory.connect()
    client.feed(b"XCLIENT ADDR=203.0.113.9\r\n" + BEGIN + b"DATA\r\nx\r\n.\r\n")
    assert codes(client.heard()) == [220, 220, 250, 250, 250, 354, 250]
    assert peers == [("203.0.113.9", 0)]


async def test_connections_count_for_the_client(in_memory: InMemory) -> None:
    memory = in_memory(Peers(), xclient_networks=NETWORKS, max_connections_per_ip=2)
    clients = []
    for _ in range(4):  # more than two from one front server, which are not counted for it
        clients.append(client := memory.connect())
        client.feed(b"XCLIENT ADDR=203.0.113.%d\r\n" % (len(clients) % 2))
        assert codes(client.heard()) == [220, 220]
    client = memory.connect()
    client.feed(b"XCLIENT ADDR=203.0.113.1\r\nNOOP\r\n")
    assert client.heard() == GREETING + b"421 4.7.0 Too many connections from your address\r\n"
    await turns()
    assert client.is_lost
    for other in clients:
        other.lose()
    await turns()
    # Nothing is left of the counts: as many as before may come.
    for _ in range(2):
        client = memory.connect()
        client.feed(b"XCLIENT ADDR=203.0.113.1\r\nXCLIENT ADDR=203.0.113.1\r\n")
        assert codes(client.heard()) == [220, 220, 220]


async def test_clients_without_an_address_are_not_counted(in_memory: InMemory) -> None:
    handler = Peers()
    memory = in_memory(handler, xclient_networks=NETWORKS, max_connections_per_ip=1)
    for _ in range(3):
        client = memory.connect()
        client.feed(b"XCLIENT ADDR=[UNAVAILABLE]\r\n")
        assert codes(client.heard()) == [220, 220]
    assert handler.peers[1::2] == [("::", 0)] * 3


@pytest.mark.parametrize("is_tls", [False, True])
async def test_behind_proxy_and_before_starttls(tmp_path: Path, is_tls: bool) -> None:
    handler = Peers()
    async with (
        secured(
            handler,
            files(tmp_path),
            is_tls=is_tls,
            proxy_networks=LOOPBACK,
            xclient_networks=NETWORKS,
        ) as server,
        open_wire(server) as wire,
    ):
        wire.writer.write(b"PROXY TCP4 192.0.2.1 198.51.100.2 49152 25\r\n")
        if is_tls:
            await wire.writer.start_tls(client_context(), server_hostname="mx.test")
        assert (await wire.reply()).code == 220
        assert await wire.ask(b"XCLIENT ADDR=203.0.113.9 LOGIN=ann HELO=spike\r\n") == 220
        assert await wire.ask(HELLO) == 250
        if not is_tls:
            assert await wire.ask(b"STARTTLS\r\n") == 220
            await wire.writer.start_tls(client_context(), server_hostname="mx.test")
        wire.writer.write(BEGIN + b"DATA\r\n")
        assert await wire.codes(4) == [250, 250, 250, 354]
        assert await wire.ask(b"x\r\n.\r\n") == 250
    assert handler.peers == [("192.0.2.1", 49152), ("203.0.113.9", 0)]
    session = handler.messages[0].session
    assert (session.peer, session.local) == (("203.0.113.9", 0), ("198.51.100.2", 25))
    assert (session.identity, session.domain) == ("ann", "spike")
    assert session.tls is not None


async def test_whom_the_proxy_names_is_who_may(tmp_path: Path) -> None:
    # The proxy itself is listed; a stranger that comes through it is not.
    async with (
        secured(
            Peers(), files(tmp_path), proxy_networks=LOOPBACK, xclient_networks=LOOPBACK
        ) as server,
        open_wire(server) as wire,
    ):
        wire.writer.write(b"PROXY TCP4 203.0.113.9 198.51.100.2 49152 25\r\n")
        assert (await wire.reply()).code == 220
        assert await wire.ask(b"XCLIENT ADDR=192.0.2.1\r\n") == 550


async def test_on_the_wire() -> None:
    handler = Peers()
    async with on_the_wire(handler, xclient_networks=LOOPBACK) as (_, wire):
        assert await wire.ask(b"XCLIENT ADDR=IPV6:2001:db8::9 PORT=7\r\n") == 220
        wire.writer.write(BEGIN + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
        assert await wire.codes(6) == [250, 250, 250, 354, 250, 221]
    assert handler.messages[0].session.peer == ("2001:db8::9", 7)
