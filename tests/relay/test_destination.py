"""What waits, and how fast it goes: in a network in memory, with a clock that stands still."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest

from pillarbox import Server
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.protocol.reply import Reply
from pillarbox.relay import dispatch
from pillarbox.relay.rate import Rate
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Backoff, RecipientState, Selection, SpoolError, SpoolFull
from pillarbox.testing import Recorder
from tests.asyncio.wire import config
from tests.relay.memory_spool import MemorySpool
from tests.relay.network import SERVFAIL, TEXT, FakeResolver, House, turns

pytestmark = pytest.mark.usefixtures("new_loop")

HOP = "192.0.2.25:25"
HOUR = 3600.0


@dataclass
class Gate:
    """A handler that keeps messages waiting until it is opened."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    senders: list[str] = field(default_factory=list)

    async def message(self, _session: Session, envelope: Envelope, body: Body) -> None:
        self.senders.append(envelope.mail_from)
        await body.read()
        await self.opened.wait()


# Down and up again


async def test_the_next_hop_is_gone_for_an_hour() -> None:
    limits = Limits(most_sessions=4)
    async with House(limits=limits) as house:
        for number in range(150):
            await house.relay.submit(house.message(mail_from=f"s{number % 7}@example.org"), b"")
        await turns()
        assert len(await house.queued()) == 150
        await house.clock.advance(HOUR, each=15)
        # It was probed, and the messages were not each tried.
        assert 10 < len(house.network.dialled) < 25
        assert {one.recipients[0].attempts for one in await house.queued()} == {0}
        reasons = {one.recipients[0].last_reply for one in await house.queued()}
        assert reasons <= {"", "451 4.4.1 No connection to the next server: Connection refused"}
        recorder = Recorder()
        house.network.serve(HOP, recorder)
        await house.clock.advance(360, each=15)
        await house.until(lambda: len(recorder.messages) == 150)
        await turns()
        assert await house.queued() == []
        assert house.network.most_open <= 4
        assert {event.recipients[0].attempts for event in house.events} == {1}
        counters = house.relay.counters
        assert (counters.delivered, counters.deferred, counters.backlog) == (150, 0, 0)


async def test_probes_come_further_and_further_apart() -> None:
    async with House(host_backoff=Backoff(first_seconds=10, most_seconds=80, jitter=0)) as house:
        await house.submit()
        times = []
        for _ in range(400):
            before = len(house.network.dialled)
            await house.clock.advance(1, each=15)
            if len(house.network.dialled) > before:
                times.append(house.clock.now() - 1_700_000_000)
        assert times == [10, 30, 70, 150, 230, 310, 390]


async def test_a_server_that_breaks_every_session_is_down() -> None:
    class Breaking:
        def mail(self, session: Session, _mail: object) -> Reply:
            return Reply(421, "4.3.2", "Shutting down")

    async with House(limits=Limits(first_sessions=3)) as house:
        house.network.serve(HOP, Breaking())
        for _ in range(20):
            await house.relay.submit(house.message(), b"")
        await turns(1000)
        # As many broke as there were sessions; the others wait in the spool.
        assert len(house.network.dialled) <= 5
        tried = [one for one in await house.queued() if one.recipients[0].attempts]
        assert len(tried) == len(house.network.dialled)
        assert house.relay.counters.sessions_failed == 1
        recorder = Recorder()
        house.network.serve(HOP, recorder)
        await house.clock.advance(20, each=50)
        await turns(1000)
        assert len(recorder.messages) == 20 - len(tried)
        await house.clock.advance(400, each=15)
        assert len(recorder.messages) == 20


async def test_a_destination_is_forgotten_when_nothing_waits_for_it() -> None:
    async with House() as house:
        await house.submit()
        assert await house.spool.delete(Selection()) == 1
        await house.clock.advance(400, each=15)
        dialled = len(house.network.dialled)
        await house.clock.advance(HOUR, each=5)
        assert len(house.network.dialled) == dialled
        assert house.relay._dispatcher._destinations == {}


