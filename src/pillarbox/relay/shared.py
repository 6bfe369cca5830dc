"""What all destinations of a relay have in common: its parts, and what they may use in all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pillarbox.protocol.reply import Reply
from pillarbox.relay.backlog import Backlog
from pillarbox.relay.clock import Clock
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.lease import Leases
from pillarbox.relay.pool import Pool, Unreachable
from pillarbox.relay.record import Recorder
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import SharesSessions, Spool, SpoolError

__all__ = ["Shared", "Waits"]

CROWDED: Final = Reply(451, "4.3.2", "Other relays have all sessions that there may be")
UNKNOWN: Final = Reply(451, "4.3.0", "It is not known how many sessions other relays have")
# Somebody's session ends soon: a server counts messages, and so do relays.
CROWDED_SECONDS: Final = 1.0


class Waits(Protocol):
    """What waits for room."""

    def wake(self) -> None:
        """Take it."""
        ...


@dataclass(slots=True)
class Shared:
    """What all destinations have in common."""

    spool: Spool
    pool: Pool
    clock: Clock
    limits: Limits
    recorder: Recorder
    leases: Leases
    backlog: Backlog
    counters: RelayCounters
    sessions: int = 0
    """How many sessions there are in all."""
    memory_octets: int = 0
    """What waits in memory for a session."""
    is_closing: bool = False
    hungry: dict[Waits, None] = field(default_factory=dict)
    """Destinations that could have no session, since there are too many in all."""
    make_room: Callable[[], None] = lambda: None
    """Closes a session that has nothing to do."""

    async def enter(self, destination: str) -> None:
        """Count a session that is about to be opened, where other relays count theirs as well.

        Raises:
            Unreachable: There are too many already.
        """
        if not isinstance(self.spool, SharesSessions):
            return
        until = self.clock.now() + CROWDED_SECONDS
        try:
            if not await self.spool.enter(destination, self.limits.most_sessions):
                raise Unreachable(CROWDED, until)
        except SpoolError:
            raise Unreachable(UNKNOWN, until) from None

    async def leave(self, destination: str) -> None:
        """Count a session no more."""
        if isinstance(self.spool, SharesSessions):
            with contextlib.suppress(SpoolError):  # it is told again
                await self.spool.leave(destination)
