"""Who waits for room in memory, and who does not."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from pillarbox.relay import shared as relay
from pillarbox.relay.room import AHEAD, MOST_SECONDS, SAMPLE_MESSAGES, Room
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient, SpoolFull
from tests.relay.network import House, turns
from tests.relay.test_destination import HOP, Gate

pytestmark = pytest.mark.usefixtures("new_loop")


class Shared:
    """What destinations share, as far as a room asks; its clock is moved by hand."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = self
        self.memory_octets = 0
        self.time = 1000.0

    def now(self) -> float:
        return self.time


def opened(shared: Shared, most: int = 1000) -> Room:
    return Room(cast("relay.Shared", shared), most)


def lease(sender: str = "ann@example.org", octets: bytes | None = None) -> Lease:
    to = NewRecipient(address="bob@example.org", destination="b.test")
    message = NewMessage(mail_from=sender, recipients=(to,), created=0, expires=1)
    return Lease(
        token="t",
        id="1",
        destination="b.test",
        recipients=(),
        expires=1,
        message=message,
        size=0,
        octets=octets,
    )


def fill(room: Room, messages: int) -> None:
    """Have so many wait."""
    while len(room) > messages:
        room.pop(1)
    while len(room) < messages:
        room.push(lease())


def leave(shared: Shared, room: Room, messages: int, *, seconds: float) -> None:
    """Have messages leave, one after the other, as many as wait coming behind them."""
    for _ in range(messages):
        shared.time += seconds / messages
        room.push(lease())
        room.pop(1)


def measured(shared: Shared, per_second: int) -> Room:
    room = opened(shared, 10_000)
    leave(shared, room, 2 * SAMPLE_MESSAGES, seconds=2 * SAMPLE_MESSAGES / per_second)
    return room


async def waiting(room: Room, senders: int) -> list[asyncio.Task[bool]]:
    """Have so many senders wait for their turn."""
    turns = [asyncio.ensure_future(room.turn()) for _ in range(senders)]
    await asyncio.sleep(0)
    return turns


# What is in it


def test_memory_is_counted() -> None:
    shared = Shared(Limits(memory_octets=10))
    room = opened(shared)
    room.push(lease(octets=b"12345"))
    room.push(lease())
    assert shared.memory_octets == 5
    assert room.has_place("ben@example.org", 5)
    assert not room.has_place("ben@example.org", 6)
    room.push(lease(octets=b"123456"))
    assert not room.is_within_bounds
    assert room.pop(1) is not None
    assert shared.memory_octets == 6
    assert len(room.clear()) == 2
    assert (len(room), shared.memory_octets) == (0, 0)
    assert room.pop(1) is None


def test_one_sender_has_half_of_the_places() -> None:
    room = opened(Shared(Limits(ready_messages=4)), 4)
    room.push(lease())
    assert room.has_place("ann@example.org", 0)
    room.push(lease())
    assert not room.has_place("ann@example.org", 0)
    assert room.has_place("ben@example.org", 0)
    fill(room, 4)
    assert room.is_within_bounds
    assert not room.has_place("ben@example.org", 0)


# How fast it empties


def test_nothing_is_said_of_what_was_not_measured() -> None:
    shared = Shared()
    room = opened(shared)
    leave(shared, room, SAMPLE_MESSAGES - 1, seconds=0.001)
    fill(room, AHEAD)
    assert not room.is_crowded(1)


def test_it_is_crowded_by_what_will_be_gone_soon() -> None:
    room = measured(Shared(), 1000)
    fill(room, AHEAD - 1)
    assert not room.is_crowded(1)
    fill(room, AHEAD)
    assert room.is_crowded(1)
    assert not room.is_crowded(2)
    fill(room, int(990 * MOST_SECONDS))
    assert room.is_crowded(1)
    fill(room, int(1010 * MOST_SECONDS))
    assert not room.is_crowded(1)


def test_a_pace_that_is_not_kept_is_forgotten() -> None:
    shared = Shared()
    room = measured(shared, 1000)
    fill(room, AHEAD)
    shared.time += 100
    room.tick(shared.time)
    assert not room.is_crowded(1)


def test_a_clock_that_is_set_back_holds_nobody_up() -> None:
    shared = Shared()
    room = measured(shared, 1000)
    shared.time -= 3600
    leave(shared, room, SAMPLE_MESSAGES, seconds=0.05)
    room.tick(shared.time)
    leave(shared, room, SAMPLE_MESSAGES, seconds=10)
    fill(room, 100)
    assert not room.is_crowded(1)


# Who waits


