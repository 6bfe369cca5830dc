"""`async def` tests, each one on asyncio and on uvloop.

A module of them begins with `pytestmark = pytest.mark.usefixtures("new_loop")`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.asyncio.wire import InMemory
from tests.conftest import NEW_LOOPS, TIME_LIMIT_SECONDS


@pytest.fixture(params=NEW_LOOPS)
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return NEW_LOOPS[request.param]


@pytest.fixture
def ending() -> contextlib.AsyncExitStack:
    """What is to be awaited when the test is over."""
    return contextlib.AsyncExitStack()


@pytest.fixture
def in_memory(ending: contextlib.AsyncExitStack) -> InMemory:
    """Make servers with no network, whose clocks stand still."""
    return InMemory(ending)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test) or pyfuncitem.get_closest_marker("anyio"):
        return None
    arguments: dict[str, Any] = {
        name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters
    }

    async def in_time() -> None:
        ending: Any = pyfuncitem.funcargs.get("ending") or contextlib.AsyncExitStack()
        async with asyncio.timeout(TIME_LIMIT_SECONDS), ending:
            await test(**arguments)

    new_loop: Any = pyfuncitem.funcargs.get("new_loop")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(in_time())
    return True
