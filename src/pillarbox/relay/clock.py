"""Time, as the relay has it: of the calendar, since what it decides outlives the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer"]


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Call it no more."""
        ...


class Clock(Protocol):
    """Tells the time, and calls at one."""

    def now(self) -> float:
        """Tell the time, in seconds since 1970."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call a function at a time, on the running event loop."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> float:
        """Tell the time, in seconds since 1970."""
        return time.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call a function at a time, on the running event loop."""
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, when - time.time()), callback)
