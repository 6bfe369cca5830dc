"""A board that all processes of a server write their figures on, in memory that they share.

Each process has a place of its own, which only it writes: plain integers, each written at once, so
there is nothing to lock among processes. Whoever is asked adds the places up. A process that takes
the place of one that died goes on from its totals, so that none ever falls.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from enum import IntEnum

from pillarbox.counters import Counters

__all__ = ["STUCK_SECONDS", "Board", "Phase", "Place"]

# An event loop that has not turned for so long is stuck: in a handler that blocks, most likely.
STUCK_SECONDS = 10.0

_NAMES = tuple(field.name for field in fields(Counters))
# How it stands now, which is over when its process is.
_NOW = frozenset({"connections_open", "memory_octets"})
_PHASE, _PID, _TURNED_AT, _FIGURES = range(4)
_WORDS = _FIGURES + len(_NAMES)


class Phase(IntEnum):
    """How far a process has come."""

    STARTING = 0
    READY = 1
    DRAINING = 2


class Board:
    """The figures of several processes. Make it before they are forked.

    Args:
        places: How many processes there are at once.
        clock: Tells the time in seconds, the same in all of them.
    """

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = places
        self.clock = clock
        self._words = memoryview(mmap.mmap(-1, places * _WORDS * 8)).cast("q")

    def place(self, number: int) -> memoryview:
        """Give the words of one place."""
        return self._words[number * _WORDS : (number + 1) * _WORDS]

    @property
    def pids(self) -> list[int]:
        """The processes that have taken their places."""
        return [pid for number in range(self.size) if (pid := self.place(number)[_PID])]

    @property
    def counters(self) -> Counters:
        """The figures of all processes together."""
        places = [self.place(number)[_FIGURES:] for number in range(self.size)]
        return Counters(**{name: sum(p[at] for p in places) for at, name in enumerate(_NAMES)})

    @property
    def is_ready(self) -> bool:
        """Whether there is a process that takes mail."""
        return any(self.place(number)[_PHASE] == Phase.READY for number in range(self.size))

    def stuck(self) -> str:
        """Tell which process has an event loop that does not turn; empty for none."""
        now = self.clock()
        for number in range(self.size):
            place = self.place(number)
            seconds = now - place[_TURNED_AT] / 1000
            if place[_PHASE] != Phase.STARTING and seconds > STUCK_SECONDS:
                return f"process {place[_PID]} has been stuck for {seconds:.0f} seconds"
        return ""


class Place:
    """One process's place on the board, taken when the process begins.

    Args:
        board: What it is on.
        number: Which of the places, from 0.
    """

    def __init__(self, board: Board, number: int) -> None:
        self._clock = board.clock
        self._words = board.place(number)
        self._lock = threading.Lock()
        figures = self._words[_FIGURES:]
        self._before = [0 if name in _NOW else figures[at] for at, name in enumerate(_NAMES)]
        self._read: Callable[[], Counters] | None = None
        self._words[_PHASE] = Phase.STARTING
        self._words[_PID] = os.getpid()
        self.write()

    def begin(self, read: Callable[[], Counters]) -> None:
        """Take note of where the figures come from, and that clients can come."""
        self._read = read
        self._words[_TURNED_AT] = int(self._clock() * 1000)
        self._words[_PHASE] = Phase.READY

    def drain(self) -> None:
        """Take note that no more clients can come."""
        self._words[_PHASE] = Phase.DRAINING

    def turn(self) -> None:
        """Take note that the event loop turns, and write the figures."""
        self._words[_TURNED_AT] = int(self._clock() * 1000)
        self.write()

    def write(self) -> None:
        """Write the figures as they are now; from any thread."""
        with self._lock:  # or one thread would write what it read before another
            counters = self._read() if self._read is not None else Counters()
            for at, name in enumerate(_NAMES):
                self._words[_FIGURES + at] = self._before[at] + getattr(counters, name)
