"""The database's clock, as a node has it: all nodes go by one clock, whatever their own ones say.

The difference is measured whenever a connection is made and every minute from then on. Between, a
clock counts that nobody sets, and that goes on while the machine sleeps where there is such a one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from pillarbox.relay.clock import Timer

__all__ = ["DatabaseClock"]

# What took longer to ask tells little: the answer may be as old as that.
MOST_SECONDS: Final = 1.0

_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed() -> float:
    if _BOOTTIME is None:
        return time.monotonic()
    return time.clock_gettime(_BOOTTIME)


class DatabaseClock:
    """Tells what time it is in the database.

    Args:
        elapsed: Counts seconds, from anywhere.
    """

    def __init__(self, elapsed: Callable[[], float] = _elapsed) -> None:
        self.elapsed = elapsed
        self._offset = time.time() - elapsed()
        self._is_set = False

    def set(self, database: float, asked: float) -> None:
        """Take what the database said.

        Args:
            database: Its time, in seconds since 1970.
            asked: What `elapsed` was when it was asked.
        """
        now = self.elapsed()
        if self._is_set and now - asked > MOST_SECONDS:
            return
        self._offset = database - (asked + now) / 2
        self._is_set = True

    def now(self) -> float:
        """Tell the time, in seconds since 1970."""
        return self.elapsed() + self._offset

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call a function at a time, on the running event loop."""
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, when - self.now()), callback)
