"""How fast mail leaves for a destination, and who waits a moment for room behind it.

What finds no room in memory goes to the spool alone, and is read again when its turn comes, which
costs as much as to deliver it. Where enough waits to have all sessions busy, and that will be gone
in a moment, a sender waits so long for its 250: all is delivered sooner than if it did not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Room"]

# It is measured over so many messages.
SAMPLE_MESSAGES: Final = 50
# So many messages for each session that there may be are enough to have it busy.
AHEAD: Final = 4
# What would take longer is not waited for.
MOST_SECONDS: Final = 1.0


class Room:
    """Who waits for room, which messages make that leave.

    Args:
        now: Tells the time.
    """

    __slots__ = ("_left", "_now", "_per_second", "_since", "_ticks", "_waiting")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = now()
        self._left = 0
        self._per_second = 0.0
        self._ticks = 0
        self._waiting: deque[tuple[asyncio.Future[bool], int]] = deque()

    def is_crowded(self, messages: int, sessions: int) -> bool:
        """Tell whether there is enough to do, and one that comes later is gone as soon.

        Args:
            messages: How many there are.
            sessions: How many they may go over at once.
        """
        is_enough = messages >= AHEAD * sessions or self._waiting
        return bool(is_enough) and self._would_be_gone_soon(messages)

    def _would_be_gone_soon(self, messages: int) -> bool:
        return messages + len(self._waiting) <= self._per_second * MOST_SECONDS

    async def turn(self) -> bool:
        """Wait for one's turn; tell whether it came."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, self._ticks))
        return await future

    def leave(self, messages: int, sessions: int) -> None:
        """Count one that leaves, and let in who is next if there is not enough without it."""
        self._left += 1
        if self._left == SAMPLE_MESSAGES:
            now = self._now()
            self._per_second = SAMPLE_MESSAGES / max(now - self._since, 1e-6)
            self._since, self._left = now, 0
        if self._waiting and messages < AHEAD * sessions:
            self._tell(is_turn=True)

    def tick(self, now: float) -> None:
        """Have nobody wait for a pace that is not kept; call it each second."""
        if now - self._since > MOST_SECONDS:
            self._per_second = min(self._per_second, self._left / (now - self._since))
        self._ticks += 1
        while self._waiting and self._waiting[0][1] < self._ticks - 1:
            self._tell(is_turn=False)

    def stop(self) -> None:
        """Have nobody wait: what is here does not leave."""
        self._per_second = 0.0
        while self._waiting:
            self._tell(is_turn=False)

    def _tell(self, *, is_turn: bool) -> None:
        future, _ = self._waiting.popleft()
        if not future.done():
            future.set_result(is_turn)
