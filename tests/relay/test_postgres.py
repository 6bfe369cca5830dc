"""The shared spool: all that every spool does, and what a database and other nodes add to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from pillarbox.relay.postgres import PostgresSpool, query
from pillarbox.relay.postgres.body import CHUNK_OCTETS
from pillarbox.relay.postgres.clock import DatabaseClock
from pillarbox.relay.postgres.lease import CHOOSE
from pillarbox.relay.postgres.link import BY_INDEX, Database, Pool
from pillarbox.relay.postgres.schema import FIRST, MIGRATIONS, Migration, migrate, prepare
from pillarbox.relay.postgres.share import LOCK
from pillarbox.relay.postgres.turn import TAKE, SharedTurns
from pillarbox.relay.rate import Rate
from pillarbox.relay.row import lane_of
from pillarbox.relay.spool import Backoff, Change, RecipientState, Selection, Spool, SpoolError
from tests.relay.conformance import (
    BODY,
    DELIVERED,
    LARGE,
    NOW,
    STEADY,
    SpoolConformance,
    deferred,
    drafted,
    message,
    most_within,
    octets_of,
    taken,
)
from tests.relay.postgres_server import PostgresServer

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


ALL = Selection()


def ask(database: str, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    """Ask the database, or do to it what nobody should."""
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


# The server


async def refusal(database: str, **values: Any) -> str:
    with pytest.raises(SpoolError) as caught:
        await PostgresSpool.open(database, **values)
    return str(caught.value)


@pytest.fixture
def unsafe(postgres: PostgresServer, database: str) -> Iterator[str]:
    """A server whose fsync is off."""
    ask(database, "ALTER SYSTEM SET fsync = off")
    ask(database, "SELECT pg_reload_conf()")
    yield database
    ask(database, "ALTER SYSTEM RESET fsync")
    ask(database, "SELECT pg_reload_conf()")


async def test_a_server_that_does_not_sync(unsafe: str) -> None:
    for _ in range(100):  # until it has read its configuration
        if ask(unsafe, "SHOW fsync") == [("off",)]:
            break
    assert "fsync = off, and would lose mail" in (said := await refusal(unsafe))
    assert "set fsync = on in postgresql.conf" in said


async def test_a_server_that_does_not_wait_for_the_sync(database: str) -> None:
    said = await refusal(f"{database}&options=-csynchronous_commit%3Doff")
    assert "set synchronous_commit = on in postgresql.conf" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(("/postgres?", "/nowhere?"), "createdb", id="no database"),
        pytest.param(("host=", "host=/nowhere"), "see that PostgreSQL runs there", id="no server"),
        pytest.param(("?host=", "?colour="), "write postgresql://USER@HOST/NAME", id="no URL"),
        pytest.param(("pillarbox@", "nobody@"), "~/.pgpass or PGPASSWORD", id="no user"),
    ],
)
async def test_a_database_that_is_not_there(
    database: str, change: tuple[str, str], said: str
) -> None:
    assert said in await refusal(database.replace(*change))


async def test_a_password_is_not_shown() -> None:
    said = await refusal("postgresql://ann:secret@localhost:1/x?colour=red")
    assert said.startswith("postgresql://ann@localhost:1/x?colour=red is no URL")


async def test_a_database_of_another_encoding(postgres: PostgresServer, database: str) -> None:
    ask(database, "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LOCALE 'C'")
    try:
        assert "is encoded as LATIN1" in await refusal(postgres.url("latin"))
    finally:
        ask(database, "DROP DATABASE latin")


async def test_nobody_visits_an_empty_database(postgres: PostgresServer, database: str) -> None:
    ask(database, "CREATE DATABASE empty")
    try:
        said = await refusal(postgres.url("empty"), is_visitor=True)
        assert "there is no spool in empty" in said
        found = ask(postgres.url("empty"), "SELECT nspname FROM pg_namespace")
        assert ("pillarbox",) not in found
    finally:
        ask(database, "DROP DATABASE empty")


async def test_the_server_goes_and_comes_back(postgres: PostgresServer, open_spool: Opener) -> None:
    spool = await open_spool()
    await spool.changed(0)
    stored = await spool.put(message(), BODY, lease_seconds=60)
    listening = asyncio.ensure_future(spool.changed(30))
    await asyncio.sleep(0)
    postgres.stop()
    try:
        for asked in (
            spool.put(message(), BODY),
            spool.put(message(), LARGE),
            spool.finish(stored.leases[0], {0: DELIVERED}),
            spool.due(NOW),
            spool.list(),
            listening,
        ):
            with pytest.raises(SpoolError, match=r"cannot be reached|was lost"):
                await asked
    finally:
        postgres.start()
    for link_is_asked_again in range(50):
        with contextlib.suppress(SpoolError):
            await spool.put(message("cy@c.test"), BODY)
            break
        await asyncio.sleep(0.02 * link_is_asked_again)
    assert await again(lambda: spool.finish(stored.leases[0], {0: DELIVERED}))
    assert await again(lambda: spool.due(NOW)) == ["c.test"]
    # Whatever happened meanwhile was not heard.
    assert await again(lambda: spool.changed(0)) == Change.MAIL | Change.WORD


async def again(ask: Callable[[], Any]) -> Any:
    """Ask until the connection is there again; it is not tried anew in the first moments."""
    for _ in range(100):
        with contextlib.suppress(SpoolError):
            return await ask()
        await asyncio.sleep(0.02)
    return await ask()


async def test_a_commit_of_which_nobody_knows(
    postgres: PostgresServer, open_spool: Opener, database: str
) -> None:
    """A session that is ended while it writes: the batch is refused, the next one is not."""
    spool = await open_spool()
    await spool.put(message(), BODY)
    with psycopg.connect(database) as blocking:
        blocking.execute("LOCK pillarbox.messages IN ACCESS EXCLUSIVE MODE")
        putting = asyncio.ensure_future(spool.put(message(), BODY))
        while not ask(database, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            await asyncio.sleep(0.01)
        ask(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        )
        with pytest.raises(SpoolError, match="cannot be reached"):
            await putting
    await spool.put(message(), BODY)
    assert len(await spool.list()) == 2


# The clock


def test_the_clock_of_the_database() -> None:
    elapsed = 100.0
    clock = DatabaseClock(lambda: elapsed)
    asked, elapsed = elapsed, 100.5
    clock.set(1000.0, asked)
    assert clock.now() == 1000.25
    elapsed = 160.5
    assert clock.now() == 1060.25
    asked, elapsed = elapsed, 170.5  # it took ten seconds: what was said is that old
    clock.set(2000.0, asked)
    assert clock.now() == 1070.25


async def test_nodes_go_by_the_clock_of_the_database(
    open_spool: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 86_400)
    spool = await open_spool()
    assert abs(spool.clock.now() - right) < 60


async def test_a_clock_that_is_ahead_takes_nothing_before_its_time(open_spool: Opener) -> None:
    spool, other = await open_spool(), await open_spool()
    now = spool.clock.now()
    await spool.put(message(created=now), BODY, lease_seconds=60)
    assert await other.lease("b.test", now + 86_400, limit=1, seconds=60) == []


# Nodes


async def test_what_one_node_has_another_does_not_get(open_spool: Opener) -> None:
    nodes = [await open_spool() for _ in range(3)]
    await asyncio.gather(*(nodes[0].put(message(), BODY) for _ in range(90)))
    leased = await asyncio.gather(
        *(node.lease("b.test", NOW, limit=7, seconds=60) for _ in range(6) for node in nodes)
    )
    given = [lease.id for leases in leased for lease in leases]
    assert len(given) == len(set(given)) == 90


async def test_a_message_of_many_goes_as_one_to_one_node(open_spool: Opener) -> None:
    nodes = [await open_spool() for _ in range(3)]
    everybody = [f"r{turn}@b.test" for turn in range(50)]
    for _ in range(9):
        await nodes[0].put(message(*everybody), BODY)
    leased = await asyncio.gather(
        *(node.lease("b.test", NOW, limit=5, seconds=60) for node in nodes)
    )
    given = [lease for leases in leased for lease in leases]
    assert [len(lease.recipients) for lease in given] == [50] * 9


async def test_a_dead_node(open_spool: Opener) -> None:
    """What it had is leased to another when its time is over, and what it still says is void."""
    dead, other = await open_spool(name="dead"), await open_spool(name="other")
    await dead.put(message(), LARGE)
    (lost,) = await dead.lease("b.test", NOW, limit=1, seconds=400)
    assert await other.lease("b.test", NOW + 399, limit=1, seconds=400) == []
    (taken,) = await other.lease("b.test", NOW + 400, limit=1, seconds=400)
    assert await octets_of(other, taken) == LARGE
    assert not await dead.finish(lost, {0: DELIVERED})
    assert await dead.renew(lost, NOW + 401, seconds=400) is None
    assert await other.finish(taken, {0: DELIVERED})
    assert await other.list() == []


async def test_two_nodes_end_the_same_message(open_spool: Opener) -> None:
    """Each has one recipient of it: whoever is last removes it, and neither waits for ever."""
    first, second = await open_spool(), await open_spool()
    for _ in range(10):
        await first.put(message("ben@b.test", "cy@c.test"), BODY)
        (at_b,) = await first.lease("b.test", NOW, limit=1, seconds=60)
        (at_c,) = await second.lease("c.test", NOW, limit=1, seconds=60)
        done = await asyncio.gather(
            first.finish(at_b, {0: DELIVERED}), second.finish(at_c, {1: DELIVERED})
        )
        assert all(done)
        assert await first.list() == []


async def test_people_change_all_while_nodes_work(open_spool: Opener, visit: Opener) -> None:
    nodes = [await open_spool(), await open_spool()]
    visitor = await visit()
    stored = await asyncio.gather(
        *(node.put(message("ben@b.test", "cy@c.test"), BODY) for _ in range(30) for node in nodes)
    )
    assert len(stored) == 60

    async def work(node: Spool, destination: str) -> None:
        rounds = 0
        while leases := await node.lease(destination, NOW, limit=3, seconds=60):
            await asyncio.gather(
                *(
                    node.finish(lease, {lease.recipients[0].number: DELIVERED})
                    if rounds > 5 or turn
                    else node.give_back(lease)
                    for turn, lease in enumerate(leases)
                )
            )
            rounds += 1

    async def meddle() -> None:
        for _ in range(5):
            await visitor.hold(ALL)
            await visitor.release(ALL)
            await visitor.retry(ALL, NOW)

    def all_work() -> Iterator[Awaitable[None]]:
        return (work(node, to) for node in nodes for to in ("b.test", "c.test"))

    await asyncio.gather(*all_work(), meddle())
    # One may have been passed over while another destination of its message was leased.
    for rest in all_work():
        await rest
    assert await visitor.list() == []


async def test_who_has_what(open_spool: Opener, visit: Opener) -> None:
    await open_spool(name="idle")
    busy = await open_spool(name="busy")
    await busy.put(message(), BODY, lease_seconds=60)
    await busy.put(message(), BODY)
    visitor = await visit()
    found = [to for one in await visitor.list() for to in one.recipients]
    assert [(to.state, to.holder) for to in found] == [
        (RecipientState.ACTIVE, "busy"),
        (RecipientState.QUEUED, ""),
    ]
    nodes = (await visitor.statistics()).nodes
    assert [(node.name, node.active) for node in nodes] == [("busy", 1), ("idle", 0)]
    await busy.close()
    assert [node.name for node in (await visitor.statistics()).nodes] == ["idle"]


async def test_others_hear_of_mail_that_nobody_has(open_spool: Opener) -> None:
    spool, other = await open_spool(), await open_spool()
    await other.changed(0)
    await spool.put(message(), BODY, lease_seconds=60)
    assert await other.changed(0.2) is Change.NOTHING
    await spool.put(message(), BODY)
    assert await other.changed(30) is Change.MAIL


async def test_a_limit_of_sessions_for_all_nodes(open_spool: Opener, database: str) -> None:
    first, second = await open_spool(), await open_spool()
    entered = await asyncio.gather(
        *(node.enter("b.test", 5) for _ in range(5) for node in (first, second))
    )
    assert sum(entered) == 5
    assert not await first.enter("b.test", 5)
    assert await first.enter("c.test", 5)
    await (first if entered[0] else second).leave("b.test")
    assert await second.enter("b.test", 5)
    assert not await second.enter("b.test", 5)
    await first.close()
    assert await second.enter("c.test", 1)


async def test_the_sessions_of_a_node_whose_connection_is_gone(
    open_spool: Opener, database: str
) -> None:
    dead, other = await open_spool(name="dead"), await open_spool()
    assert await dead.enter("b.test", 1)
    assert not await other.enter("b.test", 1)
    ((process,),) = ask(database, "SELECT pid FROM pillarbox.sessions")
    ask(database, "SELECT pg_terminate_backend(%s, 5000)", process)
    assert await other.enter("b.test", 1)


async def test_a_node_that_goes_on_after_a_standstill_counts_again(
    open_spool: Opener, database: str
) -> None:
    silent, other = await open_spool(), await open_spool()
    assert await silent.enter("b.test", 1)
    ask(database, "UPDATE pillarbox.sessions SET seen = seen - 31")
    await other._sessions.touch()
    assert ask(database, "SELECT count(*) FROM pillarbox.sessions") == [(0,)]
    await silent._sessions.touch()
    assert not await other.enter("b.test", 1)


async def test_the_sessions_of_a_node_that_was_not_heard_of(
    open_spool: Opener, database: str
) -> None:
    silent, other = await open_spool(), await open_spool()
    assert await silent.enter("b.test", 1)
    ask(database, "UPDATE pillarbox.sessions SET seen = seen - 25")
    assert not await other.enter("b.test", 1)
    ask(database, "UPDATE pillarbox.sessions SET seen = seen - 6")
    assert await other.enter("b.test", 1)


async def test_nodes_have_one_rate_together(open_spool: Opener) -> None:
    nodes = [await open_spool() for _ in range(2)]
    rate = Rate(100, 60)
    times = await taken(nodes, rate, seconds=600, wanted=rate.batch)
    assert most_within(times, 60) == 100
    assert len(times) >= 950


async def test_nodes_that_ask_for_turns_together(open_spool: Opener) -> None:
    nodes = [await open_spool() for _ in range(3)]
    given = await asyncio.gather(
        *(
            node.take_turns("b.test", Rate(100, 60), NOW, wanted=5)
            for _ in range(10)
            for node in nodes
        )
    )
    assert sorted(turns.count for turns in given) == [0] * 10 + [5] * 20


async def test_turns_of_a_node_that_is_gone(open_spool: Opener) -> None:
    dead, other = await open_spool(), await open_spool()
    assert (await dead.take_turns("b.test", Rate(100, 60), NOW, wanted=5)).count == 5
    await dead.close()
    assert (await other.take_turns("b.test", Rate(100, 60), NOW, wanted=200)).count == 95
    await other.close()
    again = await open_spool()
    assert (await again.take_turns("b.test", Rate(100, 60), NOW, wanted=5)).count == 0


async def test_a_node_that_is_stopped_while_it_asks_holds_up_no_other(
    open_spool: Opener, database: str
) -> None:
    """Its question is with the database as a whole, and nobody takes the answer."""
    values = {"destination": "b.test", "now": NOW, "slot": 3.0, "window": 63.0, "rounding": 0.0}
    other = await open_spool()
    with contextlib.closing(psycopg.connect(database, autocommit=True)) as stopped:
        stopped.execute("SET search_path = pillarbox")
        cursor = psycopg.ClientCursor(stopped)
        asked = cursor.mogrify(LOCK + TAKE, values | {"wanted": 5, "most": 100})
        stopped.pgconn.send_query(asked.encode())
        while stopped.pgconn.flush():
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while (await other.take_turns("b.test", Rate(100, 60), NOW, wanted=95)).count:
                await asyncio.sleep(0.01)
    found = ask(database, "SELECT sum(count) FROM pillarbox.turns")
    assert found == [(100,)]


async def test_a_clock_that_is_ahead_takes_no_turns_before_their_time(open_spool: Opener) -> None:
    spool, other = await open_spool(), await open_spool()
    now = spool.clock.now()
    assert (await spool.take_turns("b.test", Rate(9, 3600), now, wanted=9)).count == 9
    turns = await other.take_turns("b.test", Rate(9, 3600), now + 86_400, wanted=9)
    assert turns.count == 0
    assert now + 3600 < turns.until < now + 3600 + 200


async def test_turns_of_a_database_that_is_gone(
    postgres: PostgresServer, open_spool: Opener
) -> None:
    spool = await open_spool()
    assert (await spool.take_turns("b.test", Rate(9, 3600), NOW, wanted=1)).count == 1
    postgres.stop()
    try:
        with pytest.raises(SpoolError):
            await spool.take_turns("b.test", Rate(9, 3600), NOW, wanted=1)
    finally:
        postgres.start()
    turns = await again(lambda: spool.take_turns("b.test", Rate(9, 3600), NOW, wanted=9))
    assert turns.count == 8


async def test_turns_that_count_no_more_are_forgotten(open_spool: Opener, database: str) -> None:
    spool = await open_spool()
    await spool.take_turns("b.test", Rate(9, 60), NOW, wanted=1)
    await spool.take_turns("c.test", Rate(9, 60), NOW + 1000, wanted=1)
    pool = Pool(Database(database, name="test", clock=DatabaseClock()), 1)
    await SharedTurns(pool).sweep(NOW + 500)  # of one that has never asked for any
    assert ask(database, "SELECT count(*) FROM pillarbox.turns") == [(2,)]
    await spool._turns.sweep(NOW + 500)
    await pool.close()
    assert ask(database, "SELECT destination FROM pillarbox.turns") == [("c.test",)]


async def test_a_destination_with_any_name_has_turns(open_spool: Opener) -> None:
    spool = await open_spool()
    for name in ("o'neill; --", "100%s", "a\\b", "é.test"):
        assert (await spool.take_turns(name, Rate(9, 60), NOW, wanted=9)).count == 9
        assert (await spool.take_turns(name, Rate(9, 60), NOW, wanted=9)).count == 0
        assert await spool.enter(name, 1)
        assert not await spool.enter(name, 1)


async def test_a_reply_that_no_column_takes(open_spool: Opener) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), BODY, lease_seconds=60)
    assert await spool.finish(stored.leases[0], {0: deferred("451 a\0b\udce9")})
    assert (await spool.list())[0].recipients[0].last_reply == "451 ab?"


# Large bodies


async def test_a_large_body_is_in_pieces(open_spool: Opener, database: str) -> None:
    spool = await open_spool()
    stored = await spool.put(message(), await drafted(spool, LARGE * 3, b"1"), lease_seconds=60)
    sizes = ask(database, "SELECT octet_length(octets) FROM pillarbox.chunks ORDER BY place")
    assert sizes == [(CHUNK_OCTETS,)] * 3 + [(1,)]
    assert await octets_of(spool, stored.leases[0]) == LARGE * 3 + b"1"
    assert await spool.finish(stored.leases[0], {0: DELIVERED})
    await spool.close()
    assert ask(database, "SELECT count(*) FROM pillarbox.chunks") == [(0,)]


async def test_a_piece_that_a_crash_has_lost(open_spool: Opener, database: str) -> None:
    spool = await open_spool()
    draft = await drafted(spool, LARGE, LARGE)
    ask(database, "DELETE FROM pillarbox.chunks WHERE place = 1")
    with pytest.raises(SpoolError, match="lost a part"):
        await spool.put(message(), draft)
    assert await spool.list() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE pillarbox.chunks SET octets = 'x' WHERE place = 1",
        "UPDATE pillarbox.chunks SET octets = octets || 'x' WHERE place = 1",
        "DELETE FROM pillarbox.chunks WHERE place = 1",
        "UPDATE pillarbox.bodies SET octets = octets || 'x'",
        "DELETE FROM pillarbox.bodies",
    ],
)
async def test_a_damaged_body_is_not_delivered(
    open_spool: Opener, database: str, damage: LiteralString
) -> None:
    spool = await open_spool()
    await spool.put(message(), LARGE * 2 if "chunks" in damage else BODY)
    ask(database, damage)
    (lease,) = await spool.lease("b.test", NOW, limit=1, seconds=60)
    with pytest.raises(SpoolError, match="is damaged"):
        await octets_of(spool, lease)


async def test_what_nobody_names_is_swept(open_spool: Opener, database: str) -> None:
    spool = await open_spool()
    await spool.put(message(), LARGE)
    await drafted(spool, LARGE)  # and the client is gone
    ask(database, "UPDATE pillarbox.chunks SET written = written - 80000")
    await (await open_spool()).close()
    assert ask(database, "SELECT count(*) FROM pillarbox.chunks") == [(2,)]
    ask(database, "UPDATE pillarbox.chunks SET written = written - 80000")
    await (await open_spool()).close()
    assert ask(database, "SELECT count(*) FROM pillarbox.chunks") == [(1,)]
    assert await spool.octets((await spool.list())[0].id) == LARGE


# The tables


NEXT = Migration(3, 1, ("ALTER TABLE messages ADD COLUMN colour text NOT NULL DEFAULT 'white'",))
AFTER_NEXT = Migration(4, 4, ("ALTER TABLE messages DROP COLUMN colour",))


@pytest.fixture
def changed_tables(database: str) -> Iterator[str]:
    """A database whose tables are made anew afterwards."""
    yield database
    ask(database, "DROP SCHEMA pillarbox CASCADE")


async def test_a_node_goes_on_while_the_tables_change(
    changed_tables: str, open_spool: Opener
) -> None:
    node = await open_spool()
    await node.put(message(), LARGE)
    working, is_over = 0, False

    async def work() -> None:
        nonlocal working
        while not is_over:
            stored = await node.put(message("cy@c.test"), BODY, lease_seconds=60)
            assert await node.finish(stored.leases[0], {0: DELIVERED})
            working += 1

    task = asyncio.ensure_future(work())
    pool = Pool(Database(changed_tables, name="test", clock=DatabaseClock()), 1)
    async with pool.use() as connection:
        with pytest.raises(SpoolError, match=r"is of format 2.* run 'pillarbox queue migrate'"):
            await prepare(connection, "here", makes=True, migrations=(*MIGRATIONS, NEXT))
        assert await migrate(connection, "here", migrations=(*MIGRATIONS, NEXT)) == (2, 3)
        assert await migrate(connection, "here", migrations=(*MIGRATIONS, NEXT)) == (3, 3)
        await prepare(connection, "here", makes=True, migrations=(*MIGRATIONS, NEXT))
    seen = working
    while working < seen + 3:
        await asyncio.sleep(0)
    is_over = True
    await task
    (lease,) = await node.lease("b.test", NOW, limit=1, seconds=60)
    assert await octets_of(node, lease) == LARGE
    late = await open_spool()  # of the older version as well
    assert len(await late.list()) == 1
    async with pool.use() as connection:
        await migrate(connection, "here", migrations=(*MIGRATIONS, NEXT, AFTER_NEXT))
    await pool.close()
    assert "install the version that the other nodes have" in await refusal(changed_tables)


async def test_a_node_without_turns_goes_on_beside_one_that_has_them(
    changed_tables: str, open_spool: Opener
) -> None:
    ask(changed_tables, "DROP SCHEMA IF EXISTS pillarbox CASCADE")
    pool = Pool(Database(changed_tables, name="test", clock=DatabaseClock()), 1)
    async with pool.use() as connection:
        await prepare(connection, "here", makes=True, migrations=[FIRST])
    said = await refusal(changed_tables)
    assert "is of format 1, and this pillarbox wants 2; run 'pillarbox queue migrate'" in said
    assert await PostgresSpool.migrate(changed_tables) == (1, 2)
    async with pool.use() as connection:
        await prepare(connection, "here", makes=True, migrations=[FIRST])
    await pool.close()
    spool = await open_spool()
    assert (await spool.take_turns("b.test", Rate(9, 60), NOW, wanted=1)).count == 1


async def test_nodes_that_begin_together_make_the_tables_once(
    changed_tables: str, open_spool: Opener
) -> None:
    ask(changed_tables, "DROP SCHEMA IF EXISTS pillarbox CASCADE")
    spools = await asyncio.gather(*(open_spool() for _ in range(4)))
    await asyncio.gather(*(spool.put(message(), BODY) for spool in spools))
    assert len(await spools[0].list()) == 4


async def test_migrate_where_there_is_nothing_to_do(database: str, open_spool: Opener) -> None:
    await open_spool()
    assert await PostgresSpool.migrate(database) == (2, 2)


# How it is looked for


FILL = """
    INSERT INTO pillarbox.recipients
    SELECT turn, 0, 'ben@dead.test', (%s::bigint << 5) + turn %% 32, 0, 1, %s + turn * 0.001,
        %s + turn * 0.001, NULL, NULL, FALSE, FALSE, '', NULL, NULL, NULL
    FROM generate_series(1, 20000) AS turn
