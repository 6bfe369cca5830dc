"""The indexes of the texts, brought up to date a batch at a time.

To take one message into FTS5's index costs three times what it costs in a batch, because each
transaction leaves a piece of index that has to be merged with the others. So new messages wait in
`backlog`, where a search looks at their texts one by one, and go into the index together; so do
those leave that were deleted, which no search gives any more in the meantime.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pillarbox.catcher.words import PLACES, Words

__all__ = ["ASIDE", "IS_GONE", "MAX_INDEXED_CHARACTERS", "Index", "aside", "pieces"]

# Some 200 microseconds each in the indexes, half of one to be looked at.
MAX_WAITING = 64
# The index costs a seventh of a microsecond for each character: this is 10 milliseconds.
MAX_WAITING_CHARACTERS = 70_000
# A text of more is looked at in each search, for as long as it is there.
MAX_INDEXED_CHARACTERS = 200_000

_WAITS, _IS_LONG, IS_GONE = 0, 1, 2  # what `work` of `backlog` says

# The places whose texts stand in `header` as well, beside the headers that they come from: what was
# decoded there is not what is compared.
ASIDE = ("subject", "from_", "to_", "cc", "bcc", "reply_to", "message_id")

_INDEXED = [place for place in PLACES if place != "headers"]
_COLUMNS = ", ".join(_INDEXED)
_PIECES = ", ".join(f"pieces({place})" for place in _INDEXED)


class Index:
    """Keeps `found` and `words` as the messages are; each call is within a transaction.

    Args:
        connection: Writes.
        is_indexed: Whether there is an index at all; else there are only the texts.
    """

    def __init__(self, connection: sqlite3.Connection, *, is_indexed: bool) -> None:
        self._connection = connection
        self.is_indexed = is_indexed
        self._waiting = 0
        self._waiting_characters = 0
        if is_indexed:  # what the last process left, or a new version of the tables
            sql = f"SELECT count(*) FROM backlog WHERE work <> {_IS_LONG}"
            (self._waiting,) = connection.execute(sql).fetchone()

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that it is time to catch up."""
        return self._waiting >= MAX_WAITING or self._waiting_characters >= MAX_WAITING_CHARACTERS

    def add(self, number: int, words: Words) -> None:
        """Take in a message's texts."""
        self._connection.execute(
            _INSERT_WORDS, (number, *(getattr(words, name) for name in PLACES))
        )
        if not self.is_indexed:
            return
        is_long = len(words.body) > MAX_INDEXED_CHARACTERS
        self._connection.execute(
            "INSERT INTO backlog VALUES (?, ?)", (number, _IS_LONG if is_long else _WAITS)
        )
        if not is_long:
            self._waiting += 1
            self._waiting_characters += len(words.body)
        if self.is_behind:
            self.catch_up()

    def remove_chosen(self) -> None:
        """Leave out the messages in `chosen`."""
        execute = self._connection.execute
        if not self.is_indexed:
            execute("DELETE FROM words WHERE number IN chosen")
            return
        execute(
            "DELETE FROM words WHERE number IN chosen AND number IN (SELECT number FROM backlog)"
        )
        # A row of `backlog` that has lost its words is one that never was in the index.
        execute("DELETE FROM backlog WHERE number IN chosen")
        gone = execute(
            f"INSERT INTO backlog SELECT number, {IS_GONE} FROM words WHERE number IN chosen"
        )
        self._waiting += gone.rowcount
        if self.is_behind:
            self.catch_up()

    def remove_all(self) -> None:
        """Leave out every message."""
        if self.is_indexed:
            self._connection.execute("INSERT INTO found (found) VALUES ('delete-all')")
            self._connection.execute("INSERT INTO short (short) VALUES ('delete-all')")
            self._connection.execute("DELETE FROM header")
            self._connection.execute("DELETE FROM backlog")
        self._connection.execute("DELETE FROM words")
        self._waiting = self._waiting_characters = 0

    def catch_up(self) -> None:
        """Do what waits."""
        if not self.is_indexed:
            return
        execute, execute_many = self._connection.execute, self._connection.executemany
        select = "FROM backlog CROSS JOIN words ON words.number = backlog.number WHERE work ="
        for table, columns in (("found", _COLUMNS), ("short", _PIECES)):
            execute(
                f"INSERT INTO {table} (rowid, {_COLUMNS})"
                f" SELECT words.number, {columns} {select} {_WAITS}"
            )
            # FTS5 has to be told what was in a text to take it out of the index.
            execute(
                f"INSERT INTO {table} ({table}, rowid, {_COLUMNS})"
                f" SELECT 'delete', words.number, {columns} {select} {IS_GONE}"
            )
        texts = f"SELECT words.number, headers, {', '.join(ASIDE)} {select}"
        execute_many(
            "INSERT INTO header VALUES (?, ?, ?)",
            (
                (name, number, value)
                for number, *found in execute(f"{texts} {_WAITS}")
                for name, value in _by_name(*found)
            ),
        )
        execute_many(
            "DELETE FROM header WHERE name = ? AND number = ?",
            (
                (name, number)
                for number, *found in execute(f"{texts} {IS_GONE}")
                for name, _ in _by_name(*found)
            ),
        )
        execute(
            f"DELETE FROM words WHERE number IN (SELECT number FROM backlog WHERE work = {IS_GONE})"
        )
        execute(f"DELETE FROM backlog WHERE work <> {_IS_LONG}")
        self._waiting = self._waiting_characters = 0


_INSERT_WORDS = f"INSERT INTO words VALUES (?{', ?' * len(PLACES)})"


def pieces(text: str) -> str:
    """Give all pieces of one and two characters, a line each; SQLite asks this (database.py)."""
    return "\n".join({*text, *map(str.__add__, text, text[1:])})


def aside(place: str) -> str:
    """Name a place in `header`, as no header is named."""
    return f"\n{place}"


def _by_name(headers: str, *places: str) -> Iterable[tuple[str, str]]:
    """Give what goes into `header`: names and values.

    Args:
        headers: All headers, as `Words.headers` has them; a value is of several lines if there are
            several headers of that name.
        places: The texts of the places in `ASIDE`.
    """
    found: dict[str, str] = {}
    for line in headers.split("\n"):
        name, colon, value = line.partition(": ")
        if colon:
            found[name] = f"{found[name]}\n{value}" if name in found else value
    found |= {aside(place): text for place, text in zip(ASIDE, places, strict=True) if text}
    return found.items()
