"""The store behind the mailbox: SQLite, in memory or in a file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.header import Address
from pillarbox.catcher.message import Role, parse_message
from pillarbox.catcher.search import Condition, condition_of
from pillarbox.catcher.summary import Counts, Stored, Summary

__all__ = ["Limits", "MailboxError", "MessageNotFound", "Store"]


class MailboxError(Exception):
    """The store cannot do what was asked; the text tells an operator what to do."""


class MessageNotFound(LookupError):
    """There is no message of that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept; the oldest messages leave first. 0 is without a limit.

    Attributes:
        max_messages: How many.
        max_octets: How many octets of mail in all.
        max_age_seconds: For how long.
    """

    max_messages: int = 5000
    max_octets: int = 0
    max_age_seconds: float = 0


SCHEMA = """
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    is_read INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    attachments INTEGER NOT NULL,
    inlines INTEGER NOT NULL,
    summary TEXT NOT NULL
);
CREATE INDEX message_time ON message (time, number);
CREATE TABLE content (
    number INTEGER PRIMARY KEY,
    envelope TEXT NOT NULL,
    transcript TEXT NOT NULL,
    words TEXT NOT NULL,
    octets BLOB NOT NULL
);
CREATE TABLE tag (
    name TEXT NOT NULL COLLATE NOCASE,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, number)
) WITHOUT ROWID;
CREATE INDEX tag_number ON tag (number);
CREATE TABLE place (
    mailbox TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (mailbox, number)
) WITHOUT ROWID;
CREATE INDEX place_number ON place (number);
"""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Store:
    """Messages in SQLite. Every call is safe from every thread; `lock` is held while it works."""

    def __init__(self, path: str | None = None) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        if not self._connection.execute("PRAGMA user_version").fetchone()[0]:
            self._connection.executescript(SCHEMA + "PRAGMA user_version = 1")

    def close(self) -> None:
        """Close the file; what comes after raises."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self.lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self.lock:
            return self._connection.execute(sql, values).fetchall()

    # In

    def add(self, arrivals: Iterable[Arrival]) -> list[Summary]:
        """Store messages, all or none."""
        with self._change() as connection:
            return [self._add(connection, arrival) for arrival in arrivals]

    def _add(self, connection: sqlite3.Connection, arrival: Arrival) -> Summary:
        message = parse_message(arrival.octets, rcpt_tos=arrival.rcpt_tos)
        time = (arrival.time - EPOCH) // MICROSECOND
        kept = [
            message.message_id or "",
            [_plain(address) for address in message.from_],
            [_plain(address) for address in message.to],
            [_plain(address) for address in message.cc],
            [_plain(address) for address in message.bcc],
            [_plain(address) for address in message.reply_to],
            message.subject or "",
            message.snippet,
            arrival.identity,
        ]
        addresses = (
            *message.from_,
            *message.to,
            *message.cc,
            *message.bcc,
            *message.reply_to,
        )
        words = "\n".join(
            [
                message.subject or "",
                *(f"{address.name} {address.address}" for address in addresses),
                message.text or "",
                message.html or "",
                *(part.file_name for part in message.parts if part.file_name),
            ]
        ).lower()
        number = connection.execute(
            "INSERT INTO message (id, time, size, attachments, inlines, summary)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                arrival.id,
                time,
                len(arrival.octets),
                len(message.attachments),
                sum(part.role is Role.INLINE for part in message.parts),
                json.dumps(kept),
            ),
        ).lastrowid
        assert number is not None
        connection.execute(
            "INSERT INTO content VALUES (?, ?, ?, ?, ?)",
            (
                number,
                json.dumps(_envelope(arrival)),
                "\n".join(arrival.transcript),
                words,
                arrival.octets,
            ),
        )
        for mailbox in dict.fromkeys(arrival.mailboxes):
            connection.execute("INSERT INTO place VALUES (?, ?)", (mailbox, number))
        for tag in dict.fromkeys(arrival.tags):
            connection.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, number))
        return self._summaries("number = ?", (number,))[0]

    # Out

    def summaries(
        self, where: Condition, scope: str | None, *, start: int = 0, limit: int = -1
    ) -> list[Summary]:
        """List messages, newest first."""
        sql, values = _where(where, scope)
        with self.lock:
            return self._summaries(
                f"{sql} ORDER BY time DESC, number DESC LIMIT ? OFFSET ?", (*values, limit, start)
            )

    def _summaries(self, clauses: str, values: Sequence[object]) -> list[Summary]:
        rows = self._rows(
            "SELECT id, time, is_read, size, attachments, inlines, summary,"
            " (SELECT json_group_array(name) FROM tag WHERE tag.number = message.number),"
            " (SELECT json_group_array(mailbox) FROM place WHERE place.number = message.number)"
            f" FROM message WHERE {clauses}",
            *values,
        )
        return [_summary(row) for row in rows]

    def counts(self, where: Condition, scope: str | None) -> Counts:
        """Count messages."""
        sql, values = _where(where, scope)
        ((total, read),) = self._rows(
            f"SELECT count(*), ifnull(sum(is_read), 0) FROM message WHERE {sql}", *values
        )
        return Counts(total=total, unread=total - read)

    def tags(self, scope: str | None) -> dict[str, int]:
        """Count the messages of each tag."""
        sql, values = _where(condition_of(""), scope)
        return dict(
            self._rows(
                "SELECT name, count(*) FROM tag WHERE number IN"
                f" (SELECT number FROM message WHERE {sql}) GROUP BY name ORDER BY name",
                *values,
            )
        )

    def names(self) -> dict[str, int]:
        """Count the messages of each named mailbox."""
        return dict(
            self._rows("SELECT mailbox, count(*) FROM place GROUP BY mailbox ORDER BY mailbox")
        )

    def octets(self, id_: str, scope: str | None) -> bytes:
        """Give the octets of a message."""
        sql, values = _where(condition_of(""), scope)
        rows = self._rows(
            "SELECT octets FROM content WHERE number ="
            f" (SELECT number FROM message WHERE id = ? AND {sql})",
            id_,
            *values,
        )
        if not rows:
            raise MessageNotFound(f"there is no message {id_}")
        octets: bytes = rows[0][0]
        return octets

    def get(self, id_: str, scope: str | None) -> Stored:
        """Give a message with all that is known of it."""
        summary = self.summary(id_, scope)
        ((envelope, transcript, octets),) = self._rows(
            "SELECT envelope, transcript, octets FROM content"
            " WHERE number = (SELECT number FROM message WHERE id = ?)",
            id_,
        )
        kept = json.loads(envelope)
        for key in ("peer", "local"):
            kept[key] = tuple(kept[key]) if isinstance(kept[key], list) else kept[key]
        for key in ("rcpt_tos", "rcpt_parameters"):
            kept[key] = tuple(kept[key])
        arrival = Arrival(
            **kept,
            id=id_,
            time=summary.time,
            octets=octets,
            identity=summary.identity,
            mailboxes=summary.mailboxes,
            transcript=tuple(transcript.split("\n")) if transcript else (),
            tags=summary.tags,
        )
        return Stored(summary=summary, arrival=arrival)

    def summary(self, id_: str, scope: str | None) -> Summary:
        """Give a message's summary."""
        sql, values = _where(condition_of(""), scope)
        found = self._summaries(f"id = ? AND {sql}", (id_, *values))
        if not found:
            raise MessageNotFound(f"there is no message {id_}")
        return found[0]

    # Changes

    def set_read(self, ids: Iterable[str], is_read: bool, scope: str | None) -> list[Summary]:
        """Set messages read or unread; give those that were not so."""
        changed = []
        with self._change() as connection:
            for id_ in ids:
                summary = self.summary(id_, scope)
                if summary.is_read is not is_read:
                    connection.execute(
                        "UPDATE message SET is_read = ? WHERE id = ?", (is_read, id_)
                    )
                    changed.append(self.summary(id_, scope))
        return changed

    def delete(self, ids: Iterable[str], scope: str | None) -> list[Summary]:
        """Delete messages; give what they were."""
        gone = []
        with self._change() as connection:
            for id_ in ids:
                summary = self.summary(id_, scope)
                gone.append(summary)
                chosen = "number = (SELECT number FROM message WHERE id = ?)"
                if scope is not None:
                    connection.execute(
                        f"DELETE FROM place WHERE {chosen} AND mailbox = ?", (id_, scope)
                    )
                    if len(summary.mailboxes) > 1:
                        continue
                for table in ("place", "tag", "content", "message"):
                    connection.execute(f"DELETE FROM {table} WHERE {chosen}", (id_,))
        return gone

    def set_tags(self, ids: Iterable[str], tags: Sequence[str], scope: str | None) -> list[Summary]:
        """Replace the tags of messages."""
        changed = []
        with self._change() as connection:
            for id_ in ids:
                self.summary(id_, scope)
                ((number,),) = self._rows("SELECT number FROM message WHERE id = ?", id_)
                connection.execute("DELETE FROM tag WHERE number = ?", (number,))
                for tag in tags:
                    connection.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, number))
                changed.append(self.summary(id_, scope))
        return changed

    def set_transcript(self, id_: str, lines: Sequence[str]) -> None:
        """Keep the dialogue of a message's session."""
        with self._change() as connection:
            connection.execute(
                "UPDATE content SET transcript = ?"
                " WHERE number = (SELECT number FROM message WHERE id = ?)",
                ("\n".join(lines), id_),
            )


