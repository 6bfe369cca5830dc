"""Next hops that misbehave, over real sockets: each does one thing wrong at one point."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

__all__ = ["DROP", "HALF", "HANG", "SLOW", "STALL", "NextHopServer", "serving"]

HANG = "hang"
"""Say nothing more."""
DROP = "drop"
"""Close the connection."""
HALF = "half"
"""Say half a reply, and nothing more."""
STALL = "stall"
"""Read nothing more."""
SLOW = "slow"
"""Say what is to be said octet by octet, with turns of the loop between."""

PLAIN = ("SIZE 100000000", "8BITMIME", "PIPELINING", "DSN", "SMTPUTF8")


@dataclass
class NextHopServer:
    """A server that follows a table.

    Attributes:
        faults: What to do at a point (`greeting`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `body` after the
            354, `dot`, `QUIT`): one of the words above, or what to answer.
        extensions: What is offered.
        is_lmtp: One answer for each recipient; `dots` has them.
        dots: Answers to the final dot over LMTP.
        only: The fault strikes in this session alone, counted from 1; 0 is in all.
    """

    faults: dict[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = PLAIN
    is_lmtp: bool = False
    dots: tuple[str, ...] = ()
    only: int = 0
    port: int = 0
    sessions: int = 0
    messages: list[bytes] = field(default_factory=list)
    """What was taken, as it came over the wire, the final dot left out."""
    commands: list[str] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        faults = self.faults if self.only in (0, self.sessions) else {}

        async def say(point: str, *lines: str) -> None:
            what = faults.get(point, "")
            if what == DROP:
                writer.close()
                raise ConnectionAbortedError
            if what in (HANG, HALF):
                writer.write(lines[0][:5].encode() if what == HALF else b"")
                await reader.read()
                raise ConnectionAbortedError
            if what == STALL:
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads, too
                await self.is_over.wait()
                raise ConnectionAbortedError
            if what == SLOW:
                for octet in "".join(f"{line}\r\n" for line in lines).encode():
                    writer.write(bytes([octet]))
                    await asyncio.sleep(0)
                return
            if what:
                lines = (what,)
            writer.write("".join(f"{line}\r\n" for line in lines).encode())

        await say("greeting", "220 next.test")
        taken = 0
        has_sender = False
        while line := (await reader.readline()).decode("latin-1"):
            self.commands.append(line.rstrip())
            verb = line[:4].upper().rstrip()
            if verb in ("EHLO", "LHLO"):
                offered = ["next.test", *self.extensions]
                last = len(offered) - 1
                await say(
                    "EHLO",
                    *(
                        f"250{'-' if number < last else ' '}{word}"
                        for number, word in enumerate(offered)
                    ),
                )
            elif verb == "MAIL":
                has_sender = faults.get(verb, "2")[:1] not in "45"
                await say(verb, "250 2.1.0 Sender OK")
            elif verb == "RCPT":
                point = line.rstrip() if line.rstrip() in faults else "RCPT"
                if not has_sender:
                    writer.write(b"503 5.5.1 No sender\r\n")
                    continue
                taken += faults.get(point, "2")[:1] not in "45"
                await say(point, "250 2.1.5 Recipient OK")
            elif verb == "DATA":
                if not taken:
                    await say("DATA", "503 5.5.1 No recipients")
                    continue
                await say("DATA", "354 Go on")
                if faults.get("DATA", "3")[:1] in "45":
                    taken = 0
                    continue
                if "body" in faults:
                    await say("body", "")
                self.messages.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
                if self.is_lmtp:
                    await say("dot", *self.dots[:taken])
                else:
                    await say("dot", "250 2.0.0 Taken")
                taken = 0
            elif verb == "QUIT":
                await say("QUIT", "221 2.0.0 Goodbye")
                return
            else:
                await say(verb, "250 2.0.0 OK")


@contextlib.asynccontextmanager
async def serving(
    faults: dict[str, str] | None = None, **values: object
) -> AsyncIterator[NextHopServer]:
    """Serve, on a free port."""
    server = NextHopServer(faults or {}, **values)  # type: ignore[arg-type]  # as they come
    tasks: list[asyncio.Task[None]] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await server.follow(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(follow(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=10_000_000)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.is_over.set()
        await asyncio.gather(*tasks)
