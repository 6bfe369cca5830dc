"""dnspython against a name server of our own, over UDP; and the system."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from pillarbox.relay.resolver import (
    DnsResolver,
    LookupFailed,
    MailExchanger,
    NoSuchName,
    SystemResolver,
)

pytestmark = pytest.mark.usefixtures("new_loop")

ZONE = {
    ("example.org.", "MX"): ["20 mx2.example.org.", "10 mx1.example.org."],
    ("null.test.", "MX"): ["0 ."],
    ("plain.test.", "A"): ["192.0.2.1"],
    ("six.test.", "AAAA"): ["2001:db8::1"],
    ("both.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("both.test.", "AAAA"): ["2001:db8::1"],
    ("half.test.", "A"): ["192.0.2.1"],
    ("half.test.", "AAAA"): ["SERVFAIL"],
    ("broken.test.", "MX"): ["SERVFAIL"],
    ("broken.test.", "A"): ["SERVFAIL"],
    ("silent.test.", "MX"): ["SILENT"],
    ("alias.test.", "CNAME"): ["example.org."],
    ("xn--bcher-kva.example.", "MX"): ["10 mx.example.org."],
}


class NameServer(asyncio.DatagramProtocol):
    """Answers out of `ZONE`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = str(question.name).lower(), dns.rdatatype.to_text(question.rdtype)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if alias := ZONE.get((name, "CNAME")):
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *alias))
            name = alias[0]
        records = ZONE.get((name, kind), [])
        if records == ["SILENT"]:
            return
        if records == ["SERVFAIL"]:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *records))
        elif not any(known == name for known, _ in ZONE):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


@contextlib.asynccontextmanager
async def resolving(lifetime_seconds: float = 5) -> AsyncIterator[DnsResolver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield DnsResolver(["127.0.0.1"], port=port, lifetime_seconds=lifetime_seconds)
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("domain", "records"),
    [
        ("example.org", {(10, "mx1.example.org"), (20, "mx2.example.org")}),
        ("alias.test", {(10, "mx1.example.org"), (20, "mx2.example.org")}),
        ("null.test", {(0, ".")}),
        ("plain.test", set()),
        ("b\xfccher.example", {(10, "mx.example.org")}),
    ],
)
async def test_mail_exchangers(domain: str, records: set[tuple[int, str]]) -> None:
    async with resolving() as resolver:
        found = await resolver.mail_exchangers(domain)
    assert set(found) == {MailExchanger(preference, host) for preference, host in records}


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("plain.test", ["192.0.2.1"]),
        ("six.test", ["2001:db8::1"]),
        ("half.test", ["192.0.2.1"]),
        ("example.org", []),
    ],
)
async def test_addresses(host: str, addresses: list[str]) -> None:
    async with resolving() as resolver:
        assert await resolver.addresses(host) == addresses


async def test_ipv6_comes_first() -> None:
    async with resolving() as resolver:
        addresses = await resolver.addresses("both.test")
    assert addresses[0] == "2001:db8::1"
    assert set(addresses[1:]) == {"192.0.2.1", "192.0.2.2"}


async def test_no_such_name() -> None:
    async with resolving() as resolver:
        with pytest.raises(NoSuchName):
            await resolver.mail_exchangers("nowhere.test")
        with pytest.raises(NoSuchName):
            await resolver.addresses("nowhere.test")


async def test_nobody_could_say() -> None:
    async with resolving(0.3) as resolver:
        for domain in ("broken.test", "silent.test", "a..b", "x" * 64 + ".test"):
            with pytest.raises(LookupFailed, match=domain[:10]):
                await resolver.mail_exchangers(domain)
        with pytest.raises(LookupFailed, match=r"broken\.test"):
            await resolver.addresses("broken.test")


async def test_the_system() -> None:
    resolver = SystemResolver()
    assert "127.0.0.1" in await resolver.addresses("127.0.0.1")
    with pytest.raises((NoSuchName, LookupFailed)):
        await resolver.addresses("nowhere.invalid")
    with pytest.raises(LookupFailed):
        await resolver.addresses("x" * 64 + ".test")
    with pytest.raises(LookupFailed, match="start with --mx"):
        await resolver.mail_exchangers("example.org")


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "dns" or name.startswith("dns.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(ImportError, match=r'pip install "pillarbox\[mx\]"'):
        DnsResolver()