# How many sessions


async def test_sessions_grow_in_number_as_long_as_all_goes_well() -> None:
    gate = Gate()
    async with House(limits=Limits(first_sessions=2, most_sessions=6)) as house:
        house.network.serve(HOP, gate)
        for _ in range(40):
            await house.relay.submit(house.message(), b"")
        await turns(300)
        assert house.network.open == 2
        gate.opened.set()
        await turns(3000)
        assert 3 <= house.network.most_open <= 6
        assert house.relay.counters.delivered == 40


async def test_a_server_that_lets_three_in() -> None:
    gate = Gate()
    async with House(limits=Limits(first_sessions=8)) as house:
        house.network.serve(HOP, gate, max_connections=3)
        for _ in range(30):
            await house.relay.submit(house.message(), b"")
        await turns(300)
        assert house.network.open == 3
        gate.opened.set()
        await turns(3000)
        assert house.relay.counters.delivered == 30
        # It refused some, and nobody concluded that it was down.
        assert house.relay.counters.sessions_failed < 8
        assert {event.recipients[0].attempts for event in house.events} == {1}


@pytest.mark.parametrize("room", [1, 3])
async def test_a_server_that_lets_few_in_is_not_left_alone(
    room: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with House(limits=Limits(messages_per_session=10)) as house:
        recorder = Recorder()
        house.network.serve(HOP, recorder, max_connections=room)
        for _ in range(300):
            await house.relay.submit(house.message(), b"")
        # Sessions end after ten messages, and each time another one can be had at once.
        await house.clock.advance(5, each=2000)
        assert len(recorder.messages) == 300
        assert 30 <= len(house.network.dialled) < 45
        assert house.relay.counters.sessions_open <= room
        # It lets more in some day.
        house.network.servers[HOP] = Server(recorder, config=config())
        await house.clock.advance(30, each=10)
        house.network.most_open = 0
        for _ in range(300):
            await house.relay.submit(house.message(), b"")
        await house.clock.advance(5, each=2000)
        assert len(recorder.messages) == 600
        assert house.network.most_open > 3
    assert caplog.text.count("no mail goes there") <= 1


async def test_sessions_in_all() -> None:
    gate = Gate()
    resolver = FakeResolver(addresses={f"d{n}.test": [f"192.0.2.{n}"] for n in range(1, 9)})
    async with House(None, resolver=resolver, limits=Limits(all_sessions=3)) as house:
        for number in range(1, 9):
            house.network.serve(f"192.0.2.{number}:25", gate)
            for _ in range(3):
                await house.relay.submit(house.message(f"bob@d{number}.test"), b"")
        await turns(300)
        assert house.network.open == 3
        gate.opened.set()
        await turns(5000)
        await house.clock.advance(20)
        assert house.network.most_open == 3
        assert house.relay.counters.delivered == 24


async def test_a_session_with_nothing_to_do_is_closed() -> None:
    async with House(limits=Limits(idle_seconds=5)) as house:
        house.network.serve(HOP, Recorder())
        await house.submit()
        await house.clock.advance(4)
        await house.submit()
        assert house.network.dialled == [HOP]
        assert house.relay.counters.sessions_open == 1
        await house.clock.advance(7)
        assert house.network.open == 0
        assert house.relay.counters.sessions_open == 0
        await house.submit()
        assert house.network.dialled == [HOP, HOP]
        assert house.relay.counters.delivered == 3


# Whose turn it is


async def test_a_sender_of_thousands_does_not_hold_up_the_others() -> None:
    gate = Gate()
    async with House(limits=Limits(first_sessions=1, most_sessions=1)) as house:
        house.network.serve(HOP, gate)
        for _ in range(50):
            await house.relay.submit(house.message(mail_from="bulk@example.org"), b"")
        await house.relay.submit(house.message(mail_from="ann@example.org"), b"")
        gate.opened.set()
        await turns(3000)
        assert gate.senders.index("ann@example.org") <= 2
        assert Counter(gate.senders) == {"bulk@example.org": 50, "ann@example.org": 1}


async def test_a_sender_may_have_half_of_the_memory() -> None:
    gate = Gate()
    limits = Limits(first_sessions=1, most_sessions=1, ready_messages=10, batch=3)
    async with House(limits=limits) as house:
        house.network.serve(HOP, gate)
        for _ in range(30):
            await house.relay.submit(house.message(mail_from="bulk@example.org"), b"")
            await turns(1)
        assert house.relay.counters.ready == 5
        await house.relay.submit(house.message(mail_from="ann@example.org"), b"")
        assert house.relay.counters.ready == 6
        gate.opened.set()
        await turns(5000)
        assert gate.senders.index("ann@example.org") <= 2
        assert house.relay.counters.delivered == 31


async def test_what_comes_in_does_not_keep_what_waits_in_the_spool_from_its_turn() -> None:
    class Flood(Gate):
        async def message(self, session: Session, envelope: Envelope, body: Body) -> None:
            await super().message(session, envelope, body)
            await house.relay.submit(house.message(mail_from=f"{len(self.senders)}@new.test"), b"")

    flood = Flood()
    async with House(limits=Limits(first_sessions=1, most_sessions=1)) as house:
        house.network.serve(HOP, flood)
        for _ in range(5):
            await house.relay.submit(house.message(), b"")
        await house.spool.put(house.message(mail_from="old@example.org"), b"")
        flood.opened.set()
        await house.clock.advance(70, each=50)
        assert house.relay.counters.ready >= 3  # there was always something that had just come
        assert "old@example.org" in flood.senders


async def test_memory_is_bounded() -> None:
    limits = Limits(first_sessions=1, most_sessions=1, memory_octets=50_000, batch=2)
    gate = Gate()
    async with House(limits=limits) as house:
        house.network.serve(HOP, gate)
        for number in range(20):
            message = house.message(mail_from=f"s{number}@example.org")
            await house.relay.submit(message, b"0123456789" * 1000)
        assert 20_000 <= house.relay.counters.ready_octets <= 50_000
        assert len(await house.queued()) == 20
        gate.opened.set()
        await turns(5000)
        assert house.relay.counters.delivered == 20
        assert house.relay.counters.ready_octets == 0


# The backlog


async def test_the_answer_is_late_when_much_waits() -> None:
    gate = Gate()
    limits = Limits(first_sessions=1, most_sessions=1, slow_backlog=3, slow_seconds=1)
    async with House(limits=limits) as house:
        house.network.serve(HOP, gate)
        for _ in range(3):
            await house.submit()
        assert house.relay.counters.held_back == 0
        first = asyncio.ensure_future(house.submit())
        await turns()
        assert not first.done()
        assert len(await house.queued()) == 4  # it is safe all the same
        await house.clock.advance(2)
        assert first.done()
        second = asyncio.ensure_future(house.submit())
        await turns()
        assert not second.done()
        gate.opened.set()
        await turns(500)
        assert second.done()
        assert house.relay.counters.held_back == 2
        assert house.relay.counters.backlog == 0


async def test_nothing_is_taken_when_too_much_waits() -> None:
    async with House(limits=Limits(most_backlog=3)) as house:
        for _ in range(3):
            await house.submit()
        with pytest.raises(SpoolFull, match="3 recipients are in the spool"):
            await house.submit()
        assert len(await house.queued()) == 3
        assert house.relay.counters.refused == 1
        await house.spool.delete(Selection())
        await house.clock.advance(100, each=15)  # and it is counted anew
        await house.submit()


# What takes long


async def test_a_lease_is_renewed_while_a_delivery_takes_long() -> None:
    gate = Gate()
    async with House(limits=Limits(lease_seconds=300)) as house:
        house.network.serve(HOP, gate)
        await house.submit()
        await house.clock.advance(1000, each=15)
        assert house.spool.calls.count("renew") >= 5
        gate.opened.set()
        await turns()
        assert house.relay.counters.delivered == 1
        assert await house.queued() == []


async def test_the_end_of_a_message_is_not_sent_when_the_lease_is_over() -> None:
    class Slow:
        def __init__(self) -> None:
            self.opened = asyncio.Event()
            self.messages = 0

        async def rcpt(self, _session: Session, _rcpt: object) -> None:
            await self.opened.wait()

        def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None:
            self.messages += 1

    slow = Slow()
    async with House(limits=Limits(lease_seconds=300)) as house:
        house.network.serve(HOP, slow)
        await house.submit()
        for what in ("renew", "lease"):
            house.spool.failures[what] = SpoolError("the disk is broken")
        await house.clock.advance(280, each=15)
        slow.opened.set()
        await turns(300)
        assert slow.messages == 0
        house.spool.failures.clear()
        await house.clock.advance(600, each=30)
        assert slow.messages == 1
        assert await house.queued() == []


STREAMED = TEXT + b"z" * 300_000 + b"\r\n"  # more than is read from the spool at once


@pytest.mark.parametrize("text", [TEXT, STREAMED], ids=["small", "streamed"])
@pytest.mark.parametrize("command", [b"DATA", b"BDAT"])
@pytest.mark.parametrize("is_used", [False, True], ids=["new", "used"])
async def test_a_process_that_was_stopped_past_its_lease_does_not_end_a_message(
    command: bytes, text: bytes, is_used: bool
) -> None:
    recorder = Recorder()
    is_stopped = False

    def without_chunking(heard: bytes) -> bytes:
        return heard.replace(b"CHUNKING", b"X-OTHER ")

    def stop(heard: bytes) -> bytes:
        """Go on after a long time, with the answer that the message itself follows."""
        nonlocal is_stopped
        if (b"354 " if command == b"DATA" else b"2.1.5") in heard:
            house.network.hears = offers
            house.clock.jump(400)
            is_stopped = True
        return offers(heard)

    offers = without_chunking if command == b"DATA" else bytes

    async with House(limits=Limits(lease_seconds=300)) as house:
        house.network.serve(HOP, recorder)
        house.network.hears = offers
        if is_used:
            await house.submit()
        house.network.hears = stop
        before = len(recorder.messages)
        house.spool.failures["lease"] = SpoolError("somebody else has it")
        await house.submit(text=text)
        await turns(1000)
        assert is_stopped
        assert len(recorder.messages) == before
        assert len(house.network.said) == 1
        said = bytes(house.network.said[0])
        assert not said.endswith((b"\r\n.\r\n", text[-1000:]))
        [queued] = await house.queued()
        assert queued.recipients[0].attempts == 0
        assert house.relay.counters.sessions_failed == 0
        house.spool.failures.clear()
        await house.clock.advance(60, each=1000)
        assert [message.data for message in recorder.messages[before:]] == [text]
        assert await house.queued() == []


async def test_a_message_that_was_deleted_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with House() as house:
        house.network.serve(HOP, gate)
        await house.submit()
        await house.spool.delete(Selection())
        gate.opened.set()
        await turns()
        assert "was deleted, or its lease ran out" in caplog.text
        assert house.events == []  # what is not on record is not told of: others try it now


# Giving up


async def test_a_message_expires_though_the_next_hop_is_down() -> None:
    async with House() as house:
        name = await house.submit("bob@example.org", lifetime=2 * HOUR)
        await house.clock.advance(2 * HOUR + 120, each=15)
        [notice] = await house.queued()
        assert notice.id != name
        assert notice.mail_from == ""
        assert [to.address for to in notice.recipients] == ["ann@example.org"]
        text = await house.spool.octets(notice.id)
        assert text is not None
        assert b"Action: failed" in text
        assert b"Connection refused" in text
        counters = house.relay.counters
        assert (counters.failed, counters.expired) == (1, 1)


async def test_a_sender_is_told_once_that_it_takes_long() -> None:
    async with House(limits=Limits(delay_notice_seconds=4 * HOUR)) as house:
        name = await house.submit("bob@example.org", "cy@example.org")
        await house.clock.advance(4 * HOUR - 60, each=10)
        assert [one.id for one in await house.queued()] == [name]
        await house.clock.advance(2 * HOUR, each=10)
        [_, notice] = await house.queued()
        text = await house.spool.octets(notice.id)
        assert text is not None
        status = message_from_bytes(text).get_payload(1)
        assert isinstance(status, Message)
        groups = [part for part in status.walk() if "Action" in part]
        assert [(one["Final-Recipient"], one["Action"]) for one in groups] == [
            ("rfc822; bob@example.org", "delayed"),
            ("rfc822; cy@example.org", "delayed"),
        ]
        recorder = Recorder()
        house.network.serve(HOP, recorder)
        await house.clock.advance(400, each=30)
        assert len(recorder.messages) == 2
        assert await house.queued() == []


async def test_a_reply_that_stays_transient_is_given_up() -> None:
    busy = Recorder({"bob@example.org": Reply(450, "4.2.1", "Busy")})
    backoff = Backoff(first_seconds=300, most_seconds=1200, jitter=0)
    async with House(backoff=backoff) as house:
        house.network.serve(HOP, busy)
        await house.submit(lifetime=HOUR)
        await house.clock.advance(HOUR + 120, each=15)
        # 0, 300, 900, 2100, 3300 and once more as it expires.
        times = [event.began - 1_700_000_000 for event in house.events[:6]]
        assert times == pytest.approx([0, 300, 900, 2100, 3300, 3600], abs=10)
        assert [event.recipients[0].attempts for event in house.events[:6]] == [1, 2, 3, 4, 5, 6]
        assert house.events[5].recipients[0].is_expired
        assert len(busy.messages) == 1  # the notice to Ann
        assert b"Action: failed" in busy.messages[0].data
        assert await house.queued() == []


async def test_a_notice_that_fails_is_the_end() -> None:
    unknown = Reply(550, "5.1.1", "No such mailbox")
    nobody = Recorder({"bob@example.org": unknown, "ann@example.org": unknown})
    async with House() as house:
        house.network.serve(HOP, nobody)
        await house.submit()
        await turns()
        assert house.relay.counters.failed == 2
        assert await house.queued() == []


# People


async def test_suspend_and_resume_by_another_process() -> None:
    gate = Gate()
    destination = f"smtp://{HOP}"
    async with House(limits=Limits(first_sessions=1, most_sessions=1)) as house:
        house.network.serve(HOP, gate)
        for _ in range(5):
            await house.relay.submit(house.message(), b"")
        await turns()
        other = MemorySpool(house.spool.memory)
        await other.suspend(destination)
        await house.until(lambda: house.relay.counters.ready == 0)
        gate.opened.set()
        await turns(300)
        assert house.relay.counters.delivered == 1  # it was under way
        await house.submit()
        assert house.relay.counters.delivered == 1
        assert {one.recipients[0].attempts for one in await house.queued()} == {0}
        await other.resume(destination)
        await house.until(lambda: house.relay.counters.delivered == 6)
        await turns()
        assert await house.queued() == []


async def test_a_destination_that_was_suspended_before() -> None:
    house = House()
    recorder = Recorder()
    await house.spool.suspend(f"smtp://{HOP}")
    async with house:
        house.network.serve(HOP, recorder)
        await house.submit()
        await house.clock.advance(120, each=15)
        assert recorder.messages == []
        assert len(await house.queued()) == 1


async def test_a_message_that_is_held() -> None:
    recorder = Recorder()
    async with House() as house:
        house.network.serve(HOP, recorder)
        await house.submit(is_held=True)
        await house.clock.advance(120, each=15)
        assert recorder.messages == []
        await MemorySpool(house.spool.memory).release(Selection())
        await house.until(lambda: house.spool.calls.count("lease_late") > 0)
        for _ in range(100):
            await asyncio.sleep(0.001)  # until it is noticed that another process did something
        await house.clock.advance(2, each=50)
        assert len(recorder.messages) == 1


async def test_somebody_mends_the_next_hop_and_says_so() -> None:
    recorder = Recorder()
    async with House() as house:
        await house.submit()
        await house.clock.advance(HOUR, each=10)
        house.network.serve(HOP, recorder)
        await MemorySpool(house.spool.memory).retry(Selection(), house.clock.now())
        await house.until(lambda: len(recorder.messages) == 1)


async def test_somebody_says_so_twice() -> None:
    recorder = Recorder()
    async with House() as house:
        await house.submit()
        await house.clock.advance(HOUR, each=10)
        await MemorySpool(house.spool.memory).retry(Selection(), house.clock.now())
        before = len(house.network.dialled)
        await house.until(lambda: len(house.network.dialled) > before)
        await turns()
        house.network.serve(HOP, recorder)
        await MemorySpool(house.spool.memory).retry(Selection(), house.clock.now())
        await house.until(lambda: house.spool.has_told)
        await turns()
        assert recorder.messages == []  # it was tried just now
        await house.clock.advance(11, each=50)
        assert len(recorder.messages) == 1


async def test_what_waited_before_the_start() -> None:
    house = House()
    recorder = Recorder()
    house.network.serve(HOP, recorder)
    for _ in range(250):
        await house.spool.put(house.message(), b"")
    async with house:
        await turns(3000)
        assert len(recorder.messages) == 250
        assert house.relay.counters.backlog <= 0


async def test_what_waits_is_given_back_at_the_end() -> None:
    gate = Gate()
    house = House(limits=Limits(first_sessions=1, most_sessions=1))
    async with house:
        house.network.serve(HOP, gate)
        for _ in range(10):
            await house.relay.submit(house.message(), b"")
        await turns()
        closing = asyncio.ensure_future(house.relay.close(seconds=5))
        await turns()
        assert not closing.done()
        gate.opened.set()
        await closing
        left = await house.queued()
        assert len(left) == 9
        assert {one.recipients[0].state for one in left} == {RecipientState.QUEUED}
        assert {one.recipients[0].attempts for one in left} == {0}


# A spool that fails


async def test_what_was_delivered_is_not_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    async with House() as house:
        house.network.serve(HOP, recorder)
        house.spool.failures["finish"] = SpoolError("the disk is full")
        await house.submit()
        assert len(recorder.messages) == 1
        await house.clock.advance(HOUR, each=10)
        assert len(recorder.messages) == 1
        assert len(await house.queued()) == 1
        assert "make room, or look at the disk" in caplog.text
        del house.spool.failures["finish"]
        await house.clock.advance(10)
        assert await house.queued() == []
        assert len(recorder.messages) == 1


async def test_what_cannot_be_put_on_record_is_not_delivered() -> None:
    # It would be delivered once more, were the relay killed before the spool works again.
    recorder = Recorder()
    async with House() as house:
        house.network.serve(HOP, recorder)
        house.spool.failures["finish"] = SpoolError("the disk is full")
        for _ in range(30):
            await house.relay.submit(house.message(), TEXT)
        await turns()
        sent = len(recorder.messages)
        assert 1 <= sent <= 10  # two of each session: one goes out while the other is written
        await house.submit()
        await house.clock.advance(HOUR, each=10)
        assert len(recorder.messages) == sent
        assert len(house.network.dialled) <= 5
        del house.spool.failures["finish"]
        await house.clock.advance(10)
        assert len(recorder.messages) == 31
        assert await house.queued() == []


async def test_a_spool_that_failed_for_a_moment_holds_nothing_up_for_long() -> None:
    recorder = Recorder()
    async with House() as house:
        house.network.serve(HOP, recorder)
        await house.clock.advance(100)  # nothing is due: the spool is asked once a minute
        house.spool.failures["finish"] = SpoolError("the disk is full")
        await house.submit()
        await house.submit()
        del house.spool.failures["finish"]
        assert len(recorder.messages) == 1
        await house.clock.advance(3)
        assert len(recorder.messages) == 2
        assert await house.queued() == []


async def test_outcomes_are_written_at_the_end_as_well(caplog: pytest.LogCaptureFixture) -> None:
    async with House() as house:
        house.network.serve(HOP, Recorder())
        house.spool.failures["finish"] = SpoolError("the disk is full")
        await house.submit()
        asyncio.get_running_loop().call_later(0.01, house.spool.failures.clear)
        await house.relay.close(seconds=30)
        assert await house.queued() == []
    assert "may be delivered again" not in caplog.text


async def test_outcomes_that_are_lost_at_the_end_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with House() as house:
        house.network.serve(HOP, Recorder())
        house.spool.failures["finish"] = SpoolError("the disk is full")
        await house.submit()
        await house.relay.close(seconds=0)
        assert len(await house.queued()) == 1
        assert "has not taken what became of 1 deliveries" in caplog.text
        house.spool.failures.clear()


async def test_sessions_that_other_relays_have() -> None:
    recorder = Recorder()
    entered: list[str] = []
    answers: Iterator[bool | SpoolError] = iter([False, SpoolError("it is away"), True])

    async def enter(destination: str, most: int) -> bool:
        entered.append(f"{destination} of {most}")
        answer = next(answers)
        if isinstance(answer, SpoolError):
            raise answer
        return answer

    async def leave(destination: str) -> None:
        entered.append(f"{destination} left")

    async with House(limits=Limits(most_sessions=7, idle_seconds=3)) as house:
        house.network.serve(HOP, recorder)
        house.spool.enter = enter  # type: ignore[attr-defined]  # what a shared one has
        house.spool.leave = leave  # type: ignore[attr-defined]
        await house.submit()
        assert recorder.messages == []
        await house.clock.advance(10)
        assert len(recorder.messages) == 1
        assert await house.queued() == []
    where = f"smtp://{HOP}"
    assert entered == [f"{where} of 7"] * 3 + [f"{where} left"]


async def test_a_spool_that_gives_out_nothing_is_asked_again() -> None:
    recorder = Recorder()
    house = House()
    house.network.serve(HOP, recorder)
    await house.spool.put(house.message(), b"")
    house.spool.failures["lease"] = SpoolError("the disk is broken")
    async with house:
        await house.clock.advance(30)
        assert 2 <= house.spool.calls.count("lease") <= 8
        del house.spool.failures["lease"]
        await house.clock.advance(10)
        assert len(recorder.messages) == 1


# By DNS


async def test_the_second_server_of_a_domain(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    recorder = Recorder()
    resolver = FakeResolver(
        {"example.org": [(10, "mx1.test"), (20, "mx2.test")]},
        {"mx1.test": ["192.0.2.1"], "mx2.test": ["2001:db8::2"]},
    )
    async with House(None, resolver=resolver, limits=Limits(idle_seconds=1)) as house:
        house.network.serve("[2001:db8::2]:25", recorder)
        await house.submit()
        assert house.network.dialled == ["192.0.2.1:25", "[2001:db8::2]:25"]
        await house.clock.advance(5)
        await house.submit()
        # The first one is left alone for a while, and tried again then.
        assert house.network.dialled[2:] == ["[2001:db8::2]:25"]
        await house.clock.advance(20)
        await house.submit()
        assert house.network.dialled[3:] == ["192.0.2.1:25", "[2001:db8::2]:25"]
        assert house.events[0].server == "mx2.test ([2001:db8::2]:25)"
        assert len(recorder.messages) == 3
    assert "mx1.test (192.0.2.1:25): no connection: Connection refused" in caplog.text


async def test_a_domain_that_does_not_exist() -> None:
    recorder = Recorder()
    resolver = FakeResolver(addresses={"example.org": ["192.0.2.9"]})
    async with House(None, resolver=resolver) as house:
        house.network.serve("192.0.2.9:25", recorder)
        await house.submit("bob@nowhere.test", "cy@example.org")
        await turns(300)
        failed = [event for event in house.events if event.destination == "nowhere.test"]
        assert failed[0].recipients[0].reply == "550 5.1.2 No such domain"
        assert [message.mail_from for message in recorder.messages] == ["ann@example.org", ""]
        assert await house.queued() == []


async def test_dns_does_not_answer() -> None:
    recorder = Recorder()
    resolver = FakeResolver({"example.org": SERVFAIL}, {"mx.test": ["192.0.2.9"]})
    async with House(None, resolver=resolver) as house:
        house.network.serve("192.0.2.9:25", recorder)
        await house.submit()
        [queued] = await house.queued()
        assert queued.recipients[0].attempts == 0
        assert queued.recipients[0].last_reply.startswith("451 4.4.3")
        resolver.exchangers["example.org"] = [(10, "mx.test")]
        await house.clock.advance(100, each=20)
        assert len(recorder.messages) == 1


async def test_servers_that_take_no_mail_at_all() -> None:
    class Closed:
        def connect(self, _session: Session) -> Reply:
            return Reply(521, None, "No mail here")

    resolver = FakeResolver(addresses={"example.org": ["192.0.2.9"], "example.net": ["192.0.2.8"]})
    async with House(None, resolver=resolver) as house:
        house.network.serve("192.0.2.9:25", Closed())
        house.network.serve("192.0.2.8:25", Recorder())
        await house.submit("bob@example.org", mail_from="ann@example.net")
        await turns(300)
        assert house.events[0].recipients[0].reply == "521 No mail here"
        assert house.events[0].recipients[0].result.value == "failed"
    # A next hop that was chosen is another thing: somebody will have to mend it.
    async with House() as house:
        house.network.serve(HOP, Closed())
        await house.submit()
        [queued] = await house.queued()
        assert queued.recipients[0].last_reply == "521 No mail here"


# Ends


async def test_what_was_delivered_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "ABORT_SECONDS", 0.05)
    recorder = Recorder()
    async with House(limits=Limits(first_sessions=1, most_sessions=1)) as house:
        house.network.serve(HOP, recorder)
        works, finish = asyncio.Event(), house.spool.finish

        async def finish_late(*arguments: Any, **values: Any) -> bool:
            await works.wait()
            return await finish(*arguments, **values)

        monkeypatch.setattr(house.spool, "finish", finish_late)
        for _ in range(8):
            await house.relay.submit(house.message(), TEXT)
        await turns(2000)
        sent = len(recorder.messages)
        assert 1 < sent < 8
        asyncio.get_running_loop().call_later(0.2, works.set)
        await house.relay.close(seconds=0)
        assert len(await house.queued()) == 8 - sent


async def test_a_turn_is_not_used_long_after_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(rate=Rate(1, 10), most_sessions=2, first_sessions=2, idle_seconds=100)
    async with House(limits=limits) as house:
        began = house.clock.now()
        times: list[float] = []

        class Handler:
            async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
                await body.read()
                times.append(house.clock.now() - began)

        house.network.serve(HOP, Handler())
        await house.submit()
        pool = house.relay._shared.pool
        open_session, may_open = pool.open, asyncio.Event()

        async def open_late(name: str) -> Any:
            await may_open.wait()
            return await open_session(name)

        monkeypatch.setattr(pool, "open", open_late)
        await house.submit()
        await house.submit()

        def goodbye(_octets: bytes) -> bytes:
            house.network.hears = lambda octets: octets
            return b"421 4.3.2 Goodbye\r\n"

        house.network.hears = goodbye
        for _ in range(19):
            await house.clock.advance(1)
        may_open.set()
        for _ in range(30):
            await house.clock.advance(1)
        assert len(times) == 3
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 10
