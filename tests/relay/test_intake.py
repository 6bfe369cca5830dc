"""The intake through the real driver: what is kept, octet for octet, and what clients hear."""

from __future__ import annotations

import hashlib
import logging

import pytest

from pillarbox.envelope import Envelope
from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.relay.permission import Permission
from pillarbox.relay.spool import NewMessage, NewRecipient, SpoolError, SpoolFull
from pillarbox.testing import MemoryTransport
from tests.asyncio.wire import InMemory, turns
from tests.grammar import Answer, split_answers
from tests.relay.taken import NOW, MemoryRelay, intake

pytestmark = pytest.mark.usefixtures("new_loop")

HERE = ("127.0.0.1", 49152)
SMALL = b"Subject: Lunch\r\n\r\nAt noon?\r\n"
LARGE = b"Subject: Large\r\n\r\n" + b"x" * 76 + b"\r\n" * 60_000
BEGIN = b"EHLO client.test\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.net>\r\nDATA\r\n"
HOP = b"Received: from a by b; Fri, 15 Jan 2027 08:00:00 +0000\r\n"


async def say(client: MemoryTransport, octets: bytes) -> list[Answer]:
    for start in range(0, len(octets), 32_768):
        client.feed(octets[start : start + 32_768])
        await turns()
    return split_answers(client.heard())


async def deliver(client: MemoryTransport, octets: bytes, begin: bytes = BEGIN) -> Answer:
    """Send a message; give the answer to it."""
    client.heard()
    answers = await say(client, begin)
    assert answers[-1].code == 354
    return (await say(client, octets + b".\r\n"))[-1]


def received(octets: bytes, rest: bytes) -> bytes:
    """Take the Received line off, and see that it is the only one, and all else is as it was."""
    assert octets.endswith(rest)
    line = octets.removesuffix(rest)
    assert line.startswith(b"Received: from client.test ([127.0.0.1])\r\n\tby relay.test ")
    assert line.count(b"\r\n") == line.count(b"\r\n\t") + 1
    return line


async def test_a_message(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay)).connect(peername=HERE)
    answer = await deliver(client, SMALL)
    assert str(answer.lines[0]) == "2.0.0 Queued as Q1"
    [taken] = relay.taken
    assert b"\r\n\tfor <ben@example.net>;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\n" in received(
        taken.octets, SMALL
    )
    assert not taken.was_draft
    origin = taken.message.origin
    assert origin.startswith("127.0.0.1:49152, session ")
    assert taken.message == NewMessage(
        mail_from="ann@example.org",
        recipients=(NewRecipient(address="ben@example.net", destination="example.net"),),
        created=NOW,
        expires=NOW + 432_000,
        origin=origin,
    )


async def test_all_that_was_said_of_it(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay, lifetime_seconds=60.0)).connect(peername=HERE)
    begin = (
        "EHLO client.test\r\n"
        "MAIL FROM:<änn@example.org> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n"
        "RCPT TO:<ben@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ben@example.net\r\n"
        "RCPT TO:<cleo@example.com>\r\n"
        "RCPT TO:<cleo@example.com>\r\n"
        "DATA\r\n"
    ).encode()
    assert (await deliver(client, SMALL, begin)).code == 250
    message = relay.taken[0].message
    assert message.mail_from == "änn@example.org"
    assert message.is_smtputf8
    assert message.body_type == "8BITMIME"
    assert message.dsn == MailDsn(ret=Return.HDRS, envid="x+y")
    assert message.expires == NOW + 60
    ben, cleo = message.recipients  # who is named twice gets it once
    assert ben.dsn == RcptDsn(Notify.SUCCESS | Notify.DELAY, "rfc822", "Ben@example.net")
    assert (cleo.address, cleo.destination) == ("cleo@example.com", "example.com")


@pytest.mark.parametrize("sender", ["MAIL FROM:<>", "MAIL FROM:<ann@example.org>"])
async def test_senders(in_memory: InMemory, sender: str) -> None:
    client = in_memory(intake(MemoryRelay())).connect(peername=HERE)
    assert [answer.code for answer in await say(client, f"EHLO c\r\n{sender}\r\n".encode())] == [
        *(220, 250, 250)
    ]


async def test_whom_nobody_could_tell_anything(in_memory: InMemory) -> None:
    client = in_memory(intake(MemoryRelay())).connect(peername=HERE)
    answers = await say(client, b"EHLO c\r\nMAIL FROM:<Postmaster>\r\n")
    assert (answers[-1].code, answers[-1].lines) == (
        550,
        ("5.1.3 An address needs a domain: <user@example.org>",),
    )


async def test_a_recipient_without_a_route(in_memory: InMemory) -> None:
    client = in_memory(intake(MemoryRelay())).connect(peername=HERE)
    answers = await say(client, b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\n")
    assert answers[-1].code == 550


# Large messages.


async def test_a_large_message_goes_to_the_spool_as_it_comes(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay)).connect(peername=HERE)
    await say(client, BEGIN)
    await say(client, LARGE[:100_000])
    [draft] = relay.drafts
    assert draft.size > 60_000
    assert relay.taken == []
    assert (await say(client, LARGE[100_000:] + b".\r\n"))[-1].code == 250
    [taken] = relay.taken
    assert taken.was_draft
    received(taken.octets, LARGE)
    assert not draft.is_discarded


