"""The tables of the mailbox, and how a file of an older version gets them.

`message` is what lists are made of: short rows, so that counting and ordering 100,000 of them reads
few pages. `content` is the rest of a summary and what is known beside, `mail` the octets, as they
came: compressing them would cost more than all else that is done with a message. `words` is what a
search looks at. A file has three indexes of it: `found` of all pieces of three characters, `short`
of those of one and two (both FTS5), and `header`, where the values of one header lie side by side;
`backlog` tells what they do not know yet (index.py). `tally` has one row, which triggers keep:
counts are asked for with every list.
"""

from __future__ import annotations

import sqlite3

from pillarbox.catcher.index import MAX_INDEXED_CHARACTERS
from pillarbox.catcher.words import PLACES

__all__ = ["VERSION", "NotOurs", "migrate"]

VERSION = 2

_MESSAGES = f"""
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL, -- in microseconds since 1970
    is_read INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    attachments INTEGER NOT NULL,
    inlines INTEGER NOT NULL
);
CREATE INDEX message_time ON message (time);
CREATE INDEX message_read ON message (is_read);

CREATE TABLE content (
    number INTEGER PRIMARY KEY,
    summary TEXT NOT NULL, -- JSON
    envelope TEXT NOT NULL, -- JSON
    transcript TEXT NOT NULL -- lines
);
CREATE TABLE mail (number INTEGER PRIMARY KEY, octets BLOB NOT NULL);
CREATE TABLE words (
    number INTEGER PRIMARY KEY,
    {", ".join(f"{place} TEXT NOT NULL" for place in PLACES)}
);

CREATE TABLE tag (
    number INTEGER NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (number, name)
) WITHOUT ROWID;
CREATE INDEX tag_name ON tag (name);
CREATE TABLE place (
    number INTEGER NOT NULL,
    mailbox TEXT NOT NULL,
    PRIMARY KEY (number, mailbox)
) WITHOUT ROWID;
CREATE INDEX place_mailbox ON place (mailbox);

CREATE TABLE tally (total INTEGER NOT NULL, unread INTEGER NOT NULL, octets INTEGER NOT NULL);
INSERT INTO tally VALUES (0, 0, 0);
CREATE TRIGGER tally_more AFTER INSERT ON message BEGIN
    UPDATE tally SET total = total + 1, unread = unread + NOT new.is_read,
        octets = octets + new.size;
END;
CREATE TRIGGER tally_less AFTER DELETE ON message BEGIN
    UPDATE tally SET total = total - 1, unread = unread - NOT old.is_read,
        octets = octets - old.size;
END;
CREATE TRIGGER tally_read AFTER UPDATE OF is_read ON message BEGIN
    UPDATE tally SET unread = unread + old.is_read - new.is_read;
END;
"""

# No line break: `pieces()` of index.py puts them in between. Letters and digits need not be named.
_PUNCTUATION = "".join(
    character
    for character in map(chr, range(1, 0x80))
    if not character.isalnum() and character != "\n"
)

# For a file only: in memory there are so few texts that looking at all of them takes less time
# than the index costs, which is more than all else that is done with a small message.
# The texts are folded already, so that the tokenizer need not. An `automerge` of 16 leaves more
# pieces of index to look into, and takes a quarter off the cost of a message.
_SHORT = f"""
CREATE VIRTUAL TABLE short USING fts5 (
    {", ".join(place for place in PLACES if place != "headers")},
    content='', columnsize=0, detail=column,
    tokenize="ascii tokenchars '{_PUNCTUATION.replace("'", "''").replace('"', '""')}'"
);
CREATE TABLE header (
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    value TEXT NOT NULL, -- lines, if there are several of that name
    PRIMARY KEY (name, number)
) WITHOUT ROWID;
"""
_INDEX = f"""
CREATE TABLE backlog (number INTEGER PRIMARY KEY, work INTEGER NOT NULL);
CREATE VIRTUAL TABLE found USING fts5 (
    {", ".join(place for place in PLACES if place != "headers")},
    content='words', content_rowid='number', tokenize='trigram case_sensitive 1'
);
INSERT INTO found (found, rank) VALUES ('automerge', 8);
{_SHORT}
"""

# What makes of version N, at [N - 1], version N + 1: for all, and for those that have an index.
_MIGRATIONS: tuple[str, ...] = (
    f"""
CREATE INDEX message_read ON message (is_read);
{_SHORT}
INSERT INTO found (found) VALUES ('delete-all');
DELETE FROM words WHERE number NOT IN (SELECT number FROM message);
DELETE FROM backlog;
INSERT INTO backlog SELECT number, length(body) > {MAX_INDEXED_CHARACTERS} FROM words;
""",
)

# Marks the file as ours, whatever tables it has: "PbxC" (https://www.sqlite.org/fileformat.html).
APPLICATION_ID = 0x50627843


class NotOurs(Exception):
    """The file is a database, and not one that this version can use; the text says why."""


def migrate(connection: sqlite3.Connection, *, is_indexed: bool) -> None:
    """Give a database our tables, if it is empty or of an older version, in a transaction.

    Raises:
        NotOurs: It is of a newer version, or of another program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        _run(connection, _MESSAGES + (_INDEX if is_indexed else ""))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    elif application != APPLICATION_ID:
        raise NotOurs("is a database of another program; name another file")
    elif version > VERSION:
        raise NotOurs(
            "was written by a newer version of pillarbox; install that one, or name another file"
        )
    else:
        for script in _MIGRATIONS[version - 1 :]:
            _run(connection, script)
    if version != VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run statements within the transaction; `executescript` would end it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
