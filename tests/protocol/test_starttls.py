"""STARTTLS (RFC 3207): forget everything known and everything buffered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, NEED_TLS
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.sasl import STANDARD_MECHANISMS, TlsFacts
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.state import State

MECHANISMS = {name: STANDARD_MECHANISMS[name] for name in ("PLAIN", "EXTERNAL")}
OFFER = Offer(
    hostname="mx.test", offers_tls=True, mechanisms=MECHANISMS, allows_plaintext_auth=True
)
REQUIRED = Offer(hostname="mx.test", offers_tls=True, requires_tls=True)
NONE = Offer(hostname="mx.test")
READY = b"220 2.0.0 Ready to start TLS\r\n"


def server(offer: Offer = OFFER, *, is_tls: bool = False) -> ServerConnection:
    made = ServerConnection(
        offer, asks_connect=False, asks_mail=False, asks_rcpt=False, is_tls=is_tls
    )
    made.data_to_send()
    return made


def said(connection: ServerConnection, octets: bytes) -> bytes:
    connection.receive_data(octets)
    assert connection.next_event() in (NEED_DATA, NEED_TLS)
    return connection.data_to_send()


def test_everything_known_is_forgotten() -> None:
    connection = server()
    said(connection, b"EHLO client.test\r\n")
    connection.identity = "ann"
    assert said(connection, b"STARTTLS\r\n") == READY
    facts = TlsFacts({"tls-server-end-point": b"x"})
    connection.tls_started(facts)
    assert facts_of(connection) == (State.HELLO, None, None, None, [], False, True, 0)
    assert connection.tls_facts == facts
    assert said(connection, b"MAIL FROM:<>\r\n") == b"503 5.5.1 Say EHLO first\r\n"


def test_ehlo_says_other_things_within_tls() -> None:
    connection = server()
    before = said(connection, b"EHLO client.test\r\n")
    said(connection, b"STARTTLS\r\n")
    connection.tls_started()
    after = said(connection, b"EHLO client.test\r\n")
    assert b"STARTTLS\r\n" in before
    assert b"REQUIRETLS\r\n" not in before
    assert b"250-AUTH PLAIN\r\n" in before
    assert b"STARTTLS\r\n" not in after
    assert b"250-REQUIRETLS\r\n" in after
    assert b"250-AUTH PLAIN EXTERNAL\r\n" in after


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"STARTTLS now\r\n", b"501 5.5.4 STARTTLS takes no argument\r\n"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nSTARTTLS\r\n", b"503 5.5.1 STARTTLS has no place in a"),
        (b"STARTTL\r\n", b"500 5.5.1 Command not recognized\r\n"),
    ],
)
def test_refused(octets: bytes, reply: bytes) -> None:
    connection = server()
    assert reply in said(connection, octets)
    assert connection.state is not State.TLS
    assert not connection.is_tls


@pytest.mark.parametrize("octets", [b"STARTTLS\r\n", b"EHLO x\r\nSTARTTLS\r\n"])
def test_none_within_tls(octets: bytes) -> None:
    assert said(server(is_tls=True), octets).endswith(b"503 5.5.1 TLS is active already\r\n")


def test_none_without_a_certificate() -> None:
    assert said(server(NONE), b"STARTTLS\r\n") == b"502 5.5.1 STARTTLS is not offered\r\n"


def test_required() -> None:
    connection = server(REQUIRED)
    for line in (b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b> SIZE=1\r\n"):
        reply = said(connection, b"EHLO x\r\n" + line)
        assert reply.endswith(b"530 5.7.0 Must issue a STARTTLS command first\r\n")
    said(connection, b"STARTTLS\r\n")
    connection.tls_started()
    assert said(connection, b"EHLO x\r\nMAIL FROM:<a@b>\r\n").endswith(b"250 2.1.0 Sender OK\r\n")


def test_tls_that_nobody_asked_for() -> None:
    with pytest.raises(LocalProtocolError, match="NEED_TLS"):
        server().tls_started()


def test_nothing_is_said_while_tls_is_due() -> None:
    connection = server()
    assert said(connection, b"STARTTLS\r\n") == READY
    assert said(connection, b"NOOP\r\n") == b""
    connection.receive_eof()
    assert connection.next_event() is NEED_TLS


def test_closed_while_tls_is_due() -> None:
    connection = server()
    said(connection, b"STARTTLS\r\n")
    connection.close(connection.offer.hello)
    assert connection.next_event() is NEED_CLOSE


COMMANDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"EHLO evil.test\r\n", b"MAIL FROM:<e@evil>\r\n", b"RCPT TO:<e@evil>\r\n"),
                *(b"DATA\r\n", b"x\r\n.\r\n", b"RSET\r\n", b"STARTTLS\r\n", b"QUIT\r\n", b"NO"),
                *(b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", b"BDAT 10 LAST\r\n", b"GET / HTTP/1.0\r\n"),
            ]
        ),
        st.binary(max_size=20),
    ),
    max_size=8,
).map(b"".join)


def facts_of(connection: ServerConnection) -> tuple[object, ...]:
    return (
        *(connection.state, connection.domain, connection.identity, connection.mail),
        *(connection.rcpts, connection.is_extended, connection.is_tls, connection.buffered_octets),
    )


@given(COMMANDS, COMMANDS)
def test_what_follows_starttls_in_its_packet_changes_nothing(injected: bytes, later: bytes) -> None:
    outcomes = []
    for octets in (b"", injected):
        connection = server()
        assert said(connection, b"EHLO client.test\r\nSTARTTLS\r\n" + octets).endswith(READY)
        connection.receive_data(later and octets)  # more may come before the handshake begins
        connection.tls_started()
        first = facts_of(connection)
        reply = said(connection, b"NOOP\r\nMAIL FROM:<>\r\nEHLO client.test\r\n")
        outcomes.append((first, reply, facts_of(connection)))
    assert outcomes[0] == outcomes[1]
