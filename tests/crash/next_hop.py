"""A next hop that goes wrong in every way, by dice, and writes into the ledger what it got.

It refuses connections and sessions, hangs, drips, says 4xx, 421 and half replies, has 5xx for some
recipients and messages, and drops the connection before and after the final dot. What it has got
whole is delivered, whatever it says then.

A message meets a few faults at most, so that everything arrives in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import random
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from itertools import count

from tests.crash.ledger import Attempt, Ledger

__all__ = ["NextHop"]

# How many of a hundred transactions, and of sessions, meet a fault.
FAULTY_TRANSACTIONS = 10
FAULTY_SESSIONS = 2
MOST_FAULTS = 3

LIMIT = 16_000_000

# What happens to a transaction, and how often beside the others.
TRANSACTIONS = {
    "MAIL 451 4.3.0 Later": 2,
    "MAIL 421 4.3.2 Goodbye": 1,
    "RCPT 450 4.2.0 Later": 3,
    "RCPT 452 4.5.3 Too many recipients": 1,
    "DATA 451 4.3.0 Later": 1,
    "DATA drop": 1,
    "body drop": 3,
    "dot 451 4.3.0 Later": 3,
    "dot 421 4.3.2 Goodbye": 1,
    "dot forget": 2,  # all of it is here, and is let go of with the connection
    "dot drop": 3,
    "dot half": 2,
    "dot hang": 1,
    "dot late": 2,
    "dot drip": 2,
    "dot bye": 2,
}
SESSIONS = {
    "greeting drop": 3,
    "greeting 421 4.3.2 Full": 2,
    "greeting half": 1,
    "greeting hang": 1,
    "EHLO drop": 2,
}

_SENDER = re.compile(rb"FROM:<([^>]*)>", re.IGNORECASE)
_RECIPIENT = re.compile(rb"TO:<([^>]*)>", re.IGNORECASE)


class _Over(Exception):
    """The connection is to be closed."""


class NextHop:
    """The server; an asynchronous context.

    Args:
        ledger: Where to note what it gets.
        dice: For the faults.
        is_away: It is not there before `calm_down()`.
        away_after_seconds: After how long it is away for a moment, from and to.
    """

    def __init__(
        self,
        ledger: Ledger,
        dice: random.Random,
        *,
        is_away: bool,
        away_after_seconds: tuple[float, float],
    ) -> None:
        self.struck: Counter[str] = Counter()
        """The faults there were."""
        self.port = 0
        self._ledger = ledger
        self._dice = dice
        self._is_away = is_away
        self._away_after_seconds = away_after_seconds
        self._is_calm = False
        self._faults: Counter[bytes] = Counter()
        self._numbers = count()
        self._server: asyncio.Server | None = None
        self._leaving: asyncio.Task[None]
        self._sessions: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve, and be away now and then."""
        # Bound and not listening: nobody else gets the port while there is nobody at it.
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            self.port = reserved.getsockname()[1]
            self._leaving = asyncio.create_task(self._come_and_go())
            try:
                yield
            finally:
                self._leaving.cancel()
                await asyncio.wait([self._leaving])
                if self._server is not None:
                    self._server.close()
                for session in self._sessions:
                    session.cancel()
                await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=LIMIT, reuse_address=True
        )

    async def _come_and_go(self) -> None:
        while not self._is_away:
            await self._listen()
            await asyncio.sleep(self._dice.uniform(*self._away_after_seconds))
            assert self._server is not None
            self._server.close()
            self._server = None
            self.struck["connections refused"] += 1
            await asyncio.sleep(self._dice.uniform(0.05, 0.3))

    async def calm_down(self) -> None:
        """Be there, refuse no session, and have few transactions go wrong: all can arrive."""
        self._is_calm = True
        self._leaving.cancel()
        await asyncio.wait([self._leaving])
        if self._server is None:
            await self._listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self, next(self._numbers), reader, writer)
        task = asyncio.create_task(session.run())
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)

    def fault_of_session(self) -> str:
        """Choose what happens to a session; empty for nothing."""
        if self._is_calm or self._dice.random() * 100 >= FAULTY_SESSIONS:
            return ""
        return self._strike(SESSIONS)

    def fault_of_transaction(self, name: bytes) -> str:
        """Choose what happens to a message; empty for nothing."""
        faulty = FAULTY_TRANSACTIONS / (5 if self._is_calm else 1)
        if self._dice.random() * 100 >= faulty or self._faults[name] >= MOST_FAULTS:
            return ""
        self._faults[name] += 1
        return self._strike(TRANSACTIONS)

    def _strike(self, faults: dict[str, int]) -> str:
        (fault,) = self._dice.choices(list(faults), list(faults.values()))
        self.struck[fault] += 1
        return fault

    def between(self, least: float, most: float) -> float:
        """Choose a time."""
        return self._dice.uniform(least, most)

    def chance(self, of: float) -> bool:
        """Throw the dice."""
        return self._dice.random() < of

    @property
    def ledger(self) -> Ledger:
        """Where to note what is got."""
        return self._ledger


