"""PIPELINING (RFC 2920): in order, nothing lost, and no more replies in memory than a few."""

from __future__ import annotations

import pytest

from pillarbox.protocol.event import NEED_DATA, NEED_SEND
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.session import MAX_REPLIES_WAITING
from pillarbox.testing import Recorder
from tests.conftest import Talk
from tests.grammar import split_answers

HELLO = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
"""


def test_whole_transactions_in_one_group(talk: Talk) -> None:
    first, second, third = talk(
        HELLO
        + r"""
        C! "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n1\r\n.\r\n"
        C! "MAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\n"
        C! "BDAT 1\r\n2BDAT 0 LAST\r\nMAIL FROM:<>\r\nRCPT TO:<i@j>\r\nDATA\r\n.\r\nQUIT\r\n"
        S: 250 2.1.0 Sender OK
        S: 250 2.1.5 Recipient OK
        S: 354 ...
        S: 250 2.0.0 Message accepted
        S: 250 2.1.0 Sender OK
        S: 250 2.1.5 Recipient OK
        S: 250 2.0.0 OK
        S: 250 2.0.0 Message accepted
        S: 250 2.1.0 Sender OK
        S: 250 2.1.5 Recipient OK
        S: 354 ...
        S: 250 2.0.0 Message accepted
        S: 221 2.0.0 Goodbye
        S: [closed]
        """
    )
    assert (first.mail_from, first.rcpt_tos, first.data) == ("a@b", ["c@d"], b"1\r\n")
    assert (second.mail_from, second.rcpt_tos, second.data) == ("e@f", ["g@h"], b"2")
    assert (third.mail_from, third.rcpt_tos, third.data) == ("", ["i@j"], b"")


class RefusesSome(Recorder):
    def __init__(self) -> None:
        super().__init__(
            {
                "no@example.org": Reply(550, "5.1.1", "No such mailbox"),
                "later@example.org": Reply(450, "4.2.1", "Later"),
            }
        )


def test_recipients_answered_in_order(talk: Talk) -> None:
    (message,) = talk(
        HELLO
        + r"""
        C! "MAIL FROM:<a@b>\r\nRCPT TO:<no@example.org>\r\nRCPT TO:<ben@example.org>\r\n"
        C! "RCPT TO:<later@example.org>\r\nRCPT TO:<>\r\nRCPT TO:<cat@example.org>\r\nDATA\r\n"
        S: 250 2.1.0 Sender OK
        S: 550 5.1.1 No such mailbox
        S: 250 2.1.5 Recipient OK
        S: 450 4.2.1 Later
        S: 501 5.1.3 Nobody is no recipient
        S: 250 2.1.5 Recipient OK
        S: 354 ...
        C: .
        S: 250 2.0.0 Message accepted
        """,
        handler=RefusesSome,
    )
    assert message.rcpt_tos == ["ben@example.org", "cat@example.org"]


def test_a_group_without_a_recipient_that_is_taken(talk: Talk) -> None:
    assert not talk(
        HELLO
        + r"""
        C! "MAIL FROM:<a@b>\r\nRCPT TO:<no@example.org>\r\nRCPT TO:<later@example.org>\r\nDATA\r\n"
        S: 250 2.1.0 Sender OK
        S: 550 5.1.1 No such mailbox
        S: 450 4.2.1 Later
        S: 503 5.5.1 DATA needs a RCPT command that was accepted
        C! "RSET\r\nMAIL FROM:<no@example.org>\r\nRCPT TO:<c@d>\r\nDATA\r\nNOOP\r\n"
        S: 250 2.0.0 OK
        S: 550 5.1.1 No such mailbox
        S: 503 5.5.1 RCPT needs a MAIL command first
        S: 503 5.5.1 DATA needs a MAIL command first
        S: 250 2.0.0 OK
        """,
        handler=RefusesSome,
    )


def test_what_follows_a_hello_in_its_packet(talk: Talk) -> None:
    talk(r"""
        S: 220 mx.test ESMTP
        C! "EHLO client.test\r\nNOOP\r\nHELO client.test\r\nRSET\r\n"
        S: 250 ...
        S: 250 2.0.0 OK
        S: 250 mx.test
        S: 250 2.0.0 OK
    """)


COMMANDS = {b"NOOP": 250, b"HELP": 214, b"VRFY x": 252, b"RSET": 250, b"BDAT 0": 503}


@pytest.mark.parametrize(("command", "code"), COMMANDS.items())
@pytest.mark.parametrize("number", [-1, 0, 1, 1000])
def test_a_burst_is_answered_in_steps(command: bytes, code: int, number: int) -> None:
    # Six octets make a hundred of reply: what is not sent must not pile up.
    number += MAX_REPLIES_WAITING
    server = ServerConnection(
        Offer(hostname="mx.test", max_errors=10_000, max_idle_commands=10_000), asks_connect=False
    )
    server.data_to_send()
    server.receive_data((command + b"\r\n") * number)
    said = b""
    while (need := server.next_event()) is NEED_SEND:
        part = server.data_to_send()
        assert len(split_answers(part)) == MAX_REPLIES_WAITING
        said += part
    assert need is NEED_DATA
    said += server.data_to_send()
    assert [answer.code for answer in split_answers(said)] == [code] * number


def test_a_long_burst_through_every_driver(talk: Talk) -> None:
    replies = "S: 250 2.0.0 OK\n" * 2000
    talk(
        f'S: 220 mx.test ESMTP\nC! "NOOP\\r\\n" * 2000\n{replies}\nC: QUIT\nS: 221 ...\n'
        "S: [closed]",
        offer=Offer(hostname="mx.test", max_idle_commands=2001),
    )
