"""What is pushed: each change of the mailbox to each page that listens, by WebSocket.

A page that does not keep up is told to load anew, and not fed for ever: what waits for it has a
limit. Counts go out four times a second at most, always the last ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from pillarbox import __version__
from pillarbox.catcher.change import Change, Deleted, New, Pruned, Stats, Truncated, Updated
from pillarbox.catcher.web.service import Service
from pillarbox.catcher.web.shape import summary_shape

__all__ = ["Events", "event_shape"]

MAX_WAITING = 500
STATS_SECONDS = 0.25
GOING_AWAY = 1001  # RFC 6455 §7.4.1


def event_shape(change: Change) -> dict[str, Any]:
    """Give a change as Mailpit's pages are told of it."""
    match change:
        case New(summary):
            return {"Type": "new", "Data": summary_shape(summary)}
        case Updated(summary):
            data = {"ID": summary.id, "Read": summary.is_read, "Tags": list(summary.tags)}
            return {"Type": "update", "Data": data}
        case Deleted(id_):
            return {"Type": "delete", "Data": {"ID": id_}}
        case Truncated():
            return {"Type": "truncate", "Data": None}
        case Pruned():
            return {"Type": "prune", "Data": None}
        case Stats(total, unread):
            data = {"Total": total, "Unread": unread, "Version": f"v{__version__}"}
            return {"Type": "stats", "Data": data}


class Events:
    """The endpoint of one service.

    Args:
        service: Whose mailbox it tells of.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def serve(self, websocket: WebSocket) -> None:
        """Tell a page of changes until it goes, or the server does."""
        name = websocket.path_params.get("mailbox")
        mailbox = self._service.mailbox
        mailbox = mailbox if name is None else mailbox.scoped(name)
        loop = asyncio.get_running_loop()
        outbox = _Outbox()

        def told(change: Change) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(outbox.put, change)

        await websocket.accept()
        cancel = mailbox.subscribe(told)
        tasks = [
            asyncio.create_task(self._send(websocket, outbox)),
            asyncio.create_task(_listen(websocket)),
            asyncio.create_task(self._service.stopping.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._service.stopping.is_set():
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await websocket.close(GOING_AWAY)
        finally:
            cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, websocket: WebSocket, outbox: _Outbox) -> None:
        loop = asyncio.get_running_loop()
        next_stats = 0.0
        while True:
            # What came in together goes out together; then the counts, if their time has come.
            delay = max(0.0, next_stats - loop.time()) if outbox.stats is not None else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await outbox.filled.wait()
            while outbox.changes:
                await _tell(websocket, outbox.changes.popleft())
            outbox.filled.clear()
            if outbox.stats is not None and loop.time() >= next_stats:
                stats, outbox.stats = outbox.stats, None
                next_stats = loop.time() + STATS_SECONDS
                await _tell(websocket, stats)


class _Outbox:
    """What waits to be sent to one page."""

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.stats: Stats | None = None
        self.filled = asyncio.Event()

    def put(self, change: Change) -> None:
        """Take a change; where too many wait already, the page shall load anew."""
        if isinstance(change, Stats):
            if self.stats is None:
                self.filled.set()
            self.stats = change
            return
        if len(self.changes) >= MAX_WAITING:
            self.changes.clear()
            change = Pruned()
        self.changes.append(change)
        self.filled.set()


async def _tell(websocket: WebSocket, change: Change) -> None:
    await websocket.send_text(json.dumps(event_shape(change), separators=(",", ":")))


async def _listen(websocket: WebSocket) -> None:
    """Hear the page say goodbye; whatever else it says is of no interest."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