@pytest.mark.parametrize(
    "how", [b"", b"RSET\r\n"], ids=["the client goes away", "a bare newline is refused"]
)
async def test_what_does_not_come_whole_is_let_go(in_memory: InMemory, how: bytes) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay)).connect(peername=HERE)
    await say(client, BEGIN)
    await say(client, LARGE[:100_000])
    if how:
        await say(client, b"bare\nnewline" + LARGE[100_000:] + b".\r\n")
    else:
        client.lose()
        await turns()
    assert relay.taken == []
    assert relay.drafts[0].is_discarded


# What goes wrong.


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SpoolFull("no room on /spool: make some"), (452, "4.3.1 There is no room for it now")),
        (SpoolError("/spool: I/O error: look at it"), (451, "4.3.0 The message could not be")),
    ],
)
@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
async def test_a_spool_that_does_not_keep_it(
    in_memory: InMemory,
    caplog: pytest.LogCaptureFixture,
    error: SpoolError,
    said: tuple[int, str],
    octets: bytes,
) -> None:
    relay = MemoryRelay(error)
    client = in_memory(intake(relay)).connect(peername=HERE)
    answer = await deliver(client, octets)
    assert answer.code == said[0]
    assert answer.lines[0].startswith(said[1])
    assert all(draft.is_discarded for draft in relay.drafts)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().endswith(f": a message could not be kept: {error}")
    relay.error = None
    assert (await deliver(client, octets, BEGIN.partition(b"\r\n")[2])).code == 250


async def test_a_disk_that_fills_while_a_message_comes(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    relay.draft_error = SpoolFull("no room")
    client = in_memory(intake(relay)).connect(peername=HERE)
    assert (await deliver(client, LARGE)).code == 452
    assert relay.drafts[0].is_discarded


@pytest.mark.parametrize("body", [b"\r\nx\r\n", b"\r\n" + LARGE], ids=["small", "large"])
async def test_a_message_that_runs_in_a_circle(in_memory: InMemory, body: bytes) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay)).connect(peername=HERE)
    assert (await deliver(client, HOP * 49 + body)).code == 250
    answer = await deliver(client, HOP * 50 + body, BEGIN.partition(b"\r\n")[2])
    assert (answer.code, answer.lines[0][:5]) == (554, "5.4.6")
    assert len(relay.taken) == 1
    assert all(draft.is_discarded for draft in relay.drafts[1:])


# What is put in front.


def mark(name: bytes, seen: list[bytes]):  # type: ignore[no-untyped-def]  # a hook
    async def hook(_envelope: Envelope, octets: bytes) -> bytes:
        seen.append(octets)
        return b"X-Hook: " + name + b"\r\n"

    return hook


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
async def test_hooks_see_what_came_before_them(in_memory: InMemory, octets: bytes) -> None:
    relay, seen = MemoryRelay(), list[bytes]()
    hooks = (mark(b"one", seen), mark(b"two", seen))
    handler = intake(relay, header=b"X-Site: here\r\n", hooks=hooks)
    client = in_memory(handler).connect(peername=HERE)
    assert (await deliver(client, octets)).code == 250
    assert seen == [
        b"X-Site: here\r\n" + octets,
        b"X-Hook: one\r\nX-Site: here\r\n" + octets,
    ]
    [taken] = relay.taken
    received(taken.octets, b"X-Hook: two\r\nX-Hook: one\r\nX-Site: here\r\n" + octets)


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["small", "large"])
async def test_no_stranger_gets_our_signature(in_memory: InMemory, octets: bytes) -> None:
    relay, seen = MemoryRelay(), list[bytes]()
    permission = Permission(domains=("example.net",))
    handler = intake(relay, permission, header=b"X-Site: here\r\n", hooks=(mark(b"one", seen),))
    client = in_memory(handler).connect(peername=("203.0.113.9", 25))
    assert (await deliver(client, octets)).code == 250
    assert seen == []
    assert relay.taken[0].octets.endswith(b"\r\nX-Site: here\r\n" + octets)


async def test_memory_for_hooks_has_a_bound(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    handler = intake(relay, hooks=(mark(b"one", []),), max_memory_octets=2 * len(LARGE))
    memory = in_memory(handler)
    clients = [memory.connect(peername=HERE) for _ in range(3)]
    for client in clients:
        await say(client, BEGIN)
    codes = []
    for client in clients[:2]:
        await say(client, LARGE)
    codes = [(await say(clients[2], LARGE + b".\r\n"))[-1].code]
    codes += [(await say(client, b".\r\n"))[-1].code for client in clients[:2]]
    assert codes == [452, 250, 250]
    assert (await deliver(clients[2], LARGE, BEGIN.partition(b"\r\n")[2])).code == 250


async def test_octets_are_never_altered(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay)).connect(peername=HERE)
    strange = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(64))
    strange = strange.replace(b"\r", b"").replace(b"\n", b"")
    octets = b"no header\r\n..\r\n" + strange + b"\r\n \r\n\r\n"
    assert (await deliver(client, octets.replace(b"\r\n..", b"\r\n..."))).code == 250
    received(relay.taken[0].octets, octets)


async def test_lmtp_answers_for_each_recipient(in_memory: InMemory) -> None:
    relay = MemoryRelay()
    client = in_memory(intake(relay), is_lmtp=True).connect(peername=HERE)
    await say(
        client,
        b"LHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\n"
        b"DATA\r\n",
    )
    assert [answer.code for answer in await say(client, SMALL + b".\r\n")] == [250, 250]
    assert b" with LMTP\r\n" in relay.taken[0].octets
