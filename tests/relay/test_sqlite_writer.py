"""Who writes into the database, the loop or the thread, and what is in its way."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pillarbox.relay.spool import SpoolError
from pillarbox.relay.sqlite.change import Transaction
from pillarbox.relay.sqlite.disk import FileLock
from pillarbox.relay.sqlite.writer import MAX_LIGHT_OCTETS, Writer

pytestmark = pytest.mark.usefixtures("new_loop")


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=0
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, thread INTEGER)")
    return connection


def add(transaction: Transaction, words: Sequence[str]) -> Sequence[int]:
    """A step: write words down, and by which thread."""
    for word in words:
        transaction.connection.execute(
            "INSERT INTO words VALUES (?, ?)", (word, threading.get_ident())
        )
    return [threading.get_ident() for _ in words]


def explain(error: Exception) -> SpoolError:
    return error if isinstance(error, SpoolError) else SpoolError(str(error))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "words.sqlite"


def opened(database: Path) -> Writer:
    return Writer(
        lambda: connect(database),
        explain,
        others=FileLock(database.with_suffix(".lock")),
    )


def written(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {word for (word,) in connection.execute("SELECT word FROM words")}


async def by_loop(writer: Writer, name: str) -> bool:
    """Tell whether the loop writes: it does once the thread has put everything away."""
    words = (writer.do(add, f"{name} {number}", is_light=True) for number in range(1000))
    for answered in words:
        if await answered == threading.get_ident():
            return True
    return False


async def test_what_is_light_is_the_loops_and_the_rest_the_threads(database: Path) -> None:
    writer = opened(database)
    assert await by_loop(writer, "first")
    here = threading.get_ident()
    for number in range(20):
        assert await writer.do(add, f"heavy {number}") != here
        octets = MAX_LIGHT_OCTETS + 1
        assert await writer.do(add, f"large {number}", is_light=True, octets=octets) != here
        assert here not in await asyncio.gather(
            writer.do(add, f"light with {number}", is_light=True),
            writer.do(add, f"heavy with {number}"),
        )
    assert await by_loop(writer, "last")
    await writer.close()
    assert len(written(database)) >= 82


async def test_one_that_does_not_fit_does_not_harm_the_others(database: Path) -> None:
    writer = opened(database)
    await writer.do(add, "word", is_light=True)
    answers = await asyncio.gather(
        *(writer.do(add, word, is_light=True) for word in ("a", "word", "b")),
        return_exceptions=True,
    )
    assert isinstance(answers[1], sqlite3.IntegrityError)
    assert isinstance(answers[0], int)
    assert isinstance(answers[2], int)
    assert await by_loop(writer, "c")
    await writer.close()
    assert written(database) >= {"word", "a", "b", "c 0"}


async def test_the_loop_does_not_wait_for_another_process(database: Path) -> None:
    writer = opened(database)
    await writer.do(add, "first", is_light=True)
    with contextlib.closing(connect(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = writer.do(add, "second", is_light=True)
        for _ in range(100):  # the loop goes round, which it would not if it waited itself
            await asyncio.sleep(0)
        assert not waiting.done()
        other.execute("ROLLBACK")
    assert await waiting != threading.get_ident()
    assert await by_loop(writer, "third")
    await writer.close()
    assert written(database) >= {"first", "second", "third 0"}


async def test_what_waits_at_the_end_is_written(database: Path) -> None:
    writer = opened(database)
    await writer.do(add, "first", is_light=True)
    under_way = writer.do(add, "under way", is_light=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    riding = writer.do(add, "rides", is_light=True, may_ride=True)
    urgent = writer.do(add, "urgent", is_light=True)
    await writer.close()
    await asyncio.gather(under_way, riding, urgent)
    assert written(database) == {"first", "under way", "rides", "urgent"}
    with pytest.raises(SpoolError, match="closed"):
        await writer.do(add, "late")


async def test_nothing_is_answered_whose_commit_failed(database: Path) -> None:
    fails = False

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if fails and sql == "COMMIT":
                super().execute("ROLLBACK")
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, parameters)

    def connect_to_faulty() -> sqlite3.Connection:
        connect(database).close()
        return sqlite3.connect(
            database, isolation_level=None, check_same_thread=False, factory=Connection
        )

    writer = Writer(
        connect_to_faulty,
        explain,
        others=FileLock(database.with_suffix(".lock")),
    )
    await writer.do(add, "first", is_light=True)
    fails = True
    answers = await asyncio.gather(
        *(writer.do(add, word, is_light=True) for word in ("a", "b")), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["CommitFailed"] * 2
    fails = False
    await writer.do(add, "c", is_light=True)
    await writer.close()
    assert written(database) == {"first", "c"}
