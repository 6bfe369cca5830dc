"""What is pushed to pages."""

from __future__ import annotations

import asyncio
from typing import Any

from pillarbox.catcher.web.events import MAX_WAITING
from tests.catcher.web.caller import Ears, Site, letter


def is_stats(event: Any) -> bool:
    return bool(event["Type"] == "stats")


async def add(site: Site, subject: str = "Hello", **more: Any) -> str:
    summary = await asyncio.to_thread(lambda: site.add(letter(subject), **more))
    return summary.id


def test_each_change_is_told() -> None:
    site = Site()

    async def run() -> None:
        async with site.listening() as ears:
            id_ = await add(site)
            new, stats = await ears.event(), await ears.event()
            listed = (await site.acall("GET", "/api/v1/messages")).json["messages"]
            assert new == {"Type": "new", "Data": listed[0]}
            assert stats["Data"].pop("Version").startswith("v")
            assert stats == {"Type": "stats", "Data": {"Total": 1, "Unread": 1}}
            for change, event in (
                (
                    lambda: site.mailbox.set_tags([id_], ["red"]),
                    {"Type": "update", "Data": {"ID": id_, "Read": False, "Tags": ["red"]}},
                ),
                (
                    lambda: site.mailbox.set_read([id_]),
                    {"Type": "update", "Data": {"ID": id_, "Read": True, "Tags": ["red"]}},
                ),
                (lambda: site.mailbox.delete([id_]), {"Type": "delete", "Data": {"ID": id_}}),
                (lambda: site.mailbox.delete_all(), {"Type": "truncate", "Data": None}),
            ):
                await asyncio.to_thread(change)
                *others, told = await ears.until(lambda event: not is_stats(event))
                assert (told, all(map(is_stats, others))) == (event, True)

    asyncio.run(run())


def test_counts_go_out_seldom_and_the_last_ones_always() -> None:
    site = Site()

    async def run() -> None:
        async with site.listening() as ears:
            last = asyncio.create_task(
                ears.until(lambda event: is_stats(event) and event["Data"]["Total"] == 40)
            )
            for number in range(40):
                await add(site, f"{number}")
            events = await last
        assert sum(event["Type"] == "new" for event in events) == 40
        assert sum(map(is_stats, events)) < 20

    asyncio.run(run())


def test_a_mailbox_tells_of_its_own() -> None:
    site = Site()

    async def run() -> None:
        async with site.listening("/api/x/mailboxes/team/api/events") as ears:
            await add(site, "other")
            await add(site, "ours", mailboxes=("team",))
            new, stats = await ears.event(), await ears.event()
            assert (new["Data"]["Subject"], stats["Data"]["Total"]) == ("ours", 1)

    asyncio.run(run())


class SlowEars(Ears):
    """A client that does not read until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await self.may_read.wait()
        await super().send(message)


def test_a_page_that_does_not_keep_up_shall_load_anew() -> None:
    site = Site()

    async def run() -> None:
        ears = SlowEars()
        async with site.listening(ears=ears):
            await add(site, "first")
            await asyncio.to_thread(
                lambda: [site.add(letter(f"{number}")) for number in range(MAX_WAITING + 50)]
            )
            ears.may_read.set()
            events = await ears.until(
                lambda event: is_stats(event) and event["Data"]["Total"] == MAX_WAITING + 51
            )
        kinds = [event["Type"] for event in events if not is_stats(event)]
        assert kinds.count("prune") == 1
        assert len(kinds) < MAX_WAITING

    asyncio.run(run())


def test_the_end_of_the_server_is_told() -> None:
    site = Site()

    async def run() -> None:
        async with site.listening() as ears:
            site.service.stopping.set()
            message = await ears.heard()
            assert (message["type"], message["code"]) == ("websocket.close", 1001)

    asyncio.run(run())
