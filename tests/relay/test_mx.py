"""RFC 5321 §5.1, rule by rule, by a resolver that is a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pillarbox.relay.mx import MAX_HOPS, MAX_HOSTS, MailExchangers
from pillarbox.relay.resolver import LookupFailed
from pillarbox.relay.route import NoRoute, TlsPolicy
from tests.relay.network import FakeResolver

pytestmark = pytest.mark.usefixtures("new_loop")

HOSTS: dict[str, Sequence[str] | Exception] = {
    "a.test": ["192.0.2.1"],
    "b.test": ["2001:db8::2", "192.0.2.2"],
    "c.test": ["192.0.2.3"],
    "relay.test": ["192.0.2.25"],
    "empty.test": [],
    "broken.test": LookupFailed("SERVFAIL"),
}


async def found(
    records: Sequence[tuple[int, str]] | Exception | None,
    *,
    hosts: Mapping[str, Sequence[str] | Exception] = HOSTS,
    chances: Sequence[float] = (),
) -> list[str]:
    """Give the addresses to try for example.org, or what is wrong."""
    exchangers = {} if records is None else {"example.org": records}
    given = iter(chances)
    servers = MailExchangers(
        FakeResolver(exchangers, hosts),
        own_names=["Relay.test."],
        chance=lambda: next(given, 0.5),
    )
    try:
        return [hop.address for hop in await servers.hops("example.org")]
    except NoRoute as error:
        return [str(error.reply)]


async def test_preferences() -> None:
    assert await found([(30, "c.test"), (10, "b.test"), (20, "a.test")]) == [
        "[2001:db8::2]:25",
        "192.0.2.2:25",
        "192.0.2.1:25",
        "192.0.2.3:25",
    ]


@pytest.mark.parametrize(
    ("chances", "first"), [((0.1, 0.9), "192.0.2.1:25"), ((0.9, 0.1), "192.0.2.3:25")]
)
async def test_equal_preferences_share_the_load(chances: Sequence[float], first: str) -> None:
    hops = await found([(10, "a.test"), (10, "c.test")], chances=chances)
    assert hops[0] == first
    assert len(hops) == 2


async def test_the_implicit_one() -> None:
    assert await found([], hosts={"example.org": ["2001:db8::9", "192.0.2.9"]}) == [
        "[2001:db8::9]:25",
        "192.0.2.9:25",
    ]


async def test_no_implicit_one_where_there_are_others() -> None:
    hosts = {"example.org": ["192.0.2.9"]}
    assert await found([(10, "nowhere.test")], hosts=hosts) == [
        "550 5.4.4 The domain has no mail server"
    ]


@pytest.mark.parametrize(
    ("records", "reply"),
    [
        pytest.param(None, "550 5.1.2 No such domain", id="no such domain"),
        pytest.param([(0, ".")], "556 5.1.10 The domain accepts no mail (null MX)", id="null MX"),
        pytest.param(
            LookupFailed("SERVFAIL"), "451 4.4.3 The domain cannot be looked up now", id="SERVFAIL"
        ),
        pytest.param(
            [(10, "broken.test"), (20, "nowhere.test")],
            "451 4.4.3 The domain cannot be looked up now",
            id="a server that cannot be looked up",
        ),
        pytest.param(
            [(10, "empty.test")], "550 5.4.4 The domain has no mail server", id="no address"
        ),
        pytest.param(
            [(10, "relay.test"), (20, "a.test")],
            "554 5.4.6 The mail server of the domain is this one, which does not know it",
            id="it is ourselves",
        ),
        pytest.param(
            [(10, "a.test"), (10, "RELAY.TEST")],
            "554 5.4.6 The mail server of the domain is this one, which does not know it",
            id="as good as ourselves",
        ),
    ],
)
async def test_no_server(records: Sequence[tuple[int, str]] | Exception | None, reply: str) -> None:
    assert await found(records) == [reply]


async def test_only_those_that_are_better_than_we() -> None:
    records = [(10, "a.test"), (20, "relay.test"), (30, "c.test")]
    assert await found(records) == ["192.0.2.1:25"]


async def test_a_null_mx_beside_others_counts_for_nothing() -> None:
    assert await found([(0, "."), (10, "a.test")]) == ["192.0.2.1:25"]


async def test_one_server_of_several_is_enough() -> None:
    records = [(10, "broken.test"), (20, "nowhere.test"), (30, "a.test")]
    assert await found(records) == ["192.0.2.1:25"]


async def test_a_name_that_comes_twice() -> None:
    assert await found([(10, "a.test"), (20, "a.test")]) == ["192.0.2.1:25"]


async def test_servers_without_number() -> None:
    hosts: dict[str, Sequence[str] | Exception] = {
        f"h{number}.test": [f"192.0.2.{number}", f"2001:db8::{number}", f"192.0.3.{number}"]
        for number in range(40)
    }
    records = [(number, f"h{number}.test") for number in range(40)]
    hops = await found(records, hosts=hosts)
    assert len(hops) == min(MAX_HOPS, 3 * MAX_HOSTS)
    assert hops[0] == "192.0.2.0:25"


@pytest.mark.parametrize(
    ("domain", "address"),
    [("[192.0.2.9]", "192.0.2.9:25"), ("[ipv6:2001:db8::9]", "[2001:db8::9]:25")],
)
async def test_address_literals_need_no_dns(domain: str, address: str) -> None:
    resolver = FakeResolver()
    [hop] = await MailExchangers(resolver).hops(domain)
    assert hop.address == address
    assert hop.tls is TlsPolicy.OPPORTUNISTIC
    assert resolver.asked == []
