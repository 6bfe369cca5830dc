"""Mailman is asked: once, over one session, and never for longer than it may take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from pillarbox.lists import MailmanSilent, Verdicts
from pillarbox.mailman.lookup import Lookup, mailman_client
from pillarbox.protocol.address import Path
from pillarbox.relay.route import NextHop
from tests.mailman.fake import FakeMailman

LIST, OTHER, NOBODY = (Path(f"{name}@x.example".encode()) for name in ("dev", "news", "nobody"))
ANSWERS_AT_ONCE = 5.0


@contextlib.asynccontextmanager
async def asking(
    mailman: FakeMailman, seconds: float = 10.0, verdicts: Verdicts | None = None
) -> AsyncIterator[Lookup]:
    hop = NextHop.parse(f"lmtp://127.0.0.1:{mailman.address[1]}")
    client = mailman_client(hop, hostname="relay.test", seconds=seconds)
    lookup = Lookup(client, verdicts=verdicts, seconds=seconds)
    try:
        yield lookup
    finally:
        await lookup.close()


async def test_it_is_asked_once_over_one_session() -> None:
    with FakeMailman("dev@x.example", "news@x.example") as mailman:
        async with asking(mailman) as lookup:
            assert await lookup.knows(LIST)
            assert await lookup.knows(Path(b'"DEV"@X.example'))
            assert not await lookup.knows(NOBODY)
            assert await lookup.knows(OTHER)
            assert not await lookup.knows(NOBODY)
        assert mailman.asked == ["dev@x.example", "nobody@x.example", "news@x.example"]
        assert mailman.sessions == 1
        assert mailman.verbs[:4] == ["LHLO", "MAIL", "RCPT", "RSET"]
        assert "DATA" not in mailman.verbs


async def test_who_asks_the_same_waits_for_the_same_answer() -> None:
    with FakeMailman("dev@x.example") as mailman:
        async with asking(mailman) as lookup:
            mailman.freeze()
            asked = [asyncio.ensure_future(lookup.knows(one)) for one in (LIST, LIST, NOBODY)]
            await asyncio.sleep(0)
            asked[0].cancel()  # its client has gone away
            mailman.thaw()
            assert await asyncio.gather(*asked[1:]) == [True, False]
        assert mailman.asked == ["dev@x.example", "nobody@x.example"]


async def test_it_hangs() -> None:
    with FakeMailman("dev@x.example") as mailman:
        async with asking(mailman, 0.1) as lookup:
            mailman.freeze()
            begun = time.monotonic()
            asked = [lookup.knows(Path(b"%d@x.example" % number)) for number in range(20)]
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(answer, MailmanSilent), answer
            assert time.monotonic() - begun < ANSWERS_AT_ONCE
            mailman.thaw()
            assert await lookup.knows(LIST)


async def test_it_is_down_and_back() -> None:
    with FakeMailman("dev@x.example") as mailman:
        async with asking(mailman) as lookup:
            assert await lookup.knows(LIST)
            mailman.stop()
            with pytest.raises(MailmanSilent):
                await lookup.knows(NOBODY)
            assert await lookup.knows(LIST), "what is known is known for a while"
            mailman.start()
            assert not await lookup.knows(NOBODY)


async def test_it_closes_what_is_idle() -> None:
    with FakeMailman("dev@x.example", "news@x.example") as mailman:
        async with asking(mailman) as lookup:
            assert await lookup.knows(LIST)
            mailman.drop()
            assert await lookup.knows(OTHER)
            assert mailman.sessions == 2


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        *(("RCPT", "451 Later"), ("RCPT", "421 Bye"), ("RCPT", None)),
        *(("MAIL", "550 No"), ("LHLO", "554 No")),
    ],
)
async def test_it_does_not_say(verb: str, reply: str | None) -> None:
    with FakeMailman("dev@x.example") as mailman:
        async with asking(mailman) as lookup:
            mailman.replies[verb] = reply
            with pytest.raises(MailmanSilent):
                await lookup.knows(LIST)
            del mailman.replies[verb]
            assert await lookup.knows(LIST)


async def test_a_question_takes_little_time() -> None:
    with FakeMailman("dev@x.example") as mailman:
        async with asking(mailman, verdicts=Verdicts(lookup_ttl=0)) as lookup:
            await lookup.knows(LIST)
            begun = time.monotonic()
            for _ in range(100):
                await lookup.knows(LIST)
            assert time.monotonic() - begun < ANSWERS_AT_ONCE
        assert len(mailman.asked) == 101
