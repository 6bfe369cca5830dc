"""Tokens: what proves that a lease is still its holder's."""

from __future__ import annotations

import secrets
import sqlite3

from pillarbox.relay.spool import Lease
from pillarbox.relay.sqlite.row import number_of

__all__ = ["Tokens", "is_ours"]


class Tokens:
    """Gives tokens that come once: not again after a restart, nor from another process."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(6)
        self._given = 0

    def new(self) -> str:
        """Give one."""
        self._given += 1
        return f"{self._nonce}-{self._given:x}"


def is_ours(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Tell whether all recipients of a lease still are under it."""
    (ours,) = connection.execute(
        "SELECT count(*) FROM recipients WHERE message = ? AND token = ?",
        (number_of(lease.id), lease.token),
    ).fetchone()
    return bool(ours == len(lease.recipients))
