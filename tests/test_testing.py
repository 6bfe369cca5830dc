"""`pillarbox.testing`: transcripts that are right, wrong, and not transcripts at all."""

from __future__ import annotations

import asyncio
import socket
import textwrap
from pathlib import Path
from typing import get_args

import pytest

import pillarbox.testing
from pillarbox import (
    Body,
    Config,
    Disconnect,
    Envelope,
    Message,
    Reject,
    Reply,
    Session,
    ThreadServer,
)
from pillarbox.protocol.extension import Offer
from pillarbox.testing import (
    FakeClock,
    MemoryServer,
    MemoryTransport,
    Recorder,
    Transcript,
    TranscriptError,
    Way,
    play,
)
from tests.conftest import TIME_LIMIT_SECONDS, Talk

WAYS = get_args(Way)


class Parrot:
    """A server that says what it is told to, whatever it hears."""

    def __init__(self, says: bytes, *, closes: bool = True) -> None:
        self.says = says
        self.closes = closes
        self.heard: list[bytes] = []
        self.is_shut = False

    def sendall(self, data: bytes, /) -> None:
        self.heard.append(data)

    def recv(self, size: int, /) -> bytes:
        data, self.says = self.says[:size], self.says[size:]
        if not data and not self.closes:
            raise TimeoutError
        return data

    def shutdown(self, _how: int, /) -> None:
        self.is_shut = True


SENT = {
    "C: NOOP": b"NOOP\r\n",
    "C:": b"\r\n",
    "  C: NOOP  \t": b"NOOP\r\n",
    "C: né": "né\r\n".encode(),
    'C! "NOOP"': b"NOOP",
    r'C! "a\r\n\x00\"\\b\t"': b'a\r\n\0"\\b\t',
    'C! ""': b"",
    'C! "ab" * 3': b"ababab",
    'C! "ab"*0': b"",
    "# a comment\n\nC: x\n   # another": b"x\r\n",
    "C: # no comment": b"# no comment\r\n",
    "C: S: 250": b"S: 250\r\n",
}

NO_TRANSCRIPTS = {
    "NOOP": "line 1 is not of a transcript: 'NOOP'",
    "\nX: NOOP": "line 2 is not of a transcript",
    "C NOOP": "is not of a transcript",
    "c: NOOP": "is not of a transcript",
    "S:": "is not of a transcript",
    'C! NOOP"': "is not of a transcript",
    'C! "NOOP" * x': "is not of a transcript",
    'C! "NOOP" * ２': "is not of a transcript",
    'C! "né"': "only ASCII and escapes",
    r'C! "\x0"': "only ASCII and escapes",
}


@pytest.mark.parametrize(("text", "octets"), SENT.items())
def test_what_the_client_sends(text: str, octets: bytes) -> None:
    assert Transcript.parse(text).sent == octets