async def test_each_that_leaves_lets_in_one() -> None:
    room = measured(Shared(), 100)
    fill(room, AHEAD + 1)
    senders = await waiting(room, 3)
    room.pop(1)
    await asyncio.sleep(0)
    assert not any(one.done() for one in senders)  # there is enough without them
    room.pop(1)
    await asyncio.sleep(0)
    assert [one.done() for one in senders] == [True, False, False]
    assert room.is_crowded(1)  # by those who wait, and are first
    room.pop(1)
    assert await senders[1]
    assert not senders[2].done()


async def test_who_has_gone_away_keeps_nobody() -> None:
    room = measured(Shared(), 100)
    fill(room, AHEAD)
    gone, waits = await waiting(room, 2)
    gone.cancel()
    await asyncio.sleep(0)
    room.pop(1)
    assert await waits


async def test_an_empty_room_lets_in_as_many_as_there_are_sessions() -> None:
    room = measured(Shared(), 100)
    fill(room, 1)
    senders = await waiting(room, 5)
    room.pop(3)
    await asyncio.sleep(0)
    assert sum(one.done() for one in senders) == 4


async def test_nobody_waits_for_what_does_not_move() -> None:
    shared = Shared()
    room = measured(shared, 100)
    (first,) = await waiting(room, 1)
    room.tick(shared.time)
    (second,) = await waiting(room, 1)
    room.tick(shared.time)
    assert not await first
    assert not second.done()
    fill(room, AHEAD)
    assert len(room.clear()) == AHEAD
    assert not await second
    fill(room, AHEAD)
    assert not room.is_crowded(1)


# In a relay


async def fast_then_closed(house: House) -> Gate:
    """Have mail leave in no time, by a clock that stands still; then none until it is opened."""
    gate = Gate()
    gate.opened.set()
    house.network.serve(HOP, gate)
    for _ in range(2 * SAMPLE_MESSAGES):
        await house.submit()
    gate.opened.clear()
    return gate


async def submitting(house: House, messages: int) -> list[asyncio.Task[str]]:
    """Have so many clients send a message each, one after the other."""
    sending = []
    for _ in range(messages):
        sending.append(asyncio.ensure_future(house.relay.submit(house.message(), b"")))
        await turns(20)
    return sending


async def test_who_sends_faster_than_mail_leaves_waits() -> None:
    limits = Limits(first_sessions=1, most_sessions=2, ready_messages=10_000)
    async with House(limits=limits) as house:
        gate = await fast_then_closed(house)
        sending = await submitting(house, 100)
        accepted = sum(one.done() for one in sending)
        assert accepted < 20
        assert house.relay.counters.ready == accepted - 2  # each goes to a session, none is read
        gate.opened.set()
        await turns(20_000)
        assert all(one.done() for one in sending)
        assert house.relay.counters.delivered == 2 * SAMPLE_MESSAGES + 100


async def test_where_mail_does_not_leave_nobody_waits_for_long() -> None:
    limits = Limits(first_sessions=1, most_sessions=2, ready_messages=20)
    async with House(limits=limits) as house:
        gate = await fast_then_closed(house)
        sending = await submitting(house, 100)
        assert sum(one.done() for one in sending) < 20
        await house.clock.advance(4)
        await turns(3000)
        assert all(one.done() for one in sending)
        assert len(await house.queued()) == 100
        assert house.relay.counters.ready <= 20
        gate.opened.set()
        await turns(20_000)
        assert house.relay.counters.delivered == 2 * SAMPLE_MESSAGES + 100


async def test_a_destination_that_goes_down_keeps_nobody() -> None:
    async with House(limits=Limits(first_sessions=1, most_sessions=1)) as house:
        gate = await fast_then_closed(house)
        sending = await submitting(house, 30)
        assert not all(one.done() for one in sending)
        house.relay._dispatcher.destination(f"smtp://{HOP}").suspend()
        await turns(3000)
        assert all(one.done() for one in sending)
        gate.opened.set()


async def test_nobody_waits_for_ever_in_a_destination_that_is_forgotten() -> None:
    limits = Limits(first_sessions=1, most_sessions=1, messages_per_session=1)
    async with House(limits=limits) as house:
        gate = await fast_then_closed(house)
        sending = await submitting(house, 30)
        house.spool.failures["put"] = SpoolFull("there is no room")
        gate.opened.set()
        await turns(3000)
        house.spool.failures.clear()
        await house.clock.advance(600)
        await turns(3000)
        left = sum(not one.done() for one in sending)
        for one in sending:
            one.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        assert not left