class _Session:
    """One connection, from the greeting to its end."""

    def __init__(
        self,
        hop: NextHop,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._hop = hop
        self._number = number
        self._reader = reader
        self._writer = writer
        self._node = ""
        self._place = -1
        self._last: bytes | None = None
        self._asked = 0.0
        self._fault = ("", "")
        self._reset()

    def _reset(self) -> None:
        self._sender: bytes | None = None
        self._recipients: list[str] = []
        self._began = 0.0
        self._chunks = b""

    async def run(self) -> None:
        try:
            with contextlib.suppress(_Over, ConnectionError, asyncio.IncompleteReadError):
                await self._talk()
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _talk(self) -> None:
        self._arm(self._hop.fault_of_session())
        await self._say("greeting", b"220 next.test ESMTP")
        verbs: dict[bytes, Callable[[bytes], object]] = {
            b"EHLO": self._ehlo,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
        }
        while True:
            line = (await self._reader.readuntil(b"\n")).rstrip()
            verb = line[:4].upper()
            if verb == b"QUIT":
                self._writer.write(b"221 2.0.0 Goodbye\r\n")
                return
            if (do := verbs.get(verb)) is None:
                self._writer.write(b"250 2.0.0 OK\r\n")
                self._reset()
                continue
            await do(line)  # type: ignore[misc]  # all of them are coroutines

    # What goes wrong

    def _arm(self, fault: str) -> None:
        point, _, what = fault.partition(" ")
        self._fault = (point, what)

    def _meets(self, point: str) -> str:
        """Give what goes wrong here, once; empty for nothing."""
        at, what = self._fault
        if at != point:
            return ""
        self._fault = ("", "")
        return what

    async def _say(self, point: str, reply: bytes) -> bool:
        """Say it, or let the fault of this point happen; tell whether it was said."""
        what = self._meets(point)
        if not what:
            self._writer.write(reply + b"\r\n")
            return True
        if what[:3].isdigit():
            self._writer.write(what.encode() + b"\r\n")
            if what.startswith("421"):
                raise _Over
            return False
        if what == "half":
            self._writer.write(reply[:5])
        if what in ("half", "hang"):
            await asyncio.sleep(self._hop.between(0.1, 1.5))
        raise _Over

    # The commands

    async def _ehlo(self, line: bytes) -> None:
        self._node = line[5:].decode("ascii", "replace").strip()
        offered = [b"next.test", b"PIPELINING", b"8BITMIME", b"SIZE 100000000"]
        if self._hop.chance(0.5):
            offered.append(b"CHUNKING")
        lines = [b"250-" + word for word in offered[:-1]] + [b"250 " + offered[-1]]
        await self._say("EHLO", b"\r\n".join(lines))

    async def _mail(self, line: bytes) -> None:
        self._reset()
        self._began = self._asked = time.time()
        found = _SENDER.search(line)
        sender = found[1] if found else b""
        # A notification has no name of its own before its octets are there.
        self._arm(self._hop.fault_of_transaction(sender or b"%d" % self._number))
        if not sender or sender != self._last:
            self._last = sender
            self._place += 1
            self._hop.ledger.place(self._number, self._place)
        if await self._say("MAIL", b"250 2.1.0 OK"):
            self._sender = sender

    async def _rcpt(self, line: bytes) -> None:
        found = _RECIPIENT.search(line)
        if self._sender is None or found is None:
            self._writer.write(b"503 5.5.1 MAIL first\r\n")
            return
        recipient = found[1].decode("ascii", "replace")
        if "-refuse@" in recipient:
            self._writer.write(b"550 5.1.1 No such mailbox\r\n")
            return
        if not self._recipients and self._fault[1].startswith("452"):
            self._arm("")  # the first one is never too many
        if await self._say("RCPT", b"250 2.1.5 OK"):
            self._recipients.append(recipient)

    async def _data(self, _line: bytes) -> None:
        if not self._recipients:
            self._writer.write(b"503 5.5.1 RCPT first\r\n")
            return
        if not await self._say("DATA", b"354 Go on"):
            self._reset()
            return
        self._asked = time.time()
        if self._meets("body"):
            await self._reader.read(500)
            raise _Over
        if (stuffed := await self._reader.readuntil(b"\n"))[:3] != b".\r\n":
            stuffed += await self._reader.readuntil(b"\r\n.\r\n")
        octets = (b"\r\n" + stuffed[:-3]).replace(b"\r\n.", b"\r\n")[2:]
        await self._take(octets)

    async def _bdat(self, line: bytes) -> None:
        words = line.split()
        is_last = len(words) > 2
        if self._recipients and self._meets("body"):
            await self._reader.read(500)
            raise _Over
        chunk = await self._reader.readexactly(int(words[1]))
        if not self._recipients:
            self._writer.write(b"503 5.5.1 RCPT first\r\n")
        elif is_last:
            await self._take(self._chunks + chunk)
        elif await self._say("DATA", b"250 2.0.0 OK"):
            self._asked = time.time()
            self._chunks += chunk
        else:
            self._reset()

    # A message that is there

    async def _take(self, octets: bytes) -> None:
        recipients = self._recipients
        sender = (self._sender or b"").decode("ascii", "replace")
        began = self._began
        self._reset()
        what = self._meets("dot")
        if "-dotrefuse@" in recipients[0] and what != "forget" and not what.startswith("4"):
            what = "554 5.7.1 Refused"  # whatever else: it never has it
        if what[:3].isdigit():
            self._writer.write(what.encode() + b"\r\n")
            if what.startswith("421"):
                raise _Over
            return
        if what == "forget":
            raise _Over
        attempt = Attempt(
            self._node, self._number, self._place, began, came=time.time(), asked=self._asked
        )
        if sender:
            self._hop.ledger.deliver(attempt, recipients, octets)
        else:
            name, failed = _failed(octets)
            ledger = self._hop.ledger
            ledger.notify(attempt, recipients[0], name, failed, at=time.time())
        try:
            attempt.is_answered = await self._answer(what)
        finally:
            # Noted before anybody can do something about the reply: nothing waits in between.
            attempt.ended = time.time()
        if what == "bye":
            raise _Over
        if not attempt.is_answered:
            raise _Over

    async def _answer(self, what: str) -> bool:
        """Answer a message that was taken; tell whether all of the reply went out."""
        reply = b"250 2.0.0 Taken\r\n"
        if what == "drop":
            return False
        if what == "half":
            self._writer.write(reply[:7])
            return False
        if what == "hang":
            await asyncio.sleep(self._hop.between(0.5, 2))
            return False
        if what == "late":
            await asyncio.sleep(self._hop.between(0.05, 0.5))
        if what == "drip":
            for place in range(len(reply) - 1):
                if self._writer.is_closing():
                    return False
                self._writer.write(reply[place : place + 1])
                await asyncio.sleep(0.002)
            reply = reply[-1:]
        if self._writer.is_closing() or self._reader.at_eof():
            return False  # who asked is gone
        self._writer.write(reply)
        return True


def _failed(octets: bytes) -> tuple[str, list[str]]:
    """Read a notification: its name, and who failed."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    failed = []
    for part in message.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        for block in part.get_payload():  # a list of blocks
            if str(block.get("Action", "")).strip() == "failed":  # type: ignore[union-attr]
                recipient = str(block["Final-Recipient"])  # type: ignore[index]
                failed.append(recipient.partition(";")[2].strip())
    return str(message["Message-ID"]).strip(), failed