@pytest.mark.parametrize(("text", "reason"), NO_TRANSCRIPTS.items())
def test_no_transcript(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Transcript.parse(text)


def test_the_example_of_the_module() -> None:
    assert pillarbox.testing.__doc__
    example = pillarbox.testing.__doc__.split("::\n")[1].split("\n\nThe stream")[0]
    exec(compile(textwrap.dedent(example), "example", "exec"), {})


# What matches: the transcript, and what the server says.
MATCHES = {
    "a line": ("S: 250 2.0.0 OK", b"250 2.0.0 OK\r\n"),
    "lines": ("S: 250-a\nS: 250 b", b"250-a\r\n250 b\r\n"),
    "a line in UTF-8": ("S: 250 né", "250 né\r\n".encode()),
    "a reply by its code": ("S: 250 ...", b"250 2.0.0 OK\r\n"),
    "a reply of nothing but a code": ("S: 250 ...", b"250\r\n"),
    "a reply of many lines": ("S: 250 ...\nS: 221 ...", b"250-a\r\n250-b\r\n250 c\r\n221 d\r\n"),
    "a reply by its beginning": ("S: 250 2.1.0 ...", b"250 2.1.0 Sender OK\r\n"),
    "a reply by all of its text": ("S: 250 2.1.0 ...", b"250 2.1.0\r\n"),
    "many lines by their beginning": ("S: 550 5.7.1 ...", b"550-5.7.1 a\r\n550 5.7.1 b\r\n"),
    "closed": ("S: 221 ...\nS: [closed]", b"221 Bye\r\n"),
    "nothing": ("", b""),
}

DIFFERS = {
    "another line": ("S: 250 OK", b"250 Fine\r\n", "S: 250 Fine"),
    "white space behind": ("S: 250 OK", b"250 OK \r\n", "S: 250 OK "),
    "LF alone": ("S: 250 OK", b"250 OK\n", r"S: b'250 OK\\n'"),
    "a control": ("S: 250 OK", b"250 \x1bOK\r\n", r"S: b'250 \\x1bOK"),
    "not UTF-8": ("S: 250 OK", b"250 \xff\r\n", r"S: 250 \\xff"),
    "half a line": ("S: 250 OK", b"250 OK", r"S: b'250 OK'"),
    "closed": ("S: 250 OK", b"", r"S: \[closed\]"),
    "not closed": ("S: [closed]", b"250 OK\r\n", "S: 250 OK"),
    "more": ("S: 250 OK", b"250 OK\r\n421 Bye\r\n", "no more\nbut the server said\n    S: 421 Bye"),
    "another code": ("S: 250 ...", b"550 No\r\n", "S: 550 No"),
    "another code on a further line": ("S: 250 ...", b"250-a\r\n251 b\r\n", "S: 251 b"),
    "another beginning": ("S: 250 2.1.0 ...", b"250 2.1.5 OK\r\n", "S: 250 2.1.5 OK"),
    "part of a word": ("S: 250 2.1.0 ...", b"250 2.1.01 OK\r\n", "S: 250 2.1.01 OK"),
    "a reply without an end": ("S: 250 ...", b"250-a\r\n", r"S: \[closed\]"),
    "no reply at all": ("S: 250 ...", b"250OK\r\n", "S: 250OK"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("text", "says"), MATCHES.values(), ids=MATCHES)
def test_match(text: str, says: bytes, way: Way) -> None:
    stream = Parrot(says)
    play(text, stream, way=way)
    assert stream.is_shut


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("text", "says", "difference"), DIFFERS.values(), ids=DIFFERS)
def test_difference(text: str, says: bytes, difference: str, way: Way) -> None:
    with pytest.raises(TranscriptError, match=difference):
        play(text, Parrot(says), way=way)


def test_a_server_that_says_nothing() -> None:
    with pytest.raises(
        TranscriptError, match=r"expected\n    S: 250 OK\nbut .*\n    S: \[silent\]"
    ):
        play("S: 250 OK", Parrot(b"", closes=False))


def test_the_dialogue_so_far_is_shown() -> None:
    with pytest.raises(TranscriptError) as caught:
        play(
            f"S: 220 ...\nC: EHLO c\nS: 250 ...\nC: {'x' * 200}\nS: 354 Go on",
            Parrot(b"220 mx\r\n250-mx\r\n250 SIZE\r\n503 No\r\n"),
        )
    assert str(caught.value) == (
        "line 5: expected\n    S: 354 Go on\nbut the server said\n    S: 503 No\nafter"
        "\n    S: 220 mx\n    C: EHLO c\n    S: 250-mx\n    S: 250 SIZE"
        f"\n    C: {'x' * 77} … {'x' * 12}"
    )


def test_ways() -> None:
    text = "S: 1\nC: ab\nS: 2\nC: c"
    heard = {}
    for way in WAYS:
        stream = Parrot(b"1\r\n2\r\n")
        play(text, stream, way=way)
        heard[way] = stream.heard
    assert heard["lock-step"] == heard["burst"] == [b"ab\r\n", b"c\r\n"]
    assert heard["octets"] == [b"a", b"b", b"\r", b"\n", b"c", b"\r", b"\n"]


class Gone(Parrot):
    """A connection that is broken."""

    def sendall(self, _data: bytes, /) -> None:
        raise BrokenPipeError

    def recv(self, size: int, /) -> bytes:
        if not self.says:
            raise ConnectionResetError
        return super().recv(size)

    def shutdown(self, _how: int, /) -> None:
        raise OSError("not connected")


def test_a_server_that_has_closed_is_heard_to_the_end() -> None:
    play("S: 421 Bye\nC: NOOP\nC: [closed]\nS: [closed]", Gone(b"421 Bye\r\n"))


def test_a_transcript_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# né\nS: 250 né\n", encoding="utf-8")
    play(Transcript.load(path), Parrot("250 né\r\n".encode()))


def test_debugging_prints_the_dialogue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play("S: 250 OK\nC: x", Parrot(b"250 OK\r\n"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("PILLARBOX_DEBUG", "1")
    play("S: 250 OK\nC: x", Parrot(b"250 OK\r\n"))
    with pytest.raises(TranscriptError):
        play("S: 250 OK", Parrot(b"550 No\r\n"))
    assert capsys.readouterr().err == (
        "\nlock-step:\nS: 250 OK\nC: x\nS: [closed]\n\nlock-step:\nS: 550 No\n"
    )


# Over a socket.


def test_over_a_socket() -> None:
    recorder = Recorder()
    with ThreadServer(recorder, config=Config(hostname="mx.test")) as server:
        for way in WAYS:
            address = ("127.0.0.1", server.port)
            with socket.create_connection(address, TIME_LIMIT_SECONDS) as client:
                play("S: 220 mx.test ESMTP\nC: NOOP\nS: 250 ...", client, way=way)
    assert recorder.calls == ["connect", "disconnect"] * 3


# MemoryServer and Recorder.

MESSAGE = r"""
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 ...
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: {reply}
"""


def test_recorder() -> None:
    recorder = Recorder()
    server = MemoryServer(recorder)
    play(MESSAGE.format(reply="250 ..."), server)
    assert server.is_closed
    (message,) = recorder.messages
    assert (message.mail_from, message.rcpt_tos) == ("ann@example.org", ["ben@example.org"])
    assert message.data == b"x\r\n"
    assert message.session is server.session
    assert recorder.calls == ["connect", "mail", "rcpt", "message", "disconnect"]


def test_recorder_that_refuses() -> None:
    no = Reply(550, "5.7.1", "No")
    recorder = Recorder({"ann@example.org": no, "ben@example.org": no})
    play(
        """
        S: 220 ...
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 550 5.7.1 No
        C: MAIL FROM:<>
        S: 250 ...
        C: RCPT TO:<ben@example.org>
        S: 550 5.7.1 No
        """,
        MemoryServer(recorder),
    )
    recorder = Recorder(reply=no)
    play(MESSAGE.format(reply="550 5.7.1 No"), MemoryServer(recorder))
    assert recorder.messages == []
    recorder = Recorder(reply=Reply(250, "2.0.0", "Queued"))
    play(MESSAGE.format(reply="250 2.0.0 Queued"), MemoryServer(recorder))
    assert len(recorder.messages) == 1


def test_memory_server_with_a_function() -> None:
    messages: list[Message] = []
    play(MESSAGE.format(reply="250 2.0.0 Message accepted"), MemoryServer(messages.append))
    assert [message.data for message in messages] == [b"x\r\n"]


def test_memory_server_with_an_async_handler() -> None:
    taken: list[bytes] = []

    class Async:
        async def connect(self, _session: Session) -> None:
            pass

        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> Reply:
            taken.append(await body.read())
            return Reply(250, "2.0.0", "Taken")

    server = MemoryServer(Async(), offer=Offer(hostname="mx.test", whole_body_octets=0))
    play(MESSAGE.format(reply="250 2.0.0 Taken"), server, way="octets")
    assert taken == [b"x\r\n"]


def test_memory_server_has_no_time() -> None:
    async def waits(_message: Message) -> None:
        await asyncio.sleep(0)

    server = MemoryServer(waits)
    play(MESSAGE.format(reply="451 4.3.0 ..."), server)
    assert "MemoryServer has no time" in str(server.failures[0])


def test_memory_server_with_a_handler_that_fails() -> None:
    def fails(_message: Message) -> None:
        raise RuntimeError("secret")

    server = MemoryServer(fails)
    play(MESSAGE.format(reply="451 4.3.0 Local error; try again later"), server)
    assert [str(failure) for failure in server.failures] == ["secret"]


def test_memory_server_with_a_wrong_answer() -> None:
    server = MemoryServer(lambda _message: "250 OK")  # type: ignore[arg-type,return-value]
    play(MESSAGE.format(reply="451 4.3.0 ..."), server)
    assert "return a Reply or None" in str(server.failures[0])


def test_memory_server_with_a_handler_that_rejects() -> None:
    def rejects(_message: Message) -> None:
        raise Reject(554, "5.7.1", "No")

    server = MemoryServer(rejects)
    play(MESSAGE.format(reply="554 5.7.1 No"), server)
    assert server.failures == []


def test_memory_server_with_a_handler_that_disconnects() -> None:
    def leaves(_message: Message) -> None:
        raise Disconnect

    server = MemoryServer(leaves)
    play(MESSAGE.format(reply="[closed]"), server)
    assert server.failures == []


def test_memory_server_without_a_message_method() -> None:
    class Connects:
        def connect(self, _session: Session) -> None:
            pass

    play(MESSAGE.format(reply="554 5.3.2 No mail is taken here"), MemoryServer(Connects()))


def test_memory_server_throws_away_what_does_not_come_whole() -> None:
    recorder = Recorder()
    offer = Offer(hostname="mx.test", whole_body_octets=0, max_message_bytes=5)
    play(
        """
        S: 220 ...
        C! "EHLO c\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<a@b>\\r\\nDATA\\r\\n"
        S: 250 ...
        S: 250 ...
        S: 250 ...
        S: 354 ...
        C! "123"
        C! "456"
        C! "\\r\\n.\\r\\n"
        S: 552 ...
        """,
        MemoryServer(recorder, offer=offer),
    )
    assert recorder.messages == []


def test_memory_server_by_hand() -> None:
    server = MemoryServer(Recorder(), offer=Offer(hostname="mx.test", max_idle_commands=1001))
    assert server.recv(3) == b"220"
    assert server.recv() == b" mx.test ESMTP\r\n"
    with pytest.raises(TimeoutError, match="it waits for the client"):
        server.recv()
    server.sendall(b"NOOP\r\n" * 1000)
    assert server.recv(1 << 20).count(b"250 2.0.0 OK\r\n") == 1000
    server.sendall(b"QUIT\r\n")
    assert server.recv() == b"221 2.0.0 Goodbye\r\n"
    assert server.recv() == b""
    server.shutdown()
    with pytest.raises(BrokenPipeError):
        server.sendall(b"NOOP\r\n")


def test_talk_gives_what_was_taken(talk: Talk) -> None:
    (message,) = talk(MESSAGE.format(reply="250 2.0.0 Message accepted"))
    assert message.data == b"x\r\n"
    assert talk(MESSAGE.format(reply="250 ..."), handler=lambda _message: None) == []


# FakeClock and MemoryTransport.


def test_fake_clock() -> None:
    clock = FakeClock(5)
    assert clock() == clock() == 5
    clock.advance(2.5)
    assert clock() == 7.5


class Near(asyncio.Protocol):
    """The near end of a transport; it notes what happens."""

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays
        self.happened: list[str] = []
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.happened.append(f"made {transport.get_extra_info('peername')}")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.happened.append("eof")
        return self.stays

    def pause_writing(self) -> None:
        self.happened.append("pause")

    def resume_writing(self) -> None:
        self.happened.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.happened.append(f"lost {exc}")


def in_a_loop(test: object) -> None:
    assert asyncio.iscoroutinefunction(test)
    asyncio.run(test())


def test_transport_from_both_ends() -> None:
    async def test() -> None:
        near = Near()
        transport = MemoryTransport(near, peername=("192.0.2.9", 1))
        transport.feed(b"hello")
        assert near.received == b"hello"
        transport.write(b"good")
        transport.write(b"bye")
        assert (transport.heard(), transport.heard()) == (b"goodbye", b"")
        assert transport.writes == 2
        assert transport.is_reading()
        transport.close()
        assert transport.is_closing()
        transport.feed(b"too late")
        await asyncio.sleep(0)
        assert near.received == b"hello"
        assert near.happened == ["made ('192.0.2.9', 1)", "lost None"]

    in_a_loop(test)


def test_transport_that_is_not_read() -> None:
    async def test() -> None:
        near = Near()
        transport = MemoryTransport(near, high_water=10)
        transport.is_read = False
        transport.write(b"x" * 10)
        assert near.happened[1:] == []
        transport.write(b"y")
        transport.write(b"z")
        assert near.happened[1:] == ["pause"]
        assert transport.get_write_buffer_size() == 12
        assert not transport.is_read
        transport.close()
        assert not transport.is_lost
        transport.is_read = True
        assert transport.heard() == b"x" * 10 + b"yz"
        await asyncio.sleep(0)
        assert near.happened[1:] == ["pause", "resume", "lost None"]

    in_a_loop(test)


def test_transport_that_does_not_read() -> None:
    async def test() -> None:
        near = Near(stays=True)
        transport = MemoryTransport(near)
        transport.pause_reading()
        assert not transport.is_reading()
        transport.feed(b"hello")
        transport.feed_eof()
        assert (near.received, transport.waiting_octets) == (b"", 5)
        transport.resume_reading()
        await asyncio.sleep(0)
        assert (near.received, transport.waiting_octets) == (b"hello", 0)
        assert near.happened[1:] == ["eof"]
        assert not transport.is_closing()
        transport.abort()
        transport.write(b"lost")
        await asyncio.sleep(0)
        assert transport.heard() == b""
        assert near.happened[1:] == ["eof", "lost None"]

    in_a_loop(test)


def test_transport_whose_protocol_lets_it_go() -> None:
    async def test() -> None:
        near = Near()
        transport = MemoryTransport(near)
        transport.feed_eof()
        assert transport.is_closing()
        transport.lose()
        await asyncio.sleep(0)
        assert near.happened[1:] == ["eof", "lost None"]

    in_a_loop(test)


def test_transport_that_breaks() -> None:
    async def test() -> None:
        near = Near()
        MemoryTransport(near).lose(ConnectionResetError("gone"))
        await asyncio.sleep(0)
        assert near.happened[1:] == ["lost gone"]

    in_a_loop(test)