def _where(condition: Condition, scope: str | None) -> tuple[str, tuple[object, ...]]:
    if scope is None:
        return condition.sql, condition.values
    return (
        f"{condition.sql} AND number IN (SELECT number FROM place WHERE mailbox = ?)",
        (*condition.values, scope),
    )


def _plain(address: Address) -> tuple[str, str]:
    return address.name, address.address


def _summary(row: Sequence[Any]) -> Summary:
    id_, time, is_read, size, attachments, inlines, kept, tags, mailboxes = row
    message_id, from_, to, cc, bcc, reply_to, subject, snippet, identity = json.loads(kept)
    return Summary(
        id=id_,
        time=EPOCH + timedelta(microseconds=time),
        message_id=message_id,
        is_read=bool(is_read),
        from_=Address(*from_[0]) if from_ else None,
        to=tuple(Address(*address) for address in to),
        cc=tuple(Address(*address) for address in cc),
        bcc=tuple(Address(*address) for address in bcc),
        reply_to=tuple(Address(*address) for address in reply_to),
        subject=subject,
        snippet=snippet,
        size=size,
        attachments=attachments,
        inlines=inlines,
        tags=tuple(sorted(json.loads(tags), key=str.lower)),
        identity=identity,
        mailboxes=tuple(json.loads(mailboxes)),
    )


def _envelope(arrival: Arrival) -> dict[str, Any]:
    return {
        "mail_from": arrival.mail_from,
        "rcpt_tos": arrival.rcpt_tos,
        "peer": arrival.peer,
        "helo": arrival.helo,
        "tls": arrival.tls,
        "session_id": arrival.session_id,
        "local": arrival.local,
        "mail_parameters": dict(arrival.mail_parameters),
        "rcpt_parameters": [dict(parameters) for parameters in arrival.rcpt_parameters],
    }
