"""What the server counts and logs of its clients: figures that agree, lines that are safe."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from ipaddress import ip_network

import pytest

from pillarbox import Body, Envelope, Reject, Reply, Session
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.journal import LINES_PER_TICK
from pillarbox.asyncio.server import Listener
from pillarbox.protocol.sasl import Credentials, Password
from pillarbox.testing import MemoryTransport, Recorder
from tests.asyncio.wire import BEGIN, InMemory, MemoryServer, turns

pytestmark = pytest.mark.usefixtures("new_loop")

NO = Reply(550, "5.7.1", "No")
LATER = Reply(451, "4.3.0", "Later")
MESSAGE = b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\nx\r\n.\r\n"
TWO = b"MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nx\r\n.\r\n"


def figures(memory: MemoryServer) -> dict[str, int]:
    """Give the figures that are not 0, but for those that each test has."""
    counted = {name: count for name, count in asdict(memory.server.counters).items() if count}
    for name in ("connections", "connections_open"):
        counted.pop(name, None)
    return counted


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pillarbox")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the messages logged since the last time, without the ids, which vary."""
    found = [re.sub(r"^[0-9a-f]{6}-\d+: ", "ID: ", line) for line in caplog.messages]
    caplog.clear()
    return found


# Connections.


async def test_connections(in_memory: InMemory) -> None:
    memory = in_memory(Recorder())
    one, _two = memory.connect(), memory.connect()
    counters = memory.server.counters
    assert (counters.connections, counters.connections_open) == (2, 2)
    one.lose()
    await turns()
    assert (counters.connections, counters.connections_open) == (2, 2)  # a copy
    counters = memory.server.counters
    assert (counters.connections, counters.connections_open) == (2, 1)


