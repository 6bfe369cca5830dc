"""What a client hears: the texts and their order are CPython's, on both modules."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.smtpd.house import Collector, House
from tests.smtpd.under_test import asyncore, smtpd


def test_greeting() -> None:
    with House() as house:
        client = house.connect(greeting=None)
        assert house.channel.fqdn == socket.getfqdn()
        assert client.ask("HELO client.test\r\n") == f"250 {socket.getfqdn()}"


def test_the_banner_has_name_and_version() -> None:
    with House() as house:
        client = house.connect(greeting=None)
        client.send(b"QUIT\r\n")
        assert client.replies(1) == ["221 Bye"]
        house.connect(greeting=None)


@pytest.mark.parametrize(
    ("arguments", "extensions"),
    [
        ({}, ["250-SIZE 33554432", "250-8BITMIME", "250 HELP"]),
        ({"data_size_limit": 1000}, ["250-SIZE 1000", "250-8BITMIME", "250 HELP"]),
        ({"data_size_limit": None}, ["250-8BITMIME", "250 HELP"]),
        ({"data_size_limit": 0}, ["250-8BITMIME", "250 HELP"]),
        ({"decode_data": True}, ["250-SIZE 33554432", "250 HELP"]),
        (
            {"enable_SMTPUTF8": True},
            ["250-SIZE 33554432", "250-8BITMIME", "250-SMTPUTF8", "250 HELP"],
        ),
    ],
)
def test_extensions(arguments: dict[str, Any], extensions: list[str]) -> None:
    with House(**arguments) as house:
        client = house.connect(greeting=None)
        lines = client.ask("EHLO client.test\r\n").splitlines()
        assert lines == [f"250-{house.channel.fqdn}", *extensions]


def test_order() -> None:
    with House() as house:
        house.connect(greeting=None).talk("""
            C: MAIL FROM:<ann@example.org>
            S: 503 Error: send HELO first
            C: RCPT TO:<ben@example.org>
            S: 503 Error: send HELO first
            C: DATA
            S: 503 Error: send HELO first
            C: HELO
            S: 501 Syntax: HELO hostname
            C: EHLO
            S: 501 Syntax: EHLO hostname
        """)
        house.connect("HELO").talk("""
            C: EHLO client.test
            S: 503 Duplicate HELO/EHLO
            C: HELO client.test
            S: 503 Duplicate HELO/EHLO
            C: RCPT TO:<ben@example.org>
            S: 503 Error: need MAIL command
            C: DATA
            S: 503 Error: need RCPT command
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: MAIL FROM:<ann@example.org>
            S: 503 Error: nested MAIL command
            C: DATA
            S: 503 Error: need RCPT command
            C: RCPT TO:<ben@example.org>
            S: 250 OK
            C: DATA now
            S: 501 Syntax: DATA
            C: RSET
            S: 250 OK
            C: DATA
            S: 503 Error: need RCPT command
        """)


def test_syntax() -> None:
    with House() as house:
        house.connect("HELO").talk("""
            C: MAIL
            S: 501 Syntax: MAIL FROM: <address>
            C: MAIL <ann@example.org>
            S: 501 Syntax: MAIL FROM: <address>
            C: MAIL FROM:
            S: 501 Syntax: MAIL FROM: <address>
            C: MAIL FROM:<ann@example.org> SIZE=3
            S: 501 Syntax: MAIL FROM: <address>
            C: mail from: <ann@example.org>
            S: 250 OK
            C: RCPT
            S: 501 Syntax: RCPT TO: <address>
            C: rcpt to: ben@example.org
            S: 250 OK
            C:
            S: 500 Error: bad syntax
            C: FOO bar
            S: 500 Error: command "FOO" not recognized
            C: STARTTLS
            S: 500 Error: command "STARTTLS" not recognized
        """)


def test_parameters() -> None:
    with House(data_size_limit=1000) as house:
        house.connect().talk("""
            C: MAIL FROM:<ann@example.org> BODY=BINARY
            S: 501 Error: BODY can only be one of 7BIT, 8BITMIME
            C: MAIL FROM:<ann@example.org> SMTPUTF8
            S: 555 MAIL FROM parameters not recognized or not implemented
            C: MAIL FROM:<ann@example.org> SIZE=x
            S: 501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]
            C: MAIL FROM:<ann@example.org> SIZE=1001
            S: 552 Error: message size exceeds fixed maximum message size
            C: MAIL FROM:<ann@example.org> =
            S: 501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]
            C: MAIL FROM:<ann@example.org> size=1000 body=8bitmime
            S: 250 OK
            C: RCPT TO:<ben@example.org> NOTIFY=NEVER
            S: 555 RCPT TO parameters not recognized or not implemented
            C: RCPT TO:<ben@example.org> =NEVER
            S: 501 Syntax: RCPT TO: <address> [SP <mail-parameters>]
        """)
    with House(enable_SMTPUTF8=True) as house:
        house.connect().talk("""
            C: MAIL FROM:<ann@example.org> SMTPUTF8=yes
            S: 501 Error: SMTPUTF8 takes no arguments
            C: MAIL FROM:<ann@example.org> SMTPUTF8
            S: 250 OK
        """)


def test_other_commands() -> None:
    with House() as house:
        house.connect("HELO").talk("""
            C: NOOP
            S: 250 OK
            C: NOOP please
            S: 501 Syntax: NOOP
            C: RSET please
            S: 501 Syntax: RSET
            C: VRFY
            S: 501 Syntax: VRFY <address>
            C: VRFY ann@example.org
            S: 252 Cannot VRFY user, but will accept message and attempt delivery
            C: EXPN list
            S: 502 EXPN not implemented
            C: QUIT now
            S: 221 Bye
        """)


HELP = "Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY"


@pytest.mark.parametrize("greeting", ["HELO", "EHLO"])
def test_help(greeting: str) -> None:
    extended = " [SP <mail-parameters>]" if greeting == "EHLO" else ""
    with House() as house:
        client = house.connect(greeting)
        answers = {
            "": f"250 {HELP}",
            " ehlo": "250 Syntax: EHLO hostname",
            " HELO": "250 Syntax: HELO hostname",
            " MAIL": f"250 Syntax: MAIL FROM: <address>{extended}",
            " RCPT": f"250 Syntax: RCPT TO: <address>{extended}",
            " DATA": "250 Syntax: DATA",
            " RSET": "250 Syntax: RSET",
            " NOOP": "250 Syntax: NOOP",
            " QUIT": "250 Syntax: QUIT",
            " VRFY": "250 Syntax: VRFY <address>",
            " STARTTLS": f"501 {HELP}",
        }
        assert {arg: client.ask(f"HELP{arg}\r\n") for arg in answers} == answers


def test_line_length() -> None:
    line = "MAIL FROM:<{}@example.org>"
    room = 512 - len(line.format(""))
    with House() as house:
        client = house.connect("HELO")
        too_long = "500 Error: line too long"
        assert client.ask(line.format("a" * (room + 1)) + "\r\n") == too_long
        assert client.ask(line.format("a" * room) + "\r\n") == "250 OK"
        client = house.connect("EHLO")
        assert client.ask(line.format("a" * (room + 27)) + "\r\n") == too_long
        assert client.ask(line.format("a" * (room + 26)) + "\r\n") == "250 OK"
        assert client.ask("NOOP" + " " * 509 + "\r\n") == too_long
        assert client.ask("x" * 100_000 + "\r\n") == too_long
    with House(enable_SMTPUTF8=True) as house:
        client = house.connect("EHLO")
        assert client.ask(line.format("a" * (room + 37)) + "\r\n") == too_long
        assert client.ask(line.format("a" * (room + 36)) + "\r\n") == "250 OK"


def test_a_message_and_what_is_made_of_it() -> None:
    with House() as house:
        client = house.connect()
        assert (
            client.deliver(b"Subject: x\r\n\r\n..dot\r\n.\tdot\r\nbare\nLF\r\n.\r\r\nend")
            == "250 OK"
        )
        mailfrom, rcpttos, data, kwargs = house.server.messages[0]
        assert (mailfrom, rcpttos) == ("ann@example.org", ["ben@example.org"])
        assert data == b"Subject: x\n\n.dot\n\tdot\nbare\nLF\n\r\nend"
        assert kwargs == {"mail_options": [], "rcpt_options": []}


def test_options_come_with_it_in_capitals() -> None:
    with House() as house:
        client = house.connect()
        client.talk("""
            C: MAIL FROM:<> size=3 body=8bitmime
            S: 250 OK
            C: RCPT TO:<ben@example.org>
            S: 250 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: h\\xe9\\r\\n.
            S: 250 OK
        """)
        options = {"mail_options": ["SIZE=3", "BODY=8BITMIME"], "rcpt_options": []}
        assert house.server.messages == [("<>", ["ben@example.org"], b"h\xe9", options)]


def test_decoded() -> None:
    with House(decode_data=True) as house:
        assert house.connect().deliver("é\r\n..\r\n.a\r\n".encode()) == "250 OK"
        assert house.server.messages[0][2:] == ("é\n.\na\n", {})


@pytest.mark.parametrize("status", ["550 No such mailbox", "250-One\r\n250 Two"])
def test_a_status_is_sent_as_it_is(status: str) -> None:
    with House() as house:
        house.server.status = status
        assert house.connect().deliver(b"x").splitlines() == status.splitlines()


@pytest.mark.parametrize("status", [None, ""])
def test_no_status_is_ok(status: str | None) -> None:
    with House() as house:
        house.server.status = status
        assert house.connect().deliver(b"x") == "250 OK"


def test_a_dot_ends_the_message_between_CRLFs_only() -> None:  # noqa: N802
    with House() as house:
        client = house.connect()
        data = b"a\n.\nb\r\n.\nc\n.\r\nd\r.\re"
        assert client.deliver(data) == "250 OK"
        assert house.server.messages[0][2] == b"a\n.\nb\n\nc\n.\nd\r.\re"


def test_octet_by_octet() -> None:
    with House() as house:
        client = house.connect()
        dialogue = (
            b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n..\r\nx\r\n.\r\n"
        )
        for octet in dialogue:
            client.send(bytes([octet]))
        assert client.replies(4)[-1] == "250 OK"
        assert house.server.messages[0][2] == b".\nx"


def test_all_in_one_packet() -> None:
    message = b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\none\r\n.\r\n"
    with House() as house:
        client = house.connect()
        replies = client.ask(message * 3 + b"QUIT\r\n", 13).splitlines()
        assert [reply[:3] for reply in replies] == ["250", "250", "354", "250"] * 3 + ["221"]
        assert [message[2] for message in house.server.messages] == [b"one"] * 3


def test_one_send_a_reply_line() -> None:
    sent: list[bytes] = []

    class Channel(smtpd.SMTPChannel):
        def send(self, data: Any) -> int:
            sent.append(bytes(data))
            return super().send(data)

    class Server(Collector):
        channel_class = Channel

    with House(Server, decode_data=True) as house:
        client = house.connect()
        client.ask("NOOP\r\nNOOP\r\n", 2)
        fqdn = house.channel.fqdn.encode()
        assert sent[1:] == [
            b"250-" + fqdn + b"\r\n",
            b"250-SIZE 33554432\r\n",
            b"250 HELP\r\n",
            b"250 OK\r\n",
            b"250 OK\r\n",
        ]


def test_an_exception_of_the_program_closes_the_channel() -> None:
    class Server(Collector):
        def process_message(self, *args: Any, **kwargs: Any) -> str | None:
            raise RuntimeError("on purpose")

    errors: list[str] = []

    class Channel(smtpd.SMTPChannel):
        def log_info(self, message: Any, *_: Any) -> None:
            errors.append(message)

    Server.channel_class = Channel
    with House(Server) as house:
        assert house.connect().deliver(b"x") == "closed"
        assert house.channels == []
        assert "on purpose" in errors[0]
        house.connect()  # the listener is well


def test_a_bare_server_does_nothing_with_mail() -> None:
    with House() as house:
        with pytest.raises(NotImplementedError):
            smtpd.SMTPServer.process_message(house.server, ("a", 1), "b", ["c"], b"d")
        assert asyncore.socket_map == {}
