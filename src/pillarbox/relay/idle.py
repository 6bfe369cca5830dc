"""Sessions of a destination that are open and have nothing to do (destination.py)."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

__all__ = ["IdleSessions"]


@dataclass(slots=True, eq=False)
class _Idle:
    """One that waits."""

    future: asyncio.Future[bool]
    since: float

    def end(self, *, is_used: bool) -> bool:
        """Tell it what to do; `False` where it is gone already."""
        if self.future.done():
            return False
        self.future.set_result(is_used)
        return True


class IdleSessions:
    """Those that wait: the last one is used first, so that the others can be closed."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[_Idle] = deque()

    async def wait(self, now: float) -> bool:
        """Wait for something to do; `False` where the session is to be closed."""
        idle = _Idle(asyncio.get_running_loop().create_future(), now)
        self._waiting.append(idle)
        return await idle.future

    def use_one(self) -> bool:
        """Have one look for something to do; tell whether there was one."""
        while self._waiting:
            if self._waiting.pop().end(is_used=True):
                return True
        return False

    def close_one(self) -> bool:
        """Have one closed; tell whether there was one."""
        while self._waiting:
            if self._waiting.popleft().end(is_used=False):
                return True
        return False

    def close_those_since(self, time: float) -> None:
        """Have those closed that have waited since then or longer."""
        while self._waiting and self._waiting[0].since <= time:
            self._waiting.popleft().end(is_used=False)
