"""What is written of an attempt, and told of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from pillarbox.protocol.dsn import Notify, RcptDsn
from pillarbox.protocol.reply import Reply
from pillarbox.relay.event import Attempted
from pillarbox.relay.notice import Action, Report
from pillarbox.relay.record import parse_reply
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient, Result, SpoolError
from pillarbox.testing import Recorder
from tests.relay.network import NOW, TEXT, House
from tests.relay.sending import between, relaying

pytestmark = pytest.mark.usefixtures("new_loop")

HOP = "192.0.2.25:25"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("250 2.0.0 OK", Reply(250, "2.0.0", "OK")),
        ("451 4.3.0", Reply(451, "4.3.0")),
        ("550 No such user", Reply(550, None, "No such user")),
        ("550", Reply(550, None)),
        ("421 5.0.0 Mixed up", None),
        ("", None),
        ("the disk is full", None),
    ],
)
def test_replies_are_read_again(text: str, reply: Reply | None) -> None:
    assert parse_reply(text) == reply
    if reply is not None:
        assert str(reply) == text


class Writer:
    """Takes note of what senders would be told."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.octets: list[bytes] = []
        self.error: Exception | None = None

    async def write(
        self,
        _lease: Lease,
        reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> Sequence[tuple[NewMessage, bytes]]:
        if self.error is not None:
            raise self.error
        self.reports.extend(reports)
        self.octets.append(b"".join([part async for part in octets()]))
        return ()


def to(address: str, **dsn: Any) -> NewRecipient:
    return NewRecipient(address=address, destination="", dsn=RcptDsn(**dsn))


async def reported(to: str, *recipients: NewRecipient, **values: Any) -> list[tuple[str, str]]:
    writer = Writer()
    async with relaying(to, notices=writer) as sending:
        destination = sending.routes.destination("")
        await sending.send(
            *(
                NewRecipient(address=one.address, destination=destination, dsn=one.dsn)
                for one in recipients
            ),
            **values,
        )
    return [(one.recipient.address, one.action.value) for one in writer.reports]


async def test_success_is_told_where_the_next_server_does_not() -> None:
    asked = to("ann@example.org", notify=Notify.SUCCESS)
    others = (to("ben@example.org"), to("cy@example.org", notify=Notify.FAILURE))
    async with between(extensions=()) as (server, _):
        found = await reported(f"smtp://127.0.0.1:{server.port}", asked, *others)
        assert found == [("ann@example.org", "relayed")]
    async with between(extensions=("DSN",)) as (server, _):
        found = await reported(f"smtp://127.0.0.1:{server.port}", asked, *others)
        assert found == []
    async with between(is_lmtp=True, dots=("250 OK",) * 3) as (server, _):
        found = await reported(f"lmtp://127.0.0.1:{server.port}", asked, *others)
        assert found == [("ann@example.org", "delivered")]


async def test_who_said_so() -> None:
    writer = Writer()
    refused = Recorder({"ben@example.org": Reply(550, "5.1.1", "No such mailbox")})
    async with House() as house:
        house.relay._recorder._notices = writer
        house.network.serve(HOP, refused)
        await house.submit("bob@example.org", "ben@example.org")
        [report] = writer.reports
        assert report.action is Action.FAILED
        assert report.recipient.address == "ben@example.org"
        assert report.remote == "192.0.2.25"
        assert report.reply == Reply(550, "5.1.1", "No such mailbox")
        assert (report.tried, report.is_expired, report.gives_up) == (NOW, False, None)
        assert writer.octets == [TEXT]
        await house.submit(requires_tls=True)
        assert writer.reports[-1].remote == ""  # our own words


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("a bug"), ""), (SpoolError("the disk is broken"), ": the disk is broken")],
)
async def test_a_failure_that_cannot_be_told_stays(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer()
    writer.error = error
    refused = Recorder({"ben@example.org": Reply(550, "5.1.1", "No such mailbox")})
    async with House() as house:
        house.relay._recorder._notices = writer
        house.network.serve(HOP, refused)
        await house.submit("bob@example.org", "ben@example.org")
        [queued] = await house.queued()
        assert [one.state.value for one in queued.recipients] == ["delivered", "queued"]
        assert f"its sender could not be told{said}; it is tried again" in caplog.text
        assert ("Traceback" in caplog.text) is not bool(said)  # a spool that is gone is no bug
        # Nobody hears of what is not on record.
        assert [one.address for one in house.events[0].recipients] == ["bob@example.org"]
        assert house.relay.counters.failed == 0
        writer.error = None
        await house.clock.advance(400, each=15)
        assert await house.queued() == []
        assert len(writer.reports) == 1


async def test_an_event_for_each_attempt() -> None:
    busy = Recorder({"ben@example.org": Reply(450, "4.2.1", "Busy")})
    async with House() as house:
        house.network.serve(HOP, busy)
        name = await house.submit("bob@example.org", "ben@example.org")
        [event] = house.events
        assert (event.id, event.mail_from, event.size) == (name, "ann@example.org", len(TEXT))
        assert (event.destination, event.server) == (f"smtp://{HOP}", HOP)
        assert (event.created, event.began, event.seconds) == (NOW, NOW, 0)
        assert [
            (one.address, one.result.value, one.reply, one.attempts, one.next_attempt)
            for one in event.recipients
        ] == [
            ("bob@example.org", "delivered", "250 2.0.0 Message accepted", 1, None),
            ("ben@example.org", "deferred", "450 4.2.1 Busy", 1, NOW + 300),
        ]
        counters = house.relay.counters
        assert (counters.delivered, counters.deferred, counters.attempts) == (1, 1, 1)


async def test_a_subscriber_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: Attempted) -> None:
        raise RuntimeError("a bug")

    async with House() as house:
        house.network.serve(HOP, Recorder())
        house.relay.subscribe(broken)
        house.relay.subscribe(house.events.append)
        await house.submit()
        assert len(house.events) == 2
        assert await house.queued() == []
    assert "a subscriber of the relay's events failed" in caplog.text


async def test_an_event_comes_when_the_outcome_is_on_record() -> None:
    async with House() as house:
        house.network.serve(HOP, Recorder())
        house.spool.failures["finish"] = SpoolError("the disk is full")
        await house.submit()
        assert house.events == []
        house.spool.failures.clear()
        await house.clock.advance(10)
        [event] = house.events
        assert event.recipients[0].result is Result.DELIVERED
        assert event.seconds == 0


async def test_what_an_operator_reads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    replies = {
        "ben@example.org": Reply(450, "4.2.1", "Busy"),
        "cy@example.org": Reply(550, "5.1.1", "No such mailbox"),
    }
    async with House() as house:
        house.network.serve(HOP, Recorder(replies))
        name = await house.submit("bob@example.org", "ben@example.org", "cy@example.org")
    lines = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert lines == [
        f"{name}: to ben@example.org is deferred for 300 seconds: 450 4.2.1 Busy ({HOP})",
        f"{name}: to cy@example.org failed: 550 5.1.1 No such mailbox ({HOP})",
    ]
