"""What a server may be told beyond the old interface; nothing of it is on by default."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.smtpd.house import Client, Clock, Collector, House, looping
from tests.smtpd.under_test import ours_only, smtpd

pytestmark = ours_only

IDLE = "421 Error: idle for too long, closing connection"
TOO_MANY = "421 Error: too many connections, try again later"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"idle_timeout_seconds": 0}, "idle_timeout_seconds has to be more than 0"),
        ({"max_connections": 0}, "max_connections is 0; the least is 1"),
        ({"max_recipients": -1}, "max_recipients is -1; the least is 1"),
        ({"starttls": True}, "starttls=True needs a certificate: give an ssl_context"),
    ],
)
def test_limits_that_cannot_be(arguments: dict[str, Any], said: str) -> None:
    channels: dict[int, Any] = {}
    with pytest.raises(ValueError, match=said):
        smtpd.SMTPServer(("127.0.0.1", 0), None, map=channels, **arguments)
    assert channels == {}


def test_they_have_to_be_named() -> None:
    with pytest.raises(TypeError):
        smtpd.SMTPServer(("127.0.0.1", 0), None, 0, {}, False, False, 300)  # type: ignore[call-arg]


def test_an_idle_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with House(idle_timeout_seconds=300) as house:
        idle, busy = house.connect(), house.connect()
        clock.now += 200
        assert busy.ask("NOOP\r\n") == "250 OK"
        clock.now += 100.1
        assert idle.replies(2) == [IDLE]
        assert busy.ask("NOOP\r\n") == "250 OK"
        clock.now += 300
        assert busy.ask("NOOP\r\n") == "250 OK"
        assert len(house.channels) == 1


def test_an_idle_client_is_let_be_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with House() as house:
        client = house.connect()
        clock.now += 1e9
        assert client.ask("NOOP\r\n") == "250 OK"


def test_connections() -> None:
    with House(max_connections=2) as house:
        first, second = house.connect(), house.connect()
        third = Client(house)
        assert third.replies(2) == [TOO_MANY]
        assert first.ask("QUIT\r\n") == second.ask("NOOP\r\n").replace("250 OK", "221 Bye")
        house.until(lambda: len(house.channels) == 1)
        assert house.connect().ask("NOOP\r\n") == "250 OK"


def test_the_connections_of_another_server_do_not_count() -> None:
    with House(max_connections=1) as house:
        other = Collector(("127.0.0.1", 0), None, map=house.map)
        client = Client(house)
        client.replies(1)
        listener: Any = other.socket
        with socket.create_connection(listener.getsockname()):
            house.turn()
            house.until(lambda: sum(hasattr(c, "conn") for c in house.map.values()) == 2)


def test_recipients() -> None:
    with House(max_recipients=2) as house:
        client = house.connect()
        client.talk("""
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<ben@example.org>
            S: 250 OK
            C: RCPT TO:<cleo@example.org>
            S: 250 OK
            C: RCPT TO:<dora@example.org>
            S: 452 Error: too many recipients
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: x
            C: .
            S: 250 OK
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<dora@example.org>
            S: 250 OK
        """)
        assert house.server.messages[0][1] == ["ben@example.org", "cleo@example.org"]


def test_proxies_have_them_too() -> None:
    with House(smtpd.PureProxy, max_recipients=1) as house:
        client = house.connect()
        client.ask("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 2)
        assert client.ask("RCPT TO:<e@f>\r\n") == "452 Error: too many recipients"


# TLS.

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    """Give a server's TLS context and one of a client that trusts it."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@contextlib.contextmanager
def serving(**arguments: Any) -> Iterator[tuple[Collector, int]]:
    channels: dict[int, Any] = {}
    server = Collector(("127.0.0.1", 0), None, map=channels, **arguments)
    listener: Any = server.socket
    with looping(channels):
        yield server, listener.getsockname()[1]


MESSAGE = "Subject: Hello\r\n\r\n" + ("x" * 76 + "\r\n") * 50_000


