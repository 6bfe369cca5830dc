"""What is written: each change as a step that does it for all who wait for it (writer.py).

A message's way is two writes: `put()` adds it with its first lease, and `finish()` removes it. The
rest is for what does not go well the first time.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pillarbox.protocol.dsn import RcptDsn
from pillarbox.relay.spool import (
    Backoff,
    Lease,
    NewMessage,
    Outcome,
    Result,
    Selection,
    SpoolError,
    SpoolFull,
    Stored,
)
from pillarbox.relay.sqlite.body import INLINE_OCTETS, Bodies, Sealed
from pillarbox.relay.sqlite.disk import Room
from pillarbox.relay.sqlite.row import (
    Loaded,
    RecipientRow,
    chunks,
    condition,
    free,
    id_of,
    insert,
    load,
    marks,
    message_row,
    number_of,
)
from pillarbox.relay.sqlite.schema import LANE_BITS, State, lane_of
from pillarbox.relay.sqlite.writer import Transaction

__all__ = ["Changes", "End", "Late", "LeaseAll", "Next", "Put", "Renewal", "recover"]


@dataclass(frozen=True, slots=True)
class Put:
    """A message to be added."""

    message: NewMessage
    body: Sealed
    lease_seconds: float | None = None


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


@dataclass(frozen=True, slots=True)
class End:
    """What became of a lease."""

    lease: Lease
    outcomes: Mapping[int, Outcome]
    notices: Sequence[Put]

    @property
    def removes_message(self) -> bool:
        """Whether the message goes with it for certain, and nothing comes in its place."""
        return (
            not self.notices
            and len(self.lease.recipients) == len(self.lease.message.recipients)
            and len(self.outcomes) == len(self.lease.recipients)
            and all(outcome.result is not Result.DEFERRED for outcome in self.outcomes.values())
        )


# What is left of a lease that has ended.
FREE = "token = NULL, lease_expires = NULL"
QUEUED = f"{FREE}, state = {State.QUEUED}"

MAX_TURNS = 10_000

FINISH = f"""
    UPDATE recipients SET {FREE}, state = ?1, next_attempt = ifnull(?2, next_attempt),
        due = iif(?1 = {State.QUEUED} AND due IS NOT NULL, ifnull(?2, next_attempt), NULL),
        last_reply = ifnull(?3, last_reply), is_delay_told = max(is_delay_told, ?4)
    WHERE message = ?5 AND number = ?6
"""

WAITING_IN_LANE = """
    SELECT message FROM recipients WHERE lane = ? AND due <= ? ORDER BY due, message
"""

LANES_OF_DESTINATION = """
    WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM recipients WHERE lane BETWEEN ?1 AND ?2
        UNION ALL
        SELECT (SELECT min(r.lane) FROM recipients AS r WHERE r.lane > lanes.lane AND r.lane <= ?2)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes WHERE lane IS NOT NULL
