"""Permission: every way we know to make an open relay of this, through the real driver."""

from __future__ import annotations

import base64
import ipaddress
import logging
from typing import Any

import pytest

from pillarbox.config import ConfigError
from pillarbox.envelope import Session
from pillarbox.protocol.sasl import Password
from pillarbox.relay.permission import Permission, comparable_domain
from tests.asyncio.wire import InMemory, turns
from tests.grammar import split_answers
from tests.relay.taken import MemoryRelay, intake

pytestmark = pytest.mark.usefixtures("new_loop")

STRANGER = ("203.0.113.9", 49152)
HERE = ("127.0.0.1", 49152)
FRONT = ("192.0.2.1", 4711)
FRONTS = (ipaddress.ip_network("192.0.2.0/28"),)
ELSEWHERE = "victim@elsewhere.example"
DENIED = ["550 5.7.1"]

DOMAINS = Permission(domains=("Example.ORG", "xn--bcher-kva.example", "strasse.example"))
FRONTED = Permission(front_networks=FRONTS)


def networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


async def ask(
    in_memory: InMemory,
    recipient: str,
    *,
    permission: Permission | None = None,
    peername: object = STRANGER,
    before: bytes = b"",
    hello: bytes = b"EHLO client.test\r\n",
    mail: bytes = b"MAIL FROM:<ann@example.org>\r\n",
    **config: Any,
) -> list[str]:
    """Try to send to a recipient; give code and enhanced code of the answer."""
    relay = MemoryRelay()
    memory = in_memory(intake(relay, permission), **config)
    client = memory.connect(peername=peername)
    client.feed(before + hello)
    await turns()
    if b"SMTPUTF8" in client.heard() and not recipient.isascii():
        mail = mail.replace(b">\r\n", b"> SMTPUTF8\r\n")
    client.feed(mail)
    client.heard()
    client.feed(b"RCPT TO:" + recipient.encode() + b"\r\n")
    await turns()
    [answer] = split_answers(client.heard())
    said = f"{answer.code} {answer.lines[0].split()[0]}"
    if not said.startswith("250"):
        client.feed(b"DATA\r\n")
        await turns()
        assert split_answers(client.heard())[0].code == 503
        assert relay.taken == []
    return [said]


OK = ["250 2.1.5"]


# Who may send anywhere.


@pytest.mark.parametrize(
    ("peername", "may"),
    [
        (HERE, True),
        (("127.8.9.10", 25), True),
        (("::1", 49152, 0, 0), True),
        (("::ffff:127.0.0.1", 49152, 0, 0), True),
        ("", True),  # a UNIX socket without a name
        ("/run/relay.sock", True),
        (STRANGER, False),
        (("::ffff:203.0.113.9", 49152, 0, 0), False),
        (("2001:db8::1", 49152, 0, 0), False),
        (("fe80::1%lo", 49152, 0, 0), False),
        (("10.0.0.1", 49152), False),
        (("0.0.0.0", 49152), False),
        (("::", 49152, 0, 0), False),
        (("127.0.0.1.example", 49152), False),
        (("::127.0.0.1", 49152, 0, 0), False),
    ],
)
async def test_by_default_this_machine_alone(
    in_memory: InMemory, peername: object, may: bool
) -> None:
    assert await ask(in_memory, f"<{ELSEWHERE}>", peername=peername) == (OK if may else DENIED)


@pytest.mark.parametrize("peername", [HERE, ("::1", 49152, 0, 0), ""])
async def test_not_even_this_machine(in_memory: InMemory, peername: object) -> None:
    permission = Permission(allows_local=False)
    assert (
        await ask(in_memory, f"<{ELSEWHERE}>", permission=permission, peername=peername) == DENIED
    )


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8:5::1", True),
        ("2001:db8:6::1", False),
        ("::10.1.2.3", False),
        ("198.51.100.7", True),
        ("::ffff:198.51.100.7", True),
        ("198.51.101.1", False),
        ("127.0.0.1", True),
    ],
)
async def test_networks(in_memory: InMemory, host: str, may: bool) -> None:
    permission = Permission(
        networks=networks("10.0.0.0/8", "2001:db8:5::/48", "::ffff:198.51.100.0/120")
    )
    said = await ask(in_memory, f"<{ELSEWHERE}>", permission=permission, peername=(host, 25))
    assert said == (OK if may else DENIED)


