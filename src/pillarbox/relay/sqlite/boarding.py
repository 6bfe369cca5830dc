"""When what waits for a commit is handed over, and what is done while the disk is at work.

One commit is under way at a time. The next begins when it has ended, and when as many wait as are
used to come together, since whoever is left behind waits for a commit more; but after some
milliseconds in any case, and for a few at once.

Nobody sends anything before the answer, so that the loop would be idle while a slow disk is at
work: what needs no disk, such as to deliver what the last commit was for, is kept for that moment.

What rides is in no hurry, and goes with the next commit that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["Boarding"]

_Change = TypeVar("_Change")

# Fewer than these are no crowd, and wait for nobody.
CROWD: Final = 4
# Nobody waits for the others longer than this.
WAIT_SECONDS: Final = 0.005

# What rides waits for others so long, unless this many do; on a slow disk for some commits' time.
RIDE_SECONDS: Final = 0.005
MAX_RIDERS: Final = 256
RIDE_COMMITS: Final = 4

# While a commit takes less than this, nothing worth it can be done.
SLOW_SECONDS: Final = 0.001
# Nothing is kept for longer than this for the moment when the disk is at work.
MAX_IDLE_SECONDS: Final = 0.02


class Boarding(Generic[_Change]):
    """Who waits for a commit; used on the loop alone.

    Args:
        loop: The loop.
        hand_over: Takes those whose commit is next.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, hand_over: Callable[[list[_Change]], None]
    ) -> None:
        self._loop = loop
        self._hand_over = hand_over
        self._waiting: list[_Change] = []
        self._urgent = 0  # how many of them do not ride
        self._crowd = 0  # how many of those are used to go together
        self._out = 0  # how many are with the thread
        self._took = 0.0  # the last commit
        self._timer: asyncio.Handle | None = None
        self._goes_at = 0.0
        self._goes_soon = False
        self._meanwhile: list[Callable[[], None]] = []
        self._idle_timer: asyncio.Handle | None = None
        self._is_syncing = False

    def add(self, change: _Change, *, may_ride: bool) -> None:
        """Have a change written with the next commit.

        Args:
            change: The change.
            may_ride: It is in no hurry.
        """
        self._waiting.append(change)
        self._urgent += not may_ride
        if not self._goes_soon:
            self._consider()

    def go(self) -> None:
        """Hand over all that wait."""
        self._goes_soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._urgent:
            self._crowd = max(self._urgent, int(0.75 * self._crowd + 0.25 * self._urgent))
        self._urgent = 0
        if self._waiting:
            going, self._waiting = self._waiting, []
            self._hand_over(going)
            self._out += len(going)

    @property
    def is_busy(self) -> bool:
        """Whether what was handed over before is not done with yet."""
        return self._out > 0

    @property
    def is_slow(self) -> bool:
        """Whether a commit takes long; `begins()` is of use then."""
        return self._took >= SLOW_SECONDS

    def begins(self) -> None:
        """Take note that the disk is at work."""
        self._is_syncing = True
        self._do_meanwhile()

    def ends(self, changes: int, took: float) -> None:
        """Take note that so many changes are done with, and what their commit took, in seconds."""
        self._is_syncing = False
        self._out -= changes
        self._took = took
        if self._waiting and not self._goes_soon:
            self._consider()

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something while the disk is at work, or soon."""
        if self._is_syncing or not self.is_slow or self._crowd < CROWD:
            work()
            return
        self._meanwhile.append(work)
        if self._idle_timer is None:
            seconds = min(RIDE_COMMITS * self._took, MAX_IDLE_SECONDS)
            self._idle_timer = self._loop.call_later(seconds, self._do_meanwhile)

    def _consider(self) -> None:
        if self._out:
            return  # `ends()` will have it considered again
        is_enough = self._urgent >= (self._crowd if self._crowd >= CROWD else 1)
        if is_enough or len(self._waiting) >= MAX_RIDERS:
            self._goes_soon = True
            self._loop.call_soon(self._go_if_not_gone)
        elif self._urgent:
            self._go_within(WAIT_SECONDS)
        else:
            rides = min(RIDE_COMMITS * self._took, MAX_IDLE_SECONDS)
            self._go_within(max(RIDE_SECONDS, rides))

    def _go_if_not_gone(self) -> None:
        if self._goes_soon:
            self.go()

    def _go_within(self, seconds: float) -> None:
        when = self._loop.time() + seconds
        if self._timer is not None:
            if self._goes_at <= when:
                return
            self._timer.cancel()
        self._goes_at = when
        self._timer = self._loop.call_at(when, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        if not self._goes_soon:
            self.go()

    def _do_meanwhile(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        while self._meanwhile:
            self._loop.call_soon(self._meanwhile.pop(0))
