"""Calls of the application without a network: what a client of HTTP sees, and one of WebSocket."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.summary import Summary
from pillarbox.catcher.web.application import application
from pillarbox.catcher.web.service import Service

TIME_LIMIT_SECONDS = 20.0
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self.text
        return json.loads(self.body)


@dataclass
class Site:
    """A mailbox and the application over it."""

    mailbox: Mailbox = field(default_factory=Mailbox)
    hosts: tuple[str, ...] = ()
    logins: dict[str, str] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weakref.finalize(self, self.mailbox.close)  # when the test has done with it
        self.service = Service(mailbox=self.mailbox, **self.more)
        self.app = application(self.service, hosts=self.hosts, logins=self.logins)

    def add(self, message: EmailMessage | bytes, *rcpt_tos: str, **more: Any) -> Summary:
        given: dict[str, Any] = {
            "id": new_id(),
            "time": NOON + timedelta(seconds=self.mailbox.counts().total),
            "mail_from": "ann@example.org",
            "rcpt_tos": rcpt_tos or ("bob@example.org",),
            "octets": message if isinstance(message, bytes) else crlf(message),
        }
        return self.mailbox.add(Arrival(**(given | more)))

    def get(self, address: str, **headers: str) -> Answer:
        return self.call("GET", address, **headers)

    def put(self, address: str, value: Any, **headers: str) -> Answer:
        return self.call("PUT", address, json.dumps(value).encode(), **headers)

    def post(self, address: str, value: Any, **headers: str) -> Answer:
        return self.call("POST", address, json.dumps(value).encode(), **headers)

    def delete(self, address: str, value: Any = None, **headers: str) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        return self.call("DELETE", address, body, **headers)

    def call(
        self, method: str, address: str, body: bytes | Iterable[bytes] = b"", /, **headers: str
    ) -> Answer:
        """Make one request; `_` in the name of a header is a hyphen."""
        return asyncio.run(self.acall(method, address, body, **headers))

    async def acall(
        self, method: str, address: str, body: bytes | Iterable[bytes] = b"", /, **headers: str
    ) -> Answer:
        parts = [body] if isinstance(body, bytes) else list(body)
        incoming = [
            {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
            for number, part in enumerate(parts)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            return incoming.pop(0) if incoming else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await self.app(scope("http", address, headers) | {"method": method}, receive, send)
        start, *rest = sent
        return Answer(
            start["status"],
            {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
        )

    @asynccontextmanager
    async def listening(
        self, address: str = "/api/events", ears: Ears | None = None, **headers: str
    ) -> AsyncIterator[Ears]:
        """Open a WebSocket."""
        ears = ears or Ears()
        task: asyncio.Task[None] = asyncio.create_task(
            self.app(scope("websocket", address, headers), ears.receive, ears.send)  # type: ignore[arg-type]  # a coroutine
        )
        try:
            first = asyncio.create_task(ears.heard())
            await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
            assert ears.outgoing.qsize() or first.done(), task.exception()
            ears.first = await first
            yield ears
        finally:
            ears.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await task


class Ears:
    """The client's end of a WebSocket."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.first: Any = None

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        self.outgoing.put_nowait(message)

    async def heard(self) -> Any:
        """Give what the server says next."""
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            return await self.outgoing.get()

    async def event(self) -> Any:
        """Give the next event."""
        message = await self.heard()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def until(self, is_it: Callable[[Any], bool]) -> list[Any]:
        """Give the events up to one."""
        events = [await self.event()]
        while not is_it(events[-1]):
            events.append(await self.event())
        return events


def scope(kind: str, address: str, headers: dict[str, str]) -> dict[str, Any]:
    parts = urlsplit(address)
    given = {"host": "127.0.0.1:8025"} | {
        name.replace("_", "-").lower(): value for name, value in headers.items()
    }
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": unquote(parts.path),
        "raw_path": quote(parts.path, safe="/%").encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8025),
        "subprotocols": [],
    }


def crlf(message: EmailMessage) -> bytes:
    return message.as_bytes().replace(b"\n", b"\r\n")


def letter(subject: str = "Hello", text: str = "Hello Bob\n", **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann Example <ann@example.org>"
    message["To"] = "Bob <bob@example.org>"
    message["Subject"] = subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message
