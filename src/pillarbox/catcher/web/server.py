"""The web server: uvicorn, in the event loop that takes the mail."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from pillarbox.catcher.web.service import Service

__all__ = ["WebServer"]

# A page closes at once when it is told; a download that goes on may take so long.
CLOSE_SECONDS = 2


class WebServer:
    """Serves an application on sockets that are bound; call `start()` next, and `close()` last.

    Args:
        app: What to serve.
        service: Is told when it stops.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,  # guard.py has one
                proxy_headers=False,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                ws_max_size=4096,  # nothing is sent to us there
            )
        )

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to listen.

        Raises:
            OSError: That cannot be; another program was faster.
        """
        self._task = asyncio.create_task(self._server.serve(list(sockets)))
        started = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait([self._task, started], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            await self._task

    async def close(self) -> None:
        """Stop listening, let go of whoever waits, and end what goes on."""
        self._service.stopping.set()
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the loop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self.listening.set()
