"""The embedded spool: all that every spool does, and what a file and SQLite have to do with it.

What is on the disk when: test_sqlite_durability.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pillarbox.relay.row import lane_of
from pillarbox.relay.sealed import digest_of
from pillarbox.relay.spool import (
    Backoff,
    Lease,
    RecipientState,
    Selection,
    Spool,
    SpoolError,
    SpoolFull,
)
from pillarbox.relay.sqlite import SqliteSpool, query
from pillarbox.relay.sqlite.disk import FileLock
from pillarbox.relay.sqlite.lease import LANES_OF_DESTINATION, WAITING_IN_LANE
from pillarbox.relay.sqlite.schema import FORMAT, connect, explain, prepare
from tests.relay.conformance import (
    BODY,
    DELIVERED,
    LARGE,
    NOW,
    STEADY,
    OpenSpool,
    SpoolConformance,
    deferred,
    drafted,
    message,
    octets_of,
)

pytestmark = pytest.mark.usefixtures("new_loop")

ALL = Selection()
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class Opener:
    """Opens the spool of a test."""

    def __init__(self, folder: Path, ending: contextlib.AsyncExitStack, **fixed: Any) -> None:
        self._folder = folder
        self._ending = ending
        self._fixed = fixed

    async def __call__(
        self,
        *,
        backoff: Backoff = STEADY,
        chance: Callable[[], float] = lambda: 0.5,
        **values: Any,
    ) -> SqliteSpool:
        spool = await SqliteSpool.open(
            self._folder, backoff=backoff, chance=chance, **self._fixed, **values
        )
        self._ending.push_async_callback(spool.close)
        return spool


@pytest.fixture
def open_spool(folder: Path, ending: contextlib.AsyncExitStack) -> Opener:
    return Opener(folder, ending)


@pytest.fixture
def visit(folder: Path, ending: contextlib.AsyncExitStack) -> Opener:
    return Opener(folder, ending, is_visitor=True)


class TestConformance(SpoolConformance):
    pass


def bodies(folder: Path) -> list[Path]:
    return sorted((folder / "bodies").iterdir())


def change(folder: Path, statement: str) -> None:
    """Do to the database what nobody should."""
    with contextlib.closing(sqlite3.connect(folder / "spool.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


# Who may open it


async def test_one_relay_at_a_time(open_spool: Opener) -> None:
    spool = await open_spool()
    with pytest.raises(SpoolError, match=rf"in use by another relay \(process {os.getpid()}\)"):
        await open_spool()
    await spool.put(message(), BODY)
    await spool.close()
    spool = await open_spool()
    assert len(await spool.list()) == 1


async def test_a_relay_waits_for_a_visitor_that_is_about_to_go(
    open_spool: Opener, folder: Path
) -> None:
    await (await open_spool()).close()
    lock = FileLock(folder / "lock")
    assert lock.take()
    asyncio.get_running_loop().call_later(0.05, lock.release)
    assert await (await open_spool()).list() == []


async def test_a_visitor_makes_nothing(visit: Opener, folder: Path) -> None:
    with pytest.raises(SpoolError, match=r"there is no spool in .*name the folder"):
        await visit()
    assert not folder.exists()


async def test_a_visitor_of_a_spool_that_no_relay_has(open_spool: Opener, visit: Opener) -> None:
    spool = await open_spool()
    await spool.put(message(), LARGE)
    await spool.close()
    visitor = await visit()
    assert await visitor.hold(ALL) == 1
    # A relay that starts meanwhile is not in the way, nor is it hindered.
    spool = await open_spool()
    assert await visitor.release(ALL) == 1
    assert await spool.due(NOW) == ["b.test"]


async def test_only_its_owner_may_look_into_it(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    # All files that a visitor writes to are there already: one that is root leaves none behind
    # that the relay cannot open.
    before = {path.name for path in folder.iterdir()}
    assert before >= {"bodies", "lock", "visitors", "spool.sqlite"}
    await spool.put(message(), LARGE)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in bodies(folder)] == [0o600]


async def test_it_is_made_with_all_folders(
    tmp_path: Path, ending: contextlib.AsyncExitStack
) -> None:
    spool = await Opener(tmp_path / "a" / "b" / "spool", ending)()
    assert await spool.list() == []


# What cannot be opened


async def test_a_newer_spool(open_spool: Opener, folder: Path) -> None:
    await (await open_spool()).close()
    change(folder, f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(SpoolError, match=f"newer pillarbox .format {FORMAT + 1}; this one knows"):
        await open_spool()
    # It was let go.
    change(folder, f"PRAGMA user_version = {FORMAT}")
    await open_spool()


async def test_the_database_of_another_program(open_spool: Opener, folder: Path) -> None:
    folder.mkdir()
    change(folder, "CREATE TABLE songs (name TEXT)")
    with pytest.raises(SpoolError, match="belongs to another program; name another folder"):
        await open_spool()


async def test_no_database(open_spool: Opener, folder: Path) -> None:
    folder.mkdir()
    (folder / "spool.sqlite").write_bytes(b"This is no database, and never was one.\n" * 500)
    with pytest.raises(SpoolError, match=r"is damaged .*move the spool away"):
        await open_spool()


async def test_a_damaged_database(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    await asyncio.gather(*(spool.put(message(), BODY * 100) for _ in range(50)))
    await spool.close()
    with (folder / "spool.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    with pytest.raises(SpoolError, match=r"is damaged .*sqlite3 spool.sqlite .recover"):
        await open_spool()


async def test_a_file_where_the_folder_should_be(open_spool: Opener, folder: Path) -> None:
    folder.write_bytes(b"")
    with pytest.raises(SpoolError, match="spool"):
        await open_spool()


@contextlib.contextmanager
def as_somebody_else(path: Path) -> Iterator[None]:
    """Have no right to write to a folder; root has to be nobody for that."""
    if os.geteuid():
        mode = path.stat().st_mode
        path.chmod(0o500)
        try:
            yield
        finally:
            path.chmod(mode)
        return
    for parent in (path, *path.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
async def test_a_spool_of_another_user(open_spool: Opener, folder: Path) -> None:
    await (await open_spool()).close()
    with (
        as_somebody_else(folder),
        pytest.raises(SpoolError, match=r"give the spool .*to the user that the relay runs as"),
    ):
        await open_spool()
    await open_spool()


def an_error(code: int, text: str = "it failed") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (an_error(sqlite3.SQLITE_FULL), SpoolFull, "make room"),
        (an_error(sqlite3.SQLITE_READONLY), SpoolError, "not mounted read-only"),
        (an_error(sqlite3.SQLITE_READONLY_DBMOVED), SpoolError, "not mounted read-only"),
        (an_error(sqlite3.SQLITE_CANTOPEN), SpoolError, "give the spool to the user"),
        (an_error(sqlite3.SQLITE_BUSY), SpoolError, "locked by another program.*fuser"),
        (an_error(sqlite3.SQLITE_CORRUPT), SpoolError, "move the spool away"),
        (an_error(sqlite3.SQLITE_NOTADB), SpoolError, "move the spool away"),
        (an_error(sqlite3.SQLITE_IOERR_FSYNC), SpoolError, "look after its disk"),
        (sqlite3.OperationalError("something else"), SpoolError, "something else"),
        (OSError(errno.ENOSPC, "full", "a file"), SpoolFull, "no room left for a file"),
        (OSError(errno.EDQUOT, "quota"), SpoolFull, "make room"),
        (OSError(errno.EROFS, "Read-only file system"), SpoolError, "Read-only file system"),
        (PermissionError(errno.EACCES, "no", "a file"), SpoolError, "a file must not be written"),
        (SpoolFull("as it is"), SpoolFull, "^as it is$"),
    ],
    ids=repr,
)
def test_errors_name_the_remedy(
    tmp_path: Path, error: Exception, kind: type[SpoolError], remedy: str
) -> None:
    explained = explain(error, tmp_path)
    assert type(explained) is kind
    with pytest.raises(kind, match=remedy):
        raise explained


# Bodies


def cut(path: Path) -> None:
    os.truncate(path, 200_000)


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"X")


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"X")


async def read_into(given: bytearray, spool: Spool, lease: Lease) -> None:
    async for part in spool.read(lease):
        given += part


@pytest.mark.parametrize("damage", [cut, spoil, lengthen, Path.unlink])
async def test_a_damaged_body_is_not_delivered(
    open_spool: Opener, folder: Path, damage: Callable[[Path], None]
) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), LARGE, lease_seconds=60)
    (path,) = bodies(folder)
    damage(path)
    given = bytearray()
    with pytest.raises(SpoolError, match=str(path)):
        await read_into(given, spool, stored.leases[0])
    assert len(given) < len(LARGE)
    with pytest.raises(SpoolError, match=str(path)):
        await spool.octets(stored.id)
    assert await spool.delete(ALL) == 1


@pytest.mark.parametrize("value", ["x'00'", "NULL"])
async def test_a_damaged_small_body_is_not_delivered(
    open_spool: Opener, folder: Path, value: str
) -> None:
    spool = await open_spool()
    await spool.put(message(), BODY)
    change(
        folder,
        "DELETE FROM bodies" if value == "NULL" else f"UPDATE bodies SET octets = {value}",
    )
    (lease,) = await spool.lease("b.test", NOW, limit=1, seconds=60)
    with pytest.raises(SpoolError, match=r"spool\.sqlite is damaged"):
        await octets_of(spool, lease)


async def test_who_stops_reading(open_spool: Opener) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), LARGE * 4, lease_seconds=60)
    reading = spool.read(stored.leases[0])
    assert len(await anext(reading)) == 65_536
    await reading.aclose()
    again = spool.read(stored.leases[0])
    waiting = asyncio.ensure_future(anext(again))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await again.aclose()
    assert await octets_of(spool, stored.leases[0]) == LARGE * 4


async def test_files_go_with_their_messages(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    first = await spool.put(message(), LARGE, lease_seconds=60)
    second = await spool.put(message("ben@b.test", "cy@c.test"), LARGE, lease_seconds=60)
    await spool.put(message(), LARGE)
    assert len(bodies(folder)) == 3
    await spool.finish(first.leases[0], {0: DELIVERED})
    await spool.finish(second.leases[0], {0: DELIVERED})
    await spool.finish(second.leases[1], {1: DELIVERED})
    await spool.delete(ALL)
    await spool.close()
    assert bodies(folder) == []


async def test_what_is_not_kept_leaves_no_file(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    draft = await drafted(spool, LARGE, LARGE)
    assert len(bodies(folder)) == 1
    await draft.discard()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    await spool.delete(ALL)
    notices = [(message(), LARGE)] * 2
    assert not await spool.finish(stored.leases[0], {0: DELIVERED}, notices=notices)
    with pytest.raises(UnicodeEncodeError):
        await spool.put(message(mail_from="\udce9"), LARGE)
    waiting = asyncio.ensure_future(draft_of(spool, LARGE))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await spool.close()
    assert bodies(folder) == []


async def draft_of(spool: Spool, octets: bytes) -> None:
    """Write to a draft, and discard it when that is cancelled."""
    draft = spool.draft()
    try:
        await draft.write(octets)
    finally:
        await draft.discard()


async def test_orphans_are_swept(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    await drafted(spool, LARGE, LARGE)  # and forgotten, as by a crash
    stored = await spool.put(message(), LARGE)
    assert len(bodies(folder)) == 2
    await spool.close()
    spool = await open_spool()
    assert len(bodies(folder)) == 1
    assert await spool.octets(stored.id) == LARGE


async def test_a_visitor_sweeps_nothing(open_spool: Opener, visit: Opener, folder: Path) -> None:
    spool = await open_spool()
    draft = await drafted(spool, LARGE, LARGE)
    await visit()
    stored = await spool.put(message(), draft)
    assert await spool.octets(stored.id) == LARGE * 2


# Room


@pytest.mark.parametrize(
    ("least", "text"),
    [({"min_free_bytes": 1 << 62}, "MiB of room left"), ({"min_free_files": 1 << 62}, "files")],
    ids=["room", "files"],
)
async def test_no_mail_is_taken_with_little_room(
    open_spool: Opener, folder: Path, least: dict[str, Any], text: str
) -> None:
    if "min_free_files" in least and not os.statvfs(folder.parent).f_files:
        pytest.skip("this file system does not count files")
    spool = await open_spool()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    await spool.put(message("cy@c.test"), LARGE)
    await spool.close()

    spool = await open_spool(**least)
    for body in (BODY, LARGE):
        with pytest.raises(SpoolFull, match=text):
            await spool.put(message(), body)
    draft = spool.draft()
    with pytest.raises(SpoolFull, match=text):
        await draft.write(LARGE)
    with pytest.raises(SpoolError, match="discard it"):
        await draft.write(BODY)
    with pytest.raises(SpoolError, match="discard it"):
        await spool.put(message(), draft)
    await draft.discard()
    assert len(bodies(folder)) == 1
    # What is there is delivered all the same, and its outcome recorded; also to its sender.
    (lease,) = await spool.lease("b.test", NOW, limit=1, seconds=60)
    assert lease.id == stored.id
    notice = (message("ann@a.test", mail_from=""), BODY)
    assert await spool.finish(lease, {0: DELIVERED}, notices=[notice])
    (lease,) = await spool.lease("c.test", NOW, limit=1, seconds=60)
    assert await octets_of(spool, lease) == LARGE
    assert await spool.due(NOW) == ["a.test"]


# Crashes

LEASES = """
import asyncio, os, sys
from pillarbox.relay.spool import Backoff
from pillarbox.relay.sqlite import SqliteSpool
from tests.relay.conformance import BODY, NOW, STEADY, message

