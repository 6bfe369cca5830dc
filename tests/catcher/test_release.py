"""Letting a message go to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pillarbox import Message, Reject, Reply, serve
from pillarbox.catcher.release import ReleaseError, SMTPRelay, without_bcc

RELAYS = {
    "smtp.test:25": ("smtp", "smtp.test", 25, None, None),
    "[::1]:2525": ("smtp", "::1", 2525, None, None),
    "smtp://smtp.test": ("smtp", "smtp.test", 25, None, None),
    "smtps://smtp.test": ("smtps", "smtp.test", 465, None, None),
    "smtp+starttls://ann%40x.test:p%3aw@smtp.test": (
        *("smtp+starttls", "smtp.test", 587, "ann@x.test", "p:w"),
    ),
    "smtps://ann@smtp.test:1465": ("smtps", "smtp.test", 1465, "ann", None),
}


@pytest.mark.parametrize("text", RELAYS)
def test_where_to(text: str) -> None:
    relay = SMTPRelay.parse(text)
    found = (relay.scheme, relay.host, relay.port, relay.user, relay.password)
    assert found == RELAYS[text]


@pytest.mark.parametrize(
    "text", ["", "25", "smtp.test", "http://smtp.test", "smtp.test:port", "smtp://", "smtp://a/b"]
)
def test_no_server(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no server|has no port"):
        SMTPRelay.parse(text)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ValueError, match="is no server") as raised:
        SMTPRelay.parse("ftp://ann:secret@smtp.test")
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(SMTPRelay.parse("smtps://ann:secret@smtp.test"))


def release(handle: Callable[[Message], Reply | None], octets: bytes, *rcpt_tos: str) -> None:
    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0) as server:
            relay = SMTPRelay(host="127.0.0.1", port=server.port)
            await relay.send("ann@example.org", rcpt_tos, octets)

    asyncio.run(run())


def test_a_message_goes_as_it_came() -> None:
    seen: list[Message] = []

    def handle(message: Message) -> None:
        seen.append(message)

    release(handle, b"Subject: a\r\nBcc: c@x.test\r\n\r\n.\r\n", "bob@example.org", "d@x.test")
    [message] = seen
    assert message.mail_from == "ann@example.org"
    assert list(message.rcpt_tos) == ["bob@example.org", "d@x.test"]
    assert message.data == b"Subject: a\r\n\r\n.\r\n"


def test_a_refusal_is_told() -> None:
    def handle(message: Message) -> None:
        raise Reject(554, "5.7.1", "No thanks")

    with pytest.raises(ReleaseError, match=r"refused bob@example.org: 554 5.7.1 No thanks"):
        release(handle, b"\r\n", "bob@example.org")


def test_nobody_there() -> None:
    async def run() -> None:
        async with serve(lambda message: None, "127.0.0.1", 0) as server:
            port = server.port
        await SMTPRelay(host="127.0.0.1", port=port).send("a@x.test", ["b@x.test"], b"")

    with pytest.raises(ReleaseError, match=r"^127.0.0.1:[0-9]+: Connection refused$"):
        asyncio.run(run())


def test_an_address_with_a_line_break_goes_nowhere() -> None:
    with pytest.raises(ReleaseError):
        release(lambda message: None, b"\r\n", "bob@example.org>\r\nRCPT TO:<eve@x.test")


BCC = {
    b"Bcc: a\r\nSubject: b\r\n\r\nBcc: c\r\n": b"Subject: b\r\n\r\nBcc: c\r\n",
    b"A: b\r\nBCC : a,\r\n b,\r\n\tc\r\nD: e\r\n\r\n": b"A: b\r\nD: e\r\n\r\n",
    b"A: b\nbcc:a\nC: d\n\n": b"A: b\nC: d\n\n",
    b"X-Bcc: a\r\nA: Bcc: b\r\n\r\n": b"X-Bcc: a\r\nA: Bcc: b\r\n\r\n",
    b"": b"",
    b"Bcc: a": b"",
    b"\r\nBcc: a\r\n": b"\r\nBcc: a\r\n",
}


@pytest.mark.parametrize("octets", BCC, ids=repr)
def test_blind_copies_stay_blind(octets: bytes) -> None:
    assert without_bcc(octets) == BCC[octets]
