"""A spool in memory: all that spool.py promises but durability. No thread, no file, no waiting."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pillarbox.protocol.dsn import RcptDsn
from pillarbox.relay.clock import SystemClock
from pillarbox.relay.rate import Rate, TurnCount, Turns
from pillarbox.relay.spool import (
    Backoff,
    Change,
    Draft,
    Lease,
    LeasedRecipient,
    NewMessage,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    RecipientState,
    Result,
    Selection,
    SpoolError,
    Statistics,
    Stored,
)

__all__ = ["Memory", "MemorySpool"]

WHOLE_OCTETS = 65_536
PART_OCTETS = 16_384
ENDED = (RecipientState.DELIVERED, RecipientState.FAILED)


@dataclass
class _Recipient:
    number: int
    address: str
    destination: str
    dsn: RcptDsn
    next_attempt: float
    state: RecipientState = RecipientState.QUEUED
    attempts: int = 0
    last_reply: str = ""
    is_delay_told: bool = False
    token: str = ""
    lease_expires: float = 0.0
    is_attempt: bool = False
    given_back_to: tuple[int, float] = (0, 0.0)
    """What give_back() makes of attempts and next_attempt."""

    @property
    def due(self) -> float:
        if not self.token:
            return self.next_attempt
        return self.lease_expires if self.is_attempt else max(self.lease_expires, self.next_attempt)

    def is_free(self, now: float) -> bool:
        return self.state not in ENDED and (not self.token or self.lease_expires <= now)


@dataclass
class _Message:
    id: str
    message: NewMessage
    octets: bytes
    is_held: bool
    recipients: list[_Recipient] = field(default_factory=list)


@dataclass
class Memory:
    """What spools that are opened one after the other, or side by side, have in common."""

    messages: dict[str, _Message] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))
    changes: dict[int, int] = field(default_factory=dict)
    """How often each spool has changed something."""
    served: dict[tuple[str, str], int] = field(default_factory=dict)
    """When each sender had its last turn at a destination."""
    turns: TurnCount = field(default_factory=TurnCount)

    def next_number(self) -> int:
        return next(iter(self.numbers))


class MemoryDraft:
    """The octets of a large message."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_over = False

    @property
    def size(self) -> int:
        return sum(map(len, self._parts))

    async def write(self, octets: bytes) -> None:
        if self._is_over:
            raise SpoolError("the draft is over; begin a new one")
        self._parts.append(octets)

    async def discard(self) -> None:
        self._is_over = True
        self._parts.clear()

    def take(self) -> bytes:
        if self._is_over:
            raise SpoolError("the draft is over; begin a new one")
        self._is_over = True
        return b"".join(self._parts)


