"""What a catcher has counted since it began."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Tally"]


class Tally:
    """Counts, from whichever thread.

    Args:
        clock: Tells the time in seconds, monotonically.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.accepted = 0
        """Messages taken in."""
        self.accepted_octets = 0
        """Their octets."""
        self.rejected = 0
        """Messages, senders and recipients refused on purpose, or for want of room."""
        self.deleted = 0
        """Messages deleted by somebody."""
        self._lock = threading.Lock()
        self._clock = clock
        self._began = clock()

    @property
    def uptime_seconds(self) -> float:
        """How long ago it began."""
        return self._clock() - self._began

    def note_accepted(self, octets: int) -> None:
        """Count a message."""
        with self._lock:
            self.accepted += 1
            self.accepted_octets += octets

    def note_rejected(self) -> None:
        """Count a refusal."""
        with self._lock:
            self.rejected += 1

    def note_deleted(self, messages: int) -> None:
        """Count messages that were deleted."""
        with self._lock:
            self.deleted += messages
