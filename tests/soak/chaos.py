"""A handler that does whatever a handler may do, by dice; and the ledger of what it took.

It waits, raises, refuses, answers nonsense, is cancelled, reads a message or a part of it or
nothing. A message that it accepts is in the ledger before it says so.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pillarbox import Body, Envelope, Reject, Session
from pillarbox.handler import IncompleteBody
from tests.soak.mail import make_text, number_in

__all__ = ["Chaos", "Ledger", "WholeChaos", "from_environment"]


class Ledger:
    """What was accepted, and who was told of the end."""

    def __init__(self) -> None:
        self.kept: Counter[int] = Counter()
        """The messages accepted after they were read whole, by number."""
        self.unread: set[int] = set()
        """The messages accepted before they had been read."""
        self.spoiled: list[int] = []
        """The messages that were not what had been sent."""
        self.connected: Counter[str] = Counter()
        self.disconnected: Counter[str] = Counter()

    def keep(self, number: int) -> None:
        """Accept a message."""
        self.kept[number] += 1

    def keep_unread(self, number: int) -> None:
        """Accept a message before it is there."""
        self.unread.add(number)


class Chaos:
    """A handler whose methods do anything.

    Args:
        seed: Where the dice begin.
        ledger: Where to note what is accepted.
    """

    def __init__(self, seed: str, ledger: Ledger) -> None:
        self._dice = random.Random(seed)
        self.ledger = ledger

    def connect(self, session: Session) -> Any:
        """Greet, mostly."""
        self.ledger.connected[session.id] += 1
        return self._anything(0.03)

    def mail(self, _session: Session, _mail: object) -> Any:
        """Take senders, mostly."""
        return self._anything(0.1)

    def rcpt(self, _session: Session, _rcpt: object) -> Any:
        """Take recipients, mostly."""
        return self._anything(0.1)

    def auth(self, _session: Session, _credentials: object) -> Any:
        """Know everybody, mostly."""
        roll = self._dice.random()
        if roll < 0.3:
            return None
        return "ann" if roll < 0.6 else self._late("ann" if roll < 0.8 else None)

    async def message(self, _session: Session, envelope: Envelope, body: Body) -> Any:
        """Take the message, after some time and in some way."""
        number = number_in(str(envelope.mail_from))
        roll = self._dice.random()
        await self._pause()
        if roll < 0.05:
            raise Reject(450, "4.2.0", "Not read")
        if roll < 0.1:
            self.ledger.keep_unread(number)
            return None
        parts: list[bytes] = []
        try:
            async for part in body:
                parts.append(part)
                if roll < 0.5:
                    await self._pause()
                if roll < 0.15 and len(parts) > 1:
                    raise RuntimeError("chaos while reading")
        except IncompleteBody:
            await self._pause()
            raise
        return await self._take(number, b"".join(parts))

    async def _take(self, number: int, data: bytes) -> Any:
        if data != make_text(number):
            self.ledger.spoiled.append(number)
        waiting = self._anything(0.1)
        if waiting is not None:
            await waiting
        self.ledger.keep(number)
        return None

    def disconnect(self, session: Session) -> Any:
        """Take note."""
        self.ledger.disconnected[session.id] += 1
        roll = self._dice.random()
        if roll < 0.02:
            raise RuntimeError("chaos at the end")
        return self._late(None) if roll < 0.2 else None

    def _anything(self, faults: float) -> Awaitable[Any] | None:
        """Do well at once or late; or, as often as `faults` tells, do harm at once or late."""
        roll = self._dice.random()
        if roll < faults:
            harm: Callable[[], Awaitable[Any]] = self._dice.choice(
                (self._raise, self._refuse, self._end, self._fail_late, self._await_cancelled)
            )
            if self._dice.random() < 0.25:
                return self._cancel_itself()
            return harm()
        return self._late(None) if roll < 0.6 else None

    async def _pause(self) -> None:
        if self._dice.random() < 0.5:
            await asyncio.sleep(self._dice.choice((0, 0, 0.001, 0.01, 0.05)))

    async def _late(self, answer: Any) -> Any:
        await self._pause()
        return answer

    def _raise(self) -> Awaitable[Any]:
        raise RuntimeError("chaos")

    def _refuse(self) -> Awaitable[Any]:
        raise Reject(450, "4.7.1", "Chaos")

    async def _end(self) -> None:
        await self._pause()
        raise Reject(421, "4.3.2", "Chaos")

    async def _fail_late(self) -> None:
        await self._pause()
        raise RuntimeError("chaos, late")

    async def _await_cancelled(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    async def _cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


class WholeChaos(Chaos):
    """The same with a plain method for messages, which gets them whole."""

    def message(self, _session: Session, envelope: Envelope, body: Body) -> Any:
        """Take the message, now or late."""
        return self._take(number_in(str(envelope.mail_from)), body.data)


class FileLedger(Ledger):
    """A ledger that outlives its process: a line for each message that is accepted."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("a", buffering=1)

    def keep(self, number: int) -> None:
        """Write down that a message is accepted."""
        spoiled = "spoiled" if number in self.spoiled else "whole"
        self._file.write(f"{number} {spoiled}\n")

    def keep_unread(self, number: int) -> None:
        """Write down that a message is accepted before it is there."""
        self._file.write(f"{number} unread\n")


def from_environment() -> Chaos:
    """Make the handler that the real program runs."""
    return Chaos(os.environ["SOAK_SEED"], FileLedger(Path(os.environ["SOAK_LEDGER"])))
