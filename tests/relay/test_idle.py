"""Sessions that wait: who is used, and who is closed."""

from __future__ import annotations

import asyncio

import pytest

from pillarbox.relay.idle import IdleSessions

pytestmark = pytest.mark.usefixtures("new_loop")


async def waiting(idle: IdleSessions, *times: float) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.ensure_future(idle.wait(at)) for at in times]
    await asyncio.sleep(0)
    return tasks


async def told(*tasks: asyncio.Task[bool]) -> list[bool | None]:
    """Tell of each whether it is used or closed; `None` for one that waits."""
    await asyncio.sleep(0)
    said = [task.result() if task.done() else None for task in tasks]
    for task in tasks:
        task.cancel()
    return said


async def test_the_last_is_used_and_the_first_is_closed() -> None:
    idle = IdleSessions()
    tasks = await waiting(idle, 1, 2, 3)
    assert idle.use_one()
    assert idle.close_one()
    assert await told(*tasks) == [False, None, True]


async def test_those_that_wait_long_are_closed() -> None:
    idle = IdleSessions()
    tasks = await waiting(idle, 1, 2, 3)
    idle.close_those_since(2)
    assert await told(*tasks) == [False, False, None]


async def test_who_is_gone_is_passed_over() -> None:
    idle = IdleSessions()
    tasks = await waiting(idle, 1, 2, 3, 4)
    for gone in (tasks[0], tasks[3]):
        gone.cancel()
    await asyncio.sleep(0)
    assert idle.use_one()
    assert idle.close_one()
    assert await told(*tasks[1:3]) == [False, True]
    assert not idle.use_one()
    assert not idle.close_one()
