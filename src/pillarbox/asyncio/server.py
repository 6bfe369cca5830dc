"""The asyncio server: it listens, keeps time and says goodbye.

Who is let in: admission.py. What happens on a connection: connection.py.

`serve()` is the way in::

    async with serve(handler, "127.0.0.1", 1025) as server:
        print(server.addresses)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from pillarbox.asyncio.admission import Admission
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.journal import Journal
from pillarbox.asyncio.tls import TlsLayer
from pillarbox.certificate import Certificates
from pillarbox.config import Config, ConfigError
from pillarbox.counters import Counters
from pillarbox.envelope import Session
from pillarbox.handler import AnswersAuth, AnyHandler, Follows, mechanisms, questions
from pillarbox.listen import open_sockets, open_unix_socket, socket_address
from pillarbox.log import peer_text
from pillarbox.protocol.reply import Reply

__all__ = ["Server", "serve"]

TICK_SECONDS = 1.0
# A burst of clients waits in the kernel while one batch is handled.
BACKLOG = 2048
# How long what was aborted, and the handler's `disconnect`, may take to end.
ABORT_SECONDS = 5.0


@contextlib.asynccontextmanager
async def serve(
    handler: AnyHandler,
    host: str = "127.0.0.1",
    port: int = 1025,
    *,
    config: Config | None = None,
) -> AsyncIterator[Server]:
    """Take mail for `handler` while the `async with` block runs.

    Args:
        handler: An object with methods of `Handler`, or a function of a `Message`.
        host: An address or name to listen on.
        port: A port; 0 picks a free one, which `server.port` tells.
        config: Limits, names and times.

    Raises:
        OSError: The address cannot be listened on.
        TypeError: The handler is none.
    """
    server = Server(handler, config=config)
    try:
        await server.listen(host, port)
        yield server
    finally:
        await server.close()


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket, as its connections see it."""

    is_tls: bool


