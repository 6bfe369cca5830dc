"""The relay from end to end: submitted, delivered to our own server, with the outcome on record."""

from __future__ import annotations

import asyncio
import time

import pytest

from pillarbox import serve
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.relay import Relay
from pillarbox.relay.resolver import SystemResolver
from pillarbox.relay.route import NextHop, Routes
from pillarbox.relay.spool import NewMessage, NewRecipient
from pillarbox.testing import Recorder
from tests.relay.memory_spool import MemorySpool

pytestmark = pytest.mark.usefixtures("new_loop")

TEXT = b"Subject: hi\r\n\r\n.text\r\n"


async def test_end_to_end() -> None:
    recorder = Recorder()
    async with serve(recorder, "127.0.0.1", 0) as server:
        spool = MemorySpool()
        next_hop = NextHop.parse(f"127.0.0.1:{server.port}")
        routes = Routes(next_hop, resolver=MailExchangers(SystemResolver()))
        relay = Relay(spool, routes)
        await relay.start()
        done = asyncio.Event()
        relay.subscribe(lambda event: done.set())
        now = time.time()
        to = NewRecipient(
            address="bob@example.org", destination=routes.destination("bob@example.org")
        )
        await relay.submit(
            NewMessage(
                mail_from="ann@example.org", recipients=(to,), created=now, expires=now + 100
            ),
            TEXT,
        )
        await done.wait()
        assert [message.data for message in recorder.messages] == [TEXT]
        assert await spool.list() == []
        await relay.close()
