"""A destination with a rate: when its messages go, and where they wait. The clock stands still."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pillarbox.envelope import Body, Envelope, Session
from pillarbox.protocol.reply import Reply
from pillarbox.relay.rate import Rate
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import RecipientState, SpoolError
from tests.relay.conformance import most_within
from tests.relay.memory_spool import MemorySpool
from tests.relay.network import FakeResolver, House, StillClock, turns

pytestmark = pytest.mark.usefixtures("new_loop")

HOP = "192.0.2.25:25"
WHERE = f"smtp://{HOP}"


@dataclass
class Watch:
    """A handler that looks at the clock when a message begins."""

    clock: StillClock
    begun: list[float] = field(default_factory=list)
    ended: int = 0

    def mail(self, _session: Session, _mail: object) -> None:
        self.begun.append(self.clock.now())

    async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        await body.read()
        self.ended += 1


def limited(messages: int, seconds: float, **values: int) -> Limits:
    return Limits(rate=Rate(messages, seconds), **values)


async def fill(house: House, number: int, *to: str) -> None:
    for _ in range(number):
        await house.spool.put(house.message(*to), b"")


@pytest.mark.parametrize(
    ("rate", "seconds", "each"),
    [(Rate(100, 60), 130.0, 600), (Rate(20, 1), 6.0, 600), (Rate(3, 60), 300.0, 60)],
    ids=str,
)
async def test_a_rate_is_kept_and_not_undercut_by_much(
    rate: Rate, seconds: float, each: int
) -> None:
    house = House(limits=Limits(rate=rate))
    watch = Watch(house.clock)
    house.network.serve(HOP, watch)
    await fill(house, int(rate.messages * seconds / rate.seconds) + 10)
    async with house:
        await turns(1000)
        for _ in range(100):
            await house.clock.advance(seconds / 100, each=each)
        assert most_within(watch.begun, rate.seconds) == rate.messages
        assert len(watch.begun) >= 0.9 * rate.messages * seconds / rate.seconds
        assert house.relay.counters.delivered == watch.ended == len(watch.begun)
        assert len(house.network.dialled) <= 100


async def test_who_was_quiet_may_send_all_at_once() -> None:
    async with House(limits=limited(5, 3600)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        for _ in range(7):
            await house.relay.submit(house.message(), b"")
        await turns(1000)
        assert len(watch.begun) == 5
        assert house.relay.counters.delivered == 5


async def test_who_waits_for_a_turn_waits_in_the_spool_and_asks_for_nothing() -> None:
    async with House(limits=limited(50, 20, lease_seconds=20)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        for _ in range(120):
            await house.relay.submit(house.message(), b"")
        await turns(2000)
        assert watch.ended == 50
        assert house.relay.counters.ready == 0
        left = await house.queued()
        assert {one.recipients[0].state for one in left} == {RecipientState.QUEUED}
        assert {one.recipients[0].attempts for one in left} == {0}
        assert {one.recipients[0].last_reply for one in left} <= {
            "",
            "451 4.3.2 As many messages as may go there in this time are gone",
        }
        house.spool.calls.clear()
        await house.clock.advance(18, each=100)
        assert house.spool.calls.count("take_turns") == 0
        assert house.spool.calls.count("lease") == 0
        assert house.network.open == 0
        await house.clock.advance(40, each=1000)
        assert watch.ended == 120
        assert {event.recipients[0].attempts for event in house.events} == {1}


async def test_turns_are_taken_some_at_a_time() -> None:
    house = House(limits=limited(1000, 60))
    house.network.serve(HOP, Watch(house.clock))
    await fill(house, 500)
    async with house:
        await turns(10_000)
        assert house.relay.counters.delivered == 500
        assert house.spool.calls.count("take_turns") <= 20


async def test_nothing_is_asked_where_there_is_no_rate() -> None:
    async with House() as house:
        house.network.serve(HOP, Watch(house.clock))
        await house.submit()
        assert house.relay.counters.delivered == 1
        assert "take_turns" not in house.spool.calls


async def test_other_destinations_are_not_held_up() -> None:
    resolver = FakeResolver(addresses={"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"]})
    limits = limited(2, 3600, all_sessions=1)
    async with House(None, resolver=resolver, limits=limits) as house:
        watches = [Watch(house.clock), Watch(house.clock)]
        house.network.serve("192.0.2.1:25", watches[0])
        house.network.serve("192.0.2.2:25", watches[1])
        for _ in range(5):
            await house.relay.submit(house.message("bob@a.test"), b"")
        await turns(500)
        await house.relay.submit(house.message("bob@b.test"), b"")
        await turns(500)
        assert [watch.ended for watch in watches] == [2, 1]


async def test_two_relays_have_one_rate_together() -> None:
    first = House(limits=limited(40, 60))
    second = House(limits=limited(40, 60), beside=first)
    watch = Watch(first.clock)
    first.network.serve(HOP, watch)
    await fill(first, 300)
    async with first, second:
        await turns(1000)
        await first.clock.advance(200, each=300)
        assert most_within(watch.begun, 60) == 40
        assert len(watch.begun) == 160  # at 0, 63, 126 and 189 seconds
        delivered = [house.relay.counters.delivered for house in (first, second)]
        assert sum(delivered) == len(watch.begun)
        assert min(delivered) > 0


async def test_after_a_restart() -> None:
    before = House(limits=limited(5, 360))
    watch = Watch(before.clock)
    before.network.serve(HOP, watch)
    await fill(before, 8)
    async with before:
        await turns(500)
        assert watch.ended == 5
    before.network.serve(HOP, watch)
    async with House(limits=limited(5, 360), beside=before) as house:
        await house.clock.advance(350, each=50)
        assert watch.ended == 5
        await house.clock.advance(50, each=200)
        assert watch.ended == 8
        assert await house.queued() == []


async def test_a_destination_that_is_suspended_takes_no_turns() -> None:
    async with House(limits=limited(3, 600)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        people = MemorySpool(house.spool.memory)
        await people.suspend(WHERE)
        await house.until(lambda: house.spool.has_told)
        await turns()
        for _ in range(5):
            await house.submit()
        await house.clock.advance(1000, each=20)
        assert "take_turns" not in house.spool.calls
        await people.resume(WHERE)
        await house.until(lambda: watch.ended == 3)
        await people.suspend(WHERE)
        await house.until(lambda: house.spool.has_told)
        await house.clock.advance(1000, each=20)
        assert watch.ended == 3
        await people.resume(WHERE)
        await house.until(lambda: watch.ended == 5)
        await turns(200)
        assert await house.queued() == []


async def test_a_destination_that_is_down_takes_no_turns() -> None:
    async with House(limits=limited(3, 86_400)) as house:
        for _ in range(3):
            await house.submit()
        await house.clock.advance(2000, each=15)
        assert len(house.network.dialled) > 5
        assert "take_turns" not in house.spool.calls
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        await house.clock.advance(400, each=100)
        assert watch.ended == 3


async def test_nothing_is_begun_while_the_spool_counts_no_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with House(limits=limited(100, 60)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        await house.submit()
        assert watch.ended == 1
        house.spool.failures["take_turns"] = SpoolError("the database is away")
        await house.clock.advance(10)
        for _ in range(5):
            await house.submit()
        await house.clock.advance(60, each=50)
        assert watch.ended == 1
        assert 5 <= house.spool.calls.count("take_turns") <= 30
        assert "counts no turns for smtp://192.0.2.25:25: the database is away" in caplog.text
        house.spool.failures.clear()
        await house.clock.advance(10, each=300)
        assert watch.ended == 6
        assert house.relay.counters.sessions_failed == 0


async def test_what_was_taken_before_is_used_while_the_spool_counts_no_turns() -> None:
    async with House(limits=limited(100, 60, first_sessions=1, most_sessions=1)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        for _ in range(10):
            await house.relay.submit(house.message(), b"")
        await house.until(lambda: "take_turns" in house.spool.calls)
        await turns(5)
        house.spool.failures["take_turns"] = SpoolError("the database is away")
        await turns(2000)
        assert 1 <= watch.ended <= 5


async def test_recipients_that_go_in_another_transaction_take_a_turn_each() -> None:
    class OneByOne(Watch):
        def __init__(self, clock: StillClock) -> None:
            super().__init__(clock)
            self.recipients = 0

        def mail(self, session: Session, mail: object) -> None:
            super().mail(session, mail)
            self.recipients = 0

        def rcpt(self, _session: Session, _rcpt: object) -> Reply | None:
            self.recipients += 1
            return Reply(452, "4.5.3", "Too many") if self.recipients > 1 else None

    async with House(limits=limited(2, 60)) as house:
        watch = OneByOne(house.clock)
        house.network.serve(HOP, watch)
        await house.submit("a@b.test", "b@b.test", "c@b.test")
        await turns(300)
        assert watch.ended == len(watch.begun) == 2
        [left] = await house.queued()
        assert [to.state.value for to in left.recipients] == ["delivered", "delivered", "queued"]
        await house.clock.advance(500, each=100)
        assert watch.ended == 3
        assert await house.queued() == []
        assert most_within(watch.begun, 60) == 2


async def test_sessions_that_were_opened_for_a_turn_that_another_took() -> None:
    """They have nothing to do until the next one, and no message waits with them."""
    async with House(limits=limited(1, 3600)) as house:
        watch = Watch(house.clock)
        house.network.serve(HOP, watch)
        for number in range(6):
            await house.relay.submit(house.message(mail_from=f"s{number}@example.org"), b"")
        await turns(1000)
        assert watch.ended == 1
        left = await house.queued()
        assert {one.recipients[0].state for one in left} == {RecipientState.QUEUED}
        assert {one.recipients[0].attempts for one in left} == {0}
        await house.clock.advance(10, each=50)
        assert house.network.open == 0
        for _ in range(4):
            await house.clock.advance(1000, each=50)
        assert watch.ended == 2
