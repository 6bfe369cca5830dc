"""One attempt after the other over real sockets, with next hops that fail in each way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pillarbox import Server, serve
from pillarbox.asyncio.client import Client, ClientOptions
from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.reply import Reply
from pillarbox.relay.route import Hop
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import NewRecipient, Result, SpoolError
from pillarbox.testing import Recorder
from tests.asyncio.wire import config
from tests.relay.network import TEXT
from tests.relay.next_hop import DROP, HALF, HANG, SLOW, STALL, serving
from tests.relay.sending import between, relaying, waiting

pytestmark = pytest.mark.usefixtures("new_loop")

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 * 10_000 + b"\r\n"


# What goes well


async def test_our_own_server() -> None:
    recorder = Recorder()
    async with (
        serve(recorder, "127.0.0.1", 0) as server,
        relaying(f"127.0.0.1:{server.port}") as sending,
    ):
        for _ in range(5):
            assert await sending.results() == [("delivered", "250 2.0.0 Message accepted")]
        assert await sending.queued() == []
        assert [message.data for message in recorder.messages] == [TEXT] * 5
        assert {message.session.domain for message in recorder.messages} == {"relay.test"}
        assert len({id(message.session) for message in recorder.messages}) == 1
        counters = sending.relay.counters
        assert (counters.delivered, counters.attempts, counters.sessions_opened) == (5, 5, 1)


async def test_without_chunking() -> None:
    async with between() as (server, sending):
        assert await sending.results() == [("delivered", "250 2.0.0 Taken")]
        assert server.messages == [b"Subject: hi\r\n\r\n..text\r\n"]
        assert server.commands[1] == f"MAIL FROM:<ann@example.org> SIZE={len(TEXT)}"


async def test_a_large_message_is_streamed() -> None:
    recorder = Recorder()
    async with (
        serve(recorder, "127.0.0.1", 0) as server,
        relaying(f"127.0.0.1:{server.port}") as sending,
    ):
        assert (await sending.results(text=LARGE))[0][0] == "delivered"
        assert recorder.messages[0].data == LARGE
    async with between() as (other, sending):
        assert (await sending.results(text=LARGE))[0][0] == "delivered"
        assert other.messages == [LARGE]
        assert other.commands[1] == f"MAIL FROM:<ann@example.org> SIZE={len(LARGE)} BODY=8BITMIME"


async def test_what_the_sender_wants_to_hear_goes_along() -> None:
    async with between() as (server, sending):
        to = NewRecipient(
            address="bob@example.org",
            destination=sending.routes.destination("bob@example.org"),
            dsn=RcptDsn(Notify.SUCCESS, "rfc822", "rob@example.org"),
        )
        await sending.results(to, "cy@example.org", dsn=MailDsn(Return.HDRS, "QQ1"))
        assert server.commands[1:4] == [
            f"MAIL FROM:<ann@example.org> SIZE={len(TEXT)} RET=HDRS ENVID=QQ1",
            "RCPT TO:<bob@example.org> NOTIFY=SUCCESS ORCPT=rfc822;rob@example.org",
            "RCPT TO:<cy@example.org>",
        ]


async def test_lmtp_has_an_answer_for_each() -> None:
    dots = ("250 2.0.0 Yes", "552 5.2.2 Full", "451 4.2.0 Locked")
    to = ("ann@example.org", "ben@example.org", "cy@example.org")
    async with between(scheme="lmtp", is_lmtp=True, dots=dots) as (server, sending):
        assert await sending.results(*to) == [
            ("delivered", dots[0]),
            ("failed", dots[1]),
            ("deferred", dots[2]),
        ]
        assert server.commands[0] == "LHLO relay.test"
        [queued] = await sending.queued()
        states = [one.state.value for one in queued.recipients]
        assert states == ["delivered", "failed", "queued"]


async def test_lmtp_over_a_unix_socket(tmp_path: Any) -> None:
    recorder = Recorder()
    server = Server(recorder, config=config(is_lmtp=True))
    await server.listen_unix(str(tmp_path / "lmtp"))
    async with relaying(f"lmtp:unix:{tmp_path}/lmtp") as sending:
        event = await sending.send(requires_tls=True)  # to a socket: nobody can read it
        assert [one.result.value for one in event.recipients] == ["delivered"]
        assert event.server == f"unix:{tmp_path}/lmtp"
    await server.close()
    assert len(recorder.messages) == 1


# Replies


async def test_one_refused_recipient_does_not_fail_the_others() -> None:
    refused = Reply(550, "5.1.1", "No such mailbox")
    busy = Reply(450, "4.2.1", "Busy")
    recorder = Recorder({"ben@example.org": refused, "cy@example.org": busy})
    async with (
        serve(recorder, "127.0.0.1", 0) as server,
        relaying(f"127.0.0.1:{server.port}") as sending,
    ):
        to = ("bob@example.org", "ben@example.org", "cy@example.org")
        assert await sending.results(*to) == [
            ("delivered", "250 2.0.0 Message accepted"),
            ("failed", str(refused)),
            ("deferred", str(busy)),
        ]
        assert recorder.messages[0].rcpt_tos == ["bob@example.org"]
        assert (await sending.results())[0][0] == "delivered"
        assert sending.relay.counters.sessions_opened == 1


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "dot"])
@pytest.mark.parametrize(
    ("reply", "result"), [("451 4.3.0 Later", "deferred"), ("554 5.7.1 Never", "failed")]
)
async def test_replies(point: str, reply: str, result: str) -> None:
    async with between({point: reply}, only=1) as (server, sending):
        assert await sending.results() == [(result, reply)]
        assert (await sending.results()) == [(result, reply)]
        assert server.sessions == 1  # which is in order


async def test_a_server_that_takes_two_recipients_at_a_time() -> None:
    recorder = Recorder()
    to = [f"r{number}@example.org" for number in range(5)]
    async with (
        serve(recorder, "127.0.0.1", 0, config=config(max_recipients=2)) as server,
        relaying(f"127.0.0.1:{server.port}") as sending,
    ):
        results = await sending.results(*to)
        assert [result for result, _ in results] == ["delivered"] * 5
        assert [message.rcpt_tos for message in recorder.messages] == [to[:2], to[2:4], to[4:]]
        assert sending.relay.counters.sessions_opened == 1


async def test_a_server_that_says_so_too_late() -> None:
    faults = {f"RCPT TO:<r{number}@example.org>": "452 4.5.3 Too many" for number in (1, 2)}
    async with between(faults) as (server, sending):
        results = await sending.results("r0@example.org", "r1@example.org", "r2@example.org")
        # The two are asked for once more by themselves, and not again.
        assert [result for result, _ in results] == ["delivered", "deferred", "deferred"]
        assert [line[:4] for line in server.commands].count("RCPT") == 5


# What a message needs


@pytest.mark.parametrize(
    ("extensions", "values", "reply"),
    [
        pytest.param(
            ("PIPELINING",),
            {"text": b"\xe9\r\n", "body_type": "8BITMIME"},
            "554 5.6.3 The message has octets beyond ASCII; the server does not offer 8BITMIME",
            id="8BITMIME",
        ),
        pytest.param(
            ("8BITMIME",),
            {"text": b"\xc3\xa9: \r\n", "is_smtputf8": True},
            "554 5.6.9 The message needs SMTPUTF8, which the server does not offer",
            id="SMTPUTF8",
        ),
        pytest.param(
            ("8BITMIME",),
            {"mail_from": "\xe4nn@example.org"},
            "553 5.6.7 An address beyond ASCII needs SMTPUTF8, which the server does not offer",
            id="an address",
        ),
        pytest.param(
            ("8BITMIME",),
            {"body_type": "BINARYMIME"},
            "554 5.6.3 A binary message needs BINARYMIME and CHUNKING, which the server does not"
            " offer",
            id="BINARYMIME",
        ),
        pytest.param(
            ("SIZE 10",),
            {},
            "552 5.3.4 The server takes messages of up to 10 octets",
            id="SIZE",
        ),
        pytest.param(
            ("REQUIRETLS",),
            {"requires_tls": True},
            "550 5.7.30 The message needs REQUIRETLS, which the server does not offer",
            id="REQUIRETLS",
        ),
        pytest.param(
            (),
            {"text": b"bare\nline\r\n"},
            "554 5.6.11 The message has a bare CR or LF, and the next server takes no binary"
            " messages",
            id="a bare LF",
        ),
        pytest.param(
            (),
            {"text": b"bare\nline\r\n" + LARGE},
            "554 5.6.11 The message has a bare CR or LF, and the next server takes no binary"
            " messages",
            id="a bare LF in a large message",
        ),
    ],
)
async def test_what_is_missing_is_a_failure(
    extensions: tuple[str, ...], values: dict[str, Any], reply: str
) -> None:
    async with between(extensions=extensions) as (server, sending):
        assert await sending.results(**values) == [("failed", reply)]
        assert server.messages == []


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"text": b"\xe9\r\n"}, id="octets that nobody spoke of"),
        pytest.param({"body_type": "8BITMIME"}, id="8BITMIME, and in fact ASCII"),
        pytest.param({"is_smtputf8": True}, id="SMTPUTF8, and in fact ASCII"),
    ],
)
async def test_what_is_not_missed(values: dict[str, Any]) -> None:
    async with between(extensions=()) as (server, sending):
        assert (await sending.results(**values))[0][0] == "delivered"
        assert server.commands[1] == "MAIL FROM:<ann@example.org>"


# What breaks


@pytest.mark.parametrize("fault", [HANG, DROP, HALF])
@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
async def test_it_breaks_before_the_final_dot(
    point: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with between({point: fault}) as (server, sending):
        [recipient] = (await sending.send()).recipients
        assert recipient.result is Result.DEFERRED
        assert not recipient.is_in_doubt
        assert recipient.reply.startswith("421 4.4.2")
        assert server.messages == []
        [queued] = await sending.queued()
        assert queued.recipients[0].attempts == 1
        assert queued.recipients[0].last_reply == recipient.reply
    assert "to bob@example.org is deferred for" in caplog.text
    assert f"{recipient.reply} (127.0.0.1:{server.port})" in caplog.text


@pytest.mark.parametrize("fault", [DROP, STALL])
async def test_it_breaks_in_the_middle_of_the_message(fault: str) -> None:
    async with between({"body": fault}) as (_server, sending):
        [recipient] = (await sending.send(text=LARGE * 20)).recipients
        assert recipient.result is Result.DEFERRED
        assert not recipient.is_in_doubt


@pytest.mark.parametrize("fault", [HANG, DROP, HALF])
async def test_it_breaks_after_the_final_dot(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    async with between({"dot": fault}) as (server, sending):
        [recipient] = (await sending.send()).recipients
        assert recipient.result is Result.DEFERRED
        assert recipient.is_in_doubt
        assert len(server.messages) == 1
        assert sending.relay.counters.in_doubt == 1
    assert "was sent the whole message and did not answer" in caplog.text
    assert "may be delivered twice" in caplog.text


async def test_a_connection_that_does_not_come_about(caplog: pytest.LogCaptureFixture) -> None:
    def connector(_hop: Hop, options: ClientOptions, /) -> Client:
        return Client(lambda _factory: asyncio.Event().wait(), **options)

    timeouts = waiting("connect")
    async with relaying("192.0.2.1:25", connector=connector, timeouts=timeouts) as sending:
        await sending.put()
        async with asyncio.timeout(10):
            while not (queued := (await sending.queued())[0]).recipients[0].last_reply:
                await asyncio.sleep(0.01)
        assert queued.recipients[0].attempts == 0
    assert "192.0.2.1:25: no connection: no connection within 0.2 seconds; " in caplog.text


@pytest.mark.parametrize("fault", [HANG, DROP, HALF])
async def test_a_goodbye_that_is_not_answered(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving({"QUIT": fault}) as server:
        limits = Limits(messages_per_session=1)
        to = f"127.0.0.1:{server.port}"
        async with relaying(to, limits=limits, timeouts=waiting("QUIT")) as sending:
            for _ in range(3):
                assert (await sending.results())[0][0] == "delivered"
            assert await sending.queued() == []
        assert server.commands.count("QUIT") == len(server.messages) == 3
    assert caplog.text == ""


@pytest.mark.parametrize("point", ["greeting", "EHLO"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HANG, "did not answer in time"),
        (DROP, "closed the connection"),
        (HALF, "did not answer in time"),
        ("421 4.3.2 Too busy", "it refuses the session: 421 4.3.2 Too busy; ask who runs it"),
        ("554 5.7.1 Go away", "it refuses the session: 554 5.7.1 Go away; ask who runs it"),
        ("Hello!", "the server broke the protocol"),
    ],
)
async def test_no_session(
    point: str, fault: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    faults = {point: fault} if point == "greeting" else {"EHLO": fault, "HELO": fault}
    async with between(faults) as (server, sending):
        await sending.put()
        async with asyncio.timeout(10):
            while not sending.relay.counters.sessions_failed:
                await asyncio.sleep(0.01)
        [queued] = await sending.queued()
        # That is the server's fault: the message was not tried.
        assert sending.relay.counters.attempts == 0
        async with asyncio.timeout(10):
            while not (queued := (await sending.queued())[0]).recipients[0].last_reply:
                await asyncio.sleep(0.01)
        assert queued.recipients[0].attempts == 0
        assert server.messages == []
    assert words in caplog.text
    assert "none is lost" in caplog.text


@pytest.mark.parametrize("point", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"])
async def test_slow_octets(point: str) -> None:
    async with between({point: SLOW}) as (server, sending):
        assert (await sending.results())[0][0] == "delivered"
        assert len(server.messages) == 1


async def test_a_session_that_ended_meanwhile_is_no_fault() -> None:
    async with between() as (server, sending):
        assert (await sending.results())[0][0] == "delivered"
        # The server hangs up at the second message of its first session.
        server.faults["MAIL"] = DROP
        server.only = 1
        event = await sending.send()
        assert [one.result.value for one in event.recipients] == ["delivered"]
        assert event.recipients[0].attempts == 1
        assert server.sessions == 2


async def test_goodbye_in_place_of_an_answer() -> None:
    async with between() as (server, sending):
        assert (await sending.results())[0][0] == "delivered"
        server.faults["MAIL"] = "421 4.7.0 Enough for one session"
        server.only = 1
        assert (await sending.results())[0][0] == "delivered"
        assert server.sessions == 2


async def test_the_spool_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    async with between() as (server, sending):
        sending.spool.failures["read"] = SpoolError("the disk is broken")
        assert await sending.results(text=LARGE) == [
            ("deferred", "451 4.3.0 The message cannot be read from the spool now")
        ]
        assert server.messages == []
        del sending.spool.failures["read"]
        assert (await sending.results())[0][0] == "delivered"
    assert "cannot be read: the disk is broken" in caplog.text


async def test_a_session_ends_after_so_many_messages() -> None:
    recorder = Recorder()
    async with serve(recorder, "127.0.0.1", 0) as server:
        limits = Limits(messages_per_session=2)
        async with relaying(f"127.0.0.1:{server.port}", limits=limits) as sending:
            for _ in range(5):
                assert (await sending.results())[0][0] == "delivered"
            assert sending.relay.counters.sessions_opened == 3
    assert len({id(message.session) for message in recorder.messages}) == 3


# The end


async def test_what_is_under_way_may_end() -> None:
    async with between({"dot": SLOW}) as (server, sending):
        await sending.put()
        async with asyncio.timeout(10):
            while "DATA" not in server.commands:
                await asyncio.sleep(0)
        await sending.relay.close(seconds=5)
        assert len(server.messages) == 1
        assert await sending.queued() == []


async def test_what_takes_too_long_is_broken_off(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serving({"DATA": HANG}) as server,
        relaying(f"127.0.0.1:{server.port}", timeouts=None) as sending,
    ):
        await sending.put()
        async with asyncio.timeout(10):
            while "DATA" not in server.commands:
                await asyncio.sleep(0.001)
        await sending.relay.close(seconds=0.05)
        [queued] = await sending.queued()
        assert queued.recipients[0].attempts == 0  # nothing has happened to it
        assert queued.recipients[0].state.value == "queued"
    assert "1 deliveries did not end within 0 seconds" in caplog.text
