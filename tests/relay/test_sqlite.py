"""The embedded spool: all that every spool does, and what a file and SQLite have to do with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pillarbox.relay.spool import Backoff
from pillarbox.relay.sqlite import SqliteSpool
from tests.relay.conformance import STEADY, OpenSpool, SpoolConformance

pytestmark = pytest.mark.usefixtures("new_loop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def opener(folder: Path, ending: contextlib.AsyncExitStack, **fixed: Any) -> OpenSpool:
    async def open_it(
        *, backoff: Backoff = STEADY, chance: Callable[[], float] = lambda: 0.5
    ) -> SqliteSpool:
        spool = await SqliteSpool.open(folder, backoff=backoff, chance=chance, **fixed)
        ending.push_async_callback(spool.close)
        return spool

    return open_it


@pytest.fixture
def open_spool(folder: Path, ending: contextlib.AsyncExitStack) -> OpenSpool:
    return opener(folder, ending)


@pytest.fixture
def visit(folder: Path, ending: contextlib.AsyncExitStack) -> OpenSpool:
    return opener(folder, ending, is_visitor=True)


class TestConformance(SpoolConformance):
    pass
