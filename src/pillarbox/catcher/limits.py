"""How much mail is kept."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from pillarbox.catcher.row import microseconds

__all__ = ["Limits", "count_beyond"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept at least; the oldest messages leave first. 0 is without a limit.

    Up to two percent more is kept at times, so that messages leave together, at less cost. The
    newest message stays, but for its age.

    Attributes:
        max_messages: How many.
        max_octets: How many octets of mail in all.
        max_age_seconds: For how long.
    """

    max_messages: int = 5000
    max_octets: int = 0
    max_age_seconds: float = 0


def count_beyond(connection: sqlite3.Connection, limits: Limits, now: datetime) -> int:
    """Count the oldest messages that have to go."""
    total: int
    total, octets = connection.execute("SELECT total, octets FROM tally").fetchone()
    beyond = total - limits.max_messages if _is_over(total, limits.max_messages) else 0
    if _is_over(octets, limits.max_octets):
        beyond = max(beyond, _count_octets(connection, octets - limits.max_octets))
    too_old = 0
    if limits.max_age_seconds:
        oldest = microseconds(now) - int(limits.max_age_seconds * 1_000_000)
        sql = "SELECT count(*) FROM message WHERE time < ?"
        (too_old,) = connection.execute(sql, (oldest,)).fetchone()
    return max(too_old, min(beyond, total - 1))


def _is_over(count: int, most: int) -> bool:
    return most > 0 and count > most + most // 50


def _count_octets(connection: sqlite3.Connection, octets: int) -> int:
    """Count the oldest messages that have so many octets together."""
    count = 0
    rows = connection.execute("SELECT size FROM message ORDER BY time, number")
    while octets > 0 and (row := rows.fetchone()):
        octets, count = octets - row[0], count + 1
    rows.close()
    return count
