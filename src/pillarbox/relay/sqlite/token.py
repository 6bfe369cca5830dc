"""Tokens: what proves that a lease is still its holder's."""

from __future__ import annotations

import sqlite3

from pillarbox.relay.row import number_of
from pillarbox.relay.spool import Lease

__all__ = ["is_ours"]


def is_ours(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Tell whether all recipients of a lease still are under it."""
    (ours,) = connection.execute(
        "SELECT count(*) FROM recipients WHERE message = ? AND token = ?",
        (number_of(lease.id), lease.token),
    ).fetchone()
    return bool(ours == len(lease.recipients))
