"""`async def` tests, each one on asyncio and on uvloop (tests/asyncio/conftest.py), and a database.

One PostgreSQL serves all tests of a process, and a test finds its database empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.asyncio.conftest import ending, in_memory, new_loop, pytest_pyfunc_call
from tests.relay.postgres_server import ABSENT, PostgresServer, find_programs

__all__ = ["ending", "in_memory", "new_loop", "pytest_pyfunc_call"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of our own."""
    if find_programs() is None:
        if os.environ.get("CI"):
            pytest.fail(ABSENT)
        pytest.skip(ABSENT)
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """An empty database, by its URL."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables"
            " WHERE schemaname = 'pillarbox' AND tablename <> 'about'"
        ).fetchall()
        # Not TRUNCATE: making and removing files takes longer than all the rest of a test.
        connection.execute(
            sql.SQL("; ").join(
                sql.SQL("DELETE FROM {}").format(sql.Identifier("pillarbox", name))
                for (name,) in tables
            )
        )
    return postgres.url()
