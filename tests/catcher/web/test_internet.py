"""Asking the links of a mail, and what is never asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
import trustme

from pillarbox.catcher.message import parse_message
from pillarbox.catcher.web.internet import MAX_REDIRECTS, Answer, Asker, is_public
from pillarbox.catcher.web.linkcheck import MAX_LINKS, check_links, checkable_links

PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.0.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1"),
    *("192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::"),
    *("2002:a00:1::1", "2001:0:0:0:0:0:80ff:fffe", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1"),
    *("fec0::1", "ff02::1", "2001:db8::1", "100::1", "5f00::1", "nonsense", ""),
]
PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1"),
    *("192.169.0.1", "223.255.255.254", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"),
    *("64:ff9b::8.8.8.8", "2002:808:808::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


class Web:
    """A server that answers by the path, and a resolver that leads every name to it."""

    def __init__(self, answers: dict[str, bytes], context: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.looked_up: list[str] = []
        self._context = context

    async def __aenter__(self) -> Web:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        method, path, _ = request.decode().split(" ", 2)
        writer.write(self.answers.get(f"{method} {path}", self.answers.get(path, b"nonsense\r\n")))
        await writer.drain()
        writer.close()

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        return ["127.0.0.1"]


def ask(
    answers: dict[str, bytes], path: str, *, follows: bool = False, **more: Any
) -> tuple[Answer, Web]:
    async def run() -> tuple[Answer, Web]:
        async with Web(answers) as web:
            given: dict[str, Any] = {"allows_internal": True, "look_up": web.look_up} | more
            asker = Asker(**given)
            url = f"http://shop.test:{web.port}{path}"
            return await asker.ask(url, follows=follows), web

    return asyncio.run(run())


def test_a_link_that_answers() -> None:
    answer, web = ask({"/a": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"}, "/a")
    assert answer == Answer(200, "OK")
    [request] = web.requests
    assert request.startswith(b"HEAD /a HTTP/1.1\r\nHost: shop.test:")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 Nope\r\n\r\n", Answer(404, "Not Found")),
        (b"HTTP/1.1 299 Odd words\r\n\r\n", Answer(299, "Odd words")),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Answer(200, "OK")),
        (b"220 mx.test ESMTP\r\n\r\n", Answer(0, "the answer is no HTTP")),
        (b"", Answer(0, "the answer is no HTTP")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, Answer(0, "the answer is no HTTP")),
    ],
)
def test_answers(answer: bytes, expected: Answer) -> None:
    assert ask({"/a": answer}, "/a")[0] == expected


def test_who_does_not_like_head_is_asked_by_get() -> None:
    answer, web = ask(
        {"HEAD /a": b"HTTP/1.1 405 No\r\n\r\n", "GET /a": b"HTTP/1.1 200 OK\r\n\r\n"}, "/a"
    )
    assert answer == Answer(200, "OK")
    assert len(web.requests) == 2


def test_nothing_in_an_address_ends_a_line() -> None:
    _, web = ask({}, "/a%0d%0aX:1/\u2028\u00e4 b?q=1 2\u010d\u010a")
    [request] = web.requests
    assert request.isascii()
    assert request.count(b"\r\n") == 6


def test_redirects() -> None:
    answers = {
        "/a": b"HTTP/1.1 302 Found\r\nLocation: /b?c\r\n\r\n",
        "/b?c": b"HTTP/1.1 200 OK\r\n\r\n",
        "/round": b"HTTP/1.1 302 Found\r\nLocation: /round\r\n\r\n",
    }
    assert ask(answers, "/a")[0] == Answer(302, "Found")
    assert ask(answers, "/a", follows=True)[0] == Answer(200, "OK")
    answer, web = ask(answers, "/round", follows=True)
    assert answer == Answer(0, "too many redirects")
    assert len(web.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0/",
            "http://0x7f.1/",
        ),
        *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "https://127.0.0.1/"),
        *("http://user@127.0.0.1/", "http://127.0.0.1:25/", "http://169.254.169.254/latest/"),
    ],
)
def test_local_addresses_are_not_asked(url: str) -> None:
    answer = asyncio.run(Asker().ask(url))
    assert answer.status_code == 451
    assert "private/reserved" in answer.status


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.test/", "gopher://a.test/", "//a.test", "http:///x"]
)
def test_other_schemes_are_not_asked(url: str) -> None:
    assert asyncio.run(Asker().ask(url)) == Answer(451, "only http and https are asked")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/", "http://a..b/", "http://.../"])
def test_what_is_no_address(url: str) -> None:
    assert asyncio.run(Asker(allows_internal=True).ask(url)).status_code == 0


def test_one_private_address_of_several_is_enough() -> None:
    async def look_up(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", "10.0.0.1"]

    assert asyncio.run(Asker(look_up=look_up).ask("http://a.test/")).status_code == 451


def test_dns_rebinding() -> None:
    """A name is looked up once for each request, and what was checked is what is asked."""
    answers = {"/": b"HTTP/1.1 200 OK\r\n\r\n"}
    _, web = ask(answers, "/")
    assert web.looked_up == ["shop.test"]

    later = iter([["8.8.8.8"], ["127.0.0.1"]])
    dialled: list[str] = []

    async def look_up(host: str, port: int) -> Sequence[str]:
        return next(later)

    async def dial(host: str, port: int, **_: object) -> Any:
        dialled.append(host)
        raise ConnectionRefusedError

    asker = Asker(look_up=look_up, dial=dial)
    assert asyncio.run(asker.ask("http://a.test/")) == Answer(0, "no connection")
    assert asyncio.run(asker.ask("http://a.test/")).status_code == 451
    assert dialled == ["8.8.8.8"]


def test_a_redirect_leads_no_further_than_a_link() -> None:
    inside = b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/secret\r\n\r\n"
    elsewhere = b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"
    places = iter([True, False, True])

    class OnceAllowed(Asker):
        """Takes the first address for a public one, as it stands in for one of the Internet."""

        async def _address(self, host: str, port: int) -> str:
            self._allows_internal = next(places)
            return await super()._address(host, port)

    async def run(answer: bytes) -> Answer:
        async with Web({"/": answer}) as web:
            asker = OnceAllowed()
            return await asker.ask(f"http://127.0.0.1:{web.port}/", follows=True)

    assert asyncio.run(run(inside)).status_code == 451
    assert asyncio.run(run(elsewhere)) == Answer(451, "only http and https are asked")


def test_a_server_that_drips_is_left() -> None:
    async def run() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            asker = Asker(allows_internal=True, timeout_seconds=0.05)
            answer = await asker.ask(f"http://127.0.0.1:{port}/")
            assert answer == Answer(0, "no answer within 0.05 seconds")

    asyncio.run(run())


def test_certificates_are_checked() -> None:
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("shop.test").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)

    async def run() -> None:
        async with Web({"/": b"HTTP/1.1 200 OK\r\n\r\n"}, theirs) as web:
            given = {"allows_internal": True, "look_up": web.look_up}
            for host, context, expected in (
                ("shop.test", ours, Answer(200, "OK")),
                ("other.test", ours, None),
                ("shop.test", None, None),
            ):
                answer = await Asker(context=context, **given).ask(f"https://{host}:{web.port}/")  # type: ignore[arg-type]  # what is given
                assert answer == expected or (expected is None and answer.status[:4] == "TLS:")

    asyncio.run(run())


# The links of a mail


def test_what_is_checked() -> None:
    message = parse_message(
        b"Content-Type: text/html\r\n\r\n"
        b"<a href=https://a.test/1>a</a><a href=https://a.test/1>b</a><img src='http://b.test/i'>"
        b"<a href='mailto:a@b.c'>c</a><img src=cid:x><link href=https://c.test/s.css rel=x>"
        b"<a href='javascript:alert(1)'>d</a><td background=http://d.test/bg>"
    )
    assert checkable_links(message) == [
        *("https://a.test/1", "http://b.test/i", "https://c.test/s.css", "http://d.test/bg"),
    ]


def test_many_links_are_asked_some_at_a_time() -> None:
    urls = "\r\n".join(f"http://{number}.test/" for number in range(MAX_LINKS + 50))
    message = parse_message(b"Subject: links\r\n\r\n" + urls.encode())
    at_once = most = 0

    async def look_up(host: str, port: int) -> Sequence[str]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return ["10.0.0.1"]

    checked = asyncio.run(check_links(message, Asker(look_up=look_up)))
    assert len(checked) == MAX_LINKS
    assert most <= 8
    assert all(link.is_error for link in checked)
