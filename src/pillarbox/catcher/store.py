"""The store behind the mailbox: messages as rows of SQLite.

The tables are told in schema.py, transactions and files in database.py, what a search means in
search.py, and how a row is made of a message in row.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.condition import condition_of, numbers_of
from pillarbox.catcher.database import Database
from pillarbox.catcher.failure import MessageNotFound
from pillarbox.catcher.hits import choose, counts_and_piece
from pillarbox.catcher.index import Index
from pillarbox.catcher.limits import Limits, count_beyond
from pillarbox.catcher.row import Row, arrival_of, row_of, summaries_of
from pillarbox.catcher.search import Query
from pillarbox.catcher.summary import Counts, Page, Stored, Summary
from pillarbox.catcher.tags import checked_tags
from pillarbox.catcher.words import storable

__all__ = ["Chosen", "Selection", "Store"]

_INSERT_MESSAGE = (
    "INSERT INTO message (id, time, size, attachments, inlines) VALUES (?, ?, ?, ?, ?)"
)

Selection = Query | Sequence[str]
"""Which messages: what a query finds, or those of some ids as far as they are there."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a change was made to.

    Attributes:
        count: How many messages.
        summaries: What they were, or are if they still are; empty if they are too many to tell.
    """

    count: int
    summaries: Sequence[Summary]


class Store:
    """Messages in SQLite; safe from every thread.

    Args:
        path: The file; `None` for memory.
        max_told: Of how many changed messages to give summaries.
        busy_seconds: How long to wait for other programs that use the file.

    Raises:
        MailboxError: It cannot be opened.
    """

    def __init__(
        self, path: str | None = None, *, max_told: int = 100, busy_seconds: float = 5.0
    ) -> None:
        self.path = path
        self.database = Database(path, busy_seconds=busy_seconds)
        self._max_told = max_told
        try:
            with self.database.change() as connection:
                self._index = Index(connection, is_indexed=path is not None)
                if self._index.is_behind:
                    self._index.catch_up()
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Close the file; what comes after raises."""
        self.database.close()

    # In

    def add(self, arrivals: Iterable[Arrival]) -> list[Summary]:
        """Store messages, all or none.

        Raises:
            ValueError: There is a message of that id.
        """
        # What takes long is done before anybody has to wait for it.
        rows = [row_of(arrival) for arrival in arrivals]
        with self.database.change() as connection:
            for row in rows:
                self._add(connection, row)
        return [row.summary for row in rows]

    def _add(self, connection: sqlite3.Connection, row: Row) -> None:
        try:
            cursor = connection.execute(_INSERT_MESSAGE, row.message)
        except sqlite3.IntegrityError:
            raise ValueError(f"there is a message {row.summary.id} already") from None
        number = cursor.lastrowid
        assert number is not None
        connection.execute("INSERT INTO content VALUES (?, ?, ?, ?)", (number, *row.content))
        connection.execute("INSERT INTO mail VALUES (?, ?)", (number, row.octets))
        self._index.add(number, row.words)
        for mailbox in row.summary.mailboxes:
            connection.execute("INSERT INTO place VALUES (?, ?)", (number, mailbox))
        for tag in row.summary.tags:
            connection.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (number, tag))

    def set_transcript(self, id_: str, lines: Sequence[str]) -> None:
        """Keep the dialogue of a message's session."""
        with self.database.change() as connection:
            connection.execute(
                "UPDATE content SET transcript = ?"
                " WHERE number = (SELECT number FROM message WHERE id = ?)",
                (storable("\n".join(lines)), storable(id_)),
            )

    # Out

    def page(self, query: Query, scope: str | None, *, start: int, limit: int) -> Page:
        """Give a piece of what a query finds, newest first, and counts of the same moment."""
        start = max(start, 0)
        with self.database.look() as connection:
            whole = self.counts(Query(), scope)
            if query.is_of_text:
                numbers = numbers_of(query, scope, is_indexed=self.path is not None)
                choose(connection, numbers, is_indexed=self.path is not None)
                found, summaries = counts_and_piece(connection, start=start, limit=limit)
            else:
                found = self.counts(query, scope)
                summaries = self.summaries(query, scope, start=start, limit=limit)
            return Page(
                summaries=tuple(summaries),
                start=start,
                found=found,
                mailbox=whole,
                tags=tuple(self.tags(scope)),
            )

    def summaries(
        self, query: Query, scope: str | None, *, start: int = 0, limit: int = -1
    ) -> list[Summary]:
        """List what a query finds, newest first."""
        where, values = self._where(query, scope)
        with self.database.look() as connection:
            return summaries_of(
                connection,
                f"SELECT number FROM message WHERE {where}"
                " ORDER BY time DESC, number DESC LIMIT ? OFFSET ?",
                (*values, limit, max(start, 0)),
            )

    def ids(self, query: Query, scope: str | None) -> list[str]:
        """List the ids of what a query finds, newest first."""
        where, values = self._where(query, scope)
        sql = f"SELECT id FROM message WHERE {where} ORDER BY time DESC, number DESC"
        with self.database.look() as connection:
            return [id_ for (id_,) in connection.execute(sql, values)]

    def counts(self, query: Query, scope: str | None) -> Counts:
        """Count what a query finds."""
        where, values = self._where(query, scope)
        sql = f"SELECT count(*), count(*) - ifnull(sum(is_read), 0) FROM message WHERE {where}"
        if not query.terms and scope is None:
            sql = "SELECT total, unread FROM tally"
        with self.database.look() as connection:
            total, unread = connection.execute(sql, values).fetchone()
        return Counts(total=total, unread=unread)

    def tags(self, scope: str | None) -> dict[str, int]:
        """Count the messages of each tag, in the tags' order."""
        where, values = self._where(Query(), scope)
        chosen = (
            "" if scope is None else f" WHERE number IN (SELECT number FROM message WHERE {where})"
        )
        with self.database.look() as connection:
            return dict(
                connection.execute(
                    f"SELECT name, count(*) FROM tag{chosen} GROUP BY name ORDER BY name", values
                )
            )

    def names(self) -> dict[str, int]:
        """Count the messages of each named mailbox."""
        with self.database.look() as connection:
            return dict(
                connection.execute(
                    "SELECT mailbox, count(*) FROM place GROUP BY mailbox ORDER BY 1"
                )
            )

    def octets(self, id_: str, scope: str | None) -> bytes:
        """Give the octets of a message."""
        with self.database.look() as connection:
            number = self._number(id_, scope)
            row = connection.execute("SELECT octets FROM mail WHERE number = ?", (number,))
            octets: bytes = row.fetchone()[0]
        return octets

    def get(self, id_: str, scope: str | None) -> Stored:
        """Give a message with all that is known of it."""
        with self.database.look() as connection:
            number = self._number(id_, scope)
            (summary,) = summaries_of(connection, "SELECT ?", (number,))
            envelope, transcript, octets = connection.execute(
                "SELECT envelope, transcript, octets FROM content JOIN mail USING (number)"
                " WHERE number = ?",
                (number,),
            ).fetchone()
        return Stored(summary=summary, arrival=arrival_of(summary, envelope, transcript, octets))

    def summary(self, id_: str, scope: str | None) -> Summary:
        """Give a message's summary."""
        with self.database.look() as connection:
            (summary,) = summaries_of(connection, "SELECT ?", (self._number(id_, scope),))
        return summary

    def is_found(self, id_: str, query: Query, scope: str | None) -> bool:
        """Tell whether a query finds a message, without the index."""
        where, values = self._where(query, scope, is_indexed=False)
        with self.database.look() as connection:
            sql = f"SELECT 1 FROM message WHERE id = ? AND {where}"
            return connection.execute(sql, (storable(id_), *values)).fetchone() is not None

    def _number(self, id_: str, scope: str | None) -> int:
        where, values = self._where(Query(), scope)
        with self.database.look() as connection:
            sql = f"SELECT number FROM message WHERE id = ? AND {where}"
            row = connection.execute(sql, (storable(id_), *values)).fetchone()
        if row is None:
            raise MessageNotFound(f"there is no message {id_}")
        number: int = row[0]
        return number

    def _where(
        self, query: Query, scope: str | None, *, is_indexed: bool = True
    ) -> tuple[str, tuple[object, ...]]:
        condition = condition_of(query, scope, is_indexed=is_indexed and self.path is not None)
        return condition.sql, condition.values

    # Changes

    def set_read(self, selection: Selection, is_read: bool, scope: str | None) -> Chosen:
        """Set messages read or unread; tells of those that were not so."""
        with self.database.change() as connection:
            self._choose(selection, scope)
            connection.execute(
                "DELETE FROM chosen WHERE number IN (SELECT number FROM message WHERE is_read = ?)",
                (is_read,),
            )
            connection.execute("UPDATE message SET is_read = ? WHERE number IN chosen", (is_read,))
            return self._chosen()

    def set_tags(self, selection: Selection, tags: Iterable[str], scope: str | None) -> Chosen:
        """Replace the tags of messages."""
        checked = checked_tags(tags)
        with self.database.change() as connection:
            self._choose(selection, scope)
            connection.execute("DELETE FROM tag WHERE number IN chosen")
            for tag in checked:
                connection.execute("INSERT INTO tag SELECT number, ? FROM chosen", (tag,))
            return self._chosen()

    def rename_tag(self, tag: str, names: Sequence[str], scope: str | None) -> Chosen:
        """Put another tag, or none, in the place of one."""
        checked = checked_tags(names)
        tag = storable(tag)
        with self.database.change() as connection:
            self._choose(Query(), scope, "number IN (SELECT number FROM tag WHERE name = ?)", tag)
            connection.execute("DELETE FROM tag WHERE name = ? AND number IN chosen", (tag,))
            for name in checked:
                connection.execute(
                    "INSERT OR IGNORE INTO tag SELECT number, ? FROM chosen", (name,)
                )
            return self._chosen()

    def delete(self, selection: Selection, scope: str | None) -> Chosen:
        """Delete messages, or take them out of a named mailbox; tells what they were."""
        with self.database.change():
            self._choose(selection, scope)
            chosen = self._chosen()
            self._remove_chosen(scope)
            self._index.catch_up()  # what somebody wants gone is not to wait
        return chosen

    def delete_all(self, scope: str | None) -> int:
        """Delete every message."""
        with self.database.change() as connection:
            if scope is not None:
                self._choose(Query(), scope)
                count = self._chosen(are_told=False).count
                self._remove_chosen(scope)
                self._index.catch_up()
                return count
            count = connection.execute("DELETE FROM message").rowcount
            for table in ("content", "mail", "tag", "place"):
                connection.execute(f"DELETE FROM {table}")
            self._index.remove_all()
        self.database.shrink()
        return count

    def prune(self, limits: Limits, now: datetime) -> int:
        """Let the oldest messages go that are beyond the limits; tell how many."""
        with self.database.peek() as connection:
            if not count_beyond(connection, limits, now):
                return 0
        with self.database.change() as connection:
            beyond = count_beyond(connection, limits, now)
            connection.execute("DELETE FROM chosen")
            connection.execute(
                "INSERT INTO chosen SELECT number FROM message ORDER BY time, number LIMIT ?",
                (beyond,),
            )
            self._remove_chosen(None)
        return beyond

    # What a change is made to stands in the table `chosen`.

    def _choose(
        self, selection: Selection, scope: str | None, also: str = "1", *values: object
    ) -> None:
        self.database.writer.execute("DELETE FROM chosen")
        query = selection if isinstance(selection, Query) else Query()
        where, where_values = self._where(query, scope)
        insert = f"INSERT OR IGNORE INTO chosen SELECT number FROM message WHERE {also} AND {where}"
        if isinstance(selection, Query):
            self.database.writer.execute(insert, (*values, *where_values))
        else:
            self.database.writer.executemany(
                f"{insert} AND id = ?",
                ((*values, *where_values, storable(id_)) for id_ in selection),
            )

    def _chosen(self, *, are_told: bool = True) -> Chosen:
        (count,) = self.database.writer.execute("SELECT count(*) FROM chosen").fetchone()
        if not are_told or count > self._max_told:
            return Chosen(count, ())
        return Chosen(count, summaries_of(self.database.writer, "SELECT number FROM chosen", ()))

    def _remove_chosen(self, scope: str | None) -> None:
        execute = self.database.writer.execute
        if scope is not None:
            execute("DELETE FROM place WHERE mailbox = ? AND number IN chosen", (scope,))
            execute("DELETE FROM chosen WHERE number IN (SELECT number FROM place)")
        for table in ("message", "content", "mail", "tag", "place"):
            execute(f"DELETE FROM {table} WHERE number IN chosen")
        self._index.remove_chosen()

    # What other processes do

    def version(self) -> int:
        """Give a number that changes when another process has changed the file."""
        with self.database.peek() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def since(self, number: int) -> tuple[int, list[Summary]]:
        """Give the messages after the one of a number, in their order, and the last one's."""
        with self.database.look() as connection:
            (last,) = connection.execute("SELECT ifnull(max(number), 0) FROM message").fetchone()
            sql = "SELECT number FROM message WHERE number > ? ORDER BY number DESC LIMIT ?"
            found = summaries_of(connection, sql, (number, self._max_told))
        return max(last, number), found[::-1]
