"""What SQL has to do with rows: read whole by `load()`, added by `insert()`; see relay/row.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from pillarbox.relay.row import Loaded, MessageRow, RecipientRow, State, like, number_of
from pillarbox.relay.spool import Selection

__all__ = ["chunks", "condition", "free", "insert", "load", "marks"]

_Value = TypeVar("_Value")

# What fits into one statement: SQLite allows 32,766 values in one.
CHUNK = 500
CHUNK_ROWS = 128
# So many rows at the most are inserted by a statement that is made for their number.
MANY_ROWS = 32


def load(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[Loaded]:
    """Read messages, in this order; those that are gone are left out."""
    messages: dict[int, MessageRow] = {}
    recipients: dict[int, list[RecipientRow]] = {}
    for some in chunks(numbers):
        found = connection.execute(f"SELECT * FROM messages WHERE id IN ({marks(some)})", some)
        for values in found:
            messages[values[0]] = MessageRow._make(values)
            recipients[values[0]] = []
        found = connection.execute(
            f"SELECT * FROM recipients WHERE message IN ({marks(some)}) ORDER BY message, number",
            some,
        )
        for values in found:
            recipients[values[0]].append(RecipientRow._make(values))
    destinations: dict[int, str] = {}
    for some in chunks(list({row.destination for rows in recipients.values() for row in rows})):
        destinations.update(
            connection.execute(
                f"SELECT number, name FROM destinations WHERE number IN ({marks(some)})", some
            )
        )
    return [
        Loaded(messages[number], recipients[number], destinations)
        for number in numbers
        if number in messages
    ]


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows, many to a statement: each statement costs a handing over between threads."""
    at = 0
    while at < len(rows):
        size = len(rows) - at
        if size > MANY_ROWS:  # beyond, few different statements, so that SQLite knows them all
            size = min(CHUNK_ROWS, 1 << size.bit_length() - 1)
        some = rows[at : at + size]
        connection.execute(
            _insertion(table, len(some[0]), size), [value for row in some for value in row]
        )
        at += size


@lru_cache(maxsize=256)
def _insertion(table: str, columns: int, rows: int) -> str:
    one = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([one] * rows)}"


def marks(values: Sequence[object]) -> str:
    """Give a question mark for each value."""
    return ",".join("?" * len(values))


def chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Give values by as many as fit into a statement."""
    for at in range(0, len(values), CHUNK):
        yield values[at : at + CHUNK]


def condition(selection: Selection | None) -> tuple[str, list[object]]:
    """Give what a row of `messages` has to meet, as SQL and its values."""
    conditions: list[str] = ["TRUE"]
    values: list[object] = []
    if selection and selection.ids is not None:
        numbers = [number_of(id) for id in selection.ids]  # noqa: A001
        conditions.append(f"id IN ({','.join(map(str, numbers))})")
    if selection and selection.mail_from is not None:
        conditions.append("mail_from LIKE ? ESCAPE '\\'")
        values.append(like(selection.mail_from))
    if selection and selection.rcpt_to is not None:
        conditions.append(
            "EXISTS (SELECT 1 FROM recipients AS r"
            " WHERE r.message = messages.id AND r.address LIKE ? ESCAPE '\\')"
        )
        values.append(like(selection.rcpt_to))
    return " AND ".join(conditions), values


def free(table: str, now: str = "?") -> str:
    """Tell in SQL whether a recipient waits, and nobody tries it now."""
    return (
        f"({table}.state = {State.QUEUED}"
        f" OR {table}.state = {State.ACTIVE} AND {table}.lease_expires <= {now})"
    )
