"""The web server in an event loop that has other things to do."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pillarbox.catcher.web.server import WebServer
from tests.catcher.web.caller import Site, letter


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[tuple[WebServer, str]]:
    sock = socket.create_server(("127.0.0.1", 0))
    server = WebServer(site.app, site.service)
    await server.start([sock])
    try:
        yield server, f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await server.close()


async def get(address: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    def ask() -> tuple[int, http.client.HTTPMessage, bytes]:
        client = http.client.HTTPConnection(address, timeout=20)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            client.close()

    return await asyncio.to_thread(ask)


def test_answers() -> None:
    async def run() -> None:
        async with serving(Site()) as (_, address):
            status, headers, _ = await get(address, "/api/v1/info")
            assert status == 200
            assert headers.get_all("Date") is not None
            assert len(headers.get_all("Date", [])) == 1
            assert "Server" not in headers
            for path, kind in (
                ("/", "text/html; charset=utf-8"),
                ("/app.js", "text/javascript; charset=utf-8"),
                ("/app.css", "text/css; charset=utf-8"),
                ("/icon.svg", "image/svg+xml"),
            ):
                status, headers, _ = await get(address, path)
                assert (status, headers["Content-Type"]) == (200, kind)
                assert headers["Cache-Control"] == "no-cache"
                assert headers["ETag"]
                assert "script-src 'self'" in headers["Content-Security-Policy"]
            for path in ("/../../pyproject.toml", "/%2e%2e/web/api.py", "/nothing.js"):
                assert (await get(address, path))[0] == 404

    asyncio.run(run())


def test_a_change_is_pushed() -> None:
    site = Site()

    async def run() -> None:
        async with serving(site) as (_, address), connect(f"ws://{address}/api/events") as page:
            await asyncio.to_thread(site.add, letter("Hello"))
            assert '"Subject":"Hello"' in str(await page.recv())
            with pytest.raises(InvalidStatus):
                await connect(f"ws://{address}/api/events", origin="http://evil.test")  # type: ignore[arg-type]  # an Origin is a str

    asyncio.run(run())


def test_it_ends_at_once_though_pages_listen_and_tests_wait() -> None:
    async def run() -> None:
        site = Site()
        async with serving(site) as (server, address):
            page = await connect(f"ws://{address}/api/events")
            waiting = asyncio.create_task(get(address, "/api/x/wait?timeout=50"))
            while not site.mailbox._changes or len(site.mailbox._changes._subscribers) < 2:
                await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await server.close()
            with pytest.raises(ConnectionClosed):
                await page.recv()
            assert (await waiting)[0] == 408

    asyncio.run(run())


def test_a_port_that_somebody_took_meanwhile() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            other = socket.socket()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server = WebServer(Site().app, Site().service)
            other.close()
            with pytest.raises((OSError, ValueError)):
                await server.start([other])
            assert sock.fileno() >= 0

    asyncio.run(run())
