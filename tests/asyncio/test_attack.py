"""What slow and greedy clients get: an end in every phase, and no more memory than there is.

Idle clients and those that never read: test_connection.py. Floods: tests/protocol/test_floods.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from pillarbox import Body, Config, Envelope, Server, Session
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.server import Listener
from pillarbox.certificate import Certificates
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.sasl import STANDARD_MECHANISMS
from pillarbox.testing import FakeClock, MemoryTransport, Recorder
from tests.asyncio.secure import client_context, files
from tests.asyncio.wire import BEGIN, InMemory, turns
from tests.grammar import split_answers

pytestmark = pytest.mark.usefixtures("new_loop")

TICKS = 2
IDLE = b"421 4.4.2 Idle too long\r\n"
TOO_SLOW = b"421 4.4.2 Too slow\r\n"
TOO_LONG = b"421 4.4.2 This session has lasted long enough\r\n"
HELLO = b"EHLO client.test\r\n"

LOGINS = Offer(
    hostname="mx.test",
    mechanisms={"LOGIN": STANDARD_MECHANISMS["LOGIN"]},
    allows_plaintext_auth=True,
    idle_timeout_seconds=100,
)

# How a phase begins, and whether its octets make a line.
PHASES = {
    "command": b"",
    "first command of a packet": b"NOOP\r\n",
    "MAIL": HELLO + b"MAIL FROM:<",
    "RCPT": HELLO + b"MAIL FROM:<>\r\nRCPT TO:<",
    "AUTH": HELLO + b"AUTH LOGIN\r\n",
    "AUTH, password": HELLO + b"AUTH LOGIN\r\nYW5u\r\n",
    "BDAT": BEGIN + b"BDAT 1",
}


@pytest.mark.parametrize("begin", PHASES.values(), ids=PHASES)
async def test_an_octet_now_and_then(in_memory: InMemory, begin: bytes) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, LOGINS)
    client = memory.connect()
    client.feed(begin)
    for _ in range(5):
        client.feed(b"1")
        memory.wait(19)
    assert not client.is_closing()
    client.feed(b"1")
    memory.wait(5 + TICKS)
    await turns()
    assert client.heard().endswith(TOO_SLOW)
    assert client.is_lost
    assert recorder.messages == []


@pytest.mark.parametrize("begin", PHASES.values(), ids=PHASES)
async def test_not_an_octet(in_memory: InMemory, begin: bytes) -> None:
    memory = in_memory(Recorder(), LOGINS)
    client = memory.connect()
    client.feed(begin)
    memory.wait(100)
    assert not client.is_closing()
    memory.wait(TICKS)
    await turns()
    assert client.heard().endswith(IDLE)
    assert client.is_lost


async def test_chunks_of_an_octet_now_and_then(in_memory: InMemory) -> None:
    # Each is a whole command, and none is a message.
    memory = in_memory(Recorder(), min_message_rate=100)
    client = memory.connect()
    client.feed(BEGIN)
    for _ in range(175):
        client.feed(b"BDAT 1\r\nx")
        memory.wait(1)
    assert not client.is_closing()
    for _ in range(10):
        client.feed(b"BDAT 1\r\nx")
        memory.wait(1)
    assert client.heard().endswith(TOO_SLOW)


@pytest.mark.parametrize(
    "command", [BEGIN + b"DATA\r\n", BEGIN + b"BDAT 9999999999\r\n", b"BDAT 9999999999\r\n"]
)
async def test_a_message_that_never_ends(in_memory: InMemory, command: bytes) -> None:
    # Fast enough, and refused long ago: what is thrown away has an end as well.
    recorder = Recorder()
    memory = in_memory(
        recorder, max_message_bytes=10_000, max_session_seconds=100, min_message_rate=100
    )
    client = memory.connect()
    client.feed(command)
    for _ in range(98):
        client.feed(b"x" * 998 + b"\r\n")
        memory.wait(1)
    assert not client.is_closing()
    for _ in range(4):
        client.feed(b"x" * 998 + b"\r\n")
        memory.wait(1)
    assert client.heard().endswith(TOO_LONG)
    assert recorder.messages == []


async def test_a_message_that_takes_as_long_as_a_session_may(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, max_session_seconds=100)
    client = memory.connect()
    for _ in range(9):
        client.feed(b"NOOP\r\n")
        memory.wait(10)
    client.feed(BEGIN + b"DATA\r\n")
    for _ in range(50):
        client.feed(b"x" * 998 + b"\r\n")
        memory.wait(1)
    client.feed(b".\r\n")
    await turns()
    assert len(recorder.messages) == 1
    memory.wait(TICKS)
    assert client.heard().endswith(TOO_LONG)


async def test_a_tls_record_that_drips_in(tmp_path: Path) -> None:
    clock = FakeClock()
    server = Server(
        Recorder(),
        config=Config(hostname="mx.test", idle_timeout_seconds=100),
        certificates=Certificates(files(tmp_path)),
        clock=clock,
    )
    client = MemoryTransport(Connection(server, Listener(is_tls=True)))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
    for _ in range(2):
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        client.feed(outgoing.read())
        incoming.write(client.heard())
    assert tls.read() == b"220 mx.test ESMTP\r\n"
    tls.write(b"NOOP " + b"x" * 500)
    for octet in outgoing.read()[:100]:
        client.feed(bytes([octet]))
        clock.advance(1)
        server.check_deadlines()
    assert not client.is_closing()
    for _ in range(TICKS):
        clock.advance(1)
        server.check_deadlines()
    await turns()
    incoming.write(client.heard())
    assert tls.read() == IDLE
    assert client.is_lost
    await server.close()


class Whole:
    """A handler that cannot wait for a large message, so that the server gathers it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        self.sizes.append(len(body.data))


