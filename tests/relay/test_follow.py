"""What people ask of a spool while a relay starts is heard by it."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import SystemResolver
from pillarbox.relay.route import NextHop, Routes
from pillarbox.relay.sqlite import SqliteSpool

pytestmark = pytest.mark.usefixtures("new_loop")

NEXT = NextHop.parse("127.0.0.1:9")


def suspend(folder: Path) -> None:
    """Suspend the destination, on a thread of its own, and wait for that."""

    async def visit() -> None:
        spool = await SqliteSpool.open(folder, is_visitor=True)
        await spool.suspend(str(NEXT))
        await spool.close()

    visitor = threading.Thread(target=asyncio.run, args=(visit(),))
    visitor.start()
    visitor.join()


class Listener(logging.Handler):
    """Sets an event when a line is logged."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.heard = asyncio.Event()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._line:
            self.heard.set()


async def test_a_suspension_right_after_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pillarbox")
    listener = Listener(f"{NEXT} is suspended")
    logging.getLogger("pillarbox").addHandler(listener)
    spool = await SqliteSpool.open(tmp_path)
    relay = Relay(spool, Routes(NEXT, resolver=MailExchangers(SystemResolver())))
    await relay.start()
    suspend(tmp_path)  # nothing else has its turn meanwhile
    try:
        await listener.heard.wait()
    finally:
        logging.getLogger("pillarbox").removeHandler(listener)
        await relay.close()
        await spool.close()