"""


async def test_what_waits_for_a_dead_destination_is_in_nobodys_way(
    open_spool: Opener, database: str
) -> None:
    """Index look-ups only, and as few as if nothing else waited; PostgreSQL has not counted yet."""
    ask(database, "VACUUM pillarbox.recipients")  # what other tests have left behind
    spool = await open_spool()
    await spool.put(message("ben@dead.test"), BODY)
    await spool.put(message(), BODY)
    numbers = dict(ask(database, "SELECT name, number FROM pillarbox.destinations"))
    ask(database, FILL, numbers["dead.test"], NOW - 100, NOW - 100)
    pool = Pool(Database(database, name="test", clock=DatabaseClock()), 1, BY_INDEX)
    lane = lane_of(numbers["b.test"], "ann@example.org")
    first = numbers["b.test"] << 5
    asked: list[tuple[LiteralString, dict[str, object]]] = [
        (query.DUE, {"now": NOW}),
        (query.NEXT_DUE, {}),
        (query.LANES_OF_DESTINATION, {"now": NOW, "first": first, "last": first + 31}),
        (CHOOSE, {"lanes": [lane], "now": NOW, "chosen": [], "each": 100}),
        (
            CHOOSE,
            {"lanes": [(numbers["dead.test"] << 5) + 1], "now": NOW, "chosen": [], "each": 10},
        ),
    ]
    async with pool.use() as connection:
        for statement, values in asked:
            found = await connection.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values
            )
            row = await found.fetchone()
            assert row is not None
            plan = json.dumps(row[0])
            assert "Seq Scan" not in plan
            assert '"waiting"' in plan
            assert row[0][0]["Plan"]["Shared Hit Blocks"] < 500
    await pool.close()
    (lease,) = await spool.lease("b.test", NOW, limit=100, seconds=60)
    assert lease.destination == "b.test"
