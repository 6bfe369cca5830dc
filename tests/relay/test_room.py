"""Who waits for room in memory, and who does not."""

from __future__ import annotations

import asyncio

import pytest

from pillarbox.relay.room import MOST_SECONDS, SAMPLE_MESSAGES, Room
from pillarbox.relay.schedule import Limits
from tests.relay.network import House, turns
from tests.relay.test_destination import HOP, Gate

pytestmark = pytest.mark.usefixtures("new_loop")


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def leave(self, room: Room, messages: int, *, seconds: float) -> None:
        """Have messages leave, one after the other."""
        for _ in range(messages):
            self.time += seconds / messages
            room.leave(0, 1)


def measured(clock: Clock, per_second: int) -> Room:
    room = Room(clock.now)
    clock.leave(room, 2 * SAMPLE_MESSAGES, seconds=2 * SAMPLE_MESSAGES / per_second)
    return room


def test_nothing_is_said_of_what_was_not_measured() -> None:
    clock = Clock()
    room = Room(clock.now)
    assert not room.is_crowded(4, 1)
    clock.leave(room, SAMPLE_MESSAGES - 1, seconds=0.001)
    assert not room.is_crowded(4, 1)


def test_what_would_be_gone_soon() -> None:
    room = measured(Clock(), 1000)
    assert room.is_crowded(int(990 * MOST_SECONDS), 1)
    assert not room.is_crowded(int(1010 * MOST_SECONDS), 1)


def test_a_pace_that_is_not_kept_is_forgotten() -> None:
    clock = Clock()
    room = measured(clock, 1000)
    clock.time += 10
    clock.leave(room, 5, seconds=0)
    room.tick(clock.time)
    assert not room.is_crowded(4, 1)


def test_a_clock_that_is_set_back_holds_nobody_up() -> None:
    clock = Clock()
    room = measured(clock, 1000)
    clock.time -= 3600
    clock.leave(room, SAMPLE_MESSAGES, seconds=0.05)
    room.tick(clock.time)
    clock.leave(room, SAMPLE_MESSAGES, seconds=10)
    assert not room.is_crowded(100, 1)


async def test_each_that_leaves_lets_in_one() -> None:
    clock = Clock()
    room = measured(clock, 100)
    waiting = [asyncio.ensure_future(room.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    assert room.is_crowded(0, 1)
    # Those who wait are gone before whoever comes now.
    assert not room.is_crowded(98, 1)
    room.leave(4, 1)
    await asyncio.sleep(0)
    assert [one.done() for one in waiting] == [False, False, False]
    room.leave(0, 1)
    await asyncio.sleep(0)
    assert [one.done() for one in waiting] == [True, False, False]
    waiting[1].cancel()
    await asyncio.sleep(0)
    room.leave(0, 1)
    room.leave(0, 1)
    await asyncio.gather(waiting[0], waiting[2])
    assert not room.is_crowded(0, 1)


async def test_nobody_waits_for_what_does_not_move() -> None:
    clock = Clock()
    room = measured(clock, 100)
    first = asyncio.ensure_future(room.turn())
    await asyncio.sleep(0)
    room.tick(clock.time)
    second = asyncio.ensure_future(room.turn())
    await asyncio.sleep(0)
    room.tick(clock.time)
    await first
    assert not second.done()
    room.stop()
    await second
    assert not room.is_crowded(4, 1)


# In a relay


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
        gate = Gate()
        gate.opened.set()
        house.network.serve(HOP, gate)
        for _ in range(2 * SAMPLE_MESSAGES):  # in no time, by a clock that stands still
            await house.submit()
        gate.opened.clear()
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
        gate = Gate()
        gate.opened.set()
        house.network.serve(HOP, gate)
        for _ in range(2 * SAMPLE_MESSAGES):
            await house.submit()
        gate.opened.clear()
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
        gate = Gate()
        gate.opened.set()
        house.network.serve(HOP, gate)
        for _ in range(2 * SAMPLE_MESSAGES):
            await house.submit()
        gate.opened.clear()
        sending = await submitting(house, 30)
        assert not all(one.done() for one in sending)
        house.relay._dispatcher.destination(f"smtp://{HOP}").suspend()
        await turns(3000)
        assert all(one.done() for one in sending)
        gate.opened.set()
