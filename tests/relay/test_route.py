"""What `--to` takes, what destinations are called, and which servers they lead to."""

from __future__ import annotations

import pytest

from pillarbox.config import ConfigError
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.resolver import LookupFailed
from pillarbox.relay.route import Hop, NextHop, NoRoute, Routes, TlsPolicy, is_next_hop
from tests.relay.network import FakeResolver

pytestmark = pytest.mark.usefixtures("new_loop")

N, O, S, I = (  # noqa: E741  # as a table wants it
    TlsPolicy.NEVER,
    TlsPolicy.OPPORTUNISTIC,
    TlsPolicy.STARTTLS,
    TlsPolicy.IMPLICIT,
)


@pytest.mark.parametrize(
    ("text", "destination", "tls"),
    [
        ("relay.example:25", "smtp://relay.example:25", O),
        ("relay.example", "smtp://relay.example:25", O),
        ("Relay.Example:2525", "smtp://relay.example:2525", O),
        ("192.0.2.1:25", "smtp://192.0.2.1:25", O),
        ("[2001:db8::1]:25", "smtp://[2001:db8::1]:25", O),
        ("[2001:db8::1]", "smtp://[2001:db8::1]:25", O),
        ("smtp://relay.example", "smtp://relay.example:25", O),
        ("SMTP://relay.example/", "smtp://relay.example:25", O),
        ("localhost:1025", "smtp://localhost:1025", N),
        ("127.0.0.1:1025", "smtp://127.0.0.1:1025", N),
        ("[::1]:1025", "smtp://[::1]:1025", N),
        ("smtp://ann@relay.example", "smtp://ann@relay.example:587", S),
        ("ann@relay.example:25", "smtp://ann@relay.example:25", S),
        ("smtp://ann@localhost:25", "smtp://ann@localhost:25", S),
        ("smtp+starttls://relay.example", "smtp+starttls://relay.example:587", S),
        ("smtps://relay.example", "smtps://relay.example:465", I),
        ("smtps://ann@example.org@relay.example", "smtps://ann@example.org@relay.example:465", I),
        ("smtps://ann%40x.org@relay.example:4", "smtps://ann@x.org@relay.example:4", I),
        ("smtps://a%2Fb%3Ac@relay.example", "smtps://a%2Fb%3Ac@relay.example:465", I),
        ("lmtp://mail.example", "lmtp://mail.example:24", O),
        ("lmtp://127.0.0.1:8024", "lmtp://127.0.0.1:8024", N),
        ("lmtp:unix:/run/lmtp", "lmtp:unix:/run/lmtp", N),
        ("lmtp://unix:/run/lmtp", "lmtp:unix:/run/lmtp", N),
        ("unix:/run/lmtp", "lmtp:unix:/run/lmtp", N),
    ],
)
def test_next_hops(text: str, destination: str, tls: TlsPolicy) -> None:
    next_hop = NextHop.parse(text)
    assert str(next_hop) == destination
    assert NextHop.parse(destination) == next_hop
    assert next_hop.tls is tls
    assert next_hop.hop().tls is tls
    assert is_next_hop(destination)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no host name; write 'relay.example:25'"),
        (":25", "has no host name"),
        ("a b:25", "has no host name"),
        ("relay.example:smtp", "the port is a number"),
        ("relay.example:65536", "the port is a number"),
        ("relay.example:", "the port is a number"),
        ("relay.example:\u0662\u0665", "the port is a number"),
        ("::1", "stands in brackets"),
        ("2001:db8::1", "stands in brackets"),
        ("http://relay.example", "begins with none of smtp://"),
        ("lmtp:unix:", "write 'lmtp:unix:/run/dovecot/lmtp'"),
        ("unix:lmtp", "write 'lmtp:unix:/run/dovecot/lmtp'"),
        ("lmtp://ann@mail.example", "LMTP with a login is not supported"),
    ],
)
def test_what_is_no_next_hop(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NextHop.parse(text)


def test_a_password_belongs_into_a_file() -> None:
    with pytest.raises(ConfigError, match="--to-password-file") as caught:
        NextHop.parse("smtps://ann:s3cret@relay.example")
    assert "s3cret" not in str(caught.value)
    assert "'smtps://ann@relay.example'" in str(caught.value)


def routes(default: str | None = "192.0.2.25:25", **domains: str) -> Routes:
    return Routes(
        None if default is None else NextHop.parse(default),
        resolver=MailExchangers(FakeResolver(addresses={"relay.test": ["192.0.2.1", "192.0.2.2"]})),
        domains={name.replace("_", "."): NextHop.parse(hop) for name, hop in domains.items()},
        passwords={"smtps://ann@relay.test:465": "s3cret"},
    )


@pytest.mark.parametrize(
    ("address", "destination"),
    [
        ("ann@example.org", "smtp://192.0.2.25:25"),
        ("Postmaster", "smtp://192.0.2.25:25"),
        ("ann@LISTS.test", "lmtp://127.0.0.1:8024"),
        ('"ann@lists.test"@example.org', "smtp://192.0.2.25:25"),
        ("ann@[192.0.2.9]", "smtp://192.0.2.25:25"),
    ],
)
def test_destinations_of_a_smart_host(address: str, destination: str) -> None:
    chosen = routes(lists_test="lmtp://127.0.0.1:8024")
    assert chosen.destination(address) == destination


@pytest.mark.parametrize(
    ("address", "destination"),
    [
        ("ann@Example.ORG", "example.org"),
        ("ann@lists.test", "lmtp://127.0.0.1:8024"),
        ("ann@[192.0.2.9]", "[192.0.2.9]"),
        ("ann@[IPv6:2001:DB8::9]", "[ipv6:2001:db8::9]"),
        ("ann@b\xfccher.example", "b\xfccher.example"),
    ],
)
def test_destinations_by_dns(address: str, destination: str) -> None:
    chosen = routes(None, lists_test="lmtp://127.0.0.1:8024")
    assert chosen.destination(address) == destination
    assert is_next_hop(destination) == destination.startswith("lmtp")


def test_an_address_that_dns_knows_nothing_of() -> None:
    with pytest.raises(NoRoute) as caught:
        routes(None).destination("Postmaster")
    assert str(caught.value.reply) == "550 5.1.3 An address needs a domain: <user@example.org>"


async def test_the_addresses_of_a_next_hop() -> None:
    chosen = routes("smtps://ann@relay.test")
    hops = await chosen.hops(chosen.destination("bob@example.org"))
    assert hops == [
        Hop(
            host=address,
            port=465,
            name="relay.test",
            tls=TlsPolicy.IMPLICIT,
            username="ann",
            password="s3cret",
        )
        for address in ("192.0.2.1", "192.0.2.2")
    ]
    assert str(hops[0]) == "relay.test (192.0.2.1:465)"
    assert "s3cret" not in repr(hops)


@pytest.mark.parametrize(
    ("default", "text"),
    [
        ("192.0.2.1:25", "192.0.2.1:25"),
        ("[2001:db8::1]:25", "[2001:db8::1]:25"),
        ("lmtp:unix:/run/lmtp", "unix:/run/lmtp"),
    ],
)
async def test_next_hops_that_need_no_look_up(default: str, text: str) -> None:
    [hop] = await routes(default).hops(str(NextHop.parse(default)))
    assert str(hop) == text
    assert hop.is_lmtp == default.startswith("lmtp")


async def test_each_domain_has_its_next_hop() -> None:
    chosen = routes(None, lists_test="lmtp://127.0.0.1:8024")
    [hop] = await chosen.hops("lmtp://127.0.0.1:8024")
    assert hop.address == "127.0.0.1:8024"


@pytest.mark.parametrize("destination", ["smtp://192.0.2.77:25", "example.org", "gopher://x.test"])
async def test_what_waits_for_another_next_hop_goes_to_the_new_one(destination: str) -> None:
    [hop] = await routes("192.0.2.1:25").hops(destination)
    assert hop.address == "192.0.2.1:25"


async def test_what_waits_for_a_next_hop_where_there_is_none_now() -> None:
    [hop] = await routes(None).hops("smtp://192.0.2.77:25")
    assert hop.address == "192.0.2.77:25"


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("smtps://ben@relay.test:465", "no password is known for smtps://ben@relay.test:465"),
        ("smtps://nowhere.test:465", "the next hop's name, nowhere.test, has no address"),
        ("gopher://nowhere.test", "begins with none of"),
    ],
)
async def test_next_hops_that_cannot_be_had_now(destination: str, words: str) -> None:
    with pytest.raises(NoRoute, match=words) as caught:
        await routes(None).hops(destination)
    assert caught.value.reply.is_transient  # the queue waits until the slip is mended


async def test_a_next_hop_that_cannot_be_looked_up() -> None:
    resolver = FakeResolver(addresses={"relay.test": LookupFailed("time-out"), "empty.test": []})
    chosen = Routes(None, resolver=MailExchangers(resolver))
    for name, words in (("relay.test", "time-out"), ("empty.test", "has no address")):
        with pytest.raises(NoRoute, match=words) as caught:
            await chosen.hops(f"smtp://{name}:25")
        assert caught.value.reply.code == 451
