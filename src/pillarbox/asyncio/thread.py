"""A server on a thread of its own, for programs that are not asynchronous.

The handler's methods run on that thread, in its event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from pillarbox.asyncio.server import Server
from pillarbox.certificate import Certificates
from pillarbox.config import Config
from pillarbox.handler import AnswersAuth, AnyHandler

__all__ = ["ThreadServer"]

_T = TypeVar("_T")


class ThreadServer:
    """A server that runs beside the program, from `start()` or `with` until `close()`.

    Args:
        handler: What to do with mail.
        host: An address or name to listen on.
        port: A port; 0 picks a free one, which `port` tells.
        config: Limits, names and times.
        certificates: See `Server`.
        logins: See `Server`.
        is_tls: TLS begins at once, without STARTTLS (RFC 8314).
    """

    def __init__(
        self,
        handler: AnyHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        config: Config | None = None,
        certificates: Certificates | None = None,
        logins: AnswersAuth | None = None,
        is_tls: bool = False,
    ) -> None:
        self._certificates = certificates
        self._logins = logins
        self._is_tls = is_tls
        self._handler = handler
        self._host = host
        self._port = port
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: Server | None = None

    @property
    def addresses(self) -> list[tuple[str, int] | str]:
        """What the server listens on: `(host, port)` each."""
        return self._running().addresses

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._running().port

    def start(self) -> None:
        """Listen; clients can connect when this returns.

        Raises:
            OSError: The address cannot be listened on.
            TypeError: The handler is none.
        """
        if self._thread is not None:
            raise RuntimeError("this server was started already; make another one")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="pillarbox", daemon=True
        )
        self._thread.start()
        try:
            self._server = self._call(self._listen())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let open transactions end, close all connections and end the thread."""
        if self._thread is None or self._loop is None or self._loop.is_closed():
            return
        if self._server is not None:
            self._call(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> ThreadServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("this server does not run yet; use `with` or call start()")
        return self._server

    async def _listen(self) -> Server:
        server = Server(
            self._handler,
            config=self._config,
            certificates=self._certificates,
            logins=self._logins,
        )
        await server.listen(self._host, self._port, is_tls=self._is_tls)
        return server

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
