"""The faults of CPython's module, each with the number it has in the list; see also test_cost.py,
test_proxy.py and test_command_line.py.

Each test fails on CPython 3.11's module: under_test.py tells how to see it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from typing import Any

import pytest

from tests.smtpd.house import ENVELOPE, Client, Clock, Collector, House
from tests.smtpd.under_test import asyncore, mended, smtpd

resource = pytest.importorskip("resource")  # POSIX


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class NoDescriptors:
    """No descriptor is to be had while the block runs."""

    def __enter__(self) -> None:
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, self.limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)


class OwnAccept(Collector):
    """A server in the manner of Python 3.1 and before, which many programs keep."""

    def handle_accept(self) -> None:
        pair = self.accept()
        if pair is not None:
            smtpd.SMTPChannel(self, *pair, map=self._map)


@mended(1)
@pytest.mark.parametrize("server", [Collector, OwnAccept])
def test_the_listener_survives_a_lack_of_descriptors(server: type[Collector], clock: Clock) -> None:
    with House(server) as house:
        client = Client(house)
        with NoDescriptors():
            for _ in range(3):
                house.turn()
            assert list(house.map.values()) == [house.server]
        house.turn()
        assert not house.channels, "it does not try again at once"
        clock.now += 2
        assert client.replies(1)[0].startswith("220 ")


@mended(1)
@pytest.mark.parametrize("server", [Collector, OwnAccept])
def test_the_listener_survives_a_client_that_is_gone(server: type[Collector]) -> None:
    class Gone(socket.socket):
        def getpeername(self) -> Any:
            raise OSError(errno.EINVAL, "gone")

    class Server(server):  # type: ignore[misc, valid-type]  # mypy wants a class, not a variable
        def accept(self) -> Any:
            pair = super().accept()
            return pair and (Gone(fileno=pair[0].detach()), pair[1])

    with House(Server) as house:
        client = Client(house)
        assert client.replies(1) == []
        assert client.is_closed
        assert list(house.map.values()) == [house.server]


@mended(1)
@pytest.mark.parametrize("server", [Collector, OwnAccept])
def test_the_listener_survives_a_connection_that_broke_in_the_queue(
    server: type[Collector],
) -> None:
    class Server(server):  # type: ignore[misc, valid-type]
        broken = [OSError(errno.EPROTO, "broken")]  # noqa: RUF012

        def accept(self) -> Any:
            if self.broken:
                raise self.broken.pop()
            return super().accept()

    with House(Server) as house:
        assert Client(house).replies(1)[0].startswith("220 ")


@pytest.mark.parametrize("error", [errno.EBADF, errno.EINVAL])
def test_the_listener_ends_when_it_is_broken_itself(error: int) -> None:
    class Server(Collector):
        def accept(self) -> Any:
            raise OSError(error, "the listener is no more")

    with House(Server) as house:
        Client(house)
        house.until(lambda: not house.map)


@mended(3)
def test_commands_are_commands_behind_a_message_that_was_too_large() -> None:
    with House(data_size_limit=100) as house:
        client = house.connect()
        assert client.deliver(b"x" * 101) == "552 Error: Too much mail data"
        client.talk("""
            C: NOOP
            S: 250 OK
            C: RCPT TO:<ben@example.org>
            S: 503 Error: need MAIL command
        """)
        assert client.deliver(b"x" * 100) == "250 OK"
        assert [message[2] for message in house.server.messages] == [b"x" * 100]


@mended(4)
def test_the_limits_of_one_channel_are_not_those_of_another() -> None:
    with House() as house:
        first = house.connect("EHLO")
        limits = house.channel.command_size_limits
        house.connect("HELO")
        line = b"MAIL FROM:<" + b"a" * 515 + b"@b>\r\n"
        assert first.ask(line) == "250 OK"
        assert limits["MAIL"] == 538
        assert all(
            channel.command_size_limits is not smtpd.SMTPChannel.command_size_limits
            for channel in house.channels
        )


@mended(4)
def test_verbs_that_do_not_exist_take_no_memory() -> None:
    with House() as house:
        client = house.connect()
        for number in range(100):
            client.ask(f"VERB{number}\r\n")
        assert len(house.channel.command_size_limits) < 10


@mended(7)
@pytest.mark.parametrize("greeting", ["HELO", "EHLO"])
@pytest.mark.parametrize(
    "address", ["<a@b@c>", "<a@>", "<", "a@", "@", "<@b>", '"', "<[a]@b>", "<a@[b>", "(("]
)
def test_an_address_that_is_none(greeting: str, address: str) -> None:
    extended = " [SP <mail-parameters>]" if greeting == "EHLO" else ""
    with House() as house:
        client = house.connect(greeting)
        said = client.ask(f"MAIL FROM:{address}\r\n")
        assert said == f"501 Syntax: MAIL FROM: <address>{extended}"
        assert client.ask("MAIL FROM:<ann@example.org>\r\n") == "250 OK"
        said = client.ask(f"RCPT TO:{address}\r\n")
        assert said == f"501 Syntax: RCPT TO: <address>{extended}"


@mended(7)
@pytest.mark.parametrize("address", ["<", "<a@b@c>", "@"])
def test_vrfy_of_an_address_that_is_none(address: str) -> None:
    with House() as house:
        assert house.connect().ask(f"VRFY {address}\r\n") == "501 Syntax: VRFY <address>"


@mended(7)
@pytest.mark.parametrize("line", [b"\xff", b"NOOP \xff", b"MAIL FROM:<\xe9@b>", b"NOOP\xc3"])
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}, {"enable_SMTPUTF8": True}])
def test_a_command_that_is_not_utf_8(line: bytes, arguments: dict[str, Any]) -> None:
    with House(**arguments) as house:
        client = house.connect()
        assert client.ask(line + b"\r\n") == "500 Error: bad syntax"
        assert client.ask(b"NOOP\r\n") == "250 OK"


@mended(7)
@pytest.mark.parametrize(
    ("verb", "shown"), [("É", r"\xc9"), ("雪", r"\u96ea"), ("é😀", r"\xc9\U0001f600")]
)
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}])
def test_a_verb_beyond_ascii(verb: str, shown: str, arguments: dict[str, Any]) -> None:
    with House(**arguments) as house:
        said = house.connect().ask(f"{verb}\r\n")
        assert said == f'500 Error: command "{shown}" not recognized'


@mended(7)
def test_what_is_repeated_is_one_line() -> None:
    with House() as house:
        client = house.connect()
        assert client.ask(b"A\nB\x1b[m\r\n") == r'500 Error: command "A\nB\x1b[M" not recognized'


@mended(8)
@pytest.mark.parametrize("where", [1, 2, 3])
def test_a_character_in_two_packets(where: int) -> None:
    text = "😀"
    with House(decode_data=True) as house:
        client = house.connect()
        client.ask(ENVELOPE, 3)
        client.send(text.encode()[:where])
        house.turn()
        assert client.ask(text.encode()[where:] + b"\r\n.\r\n") == "250 OK"
        assert house.server.messages[0][2] == text


@mended(8)
def test_a_character_in_two_packets_of_a_command() -> None:
    with House(decode_data=True) as house:
        client = house.connect(greeting=None)
        client.send(b"HELO caf\xc3")
        house.turn()
        assert client.ask(b"\xa9\r\n").startswith("250 ")
        assert house.channel.seen_greeting == "café"


@mended(8)
def test_a_message_that_is_not_utf_8_is_refused() -> None:
    with House(decode_data=True) as house:
        client = house.connect()
        assert client.deliver(b"caf\xe9") == "554 Error: the message is not valid UTF-8"
        assert client.deliver(b"caf\xc3\xa9") == "250 OK"
        assert [message[2] for message in house.server.messages] == ["café"]


@mended(9)
def test_a_reply_beyond_ascii_to_a_message_beyond_ascii() -> None:
    with House(enable_SMTPUTF8=True) as house:
        house.server.status = "250 Grüße"
        client = house.connect()
        client.ask(b"MAIL FROM:<ann@example.org> SMTPUTF8\r\n")
        client.ask(b"RCPT TO:<ben@example.org>\r\nDATA\r\n", 2)
        assert client.ask(b"x\r\n.\r\n") == "250 Grüße"
        assert house.channel.require_SMTPUTF8 is False


@mended(9)
@pytest.mark.parametrize("more", ["FOO=BAR", "SIZE=x", "SIZE=1001"])
def test_a_refused_mail_requires_nothing(more: str) -> None:
    with House(enable_SMTPUTF8=True, data_size_limit=1000) as house:
        client = house.connect()
        said = client.ask(f"MAIL FROM:<ann@example.org> SMTPUTF8 {more}\r\n")
        assert said.startswith("5")
        assert house.channel.require_SMTPUTF8 is False


@mended(10)
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}])
@pytest.mark.parametrize("packets", [[b".\r\n"], [b".", b"\r", b"\n"], [b".\r", b"\nNOOP\r\n"]])
def test_an_empty_message(packets: list[bytes], arguments: dict[str, Any]) -> None:
    with House(**arguments) as house:
        client = house.connect()
        client.ask(ENVELOPE, 3)
        for packet in packets:
            client.send(packet)
            house.turn(0)
        assert client.replies(1) == ["250 OK"]
        assert house.server.messages[0][2] == ("" if arguments else b"")


@mended(10)
def test_an_empty_message_in_the_packet_of_its_commands() -> None:
    with House() as house:
        said = house.connect().ask(ENVELOPE + b".\r\nNOOP\r\n", 5)
        assert [reply[:3] for reply in said.splitlines()] == ["250", "250", "354", "250", "250"]


def test_a_dot_that_begins_a_message_is_no_end() -> None:
    with House() as house:
        client = house.connect()
        for data in (b".x", b".\nx", b"..", b".\rx", b". "):
            assert client.deliver(data) == "250 OK"
        kept = [message[2] for message in house.server.messages]
        assert kept == [b"x", b"\nx", b".", b"\rx", b" "]


@mended(12)
def test_a_client_that_does_not_take_its_replies() -> None:
    commands = b"HELP\r\n" * 100_000  # their replies have 8 MB
    with House() as house:
        house.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        client = house.connect()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        channel = house.channel
        sent = quiet = 0
        while quiet < 10:
            try:
                sent += client.socket.send(commands[sent : sent + 10_000])
                quiet = 0
            except BlockingIOError:
                quiet += 1
            house.turn(0)
            assert sum(map(len, channel.producer_fifo)) < 1_100_000
        assert sent < len(commands), "it has to wait"
        # Nothing is lost: a client that begins to take them gets them all.
        replies, deadline = 0, time.monotonic() + 30
        while replies < 100_000:
            assert time.monotonic() < deadline
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(commands[sent : sent + 10_000])
            house.turn(0)
            client.read()
            whole, end, client.received = client.received.rpartition(b"\r\n")
            replies += (whole + end).count(b"\r\n")


@mended(13)
def test_the_name_of_the_machine_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def getfqdn() -> str:
        asked.append(1)
        return "mx.test"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    with House() as house:
        for _ in range(3):
            assert Client(house).replies(1)[0].startswith("220 mx.test ")
    assert len(asked) == 1


def test_another_name_is_asked_for_where_socket_was_patched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with House() as house:
        house.connect()
        monkeypatch.setattr(socket, "getfqdn", lambda: "other.test")
        assert Client(house).replies(1)[0].startswith("220 other.test ")


@mended(15)
@pytest.mark.parametrize(
    "address",
    [
        "<a\\x00@b>",
        "<a@b\\x00>",
        "a\\x00@b",
        '<"a\\x00"@b>',
        "<a\\x01@b>",
        "<a\\x7f@b>",
        "<a\\n@b>",
        "<a@b\\n>",
        "<a@b\\r>",
        "<a\\t@b>",
        '<"a\\tb"@c>',
        "<a\\xc2\\x85@b>",
        "<a\\xe2\\x80\\xa8@b>",
        "<=?utf-8?q?a=00?=@b>",
    ],
)
def test_a_control_in_an_address(address: str) -> None:
    octets = address.encode().decode("unicode_escape").encode("latin-1")
    with House() as house:
        client = house.connect("HELO")
        said = client.ask(b"MAIL FROM:" + octets + b"\r\n")
        assert said in (
            "501 Syntax: MAIL FROM: <address>",
            # An encoded word stands for itself.
            "250 OK" if b"=?" in octets else "",
        )
        assert house.channel.mailfrom in (None, "=?utf-8?q?a=00?=@b")


@mended(15)
@pytest.mark.parametrize("size", ["٣", "３", "²", "1٣"])
def test_a_size_in_other_digits(size: str) -> None:
    with House() as house:
        said = house.connect().ask(f"MAIL FROM:<ann@example.org> SIZE={size}\r\n")
        assert said == "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"


@mended(15)
def test_a_size_without_digits() -> None:
    with House() as house:
        said = house.connect().ask("MAIL FROM:<ann@example.org> SIZE\r\n")
        assert said == "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"


def test_what_is_in_the_map_is_ours() -> None:
    with House() as house:
        house.connect()
        assert asyncore.socket_map == {}
