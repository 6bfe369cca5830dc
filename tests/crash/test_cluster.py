"""A crash test of a cluster, of some seconds; `make crash-cluster` is long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.crash.cluster import crash_cluster
from tests.crash.run import Plan
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
    plan = Plan(messages=100, kills=3, quiet_seconds=30)
    work = crash_cluster(
        plan, server, seed="short", nodes=2, lease_seconds=8, pause_seconds=1.0, stops=False
    )
    report, cluster = asyncio.run(work)
    assert report.verdict.is_good, report
    assert report.verdict.acked >= 100
    assert report.kills >= 3
    assert cluster.database_kills >= 1
