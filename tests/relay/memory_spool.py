"""A spool in memory, honest to spool.py's interface but for the durability."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pillarbox.relay.spool import (
    Backoff,
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

__all__ = ["MemoryDraft", "MemorySpool"]

PART_OCTETS = 16_384


@dataclass
class _Recipient:
    number: int
    address: str
    destination: str
    next_attempt: float
    state: RecipientState = RecipientState.QUEUED
    attempts: int = 0
    last_reply: str = ""
    is_delay_told: bool = False
    token: str = ""
    lease_expires: float = 0.0


@dataclass
class _Message:
    id: str
    message: NewMessage
    octets: bytes
    recipients: list[_Recipient] = field(default_factory=list)
    is_held: bool = False


class MemoryDraft:
    """The octets of a large message."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    async def write(self, octets: bytes) -> None:
        self.parts.append(octets)

    async def discard(self) -> None:
        self.parts.clear()


class MemorySpool:
    """Keeps messages for as long as it lives.

    Args:
        now: Tells the time where a method is not told it.
        backoff: When the next attempt is due.
        chance: Gives a random number from 0 to 1.
        whole: Up to how many octets a lease brings the message along.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        backoff: Backoff | None = None,
        chance: Callable[[], float] | None = None,
        whole: int = 65_536,
    ) -> None:
        self.failure: str | None = None
        """What every change fails with, if it does."""
        self.calls: list[str] = []
        self._now = now
        self._backoff = backoff or Backoff()
        self._chance = chance or random.Random(1).random
        self._whole = whole
        self._messages: dict[str, _Message] = {}
        self._suspended: set[str] = set()
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._is_changed = asyncio.Event()

    # In

    def draft(self) -> MemoryDraft:
        return MemoryDraft()

    async def put(
        self, message: NewMessage, body: bytes | Draft, *, lease_seconds: float | None = None
    ) -> Stored:
        await self._commit("put")
        stored = self._put(message, body if isinstance(body, bytes) else _octets(body))
        if lease_seconds is None or stored.is_held:
            return Stored(stored.id)
        now = self._now()
        by_destination: dict[str, list[_Recipient]] = {}
        for one in stored.recipients:
            if one.destination not in self._suspended:
                by_destination.setdefault(one.destination, []).append(one)
        return Stored(
            stored.id,
            tuple(
                self._lease(stored, recipients, now, lease_seconds)
                for recipients in by_destination.values()
            ),
        )

    def _put(self, message: NewMessage, octets: bytes) -> _Message:
        one = _Message(f"m{next(self._ids)}", message, octets, is_held=message.is_held)
        one.recipients = [
            _Recipient(next(self._numbers), new.address, new.destination, message.created)
            for new in message.recipients
        ]
        self._messages[one.id] = one
        return one

    async def _commit(self, what: str) -> None:
        self.calls.append(what)
        await asyncio.sleep(0)  # as a commit would
        if self.failure is not None:
            raise SpoolError(self.failure)

    # Delivering

    def _lease(
        self,
        message: _Message,
        recipients: Sequence[_Recipient],
        now: float,
        seconds: float,
        *,
        counts: bool = True,
    ) -> Lease:
        token = f"t{next(self._tokens)}"
        for one in recipients:
            one.token = token
            one.lease_expires = now + seconds
            one.state = RecipientState.ACTIVE
            if counts:
                one.attempts += 1
                one.next_attempt = now + self._backoff.wait(one.attempts, self._chance())
        dsns = {new.address: new.dsn for new in message.message.recipients}
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
                    dsn=dsns[one.address],
                )
                for one in recipients
            ),
            expires=now + seconds,
            message=message.message,
            size=len(message.octets),
            octets=message.octets if len(message.octets) <= self._whole else None,
        )

    def _expire(self, now: float) -> None:
        for message in self._messages.values():
            for one in message.recipients:
                if one.state is RecipientState.ACTIVE and one.lease_expires <= now:
                    one.state = RecipientState.QUEUED
                    one.token = ""

    def _due(self, now: float) -> list[tuple[float, _Message, _Recipient]]:
        self._expire(now)
        due = [
            (one.next_attempt, message, one)
            for message in self._messages.values()
            if not message.is_held
            for one in message.recipients
            if one.state is RecipientState.QUEUED and one.destination not in self._suspended
        ]
        return sorted(due, key=lambda entry: entry[0])

    async def due(self, now: float) -> Sequence[str]:
        return list(dict.fromkeys(one.destination for at, _, one in self._due(now) if at <= now))

    async def next_due(self) -> float | None:
        due = self._due(self._now())
        ends = [
            one.lease_expires
            for message in self._messages.values()
            for one in message.recipients
            if one.state is RecipientState.ACTIVE
        ]
        return min([at for at, _, _ in due[:1]] + ends, default=None)

    async def lease(
        self, destination: str, now: float, *, limit: int, seconds: float
    ) -> Sequence[Lease]:
        await self._commit("lease")
        leases: dict[str, list[_Recipient]] = {}
        for at, message, one in self._due(now):
            if at <= now and one.destination == destination:
                if message.id not in leases and len(leases) >= limit:
                    continue
                leases.setdefault(message.id, []).append(one)
        return [
            self._lease(self._messages[id_], recipients, now, seconds)
            for id_, recipients in leases.items()
        ]

    def _mine(self, lease: Lease) -> list[_Recipient]:
        message = self._messages.get(lease.id)
        return [one for one in message.recipients if one.token == lease.token] if message else []

    async def renew(self, lease: Lease, now: float, *, seconds: float) -> Lease | None:
        await self._commit("renew")
        self._expire(now)
        mine = self._mine(lease)
        for one in mine:
            one.lease_expires = now + seconds
        return replace(lease, expires=now + seconds) if mine else None

    async def read(self, lease: Lease) -> AsyncIterator[bytes]:
        message = self._messages.get(lease.id)
        if message is None:
            raise SpoolError(f"{lease.id} is gone")
        for start in range(0, len(message.octets), PART_OCTETS):
            await asyncio.sleep(0)
            yield message.octets[start : start + PART_OCTETS]

    async def finish(
        self,
        lease: Lease,
        outcomes: Mapping[int, Outcome],
        *,
        notices: Sequence[tuple[NewMessage, bytes]] = (),
    ) -> bool:
        await self._commit("finish")
        self._expire(self._now())
        mine = self._mine(lease)
        if not mine:
            return False
        for one in mine:
            one.token = ""
            one.state = RecipientState.QUEUED
            outcome = outcomes.get(one.number)
            if outcome is None:
                continue
            one.last_reply = outcome.reply
            if outcome.result is Result.DELIVERED:
                one.state = RecipientState.DELIVERED
            elif outcome.result is Result.FAILED:
                one.state = RecipientState.FAILED
            if outcome.next_attempt is not None:
                one.next_attempt = outcome.next_attempt
            one.is_delay_told = one.is_delay_told or outcome.is_delay_told
        for notice, octets in notices:
            self._put(notice, octets)
        ended = (RecipientState.DELIVERED, RecipientState.FAILED)
        if all(one.state in ended for one in self._messages[lease.id].recipients):
            del self._messages[lease.id]
        return True

    async def give_back(self, lease: Lease, *, reply: str = "") -> bool:
        await self._commit("give_back")
        self._expire(self._now())
        mine = self._mine(lease)
        for one in mine:
            one.token = ""
            one.state = RecipientState.QUEUED
            one.attempts -= 1
            one.next_attempt = min(one.next_attempt, self._now())
            one.last_reply = reply or one.last_reply
        return bool(mine)

    async def lease_late(
        self, now: float, *, created_before: float, limit: int, seconds: float
    ) -> Sequence[Lease]:
        await self._commit("lease_late")
        self._expire(now)
        leases: list[Lease] = []
        for message in tuple(self._messages.values()):
            is_expired = message.message.expires <= now
            by_destination: dict[str, list[_Recipient]] = {}
            for one in message.recipients:
                is_late = message.message.created <= created_before and not one.is_delay_told
                if one.state is RecipientState.QUEUED and (is_expired or is_late):
                    by_destination.setdefault(one.destination, []).append(one)
            for recipients in by_destination.values():
                if len(leases) < limit and not message.is_held:
                    leases.append(self._lease(message, recipients, now, seconds, counts=False))
        return leases

    # For people

    def _selected(self, selection: Selection | None) -> list[_Message]:
        messages = list(self._messages.values())
        if selection is None:
            return messages
        if selection.ids is not None:
            messages = [one for one in messages if one.id in selection.ids]
        if (sender := selection.mail_from) is not None:
            messages = [
                one for one in messages if fnmatch.fnmatchcase(one.message.mail_from, sender)
            ]
        if (rcpt := selection.rcpt_to) is not None:
            messages = [
                one
                for one in messages
                if any(fnmatch.fnmatchcase(to.address, rcpt) for to in one.recipients)
            ]
        return messages

    async def list(
        self, selection: Selection | None = None, *, start: int = 0, limit: int = 100
    ) -> Sequence[QueuedMessage]:
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
                        next_attempt=to.next_attempt,
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
        found = self._selected(selection)
        for message in found:
            for one in message.recipients:
                one.next_attempt = min(one.next_attempt, now)
        return len(found)

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
        self._expire(now)
        leases = []
        for message in self._selected(selection):
            by_destination: dict[str, list[_Recipient]] = {}
            for one in message.recipients:
                if one.state is RecipientState.QUEUED:
                    by_destination.setdefault(one.destination, []).append(one)
            for recipients in by_destination.values():
                leases.append(self._lease(message, recipients, now, seconds, counts=False))
            limit -= bool(by_destination)
            if not limit:
                break
        return leases

    async def statistics(self) -> Statistics:
        destinations: dict[str, tuple[int, int, bool]] = {}
        for message in self._messages.values():
            for one in message.recipients:
                queued, active, _ = destinations.get(one.destination, (0, 0, False))
                queued += one.state is RecipientState.QUEUED
                active += one.state is RecipientState.ACTIVE
                is_suspended = one.destination in self._suspended
                destinations[one.destination] = queued, active, is_suspended
        return Statistics(
            messages=len(self._messages),
            octets=sum(len(one.octets) for one in self._messages.values()),
            held=sum(one.is_held for one in self._messages.values()),
            oldest=min((one.message.created for one in self._messages.values()), default=None),
            destinations=destinations,
        )

    async def suspend(self, destination: str) -> None:
        await self._commit("suspend")
        self._suspended.add(destination)

    async def resume(self, destination: str) -> bool:
        await self._commit("resume")
        was = destination in self._suspended
        self._suspended.discard(destination)
        return was

    async def suspended(self) -> Sequence[str]:
        return sorted(self._suspended)

    def tell(self) -> None:
        """Do as if another process had changed something."""
        self._is_changed.set()

    async def changed(self, seconds: float) -> bool:
        await self._is_changed.wait()
        self._is_changed.clear()
        return True

    async def close(self) -> None:
        self._messages.clear()


def _octets(body: Draft) -> bytes:
    assert isinstance(body, MemoryDraft)
    return b"".join(body.parts)
