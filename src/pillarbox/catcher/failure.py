"""What can go wrong with the mailbox, told to whoever can mend it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MailboxError", "MailboxFull", "MessageNotFound", "explained"]


class MailboxError(Exception):
    """The store cannot do what was asked; the text tells an operator what to do."""


class MailboxFull(MailboxError):
    """There is no room for more."""


class MessageNotFound(LookupError):
    """There is no message of that id."""


# By SQLite's result codes (https://www.sqlite.org/rescode.html).
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "is locked by another program; end that one, or wait until it is done",
    sqlite3.SQLITE_LOCKED: "is locked by another program; end that one, or wait until it is done",
    sqlite3.SQLITE_NOTADB: "is no mailbox; name another file, or one that does not exist yet",
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away, or repair it with the sqlite3 program's"
    " .recover",
    sqlite3.SQLITE_READONLY: "cannot be written; allow that for the file and its folder",
    sqlite3.SQLITE_PERM: "cannot be opened; allow that for the file and its folder",
    sqlite3.SQLITE_AUTH: "cannot be opened; allow that for the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; name a file in a folder that can be written",
}
_FULL = "has no room left; make room on its file system, or keep fewer messages"


@contextmanager
def explained(path: str | None) -> Iterator[None]:
    """Make of SQLite's errors ours.

    Raises:
        MailboxError: Something failed within.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, path) from error


def _explain(error: sqlite3.Error, path: str | None) -> MailboxError:
    name = "the mailbox in memory" if path is None else f"the mailbox {path}"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return MailboxFull(f"{name} {_FULL}")
        case sqlite3.SQLITE_TOOBIG:
            return MailboxFull(f"{name} cannot keep a message of this size; set a lower --max-size")
        case sqlite3.SQLITE_NOMEM:
            return MailboxFull(f"{name} has no memory left; keep fewer messages, or in a file")
        case sqlite3.SQLITE_CANTOPEN if path is not None and os.path.isdir(path):
            return MailboxError(f"{name} is a folder; name a file in it")
        case sqlite3.SQLITE_CANTOPEN if path is not None and not os.path.isdir(_folder(path)):
            return MailboxError(f"{name} has no folder; make {_folder(path)} first")
        case primary if primary in _REMEDIES:
            return MailboxError(f"{name} {_REMEDIES[primary]}")
        case sqlite3.SQLITE_IOERR:
            return MailboxError(f"{name} cannot be read or written ({error}); see to its disk")
        case _ if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            return MailboxError(f"{name} is closed; open it again")
        case _:
            return MailboxError(f"{name} failed: {error}")


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))
