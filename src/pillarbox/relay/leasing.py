"""Leasing, for the spools that keep messages in a database: what is asked, and who is given what.

How rows are found, locked and written is each spool's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pillarbox.relay.row import Loaded, RecipientRow, id_of
from pillarbox.relay.spool import Backoff, Lease, Selection

__all__ = [
    "Late",
    "LeaseAll",
    "Next",
    "Renewal",
    "attempts",
    "by_destination",
    "late_rows",
    "lease_of",
]


@dataclass(frozen=True, slots=True)
class Next:
    """What is due for a destination, to be leased."""

    destination: str
    now: float
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LeaseAll:
    """What is selected, to be leased."""

    selection: Selection
    now: float
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Late:
    """Messages whose senders have something to be told, to be leased."""

    numbers: Sequence[int]
    now: float
    created_before: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease to be made longer."""

    lease: Lease
    expires: float


def attempts(
    loaded: Loaded,
    destination: int,
    now: float,
    *,
    backoff: Backoff,
    chance: Callable[[], float],
) -> list[RecipientRow]:
    """Give the recipients that are due, with one attempt more and the time of the next one."""
    drawn = chance()  # once, so that recipients of a message stay together
    return [
        row._replace(
            attempts=row.attempts + 1,
            next_attempt=now + backoff.wait(row.attempts + 1, drawn),
            is_attempt=True,
        )
        for row in loaded.recipients
        if row.destination == destination and row.due is not None and row.due <= now
    ]


def late_rows(loaded: Loaded, ask: Late) -> list[RecipientRow]:
    """Give the recipients of which the sender has something to be told."""
    has_expired = loaded.row.expires <= ask.now
    takes_long = loaded.row.created < ask.created_before
    return [
        row
        for row in loaded.recipients
        if not loaded.row.is_held
        and row.is_free(ask.now)
        and (has_expired or (takes_long and not row.is_delay_told))
    ]


def by_destination(rows: Sequence[RecipientRow]) -> Iterator[list[RecipientRow]]:
    """Part recipients of any destinations, for something else than an attempt."""
    in_order = sorted(rows, key=lambda row: row.destination)
    for _, some in groupby(in_order, key=lambda row: row.destination):
        yield [row._replace(is_attempt=False, next_attempt=_next_attempt(row)) for row in some]


def _next_attempt(row: RecipientRow) -> float:
    """Tell when a recipient is tried next: at once, if nobody knows how its attempt ended."""
    if row.is_attempt and row.lease_expires is not None:
        return min(row.next_attempt, row.lease_expires)
    return row.next_attempt


def due_behind_lease(row: RecipientRow, expires: float) -> float:
    """Tell when somebody else may try a recipient, should nothing be heard of its lease.

    An attempt of which nobody knows how it ended is made again at once: a node that dies, perhaps
    of this very message, does so once in the time of a lease. Leases for something else put off no
    attempt, and bring none forward.
    """
    return expires if row.is_attempt else max(expires, row.next_attempt)


def lease_of(loaded: Loaded, rows: Sequence[RecipientRow], token: str, expires: float) -> Lease:
    """Give the lease of recipients of one destination, whose rows are as they are to be."""
    return Lease(
        token=token,
        id=id_of(loaded.row.id),
        destination=loaded.destinations[rows[0].destination],
        recipients=tuple(row.leased() for row in rows),
        expires=expires,
        message=loaded.message(),
        size=loaded.row.size,
    )