class Server:
    """An SMTP server on the running event loop; call `listen()` next.

    Args:
        handler: What to do with mail.
        config: Limits, names and times.
        certificates: For STARTTLS and implicit TLS.
        logins: Who may log in, in place of what the handler says of it. Without certificates,
            passwords are taken in the clear: see `Config.allows_plaintext_auth`.
        clock: Tells the time in seconds, monotonically.

    Raises:
        TypeError: The handler is none.
        ConfigError: The configuration cannot work with this handler and these certificates.
    """

    def __init__(
        self,
        handler: AnyHandler,
        *,
        config: Config | None = None,
        certificates: Certificates | None = None,
        logins: AnswersAuth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or Config()
        self.questions = questions(handler, logins)
        self.offer = self.config.offer(
            offers_tls=certificates is not None, mechanisms=mechanisms(logins or handler)
        )
        self._xclient_offer = replace(self.offer, offers_xclient=True)
        self.loop = asyncio.get_running_loop()
        self.now = clock() + TICK_SECONDS
        """The time of the next tick: free, and as it is never too early, no client is cut short."""
        self.is_draining = False
        self.journal = Journal()
        self.admission = Admission(self.config, self.journal)
        self.clock = clock
        self._certificates = certificates
        self._followed = [one for one in (certificates, logins) if isinstance(one, Follows)]
        self._memory_octets = 0
        self._servers: list[asyncio.Server] = []
        self._addresses: list[tuple[str, int] | str] = []
        self._paths: list[str] = []
        self._orphans: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._run_id = os.urandom(3).hex()
        self._numbers = itertools.count(1)
        self._ticking: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    # Listening

    @property
    def addresses(self) -> list[tuple[str, int] | str]:
        """What the server listens on: `(host, port)`, or a path for a UNIX socket."""
        return list(self._addresses)

    @property
    def port(self) -> int:
        """The first TCP port that the server listens on.

        Raises:
            RuntimeError: There is none; `await server.listen(host, port)` first.
        """
        for address in self._addresses:
            if not isinstance(address, str):
                return address[1]
        raise RuntimeError("no TCP port; call `await server.listen(host, port)` first")

    @property
    def counters(self) -> Counters:
        """The server's figures as they are now: a copy, which does not go on counting."""
        return self.journal.copy(
            connections_open=len(self.admission), memory_octets=self._memory_octets
        )

    async def listen(self, host: str, port: int, *, is_tls: bool = False) -> None:
        """Listen on every address that `host` stands for.

        Args:
            host: An address or name.
            port: A port; 0 picks a free one.
            is_tls: TLS begins at once, without STARTTLS (RFC 8314).

        Raises:
            OSError: The address is taken, not this machine's, or not allowed.
        """
        sockets = open_sockets(host, port)
        try:
            while sockets:
                await self.listen_on(sockets.pop(0), is_tls=is_tls)
        finally:
            for sock in sockets:
                sock.close()

    async def listen_unix(self, path: str) -> None:
        """Listen on a UNIX socket, which `close()` removes.

        Raises:
            OSError: The path is taken or cannot be written.
        """
        await self.listen_on(open_unix_socket(path))
        self._paths.append(path)

    async def listen_on(self, sock: socket.socket, *, is_tls: bool = False) -> None:
        """Listen on a socket that is bound already, and close it in the end.

        The path of a UNIX socket stays: it may be other processes' too.

        Raises:
            OSError: Another socket listens there.
            ConfigError: TLS is to begin at once, and there is no certificate.
        """
        if is_tls and self._certificates is None:
            sock.close()
            raise ConfigError("a TLS listener needs a certificate; give one and its key")
        address = socket_address(sock)
        create: Callable[..., Awaitable[asyncio.Server]] = self.loop.create_server
        options: dict[str, Any] = {"sock": sock, "backlog": BACKLOG}
        if sock.family == getattr(socket, "AF_UNIX", None):
            create = self.loop.create_unix_server
            if sys.version_info >= (3, 13):
                options["cleanup_socket"] = False
        listener = Listener(is_tls)
        try:
            sock.listen(BACKLOG)  # uvloop would keep a failure to itself
            self._servers.append(await create(lambda: Connection(self, listener), **options))
        except BaseException:
            sock.close()
            raise
        self._addresses.append(address)
        if self._ticking is None:
            _keep_heap()
            self._ticking = self.loop.call_later(TICK_SECONDS, self._tick)

    async def close(self) -> None:
        """Stop listening, let open transactions end, and close all connections.

        Those not done after `config.drain_seconds` are aborted; nothing was accepted from them.
        """
        self.is_draining = True
        await self._accept_no_more()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._paths.clear()
        for connection in self.admission.everyone:
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain_seconds):
                await self._until_empty()
        for task in tuple(self._orphans):
            task.cancel()
        for connection in self.admission:
            connection.session.log.warning("aborted, its transaction took too long")
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                await self._until_empty()
        for task in self._orphans | self._tasks:
            task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    async def _accept_no_more(self) -> None:
        """Let those in who were accepted already: they hear that we shut down.

        asyncio accepts first, makes the transport a turn later and tells us another turn later. If
        its server is closed in between, it drops the transport and leaves the socket open.
        """
        if isinstance(self.loop, asyncio.SelectorEventLoop):
            for server in self._servers:
                for sock in server.sockets:
                    self.loop.remove_reader(sock.fileno())
            for _ in range(2):
                await asyncio.sleep(0)

    async def _until_empty(self) -> None:
        while self.admission:
            self._emptied.clear()
            await self._emptied.wait()
        while tasks := self._orphans | self._tasks:
            await asyncio.wait(tasks)

    # What a connection asks for

    def admit(self, connection: Connection) -> Reply | None:
        """Let a new connection in, or give the reply that sends it away."""
        refusal = self.admission.admit(connection)
        if refusal is None:
            if self.admission.may_say_xclient(connection):
                connection.protocol.offer = self._xclient_offer
            if self.journal.tells_everything:
                connection.session.log.debug("connection from %s", peer_text(connection.peer))
        return refusal

    def forget(self, connection: Connection) -> None:
        """Take a connection that is over out of the count."""
        if not self.admission.forget(connection):
            return
        if self.journal.tells_everything:
            connection.session.log.debug("connection is over")
        if not self.admission:
            self._emptied.set()

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """The certificate for the next connection."""
        return self._certificates.context if self._certificates is not None else None

    def channel_bindings(self, tls: TlsLayer) -> dict[str, bytes]:
        """Give what SASL can bind a login to, so that nobody in the middle can use it."""
        bindings: dict[str, bytes] = {}
        shown = self._certificates.for_name(tls.server_name) if self._certificates else None
        if shown is not None and shown.end_point is not None:
            bindings["tls-server-end-point"] = shown.end_point
        if unique := tls.channel_binding():
            bindings["tls-unique"] = unique
        return bindings

    def take_memory(self, octets: int) -> bool:
        """Count memory for messages that are gathered whole; `False` when there is no more."""
        self._memory_octets += octets
        return self._memory_octets <= self.config.max_memory_bytes

    def next_session_id(self) -> str:
        """Name a connection, apart from those of other servers and runs."""
        return f"{self._run_id}-{next(self._numbers)}"

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Let `close()` wait for what a handler still does though its client is gone."""
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    def spawn(self, session: Session, waiting: Awaitable[None]) -> None:
        """Finish something that a handler began, and log its failure."""

        async def finish() -> None:
            try:
                await waiting
            except Exception:
                self.journal.counters.handler_errors += 1
                session.log.exception("the handler failed on disconnect")

        task = self.loop.create_task(finish())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Time

    def check_deadlines(self) -> None:
        """Look at the clock, and close the connections that were silent for too long."""
        self.journal.tick()
        now = self.clock()
        self.now = now + TICK_SECONDS
        for followed in self._followed:
            followed.refresh()
        for connection in self.admission.everyone:
            connection.check(now)

    def _tick(self) -> None:
        self._ticking = self.loop.call_later(TICK_SECONDS, self._tick)
        self.check_deadlines()


def _keep_heap() -> None:
    """Have glibc keep freed memory up to 8 MiB for the next large message.

    It returns each large buffer to the kernel until the first one of that size was freed; the page
    faults cost as much as all else that is done for a message of 100 KiB. Other C libraries do not
    mind.
    """
    bytes(8 << 20)
