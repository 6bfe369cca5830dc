"""Messages that wait are stored together, and one that cannot be stored harms no other."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.failure import MailboxError, MailboxFull
from pillarbox.catcher.intake import MAX_TOGETHER, Intake
from pillarbox.catcher.limits import Limits
from pillarbox.catcher.mailbox import Mailbox

TIME_LIMIT_SECONDS = 20.0


def arrival(subject: str = "Hello", *, id_: str = "", size: int = 0) -> Arrival:
    return Arrival(
        id=id_ or new_id(),
        time=datetime(2024, 1, 1, 12, tzinfo=UTC),
        mail_from="ann@example.org",
        rcpt_tos=("bob@example.org",),
        octets=f"Subject: {subject}\r\n\r\n".encode().ljust(size),
    )


def mailbox_of(path: Path, *, busy_seconds: float = TIME_LIMIT_SECONDS) -> Mailbox:
    return Mailbox(path, limits=Limits(max_messages=0), busy_seconds=busy_seconds)


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """Have another program at the file until it is told to end."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield lambda: other.execute("ROLLBACK")
    finally:
        other.close()


def run(work: Awaitable[object]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await work

    asyncio.run(in_time())


def test_those_that_wait_are_stored_together(tmp_path: Path) -> None:
    commits: list[str] = []
    with mailbox_of(tmp_path / "mails.db") as mailbox, locked(tmp_path / "mails.db") as unlock:
        mailbox._store.database.writer.set_trace_callback(
            lambda sql: commits.append(sql) if sql == "COMMIT" else None
        )

        async def work() -> None:
            intake = Intake(mailbox)
            adding = [asyncio.create_task(intake.add(arrival(f"{n}"))) for n in range(50)]
            done, _ = await asyncio.wait(adding, timeout=0)
            await asyncio.sleep(0)  # the event loop goes on, whoever has locked the file
            assert not done
            assert mailbox.counts().total == 0
            unlock()
            await asyncio.gather(*adding)

        run(work())
        # The thread may have begun with the first ones before the others were there.
        assert len(commits) <= 2
        assert len(mailbox.find()) == 50


def test_not_more_than_so_many(tmp_path: Path) -> None:
    with mailbox_of(tmp_path / "mails.db") as mailbox:
        intake = Intake(mailbox)

        async def work() -> None:
            await asyncio.gather(*(intake.add(arrival()) for _ in range(MAX_TOGETHER * 2 + 1)))

        run(work())
        assert mailbox.counts().total == MAX_TOGETHER * 2 + 1


def test_who_hears_of_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with mailbox_of(path, busy_seconds=0) as mailbox:
        intake = Intake(mailbox)

        async def work() -> None:
            with locked(path):
                adding = (intake.add(arrival()) for _ in range(3))
                failures = await asyncio.gather(*adding, return_exceptions=True)
            assert all(isinstance(one, MailboxError) for one in failures)
            await intake.add(arrival("later"))

        run(work())
        assert [one.subject for one in mailbox.find()] == ["later"]


def test_one_that_cannot_be_stored(tmp_path: Path) -> None:
    with mailbox_of(tmp_path / "mails.db") as mailbox:
        mailbox.add(arrival(id_="twice"))
        execute = mailbox._store.database.writer.execute
        (pages,) = execute("PRAGMA page_count").fetchone()
        execute(f"PRAGMA max_page_count = {pages + 20}")

        async def work() -> None:
            intake = Intake(mailbox)
            one, large, twice, other = await asyncio.gather(
                *(
                    intake.add(arrival("one")),
                    intake.add(arrival("large", size=500_000)),
                    intake.add(arrival(id_="twice")),
                    intake.add(arrival("other")),
                ),
                return_exceptions=True,
            )
            assert (one, other) == (None, None)
            assert isinstance(large, MailboxFull)
            assert isinstance(twice, ValueError)

        run(work())
        assert {one.subject for one in mailbox.find()} == {"Hello", "one", "other"}


def test_a_client_that_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with mailbox_of(path) as mailbox, locked(path) as unlock:

        async def work() -> None:
            intake = Intake(mailbox)
            gone = asyncio.create_task(intake.add(arrival("gone")))
            stays = asyncio.create_task(intake.add(arrival("stays")))
            await asyncio.sleep(0)
            gone.cancel()
            unlock()
            await stays
            with pytest.raises(asyncio.CancelledError):
                await gone

        run(work())
        assert {one.subject for one in mailbox.find()} == {"gone", "stays"}
