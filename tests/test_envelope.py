"""The values that a handler is given."""

from __future__ import annotations

import asyncio

import pytest

from pillarbox import Body, Envelope, Mail, Message, Path, Rcpt
from pillarbox.testing import MemoryServer, Recorder, play

DIALOGUE = r"""
    S: 220 ...
    C: EHLO client.test
    S: 250 ...
    C: MAIL FROM:<> SIZE=30
    S: 250 ...
    C: RCPT TO:<"ben"@example.org>
    S: 250 ...
    C: RCPT TO:<cat@example.org>
    S: 250 ...
    C: DATA
    S: 354 ...
    C: Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
    C: From: Ann <ann@example.org>
    C:
    C: Hello!
    C: .
    S: 250 ...
"""


def one_message() -> Message:
    recorder = Recorder()
    play(DIALOGUE, MemoryServer(recorder))
    (message,) = recorder.messages
    return message


def test_message() -> None:
    message = one_message()
    assert message.mail_from == ""
    assert message.rcpt_tos == ['"ben"@example.org', "cat@example.org"]
    assert message.data.endswith(b"\r\n\r\nHello!\r\n")
    assert message.session.domain == "client.test"
    assert "data=" in repr(message)


def test_message_parsed() -> None:
    email = one_message().parse()
    assert email["Subject"] == "Grüße"
    assert email["From"].addresses[0].addr_spec == "ann@example.org"
    assert email.get_content() == "Hello!\r\n"


def test_envelope() -> None:
    envelope = one_message().envelope
    assert envelope.mail == Mail(Path(b""), size=30, parameters={"SIZE": "30"})
    assert envelope.rcpts == [Rcpt(Path(b'"ben"@example.org')), Rcpt(Path(b"cat@example.org"))]
    assert envelope.rcpts[0].path.unquoted_local_part == "ben"
    assert repr(Envelope(Mail(Path(b"a@b")), [Rcpt(Path(b"c@d"))])) == (
        "<Envelope from 'a@b' to ['c@d']>"
    )


@pytest.mark.parametrize("data", [b"", b"x\r\n"])
def test_body_that_is_whole(data: bytes) -> None:
    async def parts() -> list[bytes]:
        return [part async for part in Body(data)]

    body = Body(data)
    assert body.is_whole
    assert asyncio.run(body.read()) == data
    assert asyncio.run(body.read()) == b""
    assert body.data == data
    assert asyncio.run(parts()) == ([data] if data else [])


def test_the_handlers_own_notes() -> None:
    session = one_message().session
    session.state["seen"] = True
    assert session.state == {"seen": True}
    assert session.peer == ("192.0.2.1", 49152)
    assert repr(session) == "<Session memory from ('192.0.2.1', 49152)>"