# What a client says of itself opens nothing.


@pytest.mark.parametrize(
    "hello",
    [
        b"HELO localhost\r\n",
        b"EHLO [127.0.0.1]\r\n",
        b"EHLO relay.test\r\n",
        b"EHLO [IPv6:::1]\r\n",
    ],
)
async def test_hello(in_memory: InMemory, hello: bytes) -> None:
    assert await ask(in_memory, f"<{ELSEWHERE}>", hello=hello) == DENIED


@pytest.mark.parametrize(
    "mail",
    [
        b"MAIL FROM:<>\r\n",
        b"MAIL FROM:<root@localhost>\r\n",
        b"MAIL FROM:<root@relay.test>\r\n",
        b"MAIL FROM:<a@[127.0.0.1]>\r\n",
        b"MAIL FROM:<@localhost:a@relay.test>\r\n",
        b"MAIL FROM:<ann@example.org>\r\n",
    ],
)
async def test_sender(in_memory: InMemory, mail: bytes) -> None:
    assert await ask(in_memory, f"<{ELSEWHERE}>", mail=mail) == DENIED
    assert await ask(in_memory, f"<{ELSEWHERE}>", mail=mail, permission=DOMAINS) == DENIED


class OfferingAuth:
    """An intake, and somebody who may log in."""

    def __init__(self) -> None:
        self._intake = intake(MemoryRelay())
        self.mail, self.rcpt = self._intake.mail, self._intake.rcpt

    def auth(self, _session: Session, credentials: Password) -> str | None:
        return credentials.username if credentials.password == "secret" else None


@pytest.mark.parametrize(
    ("login", "mail", "may"),
    [
        (b"ann\0secret", b"", True),
        (b"ann\0wrong", b"", False),
        (None, b" AUTH=ann", False),
        (None, b" AUTH=<>", False),
    ],
)
async def test_a_login(in_memory: InMemory, login: bytes | None, mail: bytes, may: bool) -> None:
    memory = in_memory(OfferingAuth(), allows_plaintext_auth=True, auth_delay_seconds=0)
    client = memory.connect(peername=STRANGER)
    client.feed(b"EHLO client.test\r\n")
    if login is not None:
        client.feed(b"AUTH PLAIN " + base64.b64encode(b"\0" + login) + b"\r\n")
        await turns()
        memory.wait(2)
    client.feed(b"MAIL FROM:<ann@example.org>" + mail + b"\r\n")
    await turns()
    client.feed(f"RCPT TO:<{ELSEWHERE}>\r\n".encode())
    await turns()
    assert (split_answers(client.heard())[-1].code == 250) is may


async def test_a_login_where_none_is_offered(in_memory: InMemory) -> None:
    client = in_memory(intake(MemoryRelay())).connect(peername=STRANGER)
    client.feed(b"EHLO client.test\r\n")
    for mechanism in (b"PLAIN AGFubgBzZWNyZXQ=", b"ANONYMOUS", b"EXTERNAL ="):
        client.feed(b"AUTH " + mechanism + b"\r\n")
    client.feed(f"MAIL FROM:<ann@example.org>\r\nRCPT TO:<{ELSEWHERE}>\r\n".encode())
    await turns()
    answers = [answer.code for answer in split_answers(client.heard())]
    assert answers[2:] == [502, 502, 502, 250, 550]


async def test_lmtp(in_memory: InMemory) -> None:
    said = await ask(in_memory, f"<{ELSEWHERE}>", hello=b"LHLO client.test\r\n", is_lmtp=True)
    assert said == DENIED


# Ways to write an address.


