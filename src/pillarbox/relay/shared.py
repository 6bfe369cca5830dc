"""What all destinations of a relay have in common: its parts, and what they may use in all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pillarbox.relay.backlog import Backlog
from pillarbox.relay.clock import Clock
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.lease import Leases
from pillarbox.relay.pool import Pool
from pillarbox.relay.record import Recorder
from pillarbox.relay.schedule import Limits
from pillarbox.relay.spool import Spool

__all__ = ["Shared", "Waits"]


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
