"""Clients that send to whatever node is up, and write into the ledger what they were promised.

Each message has a sender and recipients of its own, by which everybody knows it again. Most are
small; some are so large that a spool keeps them in a file. A client that loses its connection
begins another one, with another message: what it heard nothing of is not sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.crash.ledger import Ledger, Message, State

__all__ = ["Client", "Letters"]

MESSAGES_A_SESSION = 20
SESSION_SECONDS = 60.0
# Who was refused comes again after so long.
REFUSED_SECONDS = 0.05
POOL_OCTETS = 1_200_000

# Of a thousand messages so many are broken off in the middle; and of so many the next hop refuses
# all, and of a thousand recipients it refuses so many.
BROKEN_OFF = 5
REFUSED_AT_DOT = 10
REFUSED = 50


class Letters:
    """Makes messages.

    Args:
        dice: For what is in them.
        large: So many of a thousand are larger than a spool keeps inline; a fourth of these are
            larger than a delivery reads at once.
    """

    def __init__(self, dice: random.Random, *, large: int) -> None:
        self._dice = dice
        self._large = large
        self._last = 0
        # Lines of all kinds, with dots in front of some, and octets that are no ASCII.
        lines = []
        size = 0
        while size < POOL_OCTETS:
            line = dice.randbytes(dice.randint(0, 60)).hex().encode()
            lines.append(dice.choice((b"", b"", b".", b"..", b"\xc3\xa4 ")) + line + b"\r\n")
            size += len(lines[-1])
        self._pool = b"".join(lines)

    def make(self) -> tuple[Message, bytes]:
        """Make the next one: what is to be known of it, and its octets."""
        dice = self._dice
        self._last += 1
        number = self._last
        roll = dice.randrange(1000)
        size = dice.randint(200, 6000)
        if roll < self._large / 4:
            size = dice.randint(262_144, 1_000_000)
        elif roll < self._large:
            size = dice.randint(70_000, 262_144)
        start = dice.randrange(POOL_OCTETS - size)
        text = self._pool[start : start + size].replace(b"\n", b"").replace(b"\r", b"\r\n")
        octets = b"Subject: %d\r\n\r\n%b\r\n" % (number, text)
        fate = "-dotrefuse" if dice.randrange(1000) < REFUSED_AT_DOT else ""
        recipients = []
        for place in range(dice.choice((1, 1, 1, 1, 2, 2, 3, 5))):
            is_refused = dice.randrange(1000) < REFUSED
            recipients.append(
                f"r{number}-{place}{fate or ('-refuse' if is_refused else '')}@next.test"
            )
        message = Message(
            number=number,
            sender=f"s{number}@client.test",
            recipients=tuple(recipients),
            octets=len(octets),
            digest=hashlib.sha256(octets).digest(),
            began=time.time(),
        )
        return message, octets


class Client:
    """Sends one message after the other, until it is told to stop.

    Args:
        ledger: Where to note what it was promised.
        letters: What it sends.
        dice: For how it does so.
        ports: Gives those of the nodes, when there are any and it is time for a message; nothing
            ends the client.
        refusals: Where to count what it was told in place of 250.
    """

    def __init__(
        self,
        ledger: Ledger,
        letters: Letters,
        dice: random.Random,
        ports: Callable[[], Awaitable[Sequence[int]]],
        *,
        refusals: Counter[int],
    ) -> None:
        self._ledger = ledger
        self._letters = letters
        self._dice = dice
        self._ports = ports
        self._refusals = refusals

    async def run(self) -> None:
        """Send."""
        while ports := await self._ports():
            port = self._dice.choice(ports)
            writer = None
            try:
                async with asyncio.timeout(SESSION_SECONDS):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    await self._session(reader, writer, port)
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(0.02)  # the node is gone, or has hung
            finally:
                if writer is not None:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()

    async def _session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        await _code(reader)
        writer.write(b"EHLO client.test\r\n")
        await _code(reader)
        pipelines = self._dice.random() < 0.5
        for number in range(MESSAGES_A_SESSION):
            if number and port not in await self._ports():
                break
            await self._send(reader, writer, pipelines=pipelines)
        writer.write(b"QUIT\r\n")

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pipelines: bool
    ) -> None:
        message, octets = self._letters.make()
        self._ledger.begin(message)
        commands = [
            b"MAIL FROM:<%b> BODY=8BITMIME\r\n" % message.sender.encode(),
            *(b"RCPT TO:<%b>\r\n" % recipient.encode() for recipient in message.recipients),
            b"DATA\r\n",
        ]
        codes = []
        if pipelines:
            writer.write(b"".join(commands))
            codes = [await _code(reader) for _ in commands]
        else:
            for command in commands:
                writer.write(command)
                codes.append(await _code(reader))
        if codes[-1] != 354:
            writer.write(b"RSET\r\n")
            await _code(reader)
            await self._refuse(message, next(code for code in codes if code >= 400))
            return
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        if self._dice.randrange(1000) < BROKEN_OFF:
            writer.write(stuffed[: len(stuffed) // 2])
            raise ConnectionAbortedError
        if len(stuffed) > 65_536:
            writer.write(stuffed)
            await writer.drain()
            stuffed = b""
        message.state = State.SENT
        writer.write(stuffed + b".\r\n")
        code = await _code(reader)
        if code == 250:
            self._ledger.ack(message)
        else:
            await self._refuse(message, code)

    async def _refuse(self, message: Message, code: int) -> None:
        message.state = State.REFUSED
        self._refusals[code] += 1
        await asyncio.sleep(REFUSED_SECONDS)


async def _code(reader: asyncio.StreamReader) -> int:
    """Read a reply; give its code."""
    while True:
        line = await reader.readuntil(b"\n")
        if line[3:4] != b"-":
            return int(line[:3])