@pytest.mark.parametrize(
    "recipient",
    [
        f"<{ELSEWHERE}>",
        "<@example.org:victim@elsewhere.example>",
        "<@localhost,@example.org:victim@elsewhere.example>",
        "<@relay.test:victim@elsewhere.example>",
        "<victim%elsewhere.example@relay.test>",
        "<victim%elsewhere.example@localhost>",
        "<elsewhere.example!victim@relay.test>",
        '<"victim@elsewhere.example"@relay.test>',
        "<victim@[192.0.2.25]>",
        "<victim@[127.0.0.1]>",
        "<victim@2130706433>",
        " <victim@elsewhere.example>",
        "<victim@elsewhere.example> ORCPT=rfc822;ben@example.org",
        "<victim@[IPv6:::1]>",
        "<victim@[IPv6:::ffff:127.0.0.1]>",
        "<victim%elsewhere.example@[192.0.2.25]>",
        "<victim@localhost>",
        "<victim@relay.test>",
        "<Postmaster>",
        "<postmaster@elsewhere.example>",
        "<victim@sub.example.org>",
        "<victim@sub.sub.example.org>",
        "<victim@notexample.org>",
        "<victim@example.org.elsewhere.example>",
        "<victim@org>",
        "<victim@exa_mple.org>",
        '<"victim@example.org"@elsewhere.example>',
        "<example.org!victim@elsewhere.example>",
        # Not the same domains, though some software reads them so.
        "<victim@straße.example>",
        "<victim@ｅxample.org>",
        "<victim@example。org>",
        "<victim@example.orɡ>",
        "<victim@xn--strae-oqa.example>",
    ],
)
async def test_recipients_elsewhere(in_memory: InMemory, recipient: str) -> None:
    assert await ask(in_memory, recipient) == DENIED
    assert await ask(in_memory, recipient, permission=DOMAINS) == DENIED


@pytest.mark.parametrize(
    "recipient",
    [
        "victim@elsewhere.example",
        "<victim@elsewhere.example.>",
        "<ben@example.org.>",
        "<victim@elsewhere.example@example.org>",
        "<ben@example.org@elsewhere.example>",
        "<ben@example.org,victim@elsewhere.example>",
        "<ben@example.org>,<victim@elsewhere.example>",
        "<ben@example.org> <victim@elsewhere.example>",
        "<<victim@elsewhere.example>@example.org>",
        "<victim(comment@elsewhere.example)@example.org>",
        "<elsewhere.example!victim>",
        "<victim%elsewhere.example>",
        '<"victim@elsewhere.example">',
        "<victim@elsewhere.example\0.example.org>",
        "<victim@elsewhere.example\n@example.org>",
        "<victim@elsewhere.example\r@example.org>",
        "<victim@example.org%elsewhere.example>",
        "<@example.org>",
        "<@example.org:>",
        "<victim@[0x7f.1]>",
        "<victim@[::ffff:127.0.0.1]>",
        "<victim@#2130706433>",
        "<victim@example.org:25>",
        "<victim@[example.org]>",
    ],
)
async def test_what_is_no_address(in_memory: InMemory, recipient: str) -> None:
    for permission in (None, DOMAINS):
        [said] = await ask(in_memory, recipient, permission=permission)
        assert said[:6] in ("501 5.", "500 5.")


@pytest.mark.parametrize(
    "recipient",
    [
        "<victim%elsewhere.example@example.org>",
        "<elsewhere.example!victim@example.org>",
        "<a!b!victim@example.org>",
        '<"victim@elsewhere.example"@example.org>',
        r'<"victim\@elsewhere.example"@example.org>',
        r'<"\v\i\c\t\i\m\%elsewhere.example"@example.org>',
        '<"victim%elsewhere.example"@example.org>',
        "<@example.org:victim%elsewhere.example@example.org>",
        "<victim％elsewhere.example@example.org>",
        '<"victim＠elsewhere.example"@example.org>',
    ],
)
async def test_a_route_hidden_in_a_local_part(in_memory: InMemory, recipient: str) -> None:
    assert await ask(in_memory, recipient, permission=DOMAINS) == DENIED
    # Who may send anywhere may write to whom it likes.
    assert await ask(in_memory, recipient, permission=DOMAINS, peername=HERE) == OK


@pytest.mark.parametrize(
    "recipient",
    [
        "<ben@example.org>",
        "<Ben.Miller+lunch@EXAMPLE.org>",
        '<"ben miller"@example.org>',
        "<@elsewhere.example:ben@example.org>",
        "<ben@xn--bcher-kva.example>",
        "<ben@XN--Bcher-KVA.example>",
        "<ben@bücher.example>",
        "<ben@BÜCHER.example>",
        "<ben@bu\u0308cher.example>",
        "<ben@strasse.example>",
    ],
)
async def test_domains_for_anyone(in_memory: InMemory, recipient: str) -> None:
    assert await ask(in_memory, recipient, permission=DOMAINS) == OK
    assert await ask(in_memory, recipient) == DENIED


