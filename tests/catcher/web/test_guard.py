"""Who may call, and what every answer has about it."""

from __future__ import annotations

import asyncio
import base64

import pytest

from pillarbox.catcher.web.application import OPERATIONS
from pillarbox.catcher.web.operation import Operation
from tests.catcher.web.caller import Site, letter

OURS = [
    *("localhost", "localhost:8025", "LOCALHOST:8025", "localhost.:8025", "app.localhost:8025"),
    *("127.0.0.1", "127.0.0.1:8025", "127.9.9.9:1", "192.168.1.7:8025", "[::1]:8025", "[fe80::1]"),
    *("mail.test:8025", "MAIL.test"),
]
OTHERS = [
    *("evil.example", "evil.example:8025", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("xlocalhost", "mail.test.evil.example", "2130706433.evil.example", "0x7f.1.evil"),
]
NONE = [
    "",
    "localhost:port",
    "a@localhost",
    "localhost/x",
    "[::1",
    "localhost:99999",
    "a b",
    "[fe80::1%<b>]",
]


@pytest.fixture
def site() -> Site:
    site = Site(hosts=("mail.test",))
    site.add(letter())
    return site


@pytest.mark.parametrize("host", OURS)
def test_names_of_ours(site: Site, host: str) -> None:
    assert site.get("/api/v1/messages", host=host).status == 200
    assert site.get("/api/v1/messages", host=host, origin=f"http://{host}").status == 200


@pytest.mark.parametrize("host", OTHERS)
def test_dns_rebinding(site: Site, host: str) -> None:
    for address in ("/", "/api/v1/messages", "/view/latest.html", "/livez"):
        answer = site.get(address, host=host, origin=f"http://{host}")
        assert answer.status == 403
        assert "--http-host" in answer.text
    assert site.delete("/api/v1/messages", host=host).status == 403
    assert site.mailbox.counts().total == 1


@pytest.mark.parametrize("host", NONE)
def test_no_host(site: Site, host: str) -> None:
    assert site.get("/api/v1/messages", host=host).status in (400, 403)


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "http://evil.example",
            "http://localhost:3000",
            "http://127.0.0.1",
            "null",
            "",
            "file://",
        ),
        *("http://127.0.0.1:8025.evil.example", "http://127.0.0.1:8025@evil.example", "http://["),
    ],
)
def test_pages_of_others(site: Site, origin: str) -> None:
    answer = site.delete("/api/v1/messages", origin=origin)
    assert (answer.status, site.mailbox.counts().total) == (403, 1)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_no_operation_answers_a_stranger(site: Site, operation: Operation) -> None:
    address = operation.path.replace("{id}", "latest").replace("{part}", "1")
    for headers in (
        {"host": "evil.example"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"origin": "http://evil.example"},
    ):
        body = b"{}" if operation.method in ("POST", "PUT") else b""
        answer = site.call(operation.method, address, body, **headers)
        assert answer.status == 403, headers


def test_cross_site_websockets(site: Site) -> None:
    async def attempts() -> None:
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"host": "evil.example", "origin": "http://evil.example"},
        ):
            async with site.listening(**headers) as ears:  # type: ignore[arg-type]  # no ears in them
                assert ears.first["type"] == "websocket.close"
        for ours in ({}, {"origin": "http://127.0.0.1:8025"}):
            async with site.listening(**ours) as ears:  # type: ignore[arg-type]  # no ears in them
                assert ears.first["type"] == "websocket.accept"

    asyncio.run(attempts())


@pytest.mark.parametrize(
    ("address", "mode", "dest", "is_answered"),
    [
        ("/view/latest.txt", "navigate", "document", True),
        ("/view/latest.txt", "navigate", "iframe", False),
        ("/api/v1/message/latest", "no-cors", "image", False),
        ("/api/v1/message/latest/link-check", "no-cors", "image", False),
        ("/api/v1/messages", "no-cors", "script", False),
        ("/api/v1/message/latest/part/1", "no-cors", "image", True),
        ("/api/v1/message/latest/part/1", "no-cors", "script", False),
    ],
)
def test_requests_that_a_browser_says_are_a_strangers(
    site: Site, address: str, mode: str, dest: str, is_answered: bool
) -> None:
    about = {"sec_fetch_mode": mode, "sec_fetch_dest": dest}
    for where in ("cross-site", "same-site"):
        answer = site.get(address, sec_fetch_site=where, **about)
        assert answer.status == (200 if is_answered else 403)
    assert site.get(address, sec_fetch_site="same-origin", **about).status != 403


def test_every_answer_has_its_headers(site: Site) -> None:
    for address in ("/api/v1/messages", "/api/v1/message/nope", "/nothing", "/livez"):
        headers = site.get(address).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] in ("no-store", "no-cache")
    assert site.get("/livez", host="evil.example").headers["x-content-type-options"] == "nosniff"


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_logins() -> None:
    site = Site(logins={"ann": "sec:rét"})
    for header in (
        *("", "Basic", "Basic !!!", "Bearer x", basic("ann:"), basic("ann:wrong"), basic("bob:")),
        *(basic("ann"), basic(":"), "Basic /w=="),
    ):
        answer = site.get("/api/v1/messages", authorization=header)
        assert answer.status == 401, header
        assert answer.headers["www-authenticate"] == 'Basic realm="Pillarbox", charset="UTF-8"'
    assert site.get("/api/v1/messages", authorization=basic("ann:sec:rét")).status == 200
    assert site.get("/livez").status == 200
    assert site.get("/readyz").status == 200
    assert site.get("/metrics").status == 401
    assert site.get("/").status == 401


def test_logins_for_websockets() -> None:
    site = Site(logins={"ann": "secret"})

    async def attempts() -> None:
        async with site.listening() as ears:
            assert ears.first["type"] == "websocket.close"
        async with site.listening(authorization=basic("ann:secret")) as ears:
            assert ears.first["type"] == "websocket.accept"

    asyncio.run(attempts())
