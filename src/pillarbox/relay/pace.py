"""The pace of one destination: a session takes a turn before it begins a message, or waits.

Turns come from the spool, some at a time (rate.py); what is not used in its slot is lost. Where
there are none it is known when to ask again, and nobody asks before: what waits meanwhile, and
where, is destination.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pillarbox.log import visible
from pillarbox.relay.clock import Clock, Timer
from pillarbox.relay.rate import Rate
from pillarbox.relay.spool import Spool, SpoolError

__all__ = ["Pace"]

log = logging.getLogger("pillarbox")

# A spool that cannot be asked is asked again after so long, and nothing is begun before.
SPOOL_WAIT_SECONDS: Final = 5.0
# What is given is good for a moment, however late it comes: a busy database gives nothing else.
LATE_SECONDS: Final = 0.1
# So long at least is a wait: clocks differ a little.
LEAST_WAIT_SECONDS: Final = 0.02


class Pace:
    """The turns of a destination.

    Args:
        name: The destination.
        rate: How many there may be.
        spool: What counts them, for all who share it.
        clock: Tells the time.
        wake: Called when it is time to ask again.
        later: Runs something beside.
    """

    def __init__(
        self,
        name: str,
        rate: Rate,
        *,
        spool: Spool,
        clock: Clock,
        wake: Callable[[], None],
        later: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.rate = rate
        self.left = 0
        """How many turns there are in hand, if they are not over."""
        self.until = 0.0
        """Before that time there are no others."""
        self._name = name
        self._spool = spool
        self._clock = clock
        self._wake = wake
        self._later = later
        self._good_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is no turn now."""
        return self._clock.now() < self.until and not self._is_good

    @property
    def _is_good(self) -> bool:
        return self.left > 0 and self._clock.now() < self._good_until

    async def take(self, wanted: int) -> bool:
        """Take a turn; where there is none, it tells so, and `until` tells how long.

        Args:
            wanted: How many could be used now, in all.
        """
        while not self._is_good:
            self.left = 0
            if self._clock.now() < self.until:
                return False
            asking = self._asking
            if asking is None:
                asking = self._asking = self._later(self._ask(min(wanted, self.rate.batch)))
            await asyncio.wait((asking,))  # one asks for all, and who is cancelled alone goes alone
            if not asking.cancelled():
                asking.result()
        self.left -= 1
        return True

    def put_back(self) -> None:
        """Let somebody else have a turn that was taken and not used."""
        self.left += 1

    async def _ask(self, wanted: int) -> None:
        try:
            turns = await self._spool.take_turns(
                self._name, self.rate, self._clock.now(), wanted=wanted
            )
        except SpoolError as error:
            text = (
                "the spool counts no turns for %s: %s; nothing is sent there, and it is asked again"
            )
            log.error(text, visible(self._name), visible(str(error)))
            self._wait(self._clock.now() + SPOOL_WAIT_SECONDS)
        else:
            now = self._clock.now()
            if turns.count:
                self.left = turns.count
                self._good_until = max(turns.until, now + LATE_SECONDS)
            else:
                self._wait(max(turns.until, now + LEAST_WAIT_SECONDS))
        finally:
            self._asking = None

    def _wait(self, until: float) -> None:
        self.until = until
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(until, self._look_again)

    def _look_again(self) -> None:
        self.until = 0.0  # some timers come a little early
        self._wake()