"""


class Changes:
    """The steps.

    Args:
        backoff: When the next attempt is due.
        chance: Gives random numbers from 0 to 1.
        room: How much there is.
        bodies: The large ones.
    """

    def __init__(
        self, *, backoff: Backoff, chance: Callable[[], float], room: Room, bodies: Bodies
    ) -> None:
        self._backoff = backoff
        self._chance = chance
        self._room = room
        self._bodies = bodies
        # A token is never given twice: not by us, nor by another process, nor after a restart.
        self._nonce = secrets.token_hex(6)
        self._tokens = 0
        self._last_number = 0
        # After which lane a destination's next turn begins.
        self._turns: dict[int, int] = {}

    # In

    def put(self, transaction: Transaction, puts: Sequence[Put]) -> Sequence[Stored | SpoolError]:
        """Add messages."""
        if lack := self._room.lack():
            return [SpoolFull(lack) for _ in puts]
        return self._add(transaction, puts)

    def _add(self, transaction: Transaction, puts: Sequence[Put]) -> list[Stored]:
        connection = transaction.connection
        if any(put.body.file for put in puts):
            self._bodies.sync_folder()
        destinations = self._destinations(
            connection, {to.destination for put in puts for to in put.message.recipients}
        )
        (last,) = connection.execute("SELECT max(id) FROM messages").fetchone()
        messages: list[Sequence[object]] = []
        bodies: list[tuple[int, bytes]] = []
        recipients: list[RecipientRow] = []
        stored: list[Stored] = []
        for put in puts:
            message, body = put.message, put.body
            # By the time, so that names come in order and never come again; SQLite's own begin
            # anew in an empty spool, and "queue delete 7" would be somebody else's message.
            number = max(int(message.created * 1e6), (last or 0) + 1, self._last_number + 1)
            self._last_number = number
            messages.append(
                message_row(number, message, size=body.size, digest=body.digest, file=body.file)
            )
            if body.octets is not None:
                bodies.append((number, body.octets))
            rows = self._new_recipients(number, put, destinations)
            recipients += rows
            stored.append(Stored(id_of(number), tuple(_leases_of(number, put, rows))))
        insert(connection, "messages", messages)
        insert(connection, "bodies", bodies)
        insert(connection, "recipients", recipients)
        return stored

    def _destinations(
        self, connection: sqlite3.Connection, names: set[str]
    ) -> dict[str, tuple[int, bool]]:
        """Give each destination's number, and whether it is suspended."""
        found: dict[str, tuple[int, bool]] = {}
        for name in names:
            row = connection.execute(
                "SELECT number, is_suspended FROM destinations WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                added = connection.execute("INSERT INTO destinations (name) VALUES (?)", (name,))
                row = (added.lastrowid, 0)
            found[name] = (row[0], bool(row[1]))
        return found

    def _new_recipients(
        self, number: int, put: Put, destinations: Mapping[str, tuple[int, bool]]
    ) -> list[RecipientRow]:
        message = put.message
        tokens: dict[str, str] = {}
        next_attempt = message.created
        expires: float | None = None
        if put.lease_seconds is not None and not message.is_held:
            tokens = {
                to.destination: ""
                for to in message.recipients
                if not destinations[to.destination][1]
            }
            for destination in tokens:
                tokens[destination] = self._new_token()
            next_attempt += self._backoff.wait(1, self._chance())
            expires = message.created + put.lease_seconds
        rows = []
        for place, to in enumerate(message.recipients):
            token = tokens.get(to.destination)
            begins = next_attempt if token else message.created
            due = max(begins, expires or begins) if token else begins
            dsn: RcptDsn = to.dsn
            rows.append(
                RecipientRow(
                    message=number,
                    number=place,
                    address=to.address,
                    lane=lane_of(destinations[to.destination][0], message.mail_from),
                    state=State.ACTIVE if token else State.QUEUED,
                    attempts=1 if token else 0,
                    next_attempt=begins,
                    due=None if message.is_held else due,
                    token=token,
                    lease_expires=expires if token else None,
                    is_attempt=bool(token),
                    is_delay_told=False,
                    last_reply="",
                    notify=None if dsn.notify is None else dsn.notify.value,
                    orcpt_type=dsn.orcpt_type,
                    orcpt=dsn.orcpt,
                )
            )
        return rows

    def _new_token(self) -> str:
        self._tokens += 1
        return f"{self._nonce}-{self._tokens:x}"

    # Delivering

    def lease(self, transaction: Transaction, asked: Sequence[Next]) -> Sequence[Sequence[Lease]]:
        """Lease what is due, by turns of the senders."""
        return [self._lease(transaction.connection, ask) for ask in asked]

    def _lease(self, connection: sqlite3.Connection, ask: Next) -> list[Lease]:
        row = connection.execute(
            "SELECT number FROM destinations WHERE name = ? AND NOT is_suspended",
            (ask.destination,),
        ).fetchone()
        if row is None:
            return []
        (destination,) = row
        numbers = self._by_turns(connection, destination, ask.now, ask.limit)
        leases = []
        for loaded in load(connection, numbers):
            rows = [
                row
                for row in loaded.recipients
                if row.destination == destination and row.due is not None and row.due <= ask.now
            ]
            chance = self._chance()  # one, so that recipients of a message stay together
            rows = [
                row._replace(
                    attempts=row.attempts + 1,
                    next_attempt=ask.now + self._backoff.wait(row.attempts + 1, chance),
                    is_attempt=True,
                )
                for row in rows
            ]
            leases.append(self._give_out(connection, loaded, rows, ask.now + ask.seconds))
        return leases

    def _by_turns(
        self, connection: sqlite3.Connection, destination: int, now: float, limit: int
    ) -> list[int]:
        """Choose messages: from each lane the one that is longest due, until there are enough."""
        first = destination << LANE_BITS
        last = first + (1 << LANE_BITS) - 1
        lanes = [lane for (lane,) in connection.execute(LANES_OF_DESTINATION, (first, last))]
        after = self._turns.get(destination, -1)
        lanes.sort(key=lambda lane: (lane <= after, lane))
        waiting = [
            (lane, (number for (number,) in connection.execute(WAITING_IN_LANE, (lane, now))))
            for lane in lanes
        ]
        if len(self._turns) > MAX_TURNS:
            self._turns.clear()
        chosen: dict[int, None] = {}
        while waiting and len(chosen) < limit:
            left = []
            for lane, numbers in waiting:
                number = next((number for number in numbers if number not in chosen), None)
                if number is None:
                    continue
                chosen[number] = None
                self._turns[destination] = lane
                if len(chosen) == limit:
                    break
                left.append((lane, numbers))
            else:
                waiting = left
        return list(chosen)

    def lease_all(
        self, transaction: Transaction, asked: Sequence[LeaseAll]
    ) -> Sequence[Sequence[Lease]]:
        """Lease what is selected and not leased."""
        return [self._lease_all(transaction.connection, ask) for ask in asked]

    def _lease_all(self, connection: sqlite3.Connection, ask: LeaseAll) -> list[Lease]:
        where, values = condition(ask.selection)
        found = connection.execute(
            f"SELECT id FROM messages WHERE {where} AND EXISTS (SELECT 1 FROM recipients AS r"
            f" WHERE r.message = id AND {free('r')}) ORDER BY id LIMIT ?",
            (*values, ask.now, ask.limit),
        )
        leases: list[Lease] = []
        for loaded in load(connection, [number for (number,) in found]):
            rows = [row for row in loaded.recipients if row.is_free(ask.now)]
            leases += self._give_out_uncounted(connection, loaded, rows, ask.now + ask.seconds)
        return leases

    def lease_late(
        self, transaction: Transaction, asked: Sequence[Late]
    ) -> Sequence[Sequence[Lease]]:
        """Lease that whose sender has something to be told."""
        return [self._lease_late(transaction.connection, ask) for ask in asked]

    def _lease_late(self, connection: sqlite3.Connection, ask: Late) -> list[Lease]:
        leases: list[Lease] = []
        for loaded in load(connection, ask.numbers):
            has_expired = loaded.row.expires <= ask.now
            takes_long = loaded.row.created < ask.created_before
            rows = [
                row
                for row in loaded.recipients
                if not loaded.row.is_held
                and row.is_free(ask.now)
                and (has_expired or (takes_long and not row.is_delay_told))
            ]
            leases += self._give_out_uncounted(connection, loaded, rows, ask.now + ask.seconds)
        return leases

    def _give_out_uncounted(
        self,
        connection: sqlite3.Connection,
        loaded: Loaded,
        rows: Sequence[RecipientRow],
        expires: float,
    ) -> Iterator[Lease]:
        """Lease recipients of any destinations, for something else than an attempt."""
        in_order = sorted(rows, key=lambda row: row.destination)
        for _, some in groupby(in_order, key=lambda row: row.destination):
            uncounted = [row._replace(is_attempt=False) for row in some]
            yield self._give_out(connection, loaded, uncounted, expires)

    def _give_out(
        self,
        connection: sqlite3.Connection,
        loaded: Loaded,
        rows: Sequence[RecipientRow],
        expires: float,
    ) -> Lease:
        """Lease recipients of one destination, whose rows are as they are to be."""
        token = self._new_token()
        connection.executemany(
            "UPDATE recipients SET state = ?, attempts = ?, next_attempt = ?, due = ?, token = ?,"
            " lease_expires = ?, is_attempt = ? WHERE message = ? AND number = ?",
            [
                (
                    State.ACTIVE,
                    row.attempts,
                    row.next_attempt,
                    None if row.due is None else max(expires, row.next_attempt),
                    token,
                    expires,
                    row.is_attempt,
                    row.message,
                    row.number,
                )
                for row in rows
            ],
        )
        return Lease(
            token=token,
            id=id_of(loaded.row.id),
            destination=loaded.destinations[rows[0].destination],
            recipients=tuple(row.leased() for row in rows),
            expires=expires,
            message=loaded.message(),
            size=loaded.row.size,
        )

    def renew(
        self, transaction: Transaction, renewals: Sequence[Renewal]
    ) -> Sequence[Lease | None]:
        """Make leases longer."""
        answers: list[Lease | None] = []
        for renewal in renewals:
            lease = renewal.lease
            if not _is_ours(transaction.connection, lease):
                answers.append(None)
                continue
            transaction.connection.execute(
                "UPDATE recipients SET lease_expires = ?1,"
                " due = iif(due IS NULL, NULL, max(?1, next_attempt))"
                " WHERE message = ?2 AND token = ?3",
                (renewal.expires, number_of(lease.id), lease.token),
            )
            answers.append(replace(lease, expires=renewal.expires))
        return answers

    def give_back(
        self, transaction: Transaction, asked: Sequence[tuple[Lease, str]]
    ) -> Sequence[bool]:
        """End leases as if they had not been; say why, or nothing."""
        answers = []
        for lease, reply in asked:
            done = transaction.connection.execute(
                f"UPDATE recipients SET {QUEUED}, attempts = attempts - is_attempt,"
                " next_attempt = iif(is_attempt, ?1, next_attempt),"
                " due = iif(due IS NULL, NULL, iif(is_attempt, ?1, next_attempt)),"
                " last_reply = iif(?4 = '', last_reply, ?4)"
                " WHERE message = ?2 AND token = ?3",
                (lease.message.created, number_of(lease.id), lease.token, reply),
            )
            answers.append(done.rowcount > 0)
        return answers

    def finish(self, transaction: Transaction, ends: Sequence[End]) -> Sequence[bool]:
        """Record what became of leases."""
        # Most messages are delivered at once to all. These go together, if all is as expected.
        whole = [end for end in ends if end.removes_message]
        if whole and self._remove_leased(transaction, [end.lease for end in whole]):
            tokens = {end.lease.token for end in whole}
        else:
            tokens = set()
        return [end.lease.token in tokens or self._finish(transaction, end) for end in ends]

    def _remove_leased(self, transaction: Transaction, leases: Sequence[Lease]) -> bool:
        """Remove messages with all of their recipients if all of these leases are ours."""
        numbers = [number_of(lease.id) for lease in leases]
        if len(set(numbers)) < len(numbers):
            return False
        (ours,) = transaction.connection.execute(
            f"WITH ended (message, token) AS (VALUES {','.join(['(?,?)'] * len(leases))})"
            " SELECT count(*) FROM ended CROSS JOIN recipients AS r"
            " ON r.message = ended.message AND r.token = ended.token",
            [
                value
                for lease, number in zip(leases, numbers, strict=True)
                for value in (number, lease.token)
            ],
        ).fetchone()
        if ours != sum(len(lease.recipients) for lease in leases):
            return False
        large = [
            number
            for lease, number in zip(leases, numbers, strict=True)
            if lease.size > INLINE_OCTETS
        ]
        self._remove(transaction, numbers, perhaps_files=large)
        return True

    def _finish(self, transaction: Transaction, end: End) -> bool:
        connection, lease = transaction.connection, end.lease
        if not _is_ours(connection, lease):
            return False
        number = number_of(lease.id)
        connection.executemany(
            FINISH,
            [
                (*_after(end.outcomes.get(recipient.number)), number, recipient.number)
                for recipient in lease.recipients
            ],
        )
        if end.notices:
            self._add(transaction, end.notices)
        (is_pending,) = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM recipients WHERE message = ? AND state IN (0, 1))",
            (number,),
        ).fetchone()
        if not is_pending:
            self._remove(transaction, [number])
        return True

    # For people

    def hold(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Deliver messages no more."""
        return [self._set_held(transaction.connection, some, True) for some in selections]

    def release(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Deliver messages again."""
        return [self._set_held(transaction.connection, some, False) for some in selections]

    def _set_held(self, connection: sqlite3.Connection, selection: Selection, is_held: bool) -> int:
        numbers = _select(connection, selection, f"is_held = {not is_held}")
        due = "NULL" if is_held else "max(ifnull(lease_expires, next_attempt), next_attempt)"
        for some in chunks(numbers):
            connection.execute(
                f"UPDATE messages SET is_held = {is_held} WHERE id IN ({marks(some)})", some
            )
            connection.execute(
                f"UPDATE recipients SET due = {due}"
                f" WHERE message IN ({marks(some)}) AND state IN (0, 1)",
                some,
            )
        return len(numbers)

    def retry(
        self, transaction: Transaction, asked: Sequence[tuple[Selection, float]]
    ) -> Sequence[int]:
        """Make messages due now."""
        answers = []
        for selection, now in asked:
            where = f"EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = id AND {free('r')})"
            numbers = _select(transaction.connection, selection, where, now)
            for some in chunks(numbers):
                transaction.connection.execute(
                    f"UPDATE recipients SET {QUEUED}, next_attempt = ?,"
                    " due = iif(due IS NULL, NULL, ?)"
                    f" WHERE {free('recipients')} AND message IN ({marks(some)})",
                    (now, now, now, *some),
                )
            answers.append(len(numbers))
        return answers

    def delete(self, transaction: Transaction, selections: Sequence[Selection]) -> Sequence[int]:
        """Remove messages."""
        answers = []
        for selection in selections:
            numbers = _select(transaction.connection, selection, "TRUE")
            self._remove(transaction, numbers)
            answers.append(len(numbers))
        return answers

    def suspend(self, transaction: Transaction, names: Sequence[str]) -> Sequence[None]:
        """Deliver nothing to destinations."""
        for name in names:
            transaction.connection.execute(
                "INSERT INTO destinations (name, is_suspended) VALUES (?, 1)"
                " ON CONFLICT (name) DO UPDATE SET is_suspended = 1",
                (name,),
            )
        return [None] * len(names)

    def resume(self, transaction: Transaction, names: Sequence[str]) -> Sequence[bool]:
        """Deliver to destinations again."""
        return [
            transaction.connection.execute(
                "UPDATE destinations SET is_suspended = 0 WHERE name = ? AND is_suspended", (name,)
            ).rowcount
            > 0
            for name in names
        ]

    def version(self, transaction: Transaction, asked: Sequence[None]) -> Sequence[int]:
        """Tell a number that changes when another connection has changed anything."""
        (version,) = transaction.connection.execute("PRAGMA data_version").fetchone()
        return [version] * len(asked)

    def _remove(
        self,
        transaction: Transaction,
        numbers: Sequence[int],
        *,
        perhaps_files: Sequence[int] | None = None,
    ) -> None:
        """Remove messages, and then their files: of all of them, if it is not said of which."""
        connection = transaction.connection
        for some in chunks(numbers if perhaps_files is None else perhaps_files):
            found = connection.execute(
                f"SELECT file FROM messages WHERE id IN ({marks(some)}) AND file IS NOT NULL", some
            )
            for (file,) in found:
                transaction.afterwards.append(_removal(self._bodies, file))
        for some in chunks(numbers):
            connection.execute(f"DELETE FROM messages WHERE id IN ({marks(some)})", some)
            connection.execute(f"DELETE FROM bodies WHERE message IN ({marks(some)})", some)
            connection.execute(f"DELETE FROM recipients WHERE message IN ({marks(some)})", some)


def recover(connection: sqlite3.Connection) -> None:
    """Void all leases: only one process delivers from a spool, and it has just begun.

    What was on its first attempt is due at once, since a restart should not cost fresh mail five
    minutes; the rest when its next attempt is. So a message that ends whoever delivers it does so
    once more, and then at the pace of its retries.
    """
    connection.execute(
        f"UPDATE recipients SET {QUEUED},"
        " next_attempt = iif(is_attempt AND attempts = 1,"
        "     (SELECT created FROM messages WHERE id = message), next_attempt)"
        " WHERE state = 1"
    )
    connection.execute(
        "UPDATE recipients SET due = next_attempt"
        " WHERE due IS NOT NULL AND due <> next_attempt AND state = 0"
    )
    connection.execute(
        "DELETE FROM destinations AS d WHERE NOT d.is_suspended AND NOT EXISTS ("
        f" SELECT 1 FROM recipients AS r WHERE r.lane >= d.number << {LANE_BITS}"
        f" AND r.lane < (d.number + 1) << {LANE_BITS})"
    )


def _select(
    connection: sqlite3.Connection, selection: Selection, further: str, *values: object
) -> list[int]:
    where, selected = condition(selection)
    found = connection.execute(
        f"SELECT id FROM messages WHERE {where} AND {further}", (*selected, *values)
    )
    return [number for (number,) in found]


def _is_ours(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Tell whether all recipients of a lease still are under it."""
    (ours,) = connection.execute(
        "SELECT count(*) FROM recipients WHERE message = ? AND token = ?",
        (number_of(lease.id), lease.token),
    ).fetchone()
    return bool(ours == len(lease.recipients))


def _after(outcome: Outcome | None) -> tuple[int, float | None, str | None, bool]:
    """Give the state, next attempt, reply and is_delay_told after an attempt."""
    if outcome is None:
        return State.QUEUED, None, None, False
    match outcome.result:
        case Result.DELIVERED:
            state, next_attempt = State.DELIVERED, None
        case Result.FAILED:
            state, next_attempt = State.FAILED, None
        case Result.DEFERRED:
            state, next_attempt = State.QUEUED, outcome.next_attempt
    return state, next_attempt, outcome.reply, outcome.is_delay_told


def _leases_of(number: int, put: Put, rows: Sequence[RecipientRow]) -> Iterator[Lease]:
    """Give the leases that a message was added with."""
    by_token: dict[str, list[RecipientRow]] = {}
    for row in rows:
        if row.token:
            by_token.setdefault(row.token, []).append(row)
    for token, some in by_token.items():
        expires = some[0].lease_expires
        assert expires is not None
        yield Lease(
            token=token,
            id=id_of(number),
            destination=put.message.recipients[some[0].number].destination,
            recipients=tuple(row.leased() for row in some),
            expires=expires,
            message=put.message,
            size=put.body.size,
            octets=put.body.octets,
        )


def _removal(bodies: Bodies, file: str) -> Callable[[], None]:
    return lambda: bodies.remove(file)