async def test_one_refused_recipient_is_not_let_in_by_the_others(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay, DOMAINS)).connect(peername=STRANGER)
    client.feed(
        b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<ben@example.org>\r\n"
        b"RCPT TO:<victim@elsewhere.example>\r\nDATA\r\n"
    )
    await turns()
    client.feed(b"Subject: x\r\n\r\nx\r\n.\r\n")
    await turns()
    assert [answer.code for answer in split_answers(client.heard())][2:] == [
        *(250, 250, 550, 354, 250)
    ]
    [taken] = relay.taken
    assert [one.address for one in taken.message.recipients] == ["ben@example.org"]


# Proxies.

V1 = "PROXY TCP4 {} 198.51.100.2 49152 25\r\n"


@pytest.mark.parametrize("peername", [STRANGER, HERE])
async def test_a_proxy_header_of_nobody(in_memory: InMemory, peername: object) -> None:
    memory = in_memory(intake(MemoryRelay()), proxy_networks=FRONTS)
    client = memory.connect(peername=peername)
    client.feed(V1.format("127.0.0.1").encode())
    await turns()
    assert split_answers(client.heard())[-1].code == 500


@pytest.mark.parametrize(
    ("header", "allowed", "may"),
    [
        (V1.format("127.0.0.1"), (), False),  # some other machine's
        (V1.format("203.0.113.9"), (), False),
        (V1.format("10.1.2.3"), ("10.0.0.0/8",), True),
        (V1.format("203.0.113.9"), ("10.0.0.0/8",), False),
        (V1.format("192.0.2.2"), ("192.0.2.0/24",), False),  # another proxy, for somebody
        ("PROXY TCP6 ::1 ::1 49152 25\r\n", (), False),
        ("PROXY TCP6 ::ffff:127.0.0.1 ::1 49152 25\r\n", (), False),
        ("PROXY TCP6 ::ffff:10.1.2.3 ::1 49152 25\r\n", ("10.0.0.0/8",), True),
        # It does not know for whom it stands.
        ("PROXY UNKNOWN\r\n", (), False),
        ("PROXY UNKNOWN\r\n", ("192.0.2.0/24",), False),
    ],
)
@pytest.mark.parametrize("proxy", [FRONT, HERE, ("::ffff:192.0.2.1", 4711, 0, 0)])
async def test_what_a_proxy_tells(
    in_memory: InMemory, header: str, allowed: tuple[str, ...], may: bool, proxy: object
) -> None:
    fronts = (*FRONTS, ipaddress.ip_network("127.0.0.1/32"))
    permission = Permission(networks=networks(*allowed), front_networks=fronts)
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=permission,
        peername=proxy,
        before=header.encode(),
        proxy_networks=fronts,
    )
    assert said == (OK if may else DENIED)


async def test_the_loopback_of_a_proxy_can_be_listed(in_memory: InMemory) -> None:
    permission = Permission(networks=networks("127.0.0.0/8"), front_networks=FRONTS)
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=permission,
        peername=FRONT,
        before=V1.format("127.0.0.1").encode(),
        proxy_networks=FRONTS,
    )
    assert said == OK


@pytest.mark.parametrize("peername", [STRANGER, HERE])
async def test_xclient_of_nobody(in_memory: InMemory, peername: tuple[str, int]) -> None:
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=FRONTED,
        peername=peername,
        before=b"EHLO x\r\nXCLIENT ADDR=127.0.0.1 LOGIN=ann\r\n",
        xclient_networks=FRONTS,
    )
    assert said == (OK if peername is HERE else DENIED)


@pytest.mark.parametrize(
    ("told", "may"),
    [
        (b"ADDR=127.0.0.1", False),
        (b"ADDR=IPV6:::1", False),
        (b"ADDR=IPV6:::ffff:127.0.0.1", False),
        (b"ADDR=203.0.113.9", False),
        (b"ADDR=[UNAVAILABLE]", False),
        (b"NAME=localhost", False),
        (b"HELO=localhost", False),
        (b"ADDR=192.0.2.1", False),
        (b"ADDR=10.1.2.3", True),
        (b"ADDR=203.0.113.9 LOGIN=ann", True),
        (b"LOGIN=ann", True),
    ],
)
@pytest.mark.parametrize("front", [FRONT, ("127.0.0.1", 4711)])
async def test_what_xclient_tells(
    in_memory: InMemory, told: bytes, may: bool, front: tuple[str, int]
) -> None:
    fronts = (*FRONTS, ipaddress.ip_network("127.0.0.0/8"))
    permission = Permission(networks=networks("10.0.0.0/8", "192.0.2.0/24"), front_networks=fronts)
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=permission,
        peername=front,
        before=b"EHLO front.test\r\nXCLIENT " + told + b"\r\n",
        xclient_networks=fronts,
    )
    assert said == (OK if may else DENIED)


