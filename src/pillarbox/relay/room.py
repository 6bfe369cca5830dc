"""What waits in memory for the sessions of one destination, and who waits for room in there.

What finds no room in memory goes to the spool alone, and is read again when its turn comes, which
costs as much as to deliver it. Where enough waits to have all sessions busy, and that will be gone
in a moment, a sender waits so long for its 250: all is delivered sooner than if it did not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from pillarbox.relay.schedule import Ready
from pillarbox.relay.shared import Shared
from pillarbox.relay.spool import Lease

__all__ = ["Room"]

# How fast mail leaves is measured over so many messages.
SAMPLE_MESSAGES: Final = 50
# So many messages for each session that there may be are enough to have it busy.
AHEAD: Final = 4
# What would take longer is not waited for.
MOST_SECONDS: Final = 1.0


class Room:
    """Leases that wait for a session, within what memory there is.

    Args:
        shared: Tells the time and the bounds, and counts the memory of all destinations.
        most: How many leases there may be.
    """

    __slots__ = (
        "_left",
        "_most",
        "_per_second",
        "_ready",
        "_senders",
        "_shared",
        "_since",
        "_ticks",
    )

    def __init__(self, shared: Shared, most: int) -> None:
        self._shared = shared
        self._most = most
        self._ready = Ready()
        self._since = shared.clock.now()
        self._left = 0  # since then
        self._per_second = 0.0
        self._ticks = 0
        self._senders: deque[tuple[asyncio.Future[bool], int]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._ready)

    # Leases

    def push(self, lease: Lease) -> None:
        """Put a lease behind the others of its sender."""
        self._ready.push(lease)
        self._shared.memory_octets += 0 if lease.octets is None else len(lease.octets)

    def pop(self, sessions: int) -> Lease | None:
        """Take the next one for one of so many sessions; `None` where there is none."""
        lease = self._ready.pop()
        if lease is not None:
            self._shared.memory_octets -= 0 if lease.octets is None else len(lease.octets)
            self._leave(sessions)
        return lease

    def clear(self) -> list[Lease]:
        """Take all, since they cannot go; nobody waits for room until they go again, and fast."""
        self._per_second = 0.0
        while self._senders:
            self._tell(is_turn=False)
        self._shared.memory_octets -= self._ready.octets
        return self._ready.clear()

    # Room

    @property
    def is_within_bounds(self) -> bool:
        """Whether what is here is no more than there may be."""
        shared = self._shared
        return (
            len(self._ready) <= self._most and shared.memory_octets <= shared.limits.memory_octets
        )

    def has_place(self, sender: str, octets: int) -> bool:
        """Tell whether there is a place for one more message."""
        limits, shared = self._shared.limits, self._shared
        return (
            len(self._ready) < self._most
            and self._ready.of(sender) < limits.ready_messages // 2
            and shared.memory_octets + octets <= limits.memory_octets
        )

    def is_crowded(self, sessions: int) -> bool:
        """Tell whether enough is here for so many sessions, and will be gone in a moment."""
        is_enough = len(self._ready) >= AHEAD * sessions or self._senders
        ahead = len(self._ready) + len(self._senders)
        return bool(is_enough) and ahead <= self._per_second * MOST_SECONDS

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a turn."""
        return bool(self._senders)

    async def turn(self) -> bool:
        """Wait for one's turn; tell whether it came."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._senders.append((future, self._ticks))
        return await future

    def tick(self, now: float) -> None:
        """Have nobody wait for a pace that is not kept; call it each second."""
        if now - self._since > MOST_SECONDS:
            self._per_second = min(self._per_second, self._left / (now - self._since))
        self._ticks += 1
        while self._senders and self._senders[0][1] < self._ticks - 1:
            self._tell(is_turn=False)

    def _leave(self, sessions: int) -> None:
        """Count one that leaves, and let in who is next if there is not enough without it."""
        self._left += 1
        if self._left == SAMPLE_MESSAGES:
            now = self._shared.clock.now()
            self._per_second = SAMPLE_MESSAGES / max(now - self._since, 1e-6)
            self._since, self._left = now, 0
        if self._senders and len(self._ready) < AHEAD * sessions:
            self._tell(is_turn=True)
        # Who was let in may never come: an empty room waits for nobody alone.
        for _ in range(0 if self._ready else sessions):
            if self._senders:
                self._tell(is_turn=True)

    def _tell(self, *, is_turn: bool) -> None:
        """Tell the next one that has not gone away."""
        while self._senders:
            future, _ = self._senders.popleft()
            if not future.done():
                future.set_result(is_turn)
                return
