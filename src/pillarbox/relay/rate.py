"""How many messages may go to a destination in a time, and who may begin one now.

A *turn* is the right to begin one transaction. The time is cut into slots of a twentieth of it, and
what is taken counts for the slot that it is taken in and the twenty that follow: in no stretch of
that time, wherever it begins, are there more turns than the rate allows, and at most a twentieth
less than it allows where there is always somebody who wants one. Who has been quiet may take all of
them at once.

A spool counts, since those who share it keep to one limit: `TurnCount` does it in memory, for a
spool that one process has, postgres/turn.py in a database. Who waits for turns: pace.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["ROUNDING", "Rate", "TurnCount", "Turns"]

SLOTS: Final = 20

# A slot's end is the beginning of the next one, whatever the last bits of its number say.
ROUNDING: Final = 1e-4

# What counts no more is forgotten of destinations as well that nobody asks for.
SWEEP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so much time.

    Attributes:
        messages: How many, 1 at least.
        seconds: In which time.
    """

    messages: int
    seconds: float

    @property
    def slot_seconds(self) -> float:
        """How long a slot is: what was taken in it is to be used in it."""
        return self.seconds / SLOTS

    @property
    def window_seconds(self) -> float:
        """How long a turn counts, from the beginning of its slot on."""
        return self.seconds + self.slot_seconds

    @property
    def batch(self) -> int:
        """How many turns are taken at once: few enough to lose."""
        return max(1, self.messages // SLOTS)


@dataclass(frozen=True, slots=True)
class Turns:
    """What a spool gives to who asks for turns.

    Attributes:
        count: How many there are, perhaps none.
        until: When they are over; where there are none, when to ask again.
    """

    count: int
    until: float


class TurnCount:
    """Counts the turns of all destinations, in memory."""

    def __init__(self) -> None:
        # Of each destination, by when they were taken and when they are over.
        self._taken: dict[str, dict[tuple[float, float], int]] = {}
        self._sweep_at = -math.inf

    def __len__(self) -> int:
        """Count the destinations that are remembered."""
        return len(self._taken)

    def take(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        """Take turns, as far as there are any; see `Spool.take_turns()`."""
        if not self._sweep_at - SWEEP_SECONDS <= now < self._sweep_at:
            self._sweep(now)
        slot = rate.slot_seconds
        began = math.floor(now / slot + ROUNDING) * slot
        end = began + rate.window_seconds
        # What was taken later still was taken before the clock was set back.
        taken = {
            (at, over): count
            for (at, over), count in self._taken.get(destination, {}).items()
            if over > began + slot / 2 and at < end
        }
        count = min(wanted, rate.messages - sum(taken.values()))
        if count <= 0:
            return Turns(0, min(over for _, over in taken))
        taken[began, end] = taken.get((began, end), 0) + count
        self._taken[destination] = taken
        return Turns(count, began + slot)

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + SWEEP_SECONDS
        for destination, taken in tuple(self._taken.items()):
            if all(over <= now for _, over in taken):
                del self._taken[destination]
