"""What `pillarbox catch` keeps: its limits, and what it takes in at the start."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.limits import Limits
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.cli.keeping import Keeping, aging
from tests.cli.program import Program
from tests.cli.program import error_in_process as error
from tests.cli.test_page import ask, listed, send

LOCAL = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")


def keeping(*imports: Path | str, db: Path | None = None, max_messages: int = 0) -> Keeping:
    return Keeping(
        db=None if db is None else str(db),
        max_messages=max_messages,
        max_octets=0,
        max_age_seconds=0.0,
        imports=list(map(str, imports)),
    )


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "mails"
    path.write_text(
        "".join(f"From ann Mon Jan  1 12:00:0{n} 2024\nSubject: {n}\n\nx\n\n" for n in range(3))
    )
    return path


def test_what_is_taken_in(mbox: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pillarbox")
    (tmp_path / "a.eml").write_text("Subject: a\n\n")
    wanted = keeping(mbox, tmp_path / "a.eml")
    with wanted.open() as mailbox:
        wanted.take_in(mailbox)
        wanted.take_in(mailbox)
        assert {one.subject for one in mailbox.find()} == {"0", "1", "2", "a"}
    assert [record.getMessage().partition(" from")[0] for record in caplog.records] == [
        *("3 new messages", "1 new messages"),
        *("0 new messages", "0 new messages"),
    ]


def test_more_is_taken_in_than_is_kept(mbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = keeping(mbox, max_messages=2)
    with wanted.open() as mailbox:
        wanted.take_in(mailbox)
        assert [one.subject for one in mailbox.find()] == ["2", "1"]
    assert "the oldest of them have gone already; --max-messages 0 keeps all" in caplog.text


def test_what_is_taken_in_is_on_the_page(mbox: Path, tmp_path: Path) -> None:
    arguments = ("catch", "--db", str(tmp_path / "mails.db"), "--import", str(mbox), *LOCAL)
    for total in (3, 4):  # and not once more at the second start
        with Program(*arguments) as program:
            assert "new messages from" in program.line()
            port, page = program.ready_port(), program.ready()
            assert len(listed(page)) == total
            send(port, "3")
            assert ask(page, "/api/x/export.mbox?query=subject:3")[1].count(b"\nSubject: 3\n") >= 1
            assert program.stop() == (0, [])


def test_workers_share_what_is_taken_in(mbox: Path, tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Program(
        *("catch", "--workers", "2", "--http", "none", "--db", str(path), "--import", str(mbox)),
        *LOCAL[:2],
    ) as program:
        assert "3 new messages from" in program.line()
        send(program.ready_port(), "3")
        assert program.stop() == (0, [])
    with Mailbox(path) as mailbox:
        assert mailbox.counts().total == 4


def test_nothing_to_take_in(tmp_path: Path) -> None:
    assert (
        error("catch", *LOCAL, "--import", str(tmp_path / "none"))
        == f"--import: {tmp_path}/none does not exist; see how its name is written"
    )
    assert (
        error("catch", *LOCAL[:2], "--http", "none", "--import", str(tmp_path))
        == "--import has nowhere to put the mail; write --db FILE, or leave --http none out"
    )


# Limits


def test_limits_of_octets_and_age(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    now = datetime.now(UTC)
    with Mailbox(path, limits=Limits(max_messages=0)) as mailbox:
        for subject, hours, size in (("old", 3, 10), ("large", 2, 5000), ("new", 1, 100)):
            mailbox.add(arrival(subject, now - timedelta(hours=hours), size))
    options = ("--max-age", "150m", "--max-bytes", "1000")
    with Program("catch", "--db", str(path), *options, *LOCAL) as program:
        program.ready()
        assert [one["Subject"] for one in listed(program.ready())] == ["new"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--max-age soon", "'soon' is no time; write one such as 90s, 5m, 4h or 5d"),
        ("--max-age 0", "'0' is no time; write one such as 90s, 5m, 4h or 5d"),
        ("--max-bytes -1", "-1 is not in the range x>=0"),
    ],
)
def test_limits_that_are_none(options: str, message: str) -> None:
    assert message in error("catch", *LOCAL, *options.split())


def arrival(subject: str, time: datetime, size: int = 0) -> Arrival:
    return Arrival(
        id=new_id(),
        time=time,
        mail_from="ann@example.org",
        rcpt_tos=("bob@example.org",),
        octets=f"Subject: {subject}\r\n\r\n".encode().ljust(size),
    )


def nap_of(naps: Sequence[Callable[[], object]]) -> Callable[[], asyncio.Future[None]]:
    """Give a sleep that does something instead, and at the last sleeps for ever."""
    left = iter(naps)

    def sleep() -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for nap in left:
            nap()
            done.set_result(None)
            break
        return done

    return sleep


def test_what_becomes_too_old_goes_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2024, 1, 1, 12, tzinfo=UTC)
    path = tmp_path / "mails.db"
    limits = Limits(max_age_seconds=60)
    other = sqlite3.connect(path, isolation_level=None)
    with Mailbox(path, limits=limits, busy_seconds=0, clock=lambda: now) as mailbox:
        mailbox.add(arrival("old", now))
        left = []

        def later() -> None:
            nonlocal now
            left.append(mailbox.counts().total)
            now += timedelta(seconds=45)

        def locked() -> None:
            left.append(mailbox.counts().total)
            other.execute("BEGIN IMMEDIATE")

        def free() -> None:
            left.append(mailbox.counts().total)
            other.execute("COMMIT")

        async def run() -> None:
            def looked() -> None:
                left.append(mailbox.counts().total)
                task.cancel()

            naps = [later, locked, later, free, looked]
            task = asyncio.ensure_future(aging(mailbox, nap_of(naps)))
            await asyncio.wait([task], timeout=20)

        asyncio.run(run())
        other.close()
    assert left == [1, 1, 1, 1, 0]
    assert "is locked by another program" in caplog.text
    assert "messages that are too old were not deleted" in caplog.text