@pytest.mark.parametrize("told", [b"NAME=a.example", b"HELO=localhost", b"PORT=25"])
async def test_a_front_server_that_does_not_tell_for_whom(in_memory: InMemory, told: bytes) -> None:
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=Permission(networks=FRONTS),
        peername=FRONT,
        before=b"EHLO front.test\r\nXCLIENT " + told + b"\r\n",
        xclient_networks=FRONTS,
    )
    assert said == DENIED


@pytest.mark.parametrize("front", [FRONT, ("127.0.0.1", 4711)])
async def test_a_front_server_that_tells_of_nobody(
    in_memory: InMemory, front: tuple[str, int]
) -> None:
    fronts = (*FRONTS, ipaddress.ip_network("127.0.0.0/8"))
    permission = Permission(networks=networks("192.0.2.0/24"), front_networks=fronts)
    said = await ask(
        in_memory,
        f"<{ELSEWHERE}>",
        permission=permission,
        peername=front,
        xclient_networks=fronts,
    )
    assert said == DENIED


# The networks themselves.


@pytest.mark.parametrize(
    "texts",
    [
        ("0.0.0.0/0",),
        ("::/0",),
        ("0.0.0.0/1", "128.0.0.0/1"),
        ("0.0.0.0/1",),
        ("128.0.0.0/2", "192.0.0.0/3"),
        tuple(f"{first}.0.0.0/8" for first in range(256)),
        ("10.0.0.0/8", "11.0.0.0/8"),
        ("::/1", "8000::/1"),
        ("2000::/3",),
        tuple(f"{first:x}00::/8" for first in range(256)),
        ("::ffff:0:0/96",),
        ("::ffff:0.0.0.0/97", "::ffff:128.0.0.0/97"),
        ("64:ff9b::/96",),
        ("2002::/16",),
    ],
)
def test_networks_as_wide_as_the_internet(texts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="is a good part of the Internet"):
        Permission(networks=networks(*texts))
    Permission(networks=networks(*texts), is_open_on_purpose=True)


@pytest.mark.parametrize(
    "texts",
    [
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        ("fc00::/7", "fe80::/10"),
        ("2001::/16", "::1/128", "::ffff:10.0.0.0/104"),
        ("0.0.0.0/8",),
    ],
)
def test_networks_of_ones_own(texts: tuple[str, ...]) -> None:
    Permission(networks=networks(*texts))


async def test_open_on_purpose(in_memory: InMemory) -> None:
    permission = Permission(networks=networks("0.0.0.0/0"), is_open_on_purpose=True)
    assert await ask(in_memory, f"<{ELSEWHERE}>", permission=permission) == OK


@pytest.mark.parametrize(
    "domain",
    ["", ".", "*", "*.example.org", ".example.org", "a b", "ann@example.org", "[192.0.2.1]"],
)
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ConfigError, match="is no domain; write one such as"):
        Permission(domains=(domain,))


@pytest.mark.parametrize(
    ("domain", "comparable"),
    [
        ("Example.ORG.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("boo\u212a.example", "boo\u212a.example"),  # the sign for kelvin
        ("", ""),
    ],
)
def test_comparable_domains(domain: str, comparable: str) -> None:
    assert comparable_domain(domain) == comparable


# The log.


async def test_refusals_are_logged_but_not_all_of_many(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pillarbox")
    client = in_memory(intake(MemoryRelay())).connect(peername=STRANGER)
    client.feed(b"EHLO client.test\r\nMAIL FROM:<ann@example.org>\r\n")
    client.feed(f"RCPT TO:<{ELSEWHERE}>\r\n".encode() * 50)
    await turns()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 10
    assert lines[0].endswith("refused to relay for 203.0.113.9:49152 to 'victim@elsewhere.example'")
