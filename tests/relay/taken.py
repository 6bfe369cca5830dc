"""A relay that keeps what it is given in memory: for tests of what comes before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pillarbox.protocol.address import Path
from pillarbox.protocol.reply import Reply
from pillarbox.relay.intake import Intake
from pillarbox.relay.permission import Permission
from pillarbox.relay.route import Hop, NoRoute
from pillarbox.relay.spool import Draft, NewMessage

NOW = 1_800_000_000.0
NO_DOMAIN = Reply(550, "5.1.3", "An address needs a domain: <user@example.org>")


@dataclass(frozen=True)
class Taken:
    message: NewMessage
    octets: bytes
    was_draft: bool


class MemoryDraft:
    """A draft that knows whether it was let go."""

    def __init__(self, error: Exception | None) -> None:
        self.octets = b""
        self.writes = 0
        self.is_discarded = False
        self._error = error

    @property
    def size(self) -> int:
        return len(self.octets)

    async def write(self, octets: bytes) -> None:
        if self._error is not None:
            raise self._error
        self.octets += octets
        self.writes += 1

    async def discard(self) -> None:
        self.is_discarded = True


class ByDomain:
    """Routes as DNS would have it."""

    def destination(self, address: str) -> str:
        domain = Path(address.encode()).domain
        if not domain:
            raise NoRoute(NO_DOMAIN)
        return domain

    async def hops(self, _destination: str) -> Sequence[Hop]:
        return ()


class MemoryRelay:
    """A relay and a spool in one.

    Args:
        error: What `submit()` and drafts raise.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.route = ByDomain()
        self.taken: list[Taken] = []
        self.drafts: list[MemoryDraft] = []
        self.error = error
        self.draft_error: Exception | None = None

    def draft(self) -> MemoryDraft:
        self.drafts.append(MemoryDraft(self.draft_error))
        return self.drafts[-1]

    async def submit(self, message: NewMessage, body: bytes | Draft) -> str:
        if self.error is not None:
            raise self.error
        if isinstance(body, bytes):
            self.taken.append(Taken(message, body, was_draft=False))
        else:
            assert isinstance(body, MemoryDraft)
            self.taken.append(Taken(message, body.octets, was_draft=True))
        return f"Q{len(self.taken)}"


def intake(relay: MemoryRelay, permission: Permission | None = None, **options: Any) -> Intake:
    """Make an intake of `relay.test` whose clock stands still."""
    return Intake(
        relay,
        relay,
        permission=permission or Permission(),
        hostname="relay.test",
        now=lambda: NOW,
        **options,
    )
