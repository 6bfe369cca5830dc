"""The Received line by its grammar, and messages that run in a circle."""

from __future__ import annotations

import pytest

from pillarbox.envelope import Envelope, Session, Tls
from pillarbox.protocol.address import Path
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.xclient import XClient
from pillarbox.relay.trace import MAX_HOPS, HopCount, protocol_name, received_line

TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384")
ENDING = "Fri, 15 Jan 2027 08:00:00 +0000"


def session(
    *,
    peer: tuple[str, int] | str = ("192.0.2.1", 49152),
    domain: str = "client.example",
    is_extended: bool = True,
    is_lmtp: bool = False,
    tls: Tls | None = None,
    identity: str | None = None,
    xclient: XClient | None = None,
) -> Session:
    protocol = ServerConnection(
        Offer(hostname="relay.example", is_lmtp=is_lmtp), is_tls=tls is not None
    )
    protocol.domain = domain
    protocol.is_extended = is_extended
    protocol.identity = identity
    protocol.xclient = xclient
    return Session(protocol, id="ab12-3", peer=peer, local=("192.0.2.25", 25), tls=lambda: tls)


def envelope(*rcpts: str, is_utf8: bool = False) -> Envelope:
    mail = Mail(Path(b"ann@example.org"), smtputf8=is_utf8)
    return Envelope(mail, [Rcpt(Path(rcpt.encode())) for rcpt in rcpts or ("ben@example.net",)])


def line(session: Session, envelope: Envelope) -> str:
    """Write the line and unfold it."""
    octets = received_line(session, envelope, hostname="relay.example", now=1_800_000_000.7)
    assert octets.endswith(b"\r\n")
    assert all(len(part) <= 998 for part in octets.split(b"\r\n"))
    return octets.decode().removesuffix("\r\n").replace("\r\n\t", " ")


def test_a_line() -> None:
    octets = received_line(session(), envelope(), hostname="relay.example", now=1_800_000_000.7)
    assert octets.split(b"\r\n\t") == [
        b"Received: from client.example ([192.0.2.1])",
        b"by relay.example (Pillarbox) with ESMTP",
        b"id ab12-3",
        b"for <ben@example.net>;",
        b"Fri, 15 Jan 2027 08:00:00 +0000\r\n",
    ]


def test_tls_is_told() -> None:
    assert line(session(tls=TLS), envelope()) == (
        "Received: from client.example ([192.0.2.1]) by relay.example (Pillarbox) with ESMTPS"
        " (TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) id ab12-3 for <ben@example.net>; " + ENDING
    )


def test_several_recipients_do_not_know_of_one_another() -> None:
    said = line(session(), envelope("ben@example.net", "cleo@example.net"))
    assert said.endswith(f" id ab12-3; {ENDING}")
    assert "example.net" not in said


@pytest.mark.parametrize(
    ("peer", "domain", "told"),
    [
        (("192.0.2.1", 25), "client.example", "client.example ([192.0.2.1])"),
        (("192.0.2.1", 25), "[192.0.2.9]", "[192.0.2.9] ([192.0.2.1])"),
        (("192.0.2.1", 25), "[IPv6:2001:db8::9]", "[IPv6:2001:db8::9] ([192.0.2.1])"),
        (("2001:db8::1", 25), "client.example", "client.example ([IPv6:2001:db8::1])"),
        (("fe80::1%eth0", 25), "client.example", "client.example ([IPv6:fe80::1])"),
        (("::ffff:192.0.2.1", 25), "client.example", "client.example ([192.0.2.1])"),
        ("/run/relay.sock", "client.example", "client.example (a UNIX socket)"),
        ("", "cli%ent", "localhost (a UNIX socket)"),
        (("192.0.2.1", 25), "a:b%c", "[192.0.2.1] ([192.0.2.1])"),
        (("192.0.2.1", 25), "bücher.example", "[192.0.2.1] ([192.0.2.1])"),
    ],
)
def test_the_client(peer: tuple[str, int] | str, domain: str, told: str) -> None:
    assert line(session(peer=peer, domain=domain), envelope()).startswith(
        f"Received: from {told} by relay.example "
    )


def test_the_client_of_a_front_server() -> None:
    xclient = XClient(name="dns.example", address="198.51.100.7")
    said = line(session(peer=("198.51.100.7", 0), xclient=xclient), envelope())
    assert said.startswith("Received: from client.example (dns.example [198.51.100.7]) by ")


def test_names_beyond_ascii_where_the_message_may_have_them() -> None:
    said = line(session(domain="bücher.example"), envelope("bén@example.net", is_utf8=True))
    assert said.startswith("Received: from bücher.example ([192.0.2.1]) by ")
    assert " with UTF8SMTP id ab12-3 for <bén@example.net>; " in said


@pytest.mark.parametrize(
    ("facts", "is_utf8", "name"),
    [
        ({"is_extended": False}, False, "SMTP"),
        ({"is_extended": False, "tls": TLS}, False, "SMTP"),
        ({}, False, "ESMTP"),
        ({"tls": TLS}, False, "ESMTPS"),
        ({"identity": "ann"}, False, "ESMTPA"),
        ({"tls": TLS, "identity": "ann"}, False, "ESMTPSA"),
        ({"is_lmtp": True}, False, "LMTP"),
        ({"is_lmtp": True, "tls": TLS, "identity": "ann"}, False, "LMTPSA"),
        ({}, True, "UTF8SMTP"),
        ({"tls": TLS, "identity": "ann"}, True, "UTF8SMTPSA"),
        ({"is_lmtp": True, "tls": TLS}, True, "UTF8LMTPS"),
        ({"xclient": XClient(protocol="SMTP")}, False, "SMTP"),
        ({"xclient": XClient(protocol="ESMTP")}, False, "ESMTP"),
    ],
)
def test_protocols(facts: dict[str, object], is_utf8: bool, name: str) -> None:
    assert protocol_name(session(**facts), envelope(is_utf8=is_utf8)) == name  # type: ignore[arg-type]  # of each its own


# Circles.

HOP = b"Received: from a by b; Fri, 15 Jan 2027 08:00:00 +0000\r\n"


def hops(*parts: bytes) -> int:
    count = HopCount()
    for part in parts:
        count.feed(part)
    return count.hops


@pytest.mark.parametrize(
    ("octets", "number"),
    [
        (b"", 0),
        (HOP, 1),
        (HOP * 3 + b"Subject: x\r\n\r\n" + HOP, 3),
        (b"\r\n" + HOP, 0),
        (b"RECEIVED: x\r\nreceived : y\r\nReceived\t:z\r\n\r\n", 3),
        (b"X-Received: x\r\nReceived-SPF: y\r\n Received: z\r\nNot Received: w\r\n", 0),
        (b"Subject: x\r\n\tReceived: folded\r\n" + HOP, 1),
    ],
)
def test_hops(octets: bytes, number: int) -> None:
    assert hops(octets) == number
    assert hops(*(octets[at : at + 1] for at in range(len(octets)))) == number
    for cut in range(len(octets)):
        assert hops(octets[:cut], octets[cut:]) == number


def test_a_circle() -> None:
    count = HopCount()
    count.feed(HOP * (MAX_HOPS - 1))
    assert not count.is_loop
    count.feed(HOP)
    assert count.is_loop


def test_a_body_is_no_circle() -> None:
    count = HopCount()
    count.feed(b"Subject: x\r\n\r\n")
    assert count.is_over
    count.feed(HOP * MAX_HOPS)
    assert not count.is_loop