def test_tls_from_the_first_octet_on(contexts: Contexts) -> None:
    with (
        serving(ssl_context=contexts[0]) as (server, port),
        smtplib.SMTP_SSL("localhost", port, context=contexts[1], timeout=10) as client,
    ):
        client.ehlo()
        assert "starttls" not in client.esmtp_features
        client.sendmail("ann@example.org", ["ben@example.org"], MESSAGE)
        client.sendmail("ann@example.org", ["ben@example.org"], "Subject: Bye\r\n")
        assert [len(message[2]) for message in server.messages] == [50_000 * 77 + 15, 12]
        assert client.docmd("STARTTLS")[0] == 500


def test_starttls(contexts: Contexts) -> None:
    with (
        serving(ssl_context=contexts[0], starttls=True) as (server, port),
        smtplib.SMTP("localhost", port, timeout=10) as client,
    ):
        client.ehlo()
        assert "starttls" in client.esmtp_features
        assert client.docmd("STARTTLS now") == (501, b"Syntax: STARTTLS")
        client.starttls(context=contexts[1])
        assert client.mail("ann@example.org") == (503, b"Error: send HELO first")
        client.ehlo()
        assert "starttls" not in client.esmtp_features
        assert client.docmd("STARTTLS") == (503, b"Error: TLS is on already")
        client.sendmail("ann@example.org", ["ben@example.org"], MESSAGE)
        assert len(server.messages[0][2]) == 50_000 * 77 + 15


def test_plain_text_behind_starttls_does_not_count(contexts: Contexts) -> None:
    with (
        serving(ssl_context=contexts[0], starttls=True) as (_server, port),
        socket.create_connection(("localhost", port), 10) as client,
    ):
        client.sendall(b"HELO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        received = b""
        while not received.endswith(b"220 Ready to start TLS\r\n"):
            received += client.recv(1000)
        with contexts[1].wrap_socket(client, server_hostname="localhost") as secure:
            secure.sendall(b"HELO y\r\nRCPT TO:<ben@example.org>\r\n")
            received = b""
            while b"503 Error: need MAIL command\r\n" not in received:
                received += secure.recv(1000)


def test_a_handshake_octet_by_octet(contexts: Contexts) -> None:
    with House(ssl_context=contexts[0]) as house:
        raw = Client(house)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = contexts[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
        received = b""
        for _ in range(100):
            with contextlib.suppress(ssl.SSLWantReadError):
                secure.do_handshake()
                received += secure.read()
                break
            for octet in outgoing.read():
                raw.send(bytes([octet]))
                (channel,) = house.channels
                assert not channel.writable(), "the loop would turn for nothing"
            house.turn()
            raw.read()
            incoming.write(raw.received)
            raw.received = b""
        assert received.startswith(b"220 ")


@pytest.mark.parametrize("octets", [b"EHLO client.test\r\n", b"\x16\x03\x01\x00\x05hello", b""])
def test_a_client_that_cannot_do_tls(octets: bytes, contexts: Contexts) -> None:
    with House(ssl_context=contexts[0]) as house:
        client = Client(house)
        house.until(lambda: house.channels)
        client.send(octets)
        if not octets:
            client.socket.shutdown(socket.SHUT_WR)
        house.until(lambda: not house.channels)
        assert list(house.map.values()) == [house.server]


def test_a_client_that_does_not_begin(contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with House(ssl_context=contexts[0], idle_timeout_seconds=10) as house:
        client = Client(house)
        house.until(lambda: house.channels)
        clock.now += 11
        assert client.replies(1) == [], "not a word in plain text"
        assert house.channels == []


def test_too_many_connections_with_tls(contexts: Contexts) -> None:
    with House(ssl_context=contexts[0], max_connections=1) as house:
        Client(house)
        house.until(lambda: house.channels)
        assert Client(house).replies(1) == [], "not a word in plain text"
