"""The spool in memory keeps the promises that it stands in for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from pillarbox.relay.spool import Backoff
from tests.relay.conformance import STEADY, OpenSpool, SpoolConformance
from tests.relay.memory_spool import Memory, MemorySpool

pytestmark = pytest.mark.usefixtures("new_loop")


@pytest.fixture
def open_spool(ending: contextlib.AsyncExitStack) -> OpenSpool:
    memory = Memory()

    async def open_it(
        *, backoff: Backoff = STEADY, chance: Callable[[], float] = lambda: 0.5
    ) -> MemorySpool:
        spool = MemorySpool(memory, backoff=backoff, chance=chance)
        ending.push_async_callback(spool.close)
        return spool

    return open_it


@pytest.fixture
def visit(open_spool: OpenSpool) -> OpenSpool:
    return open_spool


class TestConformance(SpoolConformance):
    pass