class MemorySpool:
    """Keeps messages for as long as its memory lives.

    Args:
        memory: What is in it already.
        backoff: When the next attempt is due.
        chance: Gives a random number from 0 to 1.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.failures: dict[str, SpoolError] = {}
        """What methods that change something fail with, by their names."""
        self.calls: list[str] = []
        """The methods that were called to change something."""
        self.clock = SystemClock()
        self.memory = memory or Memory()
        self._messages = self.memory.messages
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._is_closed = False
        self._name = self.memory.next_number()
        self._seen = self._changes_of_others()

    async def _commit(self, what: str) -> None:
        self._check()
        self.calls.append(what)
        await asyncio.sleep(0)  # as a commit would
        if error := self.failures.get(what):
            raise error
        self.memory.changes[self._name] = self.memory.changes.get(self._name, 0) + 1

    def _check(self) -> None:
        if self._is_closed:
            raise SpoolError("the spool is closed")

    # In

    def draft(self) -> MemoryDraft:
        return MemoryDraft()

    async def put(
        self, message: NewMessage, body: bytes | Draft, *, lease_seconds: float | None = None
    ) -> Stored:
        self._check()
        if isinstance(body, MemoryDraft):
            body = body.take()
        if not isinstance(body, bytes):
            raise TypeError("a draft comes from this spool's draft()")
        # What comes before the end of the spool is kept.
        stored = self._put(message, body)
        try:
            await self._commit("put")
        except SpoolError:
            del self._messages[stored.id]
            raise
        if lease_seconds is None or stored.is_held:
            return Stored(stored.id)
        return Stored(
            stored.id,
            tuple(self._leases([stored], message.created, lease_seconds, counts=True)),
        )

    def _put(self, message: NewMessage, octets: bytes) -> _Message:
        if not message.recipients:
            raise ValueError("a message has one recipient at least")
        message.mail_from.encode()
        one = _Message(f"m{self.memory.next_number()}", message, octets, message.is_held)
        one.recipients = [
            _Recipient(number, new.address, new.destination, new.dsn, message.created)
            for number, new in enumerate(message.recipients)
        ]
        one.message = replace(message, is_held=False)
        self._messages[one.id] = one
        return one

    # Delivering

    def _leases(
        self,
        messages: Iterable[_Message],
        now: float,
        seconds: float,
        *,
        counts: bool,
        wanted: Callable[[_Message, _Recipient], bool] = lambda _message, _recipient: True,
    ) -> list[Lease]:
        """Lease what is wanted of messages, each destination's by itself."""
        leases = []
        for message in messages:
            by_destination: dict[str, list[_Recipient]] = {}
            for one in message.recipients:
                is_suspended = counts and one.destination in self.memory.suspended
                if one.is_free(now) and not is_suspended and wanted(message, one):
                    by_destination.setdefault(one.destination, []).append(one)
            for recipients in by_destination.values():
                leases.append(self._lease(message, recipients, now, seconds, counts=counts))
        return leases

    def _lease(
        self,
        message: _Message,
        recipients: Sequence[_Recipient],
        now: float,
        seconds: float,
        *,
        counts: bool,
    ) -> Lease:
        token = f"t{self.memory.next_number()}"
        for one in recipients:
            if one.token and one.is_attempt and not counts:
                one.next_attempt = min(one.next_attempt, one.lease_expires)
            one.given_back_to = (one.attempts, now if counts else one.next_attempt)
            one.token = token
            one.is_attempt = counts
            one.lease_expires = now + seconds
            one.state = RecipientState.ACTIVE
            if counts:
                one.attempts += 1
                one.next_attempt = now + self._backoff.wait(one.attempts, self._chance())
        return Lease(
            token=token,
            id=message.id,
            destination=recipients[0].destination,
            recipients=tuple(
                LeasedRecipient(
                    number=one.number,
                    address=one.address,
                    attempts=one.attempts,
                    next_attempt=one.next_attempt,
                    is_delay_told=one.is_delay_told,
                    last_reply=one.last_reply,
                    dsn=one.dsn,
                )
                for one in recipients
            ),
            expires=now + seconds,
            message=message.message,
            size=len(message.octets),
            octets=message.octets if len(message.octets) <= WHOLE_OCTETS else None,
        )

    def _waiting(self) -> list[tuple[float, _Message, _Recipient]]:
        return [
            (one.due, message, one)
            for message in self._messages.values()
            if not message.is_held
            for one in message.recipients
            if one.state not in ENDED and one.destination not in self.memory.suspended
        ]

    async def due(self, now: float) -> Sequence[str]:
        self._check()
        return list(dict.fromkeys(one.destination for at, _, one in self._waiting() if at <= now))

    async def next_due(self) -> float | None:
        self._check()
        return min((at for at, _, _ in self._waiting()), default=None)

    async def lease(
        self, destination: str, now: float, *, limit: int, seconds: float
    ) -> Sequence[Lease]:
        await self._commit("lease")
        senders: dict[str, list[tuple[float, str]]] = {}
        for at, message, one in self._waiting():
            if at <= now and one.destination == destination:
                senders.setdefault(message.message.mail_from, []).append((at, message.id))
        for due in senders.values():
            due.sort(key=lambda entry: entry[0], reverse=True)
        served = self.memory.served
        chosen: dict[str, None] = {}
        while senders and len(chosen) < limit:
            sender = min(senders, key=lambda one: served.get((destination, one), 0))
            served[destination, sender] = self.memory.next_number()
            chosen[senders[sender].pop()[1]] = None
            if not senders[sender]:
                del senders[sender]
        return self._leases(
            [self._messages[id_] for id_ in chosen],
            now,
            seconds,
            counts=True,
            wanted=lambda _message, one: one.destination == destination and one.due <= now,
        )

    def _mine(self, lease: Lease) -> list[_Recipient]:
        message = self._messages.get(lease.id)
        return [one for one in message.recipients if one.token == lease.token] if message else []

    async def renew(self, lease: Lease, now: float, *, seconds: float) -> Lease | None:
        await self._commit("renew")
        mine = self._mine(lease)
        for one in mine:
            one.lease_expires = now + seconds
        return replace(lease, expires=now + seconds) if mine else None

    async def read(self, lease: Lease) -> AsyncIterator[bytes]:
        self._check()
        message = self._messages.get(lease.id)
        if message is None:
            raise SpoolError(f"{lease.id} is not in the spool any more")
        for start in range(0, len(message.octets), PART_OCTETS):
            await asyncio.sleep(0)
            if error := self.failures.get("read"):
                raise error
            yield message.octets[start : start + PART_OCTETS]

    async def finish(
        self,
        lease: Lease,
        outcomes: Mapping[int, Outcome],
        *,
        notices: Sequence[tuple[NewMessage, bytes]] = (),
    ) -> bool:
        if unknown := outcomes.keys() - {recipient.number for recipient in lease.recipients}:
            raise ValueError(f"the lease has no recipients {sorted(unknown)}")
        await self._commit("finish")
        mine = self._mine(lease)
        for one in mine:
            one.token = ""
            one.state = RecipientState.QUEUED
            outcome = outcomes.get(one.number)
            if outcome is None:
                continue
            one.last_reply = outcome.reply
            if outcome.result is not Result.DEFERRED:
                one.state = RecipientState(outcome.result.value)
            if outcome.next_attempt is not None:
                one.next_attempt = outcome.next_attempt
            one.is_delay_told = one.is_delay_told or outcome.is_delay_told
        if not mine:
            return False
        for notice, octets in notices:
            self._put(notice, octets)
        if all(one.state in ENDED for one in self._messages[lease.id].recipients):
            del self._messages[lease.id]
        return True

    async def give_back(self, lease: Lease, *, reply: str = "") -> bool:
        await self._commit("give_back")
        mine = self._mine(lease)
        for one in mine:
            one.token = ""
            one.state = RecipientState.QUEUED
            one.attempts, one.next_attempt = one.given_back_to
            one.last_reply = reply or one.last_reply
        return bool(mine)

    async def lease_late(
        self, now: float, *, created_before: float, limit: int, seconds: float
    ) -> Sequence[Lease]:
        await self._commit("lease_late")

        def is_late(message: _Message, one: _Recipient) -> bool:
            is_old = message.message.created < created_before and not one.is_delay_told
            return is_old or message.message.expires <= now

        found = [
            message
            for message in self._messages.values()
            if not message.is_held
            and any(one.is_free(now) and is_late(message, one) for one in message.recipients)
        ]
        return self._leases(found[:limit], now, seconds, counts=False, wanted=is_late)

    async def take_turns(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        self._check()
        self.calls.append("take_turns")
        await asyncio.sleep(0)
        if error := self.failures.get("take_turns"):
            raise error
        return self.memory.turns.take(destination, rate, now, wanted=wanted)

    # For people

    def _selected(self, selection: Selection | None) -> list[_Message]:
        messages = list(self._messages.values())
        if selection is None:
            return messages
        if selection.ids is not None:
            messages = [one for one in messages if one.id in selection.ids]
        if (sender := selection.mail_from) is not None:
            messages = [one for one in messages if _matches(sender, one.message.mail_from)]
        if (rcpt := selection.rcpt_to) is not None:
            messages = [
                one for one in messages if any(_matches(rcpt, to.address) for to in one.recipients)
            ]
        return messages

    async def list(
        self, selection: Selection | None = None, *, start: int = 0, limit: int = 100
    ) -> Sequence[QueuedMessage]:
        self._check()
        return [
            QueuedMessage(
                id=one.id,
                mail_from=one.message.mail_from,
                size=len(one.octets),
                created=one.message.created,
                expires=one.message.expires,
                is_held=one.is_held,
                origin=one.message.origin,
                recipients=tuple(
                    QueuedRecipient(
                        address=to.address,
                        state=to.state,
                        destination=to.destination,
                        attempts=to.attempts,
                        next_attempt=None if to.state in ENDED else to.next_attempt,
                        last_reply=to.last_reply,
                    )
                    for to in one.recipients
                ),
            )
            for one in self._selected(selection)[start : start + limit]
        ]

    async def octets(self, id: str) -> bytes | None:  # noqa: A002
        message = self._messages.get(id)
        return None if message is None else message.octets

    async def hold(self, selection: Selection) -> int:
        await self._commit("hold")
        found = [one for one in self._selected(selection) if not one.is_held]
        for one in found:
            one.is_held = True
        return len(found)

    async def release(self, selection: Selection) -> int:
        await self._commit("release")
        found = [one for one in self._selected(selection) if one.is_held]
        for one in found:
            one.is_held = False
        return len(found)

    async def retry(self, selection: Selection, now: float) -> int:
        await self._commit("retry")
        number = 0
        for message in self._selected(selection):
            free = [one for one in message.recipients if one.is_free(now)]
            number += bool(free)
            for one in free:
                one.next_attempt = now
                one.token = ""
                one.state = RecipientState.QUEUED
        return number

    async def delete(self, selection: Selection) -> int:
        await self._commit("delete")
        found = self._selected(selection)
        for message in found:
            del self._messages[message.id]
        return len(found)

    async def lease_all(
        self, selection: Selection, now: float, *, seconds: float, limit: int = 1000
    ) -> Sequence[Lease]:
        await self._commit("lease_all")
        found = [
            message
            for message in self._selected(selection)
            if any(one.is_free(now) for one in message.recipients)
        ]
        return self._leases(found[:limit], now, seconds, counts=False)

    async def statistics(self) -> Statistics:
        self._check()
        suspended = self.memory.suspended
        destinations: dict[str, tuple[int, int, bool]] = dict.fromkeys(suspended, (0, 0, True))
        for message in self._messages.values():
            for one in message.recipients:
                if one.state not in ENDED:
                    name = one.destination
                    queued, active, _ = destinations.get(name, (0, 0, False))
                    queued += one.state is RecipientState.QUEUED
                    active += one.state is RecipientState.ACTIVE
                    destinations[name] = queued, active, name in suspended
        return Statistics(
            messages=len(self._messages),
            octets=sum(len(one.octets) for one in self._messages.values()),
            held=sum(one.is_held for one in self._messages.values()),
            oldest=min((one.message.created for one in self._messages.values()), default=None),
            destinations=destinations,
        )

    async def suspend(self, destination: str) -> None:
        await self._commit("suspend")
        self.memory.suspended.add(destination)

    async def resume(self, destination: str) -> bool:
        await self._commit("resume")
        was = destination in self.memory.suspended
        self.memory.suspended.discard(destination)
        return was

    async def suspended(self) -> Sequence[str]:
        self._check()
        return sorted(self.memory.suspended)

    def _changes_of_others(self) -> int:
        return sum(number for name, number in self.memory.changes.items() if name != self._name)

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something that needs no spool, at once."""
        work()

    async def changed(self, seconds: float) -> Change:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self._check()
            changes = self._changes_of_others()
            seen, self._seen = self._seen, changes
            if changes != seen:
                return Change.MAIL | Change.WORD
            if loop.time() >= deadline:
                return Change.NOTHING
            await asyncio.sleep(0.01)

    @property
    def has_told(self) -> bool:
        """Whether `changed()` has told of all that others did."""
        return self._seen == self._changes_of_others()

    async def close(self) -> None:
        self._is_closed = True


def _matches(pattern: str, address: str) -> bool:
    plain = re.sub(r"[\[?]", lambda found: f"[{found[0]}]", pattern)
    return fnmatch.fnmatchcase(address.lower(), plain.lower())
