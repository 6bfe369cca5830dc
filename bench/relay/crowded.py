"""A million messages that wait for a server that is gone, and what another destination feels of it.

A relay on PostgreSQL in one process, with routes of its own: `dead.test` has nobody, `live.test` is
the sink. Messages for the latter are submitted as fast as they are taken, in turns on an empty
database and on one that is full of messages for the former.

As a program it is what is measured: `python -m bench.relay.crowded PORT SECONDS ROUNDS`.
"""

import asyncio
import contextlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.relay.alone import BODY, measured
from bench.relay.relays import FOLDER
from bench.relay.sink import Sink
from bench.servers import free_port
from pillarbox.relay.relay import Relay
from pillarbox.relay.route import Hop, TlsPolicy
from pillarbox.relay.spool import NewMessage, NewRecipient

MESSAGES = 1_000_000

_SESSIONS = 200
_FIRST = 1000
_LIFETIME_SECONDS = 432_000.0
_TIMEOUT_SECONDS = 400

# Doubles what is there: the same messages under the next numbers.
_DOUBLE = """
    WITH shift AS (SELECT max(id) - min(id) + 1 AS by FROM messages),
    added AS (
        INSERT INTO messages SELECT (m).* FROM (
            SELECT jsonb_populate_record(m, jsonb_build_object('id', m.id + by)) AS m
            FROM messages AS m, shift
        ) AS m
    ),
    bodied AS (
        INSERT INTO bodies SELECT message + by, octets FROM bodies, shift
    )
    INSERT INTO recipients SELECT (r).* FROM (
        SELECT jsonb_populate_record(r, jsonb_build_object('message', r.message + by)) AS r
        FROM recipients AS r, shift
    ) AS r
"""


@dataclass(frozen=True, slots=True)
class Crowded:
    """What was measured.

    Attributes:
        alone: Messages delivered a second where nothing else waited, each round.
        crowded: The same with the others there.
        statistics_seconds: What `statistics()` took with all of them there, at worst.
    """

    alone: Sequence[float]
    crowded: Sequence[float]
    statistics_seconds: float


def crowded(sink: Sink, seconds: float, rounds: int) -> Crowded:
    """Measure both, in a process of its own."""
    found = measured(
        "bench.relay.crowded", sink.port, seconds, rounds, timeout_seconds=_TIMEOUT_SECONDS
    )
    return Crowded(*found)


class _Routes:
    def __init__(self, live: int) -> None:
        self._ports = {"live.test": live, "dead.test": free_port()}

    def destination(self, address: str) -> str:
        return address.rpartition("@")[2]

    async def hops(self, destination: str) -> Sequence[Hop]:
        return [Hop(host="127.0.0.1", port=self._ports[destination], tls=TlsPolicy.NEVER)]


def _message(destination: str) -> NewMessage:
    now = time.time()
    to = NewRecipient(address=f"recipient@{destination}", destination=destination)
    return NewMessage(
        mail_from="sender@example.com",
        recipients=(to,),
        created=now,
        expires=now + _LIFETIME_SECONDS,
    )


async def _fill(url: str) -> None:
    import psycopg

    from pillarbox.relay.postgres import PostgresSpool

    spool = await PostgresSpool.open(url)
    await asyncio.gather(*(spool.put(_message("dead.test"), b"text\r\n") for _ in range(_FIRST)))
    await spool.close()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET search_path = pillarbox")
        messages = _FIRST
        while messages < MESSAGES:
            await connection.execute(_DOUBLE)
            messages *= 2
        await connection.execute("SELECT setval('message_numbers', (SELECT max(id) FROM messages))")
        await connection.execute("VACUUM ANALYZE")


async def _deliver(url: str, routes: _Routes, seconds: float) -> tuple[float, float]:
    """Give messages delivered a second, and what `statistics()` took meanwhile."""
    from pillarbox.relay.postgres import PostgresSpool

    spool = await PostgresSpool.open(url)
    relay = Relay(spool, routes, hostname="relay.bench.invalid")
    await relay.start()
    is_over = False

    async def session() -> None:
        while not is_over:
            await relay.submit(_message("live.test"), BODY)

    sessions = [asyncio.create_task(session()) for _ in range(_SESSIONS)]
    await asyncio.sleep(seconds / 4)
    before, started = relay.counters.delivered, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (relay.counters.delivered - before) / (time.perf_counter() - started)
    is_over = True
    await asyncio.gather(*sessions)
    started = time.perf_counter()
    await spool.statistics()
    taken = time.perf_counter() - started
    await relay.close(seconds=5)
    await spool.close()
    return rate, taken


async def _measure(port: int, seconds: float, rounds: int) -> Crowded:
    from tests.relay.postgres_server import PostgresServer

    folder = FOLDER / "crowded"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o755)
    routes = _Routes(port)
    try:
        with PostgresServer(folder, shared_buffers="256MB", max_wal_size="4GB") as server:
            import psycopg

            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE alone")
                connection.execute("CREATE DATABASE crowded")
            await _fill(server.url("crowded"))
            rates: dict[str, list[float]] = {"alone": [], "crowded": []}
            asked = 0.0
            for _ in range(rounds):
                for database, found in rates.items():
                    rate, taken = await _deliver(server.url(database), routes, seconds)
                    found.append(rate)
                    asked = max(asked, taken)
            return Crowded(rates["alone"], rates["crowded"], asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    logging.getLogger("pillarbox").setLevel(logging.ERROR)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    port, seconds, rounds = sys.argv[1:]
    found = asyncio.run(_measure(int(port), float(seconds), int(rounds)))
    print(json.dumps([found.alone, found.crowded, found.statistics_seconds]))