async def test_refused_at_the_caps(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory = in_memory(Recorder(), max_connections=2, max_connections_per_ip=1)
    memory.connect()
    memory.connect()
    memory.connect(peername=("2001:db8::1", 7))
    memory.connect(peername=("2001:db8::2", 7))
    counters = memory.server.counters
    assert (counters.connections, counters.connections_open) == (4, 2)
    assert figures(memory) == {"refused_full": 1, "refused_per_ip": 1}
    assert lines(caplog) == [
        "ID: connection from 192.0.2.1:49152 refused:"
        " 421 4.7.0 Too many connections from your address",
        "ID: connection from [2001:db8::2]:7 refused:"
        " 421 4.7.0 Too many connections; try again later",
    ]


async def test_a_flood_does_not_flood_the_log(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory = in_memory(Recorder(), max_connections_per_ip=1)
    first = memory.connect(peername=("192.0.2.7", 1))
    flood = [memory.connect(peername=("192.0.2.7", port)) for port in range(2, 1002)]
    await turns()
    assert all(client.is_lost for client in flood)
    assert figures(memory) == {"refused_per_ip": 1000}
    assert len(lines(caplog)) == LINES_PER_TICK
    memory.wait(1)
    assert lines(caplog) == [f"connections refused: {1000 - LINES_PER_TICK} more than are shown"]
    memory.wait(1)
    assert lines(caplog) == []
    # Others come in all the while, and so does the flood when there is room again.
    first.lose()
    await turns()
    for number in (7, 8):
        client = memory.connect(peername=(f"192.0.2.{number}", 2))
        client.feed(BEGIN + b"DATA\r\n.\r\n")
        assert client.heard().endswith(b"250 2.0.0 Message accepted\r\n")


async def test_what_is_not_logged_makes_no_session(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    class Sink:
        def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None: ...

    caplog.set_level(logging.ERROR, "pillarbox")
    memory = in_memory(Sink(), max_connections=2)
    refused = [Connection(memory.server, Listener(is_tls=False)) for _ in range(3)]
    for connection in refused:
        MemoryTransport(connection).feed(b"EHLO c\r\nGET / HTTP/1.1\r\n")
    assert [connection._session for connection in refused] == [None] * 3


async def test_the_id_is_the_sessions(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder({"ben@example.org": NO})
    memory = in_memory(recorder, idle_timeout_seconds=5)
    client = memory.connect()
    client.feed(BEGIN.replace(b"ben@", b"cleo@") + b"DATA\r\nx\r\n.\r\n")
    memory.wait(7)
    [record] = caplog.records
    [message] = recorder.messages
    assert vars(record)["session"] == message.session.id
    assert vars(record)["peer"] == "192.0.2.1:49152"
    assert record.getMessage() == (
        f"{message.session.id}: connection from 192.0.2.1:49152 closed: 421 4.4.2 Idle too long"
    )


# Messages.


async def reject(_session: Session, _envelope: Envelope, _body: Body) -> None:
    raise Reject(NO)


async def defer(_session: Session, _envelope: Envelope, body: Body) -> Reply:
    await body.read()
    return LATER


def accept(_session: Session, _envelope: Envelope, _body: Body) -> None: ...


class Does:
    """A handler that does this with a message."""

    def __init__(self, message: Callable[[Session, Envelope, Body], object]) -> None:
        self.message = message


Message = Callable[[Session, Envelope, Body], Awaitable[Reply | None] | Reply | None]
RESULTS: dict[Message, str] = {accept: "accepted", reject: "refused", defer: "deferred"}


@pytest.mark.parametrize("octets", [3, 70_002])
@pytest.mark.parametrize("message", RESULTS)
async def test_messages(in_memory: InMemory, message: Message, octets: int) -> None:
    result = RESULTS[message]
    memory = in_memory(Does(message))
    client = memory.connect()
    client.feed(b"EHLO c\r\n" + TWO.replace(b"x\r\n.", b"x" * (octets - 2) + b"\r\n."))
    await turns()
    assert figures(memory) == {
        f"messages_{result}": 1,
        f"recipients_{result}": 2,
        "message_octets": octets,
    }


async def test_messages_of_an_ordinary_answer_and_of_their_own(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(reply=Reply(250, "2.0.0", "Thanks")))
    client = memory.connect()
    client.feed(BEGIN + b"BDAT 2\r\nxyBDAT 1 LAST\r\nz" + MESSAGE)
    assert figures(memory) == {
        "messages_accepted": 2,
        "recipients_accepted": 2,
        "message_octets": 6,
    }


async def test_messages_by_lmtp(in_memory: InMemory) -> None:
    answers = iter(
        [[Reply(250, "2.1.5", "Taken"), LATER], [NO, LATER], [NO, NO], Reply(250, "2.0.0", "All")]
    )

    def each(_session: Session, _envelope: Envelope, _body: Body) -> object:
        return next(answers)

    memory = in_memory(Does(each), is_lmtp=True)
    memory.connect().feed(b"LHLO c\r\n" + TWO * 4)
    assert figures(memory) == {
        "messages_accepted": 2,
        "messages_deferred": 1,
        "messages_refused": 1,
        "recipients_accepted": 3,
        "recipients_deferred": 2,
        "recipients_refused": 3,
        "message_octets": 12,
    }


async def test_recipients_that_the_handler_turns_down(in_memory: InMemory) -> None:
    memory = in_memory(Recorder({"b@example.org": NO, "c@example.org": LATER}))
    memory.connect().feed(b"EHLO c\r\n" + TWO)
    assert figures(memory) == {"recipients_refused": 1, "recipients_deferred": 1}


async def test_an_early_answer_counts_when_it_is_given(in_memory: InMemory) -> None:
    memory = in_memory(Does(reject))
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\n" + b"x" * 100_000)
    await turns()
    assert figures(memory) == {}
    client.feed(b"\r\n.\r\n")
    await turns()
    assert client.heard().endswith(b"550 5.7.1 No\r\n")
    assert figures(memory) == {
        "messages_refused": 1,
        "recipients_refused": 1,
        "message_octets": 100_002,
    }


async def test_a_message_that_breaks_a_rule(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory = in_memory(Recorder(), max_message_bytes=10)
    memory.connect().feed(BEGIN + b"DATA\r\n" + b"x" * 11 + b"\r\n.\r\n")
    assert figures(memory) == {
        "messages_refused": 1,
        "recipients_refused": 1,
        "message_octets": 13,
    }
    assert lines(caplog) == [
        "ID: message turned down: from='ann@example.org' recipients=1 octets=13"
        " reply='552 5.3.4 Message too large'"
    ]


async def test_lines_about_messages(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([None, NO, Reply(250, "2.0.0", "Taken"), LATER])
    memory = in_memory(Recorder())

    def answer(_session: Session, _envelope: Envelope, _body: Body) -> Reply | None:
        memory.clock.advance(0.25)
        return next(answers)

    memory = in_memory(Does(answer))
    client = memory.connect()
    client.feed(b"EHLO c\r\n" + TWO + MESSAGE)
    refused = (
        "ID: message turned down: from='ann@example.org' recipients=1 octets=3"
        " seconds=0.250 reply='550 5.7.1 No'"
    )
    assert lines(caplog) == [refused]
    caplog.set_level(logging.DEBUG, "pillarbox")
    memory.wait(1)  # the level is looked up once a tick
    client.feed(TWO + MESSAGE)
    assert lines(caplog) == [
        "ID: message accepted: from='' recipients=2 octets=3 seconds=0.250 reply='250 2.0.0 Taken'",
        "ID: message turned down: from='ann@example.org' recipients=1 octets=3"
        " seconds=0.250 reply='451 4.3.0 Later'",
    ]
    client.feed(b"QUIT\r\n")
    await turns()
    memory.connect()
    assert lines(caplog) == ["ID: connection is over", "ID: connection from 192.0.2.1:49152"]


# Handlers that fail.


class Fails:
    """A handler whose every method does, but for those that are let alone."""

    def __init__(self, *where: str) -> None:
        self.where = where

    def _do(self, name: str) -> None:
        if name in self.where:
            raise RuntimeError("secret")

    def mail(self, _session: Session, _mail: object) -> None:
        self._do("mail")

    def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None:
        self._do("message")

    def auth(self, _session: Session, _credentials: Credentials) -> str:
        self._do("auth")
        return "ann"

    async def disconnect(self, _session: Session) -> None:
        self._do("disconnect")


@pytest.mark.parametrize("where", ["mail", "message", "disconnect"])
async def test_a_failure_is_told_once(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    memory = in_memory(Fails(where))
    memory.connect().feed(b"EHLO c\r\n" + MESSAGE + b"QUIT\r\n")
    await turns()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert memory.server.counters.handler_errors == 1


async def test_a_failing_auth_is_our_fault(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory = in_memory(Fails("auth"))
    client = memory.connect()
    client.feed(b"EHLO c\r\nAUTH PLAIN " + plain("ann") + b"\r\n")
    # At once: nobody guessed anything.
    assert client.heard().endswith(b"454 4.7.0 Temporary authentication failure\r\n")
    assert figures(memory) == {"handler_errors": 1, "logins_failed": 1}
    client.feed(MESSAGE)
    assert client.heard().endswith(b"250 2.0.0 Message accepted\r\n")
    assert caplog.records[0].exc_info is not None
    assert "secret" not in "".join(caplog.messages)


# Logins.


def plain(username: str, password: str = "hunter2") -> bytes:
    return base64.b64encode(f"\0{username}\0{password}".encode())


class Users:
    """Ann may log in; it is told what she may not hear."""

    def auth(self, _session: Session, credentials: Password) -> str | None:
        if credentials.username == "banned":
            raise Reject(535, "5.7.8", "Not you")
        return "ann" if credentials.password == "right" else None

    def message(self, _session: Session, _envelope: Envelope, _body: Body) -> Reply:
        return NO


async def test_logins(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory = in_memory(Users(), auth_delay_seconds=0)
    client = memory.connect()
    client.feed(b"EHLO c\r\nAUTH PLAIN " + plain("ann") + b"\r\n")
    await turns()
    client.feed(b"AUTH PLAIN " + plain("ann", "right") + b"\r\n")
    assert client.heard().endswith(b"235 2.7.0 Authentication succeeded\r\n")
    assert figures(memory) == {"logins_failed": 1, "logins_succeeded": 1}
    assert lines(caplog) == [
        "ID: login from 192.0.2.1:49152 by PLAIN failed"
        " (535 5.7.8 Authentication credentials invalid): 'ann'",
        "ID: login from 192.0.2.1:49152 by PLAIN: 'ann'",
    ]


async def test_a_login_that_is_rejected_is_answered_late_too(in_memory: InMemory) -> None:
    memory = in_memory(Users(), auth_delay_seconds=60)
    client = memory.connect()
    client.feed(b"EHLO c\r\nAUTH PLAIN " + plain("banned") + b"\r\n")
    await turns()
    assert b"535" not in client.heard()
    assert client.is_paused
    assert figures(memory) == {"logins_failed": 1}


async def test_passwords_are_never_logged(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pillarbox")
    memory = in_memory(Users(), auth_delay_seconds=0, max_auth_failures=9)
    client = memory.connect()
    secret = plain("ann", "hunter2")
    client.feed(b"EHLO c\r\nAUTH PLAIN " + secret + b"\r\n")
    await turns()
    client.feed(b"AUTH PLAIN\r\n" + secret[:-4] + b"\r\nAUTH PLAIN " + secret + b"!\r\n")
    await turns()
    client.feed(b"AUTH LOGIN\r\n" + base64.b64encode(b"ann") + b"\r\n" + secret + b"\r\n")
    await turns()
    assert figures(memory)["logins_failed"] == 3
    assert "hunter2" not in caplog.text
    assert secret.decode() not in caplog.text


# Time, and clients that are cut off.


async def test_time_outs(in_memory: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    memory = in_memory(Recorder(), idle_timeout_seconds=20, max_session_seconds=30)
    memory.connect()
    busy, slow = memory.connect(), memory.connect()
    for _ in range(40):
        busy.feed(b"RSET\r\n")
        slow.feed(b"N")
        memory.wait(1)
    assert figures(memory) == {"timeouts_idle": 1, "timeouts_slow": 1, "timeouts_session": 1}
    start = "ID: connection from 192.0.2.1:49152 closed: 421 4.4.2"
    assert sorted(lines(caplog)) == [
        f"{start} Idle too long",
        f"{start} This session has lasted long enough",
        f"{start} Too slow",
    ]


async def test_a_message_that_drips_in(in_memory: InMemory) -> None:
    memory = in_memory(Recorder())
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\n")
    for _ in range(190):
        client.feed(b"x")
        memory.wait(1)
    assert figures(memory) == {"timeouts_slow": 1}


async def test_clients_that_are_cut_off(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory = in_memory(Recorder(), max_errors=2)
    memory.connect().feed(b"POST / HTTP/1.1\r\nHost: x\r\n")
    memory.connect().feed(b"X\r\nX\r\nX\r\n")
    assert figures(memory) == {"clients_cut_off": 2}
    start = "ID: connection from 192.0.2.1:49152 closed: 421 4.7.0"
    assert lines(caplog) == [
        f"{start} This is a mail server, not a web server",
        f"{start} Too many errors",
    ]


# Whatever peers say, it stays in its line.

EVIL = "x\r\n2026-01-01T00:00:00.000Z INFO fine\x1b[2J\x1b]0;t\x07\x9b\u2028\u202e"
EVIL_OCTETS = EVIL.encode()


def evil_sessions() -> dict[str, bytes]:
    identity = base64.b64encode(b"\0" + EVIL_OCTETS.replace(b"\r\n", b"") + b"\0p")
    login = base64.b64encode(EVIL_OCTETS)
    return {
        "EHLO": b"EHLO " + EVIL_OCTETS + b"\r\nX\r\n" * 9,
        "EHLO without CRLF": b"EHLO " + EVIL_OCTETS.replace(b"\r\n", b"\n") + b"\r\n" + MESSAGE,
        "MAIL": b'EHLO c\r\nMAIL FROM:<"' + EVIL_OCTETS + b'"@example.org> SMTPUTF8\r\n',
        "MAIL in quotes": b'EHLO c\r\nMAIL FROM:<"a\\\xe2\x80\xae b"@example.org> SMTPUTF8\r\n'
        b"RCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n",
        "AUTH": b"EHLO c\r\nAUTH PLAIN " + identity + b"\r\n",
        "AUTH with line ends": b"EHLO c\r\nAUTH LOGIN " + login + b"\r\n" + login + b"\r\n",
        "XCLIENT": b"EHLO c\r\nXCLIENT NAME=" + EVIL_OCTETS + b" ADDR=1.2.3.4\r\n",
        "XCLIENT of a front server": b"EHLO c\r\nXCLIENT ADDR=[UNAVAILABLE] NAME=a+0D+0A+1Bb\r\n"
        b"XCLIENT LOGIN=a+0D+0Ab\r\nXCLIENT HELO=[192.0.2.1]+1B\r\nX\r\n",
        "PROXY": b"PROXY TCP4 " + EVIL_OCTETS + b"\r\nEHLO c\r\n",
        "HTTP": b"EHLO c\r\nGET /" + EVIL_OCTETS.replace(b"\r\n", b"") + b" HTTP/1.1\r\n",
    }


@pytest.mark.parametrize("name", evil_sessions())
async def test_no_record_has_a_control_character(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG, "pillarbox")
    proxies = (ip_network("192.0.2.0/24"),) if name == "PROXY" else ()
    front_servers = (ip_network("192.0.2.0/24"),) if "front" in name else ()
    memory = in_memory(
        Users(),
        auth_delay_seconds=0,
        max_errors=3,
        proxy_networks=proxies,
        xclient_networks=front_servers,
    )
    client = memory.connect()
    client.feed(evil_sessions()[name])
    await turns()
    client.lose()
    await turns()
    assert len(caplog.records) >= 1
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert vars(record)["peer"].isprintable()
