"""How rows go into the tables and come out of them; what they hold is in relay/row.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, LiteralString

from psycopg import sql

from pillarbox.relay.postgres.link import Connection
from pillarbox.relay.row import Loaded, MessageRow, RecipientRow, State, like, number_of
from pillarbox.relay.spool import Lease, Selection

__all__ = [
    "BODIES",
    "FREE",
    "MESSAGES",
    "RECIPIENTS",
    "Table",
    "chunks",
    "condition",
    "insert",
    "load",
    "lock",
    "ours",
    "storable",
]

# So many are changed in one transaction where people change all: others wait for no longer.
CHUNK: Final = 1000


class Table:
    """A table that rows are added to, many at once.

    Args:
        name: The table.
        columns: Its columns, and their types.
    """

    def __init__(self, name: LiteralString, columns: dict[LiteralString, LiteralString]) -> None:
        self.types = tuple(columns.values())
        self.columns = sql.SQL(", ").join(map(sql.SQL, columns))
        self.copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.SQL(name), self.columns
        )


MESSAGES: Final = Table(
    "messages",
    {
        "id": "int8",
        "mail_from": "text",
        "created": "float8",
        "expires": "float8",
        "is_held": "bool",
        "is_smtputf8": "bool",
        "body_type": "text",
        "requires_tls": "bool",
        "ret": "text",
        "envid": "text",
        "origin": "text",
        "size": "int8",
        "digest": "bytea",
        "file": "text",
    },
)

BODIES: Final = Table("bodies", {"message": "int8", "octets": "bytea"})

RECIPIENTS: Final = Table(
    "recipients",
    {
        "message": "int8",
        "number": "int4",
        "address": "text",
        "lane": "int8",
        "state": "int2",
        "attempts": "int4",
        "next_attempt": "float8",
        "due": "float8",
        "token": "text",
        "lease_expires": "float8",
        "is_attempt": "bool",
        "is_delay_told": "bool",
        "last_reply": "text",
        "notify": "int2",
        "orcpt_type": "text",
        "orcpt": "text",
    },
)

FIND_MESSAGES: Final = sql.SQL("SELECT {} FROM messages WHERE id = ANY(%s::bigint[])").format(
    MESSAGES.columns
)
FIND_RECIPIENTS: Final = sql.SQL(
    "SELECT {} FROM recipients WHERE message = ANY(%s::bigint[]) ORDER BY message, number"
).format(RECIPIENTS.columns)

FREE: Final = (
    f"(r.state = {State.QUEUED} OR r.state = {State.ACTIVE} AND r.lease_expires <= %(now)s)"
)
"""Whether a recipient `r` waits, and nobody tries it now."""


async def insert(connection: Connection, table: Table, rows: Iterable[Sequence[Any]]) -> None:
    """Add rows.

    COPY takes half the time of arrays or of one INSERT each where there are a hundred, here and in
    the server, and no longer than they do where there are few.
    """
    async with connection.cursor().copy(table.copy) as copying:
        copying.set_types(table.types)
        for row in rows:
            await copying.write_row(row)


async def load(connection: Connection, numbers: Sequence[int]) -> list[Loaded]:
    """Read messages, in this order; those that are gone are left out."""
    if not numbers:
        return []
    found = await connection.execute(FIND_MESSAGES, [numbers], binary=True)
    messages = {values[0]: MessageRow._make(values) for values in await found.fetchall()}
    recipients: dict[int, list[RecipientRow]] = {number: [] for number in messages}
    found = await connection.execute(FIND_RECIPIENTS, [numbers], binary=True)
    for values in await found.fetchall():
        if values[0] in recipients:
            recipients[values[0]].append(RecipientRow._make(values))
    found = await connection.execute(
        "SELECT number, name FROM destinations WHERE number = ANY(%s::bigint[])",
        [list({row.destination for rows in recipients.values() for row in rows})],
    )
    destinations: dict[int, str] = dict(await found.fetchall())
    return [
        Loaded(messages[number], recipients[number], destinations)
        for number in numbers
        if recipients.get(number)
    ]


async def lock(connection: Connection, numbers: Iterable[int]) -> None:
    """Have messages to ourselves until the transaction is over."""
    await connection.execute(
        "SELECT FROM recipients WHERE message = ANY(%s::bigint[]) AND number = 0"
        " ORDER BY message FOR UPDATE",
        [sorted(set(numbers))],
    )


async def ours(connection: Connection, leases: Sequence[Lease]) -> list[bool]:
    """Lock the messages of leases; tell of each whether it still has all of its recipients."""
    numbers = [number_of(lease.id) for lease in leases]
    await lock(connection, numbers)
    found = await connection.execute(
        "SELECT lease.place, count(*) FROM unnest(%s::bigint[], %s::text[])"
        " WITH ORDINALITY AS lease (message, token, place)"
        " JOIN recipients AS r ON r.message = lease.message AND r.token = lease.token"
        " GROUP BY lease.place",
        [numbers, [lease.token for lease in leases]],
    )
    counts: dict[int, int] = dict(await found.fetchall())
    return [
        counts.get(place, 0) == len(lease.recipients) for place, lease in enumerate(leases, start=1)
    ]


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Give numbers by as many as are changed at once."""
    for at in range(0, len(numbers), CHUNK):
        yield numbers[at : at + CHUNK]


def condition(selection: Selection | None) -> tuple[LiteralString, dict[str, object]]:
    """Give what a row `m` of `messages` has to meet, as SQL and its values."""
    conditions: list[LiteralString] = ["TRUE"]
    values: dict[str, object] = {}
    if selection and selection.ids is not None:
        conditions.append("m.id = ANY(%(ids)s::bigint[])")
        values["ids"] = [number_of(id) for id in selection.ids]  # noqa: A001
    if selection and selection.mail_from is not None:
        conditions.append("m.mail_from ILIKE %(mail_from)s ESCAPE '\\'")
        values["mail_from"] = like(selection.mail_from)
    if selection and selection.rcpt_to is not None:
        conditions.append(
            "EXISTS (SELECT FROM recipients AS s"
            " WHERE s.message = m.id AND s.address ILIKE %(rcpt_to)s ESCAPE '\\')"
        )
        values["rcpt_to"] = like(selection.rcpt_to)
    return " AND ".join(conditions), values


def storable(text: str) -> str:
    """Make what another server said fit into a column: no NUL, and nothing that is not UTF-8."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode()