async def main():
    spool = await SqliteSpool.open(sys.argv[1], backoff=STEADY)
    if sys.argv[2] == "put":
        await spool.put(message("ben@b.test", "cy@c.test"), BODY, lease_seconds=60)
    else:
        now = float(sys.argv[2])
        (lease,) = await spool.lease("b.test", now, limit=1, seconds=60)
    print(*await spool.due(NOW), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def kill_after(folder: Path, what: str) -> None:
    """Let another process lease something from the spool, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", LEASES, str(folder), what], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)


async def test_leases_end_with_their_process(open_spool: Opener, folder: Path) -> None:
    await asyncio.to_thread(kill_after, folder, "put")
    # What was on its first attempt is due at once: a restart costs fresh mail no five minutes.
    spool = await open_spool()
    assert sorted(await spool.due(NOW)) == ["b.test", "c.test"]
    (queued,) = (await spool.list())[0].recipients[:1]
    assert (queued.state, queued.attempts) == (RecipientState.QUEUED, 1)
    await spool.close()
    # What was on its second waits for the third: it may be what killed us.
    await asyncio.to_thread(kill_after, folder, str(NOW))
    spool = await open_spool()
    assert await spool.due(NOW) == ["c.test"]
    assert "b.test" not in await spool.due(NOW + 599)
    assert "b.test" in await spool.due(NOW + 600)
    await spool.close()


async def test_a_visitor_voids_the_leases_of_a_relay_that_is_gone(
    visit: Opener, folder: Path
) -> None:
    await asyncio.to_thread(kill_after, folder, "put")
    visitor = await visit()
    assert [to.state for to in (await visitor.list())[0].recipients] == [RecipientState.QUEUED] * 2
    assert await visitor.retry(ALL, NOW) == 1


async def test_a_visitor_leaves_the_leases_of_a_relay_alone(
    open_spool: Opener, visit: Opener
) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    visitor = await visit()
    assert (await visitor.list())[0].recipients[0].state is RecipientState.ACTIVE
    assert await spool.finish(stored.leases[0], {0: DELIVERED})


async def test_a_lease_to_bounce_is_void_after_a_crash(open_spool: Opener) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    await spool.finish(stored.leases[0], {0: deferred()})
    (lease,) = await spool.lease_all(ALL, NOW, seconds=60)
    await spool.close()  # without a word about the lease
    spool = await open_spool()
    assert not await spool.finish(lease, {0: DELIVERED})
    assert await spool.next_due() == NOW + 300


async def test_what_is_held_stays_held_after_a_crash(open_spool: Opener) -> None:
    spool = await open_spool()
    await spool.put(message(), BODY, lease_seconds=60)
    await spool.hold(ALL)
    await spool.close()
    spool = await open_spool()
    assert await spool.due(NOW + 10**6) == []
    assert await spool.release(ALL) == 1
    assert await spool.due(NOW) == ["b.test"]


# Batches


async def test_who_does_not_wait_any_more(open_spool: Opener) -> None:
    spool = await open_spool()
    puts = [asyncio.ensure_future(spool.put(message(), BODY)) for _ in range(20)]
    await asyncio.sleep(0)
    for put in puts[::2]:
        put.cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, False] * 10
    # It may have been too late; but nothing is there that is not whole.
    for queued in await spool.list():
        assert await spool.octets(queued.id) == BODY


async def test_batches_have_a_limit(open_spool: Opener) -> None:
    spool = await open_spool()
    large = b"x" * 65_536
    await asyncio.gather(*(spool.put(message(), large) for _ in range(300)))
    await asyncio.gather(*(spool.put(message(), b"") for _ in range(1200)))
    assert (await spool.statistics()).messages == 1500


async def test_what_became_of_a_message_rides_with_the_next_one(open_spool: Opener) -> None:
    spool = await open_spool()
    [lease] = (await spool.put(message(), BODY, lease_seconds=60)).leases
    commits = spool.commits
    finishing = asyncio.create_task(spool.finish(lease, {0: DELIVERED}))
    await asyncio.sleep(0)  # it has asked, and waits
    await spool.put(message(), BODY)
    assert await finishing
    assert spool.commits == commits + 1
    assert len(await spool.list()) == 1


async def test_what_became_of_a_message_waits_for_no_other(open_spool: Opener) -> None:
    spool = await open_spool()
    stored = [await spool.put(message(), BODY, lease_seconds=60) for _ in range(3)]
    commits = spool.commits
    for one in stored:
        assert await spool.finish(one.leases[0], {0: DELIVERED})
    assert spool.commits == commits + 3


async def test_what_rides_is_written_before_the_end(open_spool: Opener) -> None:
    spool = await open_spool()
    [lease] = (await spool.put(message(), BODY, lease_seconds=60)).leases
    finishing = asyncio.create_task(spool.finish(lease, {0: DELIVERED}))
    await asyncio.sleep(0)
    await spool.close()
    assert await finishing
    assert await (await open_spool()).list() == []


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 5000, 16_384, 16_385])
def test_the_digest_is_that_of_all_octets(size: int) -> None:
    octets = os.urandom(size)
    assert digest_of(octets) == hashlib.sha256(octets).digest()


async def test_the_log_stays_short(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    large = b"x" * 65_536
    for _ in range(20):
        await asyncio.gather(*(spool.put(message(), large) for _ in range(60)))
    assert (folder / "spool.sqlite-wal").stat().st_size < 40_000_000
    assert (folder / "spool.sqlite").stat().st_size > 40_000_000


async def test_the_log_waits_for_those_of_other_processes(open_spool: Opener, folder: Path) -> None:
    spool = await open_spool()
    large = b"x" * 65_536
    writing = FileLock(folder / "visitors")
    assert writing.take(shared=True)
    for _ in range(8):
        await asyncio.gather(*(spool.put(message(), large) for _ in range(60)))
    assert (folder / "spool.sqlite-wal").stat().st_size > 31_000_000
    writing.release()


# A hundred thousand

# What 100,000 puts would write, without the time they would take.
FILL = (
    """
    WITH RECURSIVE numbers (number) AS (
        SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count}
    )
    INSERT INTO messages SELECT number, 'bulk@example.org', {now}, {now} + 432000, FALSE, FALSE,
        '7BIT', FALSE, NULL, NULL, '', 4, x'{digest}', NULL FROM numbers
    """,
    "INSERT INTO bodies SELECT id, x'0a0a0a0a' FROM messages",
    "INSERT INTO destinations (number, name) VALUES (1, 'dead.test')",
    """
    INSERT INTO recipients SELECT id, 0, 'ben@dead.test', {lane}, 0, 3, {now} + id % 1000 * 0.1,
        {now} + id % 1000 * 0.1, NULL, NULL, FALSE, FALSE, '451 4.4.1 No answer', NULL, NULL, NULL
        FROM messages
    """,
)

COUNT = 100_000


def fill(folder: Path, count: int) -> None:
    """Fill a new spool with messages for a dead destination."""
    folder.mkdir()
    with contextlib.closing(connect(folder)) as connection:
        prepare(connection, folder)
        connection.execute("BEGIN")
        lane, digest = lane_of(1, "bulk@example.org"), digest_of(b"\n\n\n\n").hex()
        for statement in FILL:
            connection.execute(statement.format(count=count, now=NOW, lane=lane, digest=digest))
        connection.execute("COMMIT")


async def test_a_hundred_thousand(open_spool: Opener, folder: Path) -> None:
    fill(folder, COUNT)
    began = time.monotonic()
    spool = await open_spool()
    stored = await spool.put(message(), BODY)
    assert time.monotonic() - began < 2

    took: dict[str, float] = {}

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        began = time.monotonic()
        result = await work
        took[name] = time.monotonic() - began
        return result

    assert sorted(await timed("due", spool.due(NOW + 100))) == ["b.test", "dead.test"]
    assert await timed("next due", spool.next_due()) == NOW
    (lease,) = await timed("lease", spool.lease("b.test", NOW, limit=100, seconds=60))
    assert lease.id == stored.id
    leases = await timed("leases", spool.lease("dead.test", NOW + 100, limit=100, seconds=60))
    assert len(leases) == 100
    assert await timed("finish", spool.finish(lease, {0: DELIVERED}))
    assert len(await timed("list", spool.list())) == 100
    statistics = await timed("statistics", spool.statistics())
    assert statistics.messages == COUNT
    assert dict(statistics.destinations) == {"dead.test": (COUNT - 100, 100, False)}
    # The most is some hundredths of a second on a machine with nothing else to do.
    assert max(took.values()) < 1, took


@pytest.mark.parametrize("ask", [query.statistics, lambda one: query.listed(one, None, 0, 9)])
async def test_what_is_asked_while_messages_go(
    open_spool: Opener, folder: Path, ask: Callable[[sqlite3.Connection], object]
) -> None:
    spool = await open_spool()
    for _ in range(3):
        await spool.put(message(), BODY)
    with (
        contextlib.closing(connect(folder, is_reader=True)) as reading,
        contextlib.closing(connect(folder)) as writing,
    ):
        before = ask(reading)
        statements = []

        def delete_all(statement: str) -> None:
            statements.append(statement)
            if len([one for one in statements if "SELECT" in one]) == 2:  # one was answered
                writing.execute("DELETE FROM recipients")
                writing.execute("DELETE FROM messages")

        reading.set_trace_callback(delete_all)
        assert ask(reading) == before
        assert writing.execute("SELECT count(*) FROM messages").fetchone() == (0,)


async def test_what_is_asked_often_is_looked_up(open_spool: Opener, folder: Path) -> None:
    await open_spool()
    with contextlib.closing(connect(folder)) as connection:
        for statement, values in (
            (query.DUE, (NOW,)),
            (query.NEXT_DUE, ()),
            (LANES_OF_DESTINATION, {"first": 0, "last": 31}),
            (WAITING_IN_LANE, (1, NOW)),
        ):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            steps = [step for step in plan if step.split()[0] in ("SCAN", "SEARCH")]
            assert any("INDEX waiting" in step for step in steps)
            # Lanes and constant rows are few; all else is by an index.
            for step in steps:
                assert step.startswith("SEARCH") or step in ("SCAN lanes", "SCAN CONSTANT ROW"), (
                    plan
                )
            assert not any("ORDER BY" in step for step in plan), plan
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.WAITING}")]
        assert plan == ["SCAN recipients USING COVERING INDEX waiting"]


async def test_going_from_lane_to_lane(open_spool: Opener) -> None:
    spool = await open_spool()
    everybody = [f"r@d{number}.test" for number in range(300)]
    for sender in ("ann@example.org", "zoe@example.org", "kim@example.org"):
        await spool.put(message(*everybody, mail_from=sender), BODY)
    assert len(await spool.due(NOW)) == 300
    assert await spool.due(NOW - 1) == []
    await spool.suspend("d7.test")
    assert len(await spool.due(NOW)) == 299
    assert await spool.next_due() == NOW


def test_a_list_s_senders_are_one() -> None:
    one = lane_of(3, "list-bounces+ann=example.org@lists.test")
    assert one == lane_of(3, "list-bounces+zoe=example.net@lists.test")
    assert one == lane_of(3, "LIST@Lists.test")
    assert one != lane_of(4, "list@lists.test")
    assert len({lane_of(3, f"{name}@example.org") for name in "abcdefgh"}) > 4
    assert lane_of(3, "") >> 5 == 3


async def test_destinations_that_are_used_no_more_are_forgotten(
    open_spool: Opener, folder: Path
) -> None:
    spool = await open_spool()
    await spool.put(message("ben@b.test", "cy@c.test"), BODY)
    await spool.delete(ALL)
    await spool.put(message("di@d.test"), BODY)
    await spool.suspend("e.test")
    await spool.close()
    await (await open_spool()).close()
    with contextlib.closing(connect(folder)) as connection:
        names = connection.execute("SELECT name FROM destinations ORDER BY name").fetchall()
    assert names == [("d.test",), ("e.test",)]


# Odd things


async def test_a_lease_of_nothing(open_spool: Opener) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    forged: Lease = replace(stored.leases[0], id="not a number")
    assert not await spool.finish(forged, {0: DELIVERED})
    assert await spool.renew(forged, NOW, seconds=1) is None
    assert not await spool.give_back(forged)
    assert await spool.finish(stored.leases[0], {0: DELIVERED})


async def test_the_interface_is_met(open_spool: Opener) -> None:
    spool: Spool = await open_spool()
    opens: OpenSpool = open_spool
    assert spool
    assert opens
