"""A client that means well until its fate comes: it resets, stalls, drips, floods or goes deaf.

Its fate is a number of steps and a way to fail. A step is one thing sent or one reply read, so that
every phase of a session is hit: PROXY header, TLS handshake, greeting, EHLO, STARTTLS, AUTH, the
envelope, DATA, BDAT, QUIT.
"""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.soak.mail import make_text, sender

__all__ = ["FATES", "Client", "Outcome", "Target"]

FATES = ("none",) * 12 + (
    "reset", "close", "half-close", "stall", "deaf", "garbage", "drip", "http"
)  # fmt: skip
MAX_STEPS = 30
FLOOD = b"HELP\r\n" * 2000


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and what is spoken there."""

    port: int
    is_tls: bool = False
    is_proxied: bool = False


@dataclass(slots=True)
class Outcome:
    """What clients know of their messages."""

    acknowledged: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    fates: dict[str, int] = field(default_factory=dict)


class Over(Exception):
    """The session has ended, one way or other."""


class Client:
    """One client.

    Args:
        target: Where to connect.
        name: Tells the seed and the number of the client: its dice begin there.
        numbers: Those of its messages.
        outcome: Where to note what became of them.
        context: The client's TLS.
        fates: What may happen.
    """

    def __init__(
        self,
        target: Target,
        name: str,
        numbers: range,
        outcome: Outcome,
        context: ssl.SSLContext,
        fates: Sequence[str] = FATES,
    ) -> None:
        self._target = target
        self._dice = random.Random(name)
        self._numbers = numbers
        self._outcome = outcome
        self._context = context
        self._loop = asyncio.get_running_loop()
        self.fate = self._dice.choice(fates)
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if self.fate == "deaf":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._heard = b""
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._tls: ssl.SSLObject | None = None
        self._open: int | None = None  # the message that has no answer yet
        self._fate_step = self._dice.randint(0, MAX_STEPS)
        self._steps = 0
        self.doing = "connecting"

    async def run(self) -> None:
        """Hold the session."""
        fates = self._outcome.fates
        fates[self.fate] = fates.get(self.fate, 0) + 1
        try:
            await self._loop.sock_connect(self._socket, ("127.0.0.1", self._target.port))
            await self._session()
        except (Over, OSError):
            pass
        finally:
            if self._open is not None:
                self._outcome.unanswered.append(self._open)
            self._socket.close()

    # The dialogue

    async def _session(self) -> None:
        if self._target.is_proxied:
            await self._send(b"PROXY TCP4 192.0.2.%d 198.51.100.2 49152 25\r\n" % self._die(254))
        if self._target.is_tls:
            await self._start_tls()
        if await self._reply() != 220:
            raise Over
        await self._ask(b"EHLO client.test\r\n")
        if (
            not self._target.is_tls
            and self._chance(0.4)
            and await self._ask(b"STARTTLS\r\n") == 220
        ):
            await self._start_tls()
            await self._ask(b"EHLO client.test\r\n")
        if self._chance(0.3):
            await self._log_in()
        for number in self._numbers:
            if self._chance(0.5):
                await self._by_data(number)
            else:
                await self._by_bdat(number)
        if self._chance(0.8):
            await self._ask(b"QUIT\r\n")
            await self._wait_for_end()

    async def _log_in(self) -> None:
        if self._chance(0.5):
            secret = base64.b64encode(b"\0ann\0secret")
            await self._ask(b"AUTH PLAIN " + secret + b"\r\n")
        elif await self._ask(b"AUTH LOGIN\r\n") == 334 and await self._ask(b"YW5u\r\n") == 334:
            await self._ask(b"c2VjcmV0\r\n" if self._chance(0.7) else b"*\r\n")

    async def _by_data(self, number: int) -> None:
        envelope = b"MAIL FROM:<%b>\r\nRCPT TO:<ben@example.org>\r\n" % sender(number)
        self._open = number
        if self._chance(0.5):
            await self._send(envelope + b"DATA\r\n")
            await self._reply()
            await self._reply()
            begun = await self._reply() == 354
        else:
            begun = True
            for line in envelope.splitlines(keepends=True):
                begun = begun and await self._ask(line) == 250
            begun = begun and await self._ask(b"DATA\r\n") == 354
        if begun:
            text = make_text(number)
            stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:]
            await self._send(stuffed + b".\r\n")
        self._answered(number, begun and await self._reply() == 250)
        if not begun:
            await self._ask(b"RSET\r\n")

    async def _by_bdat(self, number: int) -> None:
        self._open = number
        await self._ask(b"MAIL FROM:<%b> BODY=BINARYMIME\r\n" % sender(number))
        await self._ask(b"RCPT TO:<ben@example.org>\r\n")
        text = make_text(number)
        cuts = sorted(self._die(len(text)) for _ in range(self._die(4)))
        chunks = [
            text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        ]
        codes = []
        pipelines = self._chance(0.5)
        for at, chunk in enumerate(chunks):
            last = b" LAST" if at == len(chunks) - 1 else b""
            await self._send(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
            if not pipelines:
                codes.append(await self._reply())
        while len(codes) < len(chunks):
            codes.append(await self._reply())
        self._answered(number, codes[-1] == 250)
        if codes[-1] != 250:
            await self._ask(b"RSET\r\n")

    def _answered(self, number: int, is_accepted: bool) -> None:
        self._open = None
        (self._outcome.acknowledged if is_accepted else self._outcome.refused).append(number)

    async def _ask(self, line: bytes) -> int:
        await self._send(line)
        return await self._reply()

    async def _reply(self) -> int:
        await self._step(b"")
        while True:
            line, found, rest = self._heard.partition(b"\r\n")
            if not found:
                await self._read()
                continue
            self._heard = rest
            if line[3:4] != b"-":
                code = int(line[:3])
                if code == 421:
                    if self._open is not None:
                        self._answered(self._open, is_accepted=False)
                    raise Over
                return code

    # Octets

    async def _send(self, data: bytes) -> None:
        if not await self._step(data):
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self._tls is not None and self._outgoing is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        if self._chance(0.1):
            cut = self._die(len(data))
            await self._loop.sock_sendall(self._socket, data[:cut])
            await asyncio.sleep(0)
            data = data[cut:]
        await self._loop.sock_sendall(self._socket, data)

    async def _read(self) -> None:
        data = await self._loop.sock_recv(self._socket, 65536)
        if not data:
            raise Over
        if self._tls is None or self._incoming is None:
            self._heard += data
            return
        self._incoming.write(data)
        try:
            while part := self._tls.read(65536):
                self._heard += part
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            raise Over from None
        raise Over  # it said goodbye

    async def _start_tls(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(self._incoming, self._outgoing, server_hostname="mx.test")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send(self._outgoing.read())
                data = await self._loop.sock_recv(self._socket, 65536)
                if not data:
                    raise Over from None
                self._incoming.write(data)
            except ssl.SSLError:
                raise Over from None
            else:
                break
        await self._send(self._outgoing.read())
        self._heard = b""
        self._tls = tls
        if self._incoming.pending:  # the greeting came with the end of the handshake
            try:
                self._heard += tls.read(65536)
            except ssl.SSLError:
                raise Over from None

    async def _wait_for_end(self) -> None:
        """Read until the server closes, which it has to."""
        while await self._loop.sock_recv(self._socket, 65536):
            pass
        raise Over

    # Fate

    async def _step(self, data: bytes) -> bool:
        """Take a step, perhaps the last one; `True` where the data has been sent by it."""
        self._steps += 1
        self.doing = f"{self.fate} at {self._fate_step}, in step {self._steps}"
        if self._steps <= self._fate_step or self.fate == "none":
            return False
        if self.fate == "drip":
            if data and self._dice.random() < 0.5:
                for at in range(min(len(data), 300)):
                    await self._loop.sock_sendall(self._socket, self._wrap(data[at : at + 1]))
                    await asyncio.sleep(0.01)
                await self._loop.sock_sendall(self._socket, self._wrap(data[300:]))
                return True
            return False
        if data and self.fate in ("reset", "close", "half-close", "stall"):
            cut = self._die(len(data))
            await self._loop.sock_sendall(self._socket, self._wrap(data[:cut]))
            await asyncio.sleep(0.01)
        if self.fate == "reset":
            linger = b"\1\0\0\0\0\0\0\0"
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif self.fate == "half-close":
            self._socket.shutdown(socket.SHUT_WR)
            await self._wait_for_end()
        elif self.fate == "stall":
            await self._wait_for_end()
        elif self.fate == "deaf":
            for _ in range(500):
                await self._loop.sock_sendall(self._socket, self._wrap(FLOOD))
        elif self.fate == "garbage":
            await self._loop.sock_sendall(self._socket, self._dice.randbytes(self._die(3000)))
            await self._wait_for_end()
        elif self.fate == "http":
            await self._loop.sock_sendall(self._socket, self._wrap(b"GET / HTTP/1.1\r\n\r\n"))
            await self._wait_for_end()
        raise Over

    def _wrap(self, data: bytes) -> bytes:
        if self._tls is None or self._outgoing is None or not data:
            return data
        self._tls.write(data)
        return self._outgoing.read()

    def _die(self, most: int) -> int:
        return self._dice.randint(0, most)

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share
