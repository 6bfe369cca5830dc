"""PureProxy: it passes mail on, and tells the truth about what came of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.smtpd.house import House
from tests.smtpd.under_test import mended, ours_only, smtpd

LATER = "451 Error: the next server cannot take mail now, try again later"
ENVELOPE = "MAIL FROM:<ann@example.org>\r\n"
BEN, CLEO = "ben@example.org", "cleo@example.org"


class Upstream:
    """The next server, which says what the test wants: replies by command, or by a whole line."""

    def __init__(self, **replies: str | None) -> None:
        self.replies = replies  # by verb or by line, in capitals
        self.lines: list[str] = []
        self.messages: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                stream = connection.makefile("rwb")
                with connection, stream, contextlib.suppress(EOFError):
                    self.hold_dialogue(stream)

    def hold_dialogue(self, stream: Any) -> None:
        self.answer(stream, "greeting", "220 next.test")
        while line := stream.readline().decode().rstrip("\r\n"):
            line = line.upper()  # smtplib has changed its case once
            self.lines.append(line)
            verb = line.partition(" ")[0]
            usual = {"DATA": "354 Go on", "QUIT": "221 Bye"}.get(verb, "250 OK")
            if self.answer(stream, line if line in self.replies else verb, usual) == "354 Go on":
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += stream.readline()
                if self.answer(stream, "message", "250 Taken") == "250 Taken":
                    self.messages.append(text.removesuffix(b".\r\n"))

    def answer(self, stream: Any, name: str, usual: str) -> str:
        reply = self.replies.get(name, usual)
        if reply is None:
            raise EOFError
        stream.write(reply.encode() + b"\r\n")
        stream.flush()
        return reply

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Proxy(smtpd.PureProxy):
    logged: list[str] = []  # noqa: RUF012

    def log_info(self, message: Any, *_: Any) -> None:
        self.logged.append(message)


@contextlib.contextmanager
def proxy(upstream: Any, **arguments: Any) -> Iterator[House]:
    with House(Proxy, **arguments) as house:
        house.server._remoteaddr = upstream
        Proxy.logged.clear()
        yield house


def pass_on(house: House, data: bytes, recipients: tuple[str, ...] = (BEN,)) -> str:
    client = house.connect()
    commands = [ENVELOPE, *(f"RCPT TO:<{recipient}>\r\n" for recipient in recipients), "DATA\r\n"]
    client.ask("".join(commands), len(commands))
    return client.ask(data + b"\r\n.\r\n")


@pytest.mark.parametrize(
    "arguments", [pytest.param({}, marks=mended(5), id="bytes"), {"decode_data": True}]
)
@pytest.mark.parametrize(
    ("data", "passed_on"),
    [
        (
            b"A: 1\r\nB: 2\r\n\r\nx\r\n\r\ny",
            b"A: 1\r\nB: 2\r\nX-Peer: 127.0.0.1\r\n\r\nx\r\n\r\ny\r\n",
        ),
        (b"A: 1", b"A: 1\r\nX-Peer: 127.0.0.1\r\n"),
        (b"A: 1\r\n", b"A: 1\r\nX-Peer: 127.0.0.1\r\n"),
        (b"\r\nx", b"X-Peer: 127.0.0.1\r\n\r\nx\r\n"),
        (b"A: 1\r\n\r\n..x\r\n..", b"A: 1\r\nX-Peer: 127.0.0.1\r\n\r\n..x\r\n..\r\n"),
        (
            b"A: 1\r\n\r\nbare\nLF\n.\nx",
            b"A: 1\r\nX-Peer: 127.0.0.1\r\n\r\nbare\r\nLF\r\n..\r\nx\r\n",
        ),
        (b"A: 1\r\n\r\na\rb", b"A: 1\r\nX-Peer: 127.0.0.1\r\n\r\na\r\nb\r\n"),
    ],
)
def test_a_message_comes_through(data: bytes, passed_on: bytes, arguments: dict[str, Any]) -> None:
    with Upstream() as upstream, proxy(upstream.address, **arguments) as house:
        assert pass_on(house, data, (BEN, CLEO)) == "250 OK"
        assert upstream.messages == [passed_on]
        assert upstream.lines[1].startswith("MAIL FROM:<ANN@EXAMPLE.ORG>")
        assert upstream.lines[2:4] == ["RCPT TO:<BEN@EXAMPLE.ORG>", "RCPT TO:<CLEO@EXAMPLE.ORG>"]


@mended(5)
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}])
def test_eight_bits_come_through(arguments: dict[str, Any]) -> None:
    with Upstream() as upstream, proxy(upstream.address, **arguments) as house:
        assert pass_on(house, "A: 1\r\n\r\né".encode()) == "250 OK"
        assert upstream.messages == ["A: 1\r\nX-Peer: 127.0.0.1\r\n\r\né\r\n".encode()]


@mended(5)
def test_it_takes_the_options() -> None:
    with Upstream() as upstream, proxy(upstream.address) as house:
        client = house.connect()
        client.ask("MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n", 3)
        assert client.ask(b"x\r\n.\r\n") == "250 OK"
        assert upstream.lines[1].startswith("MAIL FROM:<>")


@mended(6)
def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with proxy(address, decode_data=True) as house:
        assert pass_on(house, b"x") == LATER
        assert house.channels, "the client may go on"


REFUSALS = [
    # Gone, or not willing to talk at all: later.
    ({"greeting": "421 Too busy"}, LATER),
    ({"greeting": None}, LATER),
    ({"EHLO": None}, LATER),
    ({"MAIL": None}, LATER),
    ({"RCPT": None}, LATER),
    ({"DATA": None}, LATER),
    ({"message": None}, LATER),
    ({"MAIL": "421 Closing"}, LATER),
    ({"RCPT": "421 Closing"}, LATER),
    ({"message": "421 Closing"}, LATER),
    # A refusal, in its own words.
    ({"greeting": "554 Go away"}, "554 Go away"),
    ({"MAIL": "550 5.1.8 Bad sender"}, "550 5.1.8 Bad sender"),
    ({"MAIL": "452 4.3.1 Disk full"}, "452 4.3.1 Disk full"),
    ({"RCPT": "550 5.1.1 No such mailbox"}, "550 5.1.1 No such mailbox"),
    ({"RCPT": "450 4.2.1 Greylisted"}, "450 4.2.1 Greylisted"),
    ({"DATA": "503 No"}, "503 No"),
    ({"message": "554 5.7.1 Spam"}, "554 5.7.1 Spam"),
    ({"message": "451 4.3.0 Try again"}, "451 4.3.0 Try again"),
    ({"message": "554-One\r\n554 Two"}, "554-One\n554 Two"),
    ({"message": "554 Schö\x07n"}, r"554 Sch\xf6\x07n"),
]


@mended(6)
@pytest.mark.parametrize(("replies", "said"), REFUSALS)
@pytest.mark.parametrize("decode_data", [False, True])
def test_a_refusal(replies: dict[str, str | None], said: str, decode_data: bool) -> None:
    with Upstream(**replies) as upstream, proxy(upstream.address, decode_data=decode_data) as house:
        assert pass_on(house, b"x", (BEN, CLEO)) == said
        assert upstream.messages == []
        assert house.connect().ask("NOOP\r\n") == "250 OK"


REFUSE_BEN = {"RCPT TO:<BEN@EXAMPLE.ORG>": "550 No"}


@mended(6)
def test_some_recipients_are_refused_and_the_rest_delivered() -> None:
    """One reply for all: 250, or the others would get it again and again."""
    with Upstream(**REFUSE_BEN) as upstream, proxy(upstream.address, decode_data=True) as house:
        assert pass_on(house, b"x", (BEN, CLEO)) == "250 OK"
        assert len(upstream.messages) == 1
        assert BEN in Proxy.logged[0]
        assert CLEO not in Proxy.logged[0]


@mended(6)
def test_one_that_may_succeed_later_makes_it_later() -> None:
    busy = {"RCPT TO:<CLEO@EXAMPLE.ORG>": "450 Busy"}
    with (
        Upstream(**REFUSE_BEN, **busy) as upstream,
        proxy(upstream.address, decode_data=True) as house,
    ):
        assert pass_on(house, b"x", (BEN, CLEO)) == "450 Busy"


@mended(6)
def test_the_second_recipient_ends_the_connection() -> None:
    """The first one was accepted, and yet did not get the message."""
    closing = {"RCPT TO:<CLEO@EXAMPLE.ORG>": "421 Closing"}
    with Upstream(**closing) as upstream, proxy(upstream.address, decode_data=True) as house:
        assert pass_on(house, b"x", (BEN, CLEO)) == LATER


@mended(6)
def test_what_is_delivered_is_delivered_whatever_comes_after_it() -> None:
    with Upstream(QUIT=None) as upstream, proxy(upstream.address, decode_data=True) as house:
        assert pass_on(house, b"x") == "250 OK"
        assert house.server._deliver("a@b", [BEN], "x") == {}
        assert len(upstream.messages) == 2


def deliver(server: Any, *recipients: str) -> Any:
    return server._deliver("ann@example.org", list(recipients), "x")


def test_the_shape_of_what_is_refused() -> None:
    with Upstream() as upstream, proxy(upstream.address, decode_data=True) as house:
        assert deliver(house.server, BEN, CLEO) == {}
        upstream.replies.update(REFUSE_BEN)
        assert deliver(house.server, BEN, CLEO) == {BEN: (550, b"No")}
        assert deliver(house.server, BEN) == {BEN: (550, b"No")}
        upstream.replies["MAIL"] = "553 Never"
        assert deliver(house.server, BEN, CLEO) == dict.fromkeys((BEN, CLEO), (553, b"Never"))
    with proxy(upstream.address) as house:
        assert [reply[0] for reply in deliver(house.server, BEN, CLEO).values()] == [-1, -1]


@mended(6)
def test_addresses_that_cannot_be_passed_on() -> None:
    with Upstream() as upstream, proxy(upstream.address, decode_data=True) as house:
        assert pass_on(house, b"x", ("é@example.org", CLEO)) == "250 OK"
        assert len(upstream.messages) == 1
        assert "é@example.org" in Proxy.logged[0]
        assert pass_on(house, b"x", ("é@example.org",)) == "553 Needs SMTPUTF8"
        assert len(upstream.messages) == 1


def test_a_delivery_of_their_own() -> None:
    class Own(Proxy):
        taken: list[Any] = []  # noqa: RUF012

        def _deliver(self, mailfrom: str, rcpttos: list[str], data: Any) -> Any:
            self.taken.append((mailfrom, rcpttos, data))

    with House(Own, decode_data=True) as house:
        assert pass_on(house, b"A: 1\r\n\r\nx") == "250 OK"
        assert Own.taken == [("ann@example.org", [BEN], "A: 1\nX-Peer: 127.0.0.1\n\nx")]


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [((), {"enable_SMTPUTF8": True}), pytest.param((0, {}, True), {}, marks=mended(6))],
)
def test_smtputf8_is_not_for_it(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    channels: dict[int, Any] = {}
    keywords = keywords if arguments else {**keywords, "map": channels}
    with pytest.raises(ValueError, match="does not support SMTPUTF8"):
        smtpd.PureProxy(("127.0.0.1", 0), ("127.0.0.1", 1), *arguments, **keywords)
    assert channels == {}


@ours_only
def test_it_waits_five_minutes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    import smtplib

    timeouts: list[Any] = []

    class Client(smtplib.SMTP):
        def connect(self, *_: Any) -> Any:
            timeouts.append(self.timeout)
            raise TimeoutError

    monkeypatch.setattr(smtplib, "SMTP", Client)
    with proxy(("127.0.0.1", 1)) as house:
        deliver(house.server, BEN)
        monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 7.0)
        deliver(house.server, BEN)
    assert timeouts == [300.0, 7.0]
