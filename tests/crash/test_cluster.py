"""A crash test of a cluster, of some seconds; `make crash-cluster` is long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from pillarbox.asyncio.client import connect
from pillarbox.asyncio.client_error import SessionLost
from tests.crash.cluster import Trouble, crash_cluster
from tests.crash.ledger import Ledger
from tests.crash.node import PROGRAM, Node, relay_options
from tests.crash.run import Plan
from tests.relay.next_hop import serving
from tests.relay.postgres_server import ABSENT, PostgresServer, find_programs


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    if find_programs() is None:
        if os.environ.get("CI"):
            pytest.fail(ABSENT)
        pytest.skip(ABSENT)
    with PostgresServer() as server:
        yield server


def test_nodes_and_the_database_are_killed(server: PostgresServer) -> None:
    plan = Plan(messages=100, kills=3, quiet_seconds=30, away_after_seconds=(60.0, 60.0))
    trouble = Trouble(kill_seconds=1.0, stop_seconds=None)
    work = crash_cluster(plan, server, seed="short", nodes=2, lease_seconds=8, trouble=trouble)
    report, cluster = asyncio.run(work)
    assert report.verdict.is_good, report
    assert report.verdict.acked >= 100
    assert report.kills >= 3
    assert cluster.database_kills >= 1
    assert set(report.refusals) <= {451}  # whatever happens, clients are to come again


async def _send(port: int) -> int:
    """Send a message; give the code that it was answered with."""
    async with connect("127.0.0.1", port) as client:
        outcome = await client.send("ann@client.test", ["ben@next.test"], b"Subject: x\r\n\r\n")
        return outcome.recipients[0].reply.code


async def _until_taken(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if await _send(port) == 250:
                    return
            except SessionLost:
                pass


def test_clients_hear_451_while_the_database_is_gone_and_the_node_goes_on_by_itself(
    server: PostgresServer,
) -> None:
    asyncio.run(_lose_the_database(server))


async def _lose_the_database(server: PostgresServer) -> None:
    async with serving() as hop:
        node = Node(
            "n0", (*PROGRAM, *relay_options(server.url(), hop.port)), Ledger(lifetime_seconds=1)
        )
        await node.spawn(tells=False)
        try:
            await node.ready()
            assert node.port is not None
            assert await _send(node.port) == 250
            async with asyncio.timeout(20):
                while len(hop.messages) < 1:
                    await asyncio.sleep(0.01)
            server.kill()
            for _ in range(3):
                assert await _send(node.port) == 451
            node.check()
            server.start()
            await _until_taken(node.port)
            async with asyncio.timeout(20):
                while len(hop.messages) < 2:
                    await asyncio.sleep(0.01)
            await node.stop()
        finally:
            await node.kill()
        assert len(hop.messages) == 2
        assert node.tracebacks == []