def codes(octets: bytes) -> list[int]:
    return [answer.code for answer in split_answers(octets)]


async def test_a_thousand_large_messages(in_memory: InMemory) -> None:
    handler = Whole()
    memory = in_memory(
        handler,
        max_memory_bytes=1_000_000,
        max_connections=1000,
        max_connections_per_ip=1000,
    )
    clients = [memory.connect() for _ in range(1000)]
    line = b"x" * 998 + b"\r\n"
    kept = []
    for client in clients:
        client.feed(BEGIN + b"DATA\r\n")
        for _ in range(4):
            client.feed(line * 50)
            await turns(3)
        kept.append(memory.server._memory_octets)
    # Each may keep what is within one part; of all that is gathered beyond, there is an end.
    assert max(kept) < 1_000_000 + 100_000
    for client in clients:
        client.feed(b".\r\n")
    await turns()
    answers = [codes(client.heard())[-1] for client in clients]
    assert answers.count(250) == len(handler.sizes) >= 4
    assert answers.count(452) == 1000 - len(handler.sizes)
    assert set(handler.sizes) == {200_000}
    assert memory.server._memory_octets == 0
    # What was too much then is not too much later.
    clients[-1].feed(BEGIN + b"DATA\r\n" + line * 200 + b".\r\n")
    await turns()
    assert codes(clients[-1].heard())[-1] == 250


@pytest.mark.parametrize("way", ["lost", "reset", "failed"])
async def test_memory_is_given_back_however_a_message_ends(in_memory: InMemory, way: str) -> None:
    handler = Whole()
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"BDAT 100000\r\n" + b"x" * 100_000)
    await turns()
    assert memory.server._memory_octets == 100_000
    if way == "lost":
        client.lose()
    else:
        client.feed(b"RSET\r\n" if way == "reset" else b"BDAT 9 LAST\r\nx\nx\nx\nx\nx")
    await asyncio.sleep(0)
    await turns()
    assert memory.server._memory_octets == 0
    assert handler.sizes == []
