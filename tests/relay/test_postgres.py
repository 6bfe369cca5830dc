"""The shared spool: all that every spool does, and what a database and other nodes have to do with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pillarbox.relay.postgres import PostgresSpool
from pillarbox.relay.spool import Backoff
from tests.relay.conformance import STEADY, SpoolConformance

pytestmark = pytest.mark.usefixtures("new_loop")


class Opener:
    """Opens the spool of a test."""

    def __init__(self, database: str, ending: contextlib.AsyncExitStack, **fixed: Any) -> None:
        self._database = database
        self._ending = ending
        self._fixed = fixed

    async def __call__(
        self,
        *,
        backoff: Backoff = STEADY,
        chance: Callable[[], float] = lambda: 0.5,
        **values: Any,
    ) -> PostgresSpool:
        spool = await PostgresSpool.open(
            self._database, backoff=backoff, chance=chance, **self._fixed, **values
        )
        self._ending.push_async_callback(spool.close)
        return spool


@pytest.fixture
def open_spool(database: str, ending: contextlib.AsyncExitStack) -> Opener:
    return Opener(database, ending)


@pytest.fixture
def visit(database: str, ending: contextlib.AsyncExitStack) -> Opener:
    return Opener(database, ending, is_visitor=True)


class TestConformance(SpoolConformance):
    pass
