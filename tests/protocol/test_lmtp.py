"""LMTP: LHLO alone, and a reply for each recipient (RFC 2033)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pillarbox.envelope import Envelope, Session
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.event import BodyPart
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.server import ServerConnection
from tests.conftest import Talk

LMTP = Offer(hostname="mx.test", is_lmtp=True)

BEGIN = """
    S: 220 mx.test LMTP
    C: LHLO client.test
    S: 250 ...
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 Sender OK
"""
TWO = f"""{BEGIN}
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 Recipient OK
    C: RCPT TO:<cat@example.org>
    S: 250 2.1.5 Recipient OK
"""
OK = Reply(250, "2.0.0", "Taken")
FULL = Reply(452, "4.2.2", "Mailbox full")


class Each:
    """Answers for each recipient."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies

    def message(self, _session: Session, _envelope: Envelope, _body: object) -> Sequence[Reply]:
        return self.replies


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
def test_lhlo_only(talk: Talk, verb: str) -> None:
    talk(
        f"""
        S: 220 mx.test LMTP
        C: {verb} client.test
        S: 500 5.5.1 This is LMTP; say LHLO
        C: MAIL FROM:<>
        S: 503 5.5.1 Say LHLO first
        C: AUTH PLAIN
        S: 503 5.5.1 Say LHLO first
        C: HELP
        S: 214 2.0.0 Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT
        """,
        offer=LMTP,
    )


def test_one_reply_stands_for_all(talk: Talk) -> None:
    (message,) = talk(
        f"""{TWO}
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: 250 2.0.0 Message accepted
    S: 250 2.0.0 Message accepted
    C: QUIT
    S: 221 2.0.0 Goodbye
    S: [closed]
    """,
        offer=LMTP,
    )
    assert message.rcpt_tos == ["ben@example.org", "cat@example.org"]


@pytest.mark.parametrize("octets", [r"DATA\r\n", r"BDAT 3\r\nx\r\n"], ids=lambda octets: octets[:4])
def test_a_reply_for_each_recipient(talk: Talk, octets: str) -> None:
    rest = {"DATA": r"x\r\n.\r\n", "BDAT": r"BDAT 0 LAST\r\n"}[octets[:4]]
    reply = {"DATA": "354 ...", "BDAT": "250 2.0.0 OK"}[octets[:4]]
    talk(
        rf"""{TWO}
    C! "{octets}"
    S: {reply}
    C! "{rest}"
    S: 250 2.0.0 Taken
    S: 452 4.2.2 Mailbox full
    C: NOOP
    S: 250 2.0.0 OK
    """,
        offer=LMTP,
        handler=Each(OK, FULL),
    )


def test_a_message_refused_by_a_rule_is_refused_for_each(talk: Talk) -> None:
    talk(
        rf"""{TWO}
    C: DATA
    S: 354 ...
    C! "bare\nnewline\r\n.\r\n"
    S: 550 5.6.11 ...
    S: 550 5.6.11 ...
    """,
        offer=LMTP,
    )


def test_no_data_without_a_recipient(talk: Talk) -> None:
    talk(
        f"""{BEGIN}
    C: DATA
    S: 503 5.5.1 DATA needs a RCPT command that was accepted
    C: BDAT 0 LAST
    S: 503 5.5.1 BDAT needs a RCPT command that was accepted
    """,
        offer=LMTP,
    )


@pytest.mark.parametrize(("replies", "said"), [((FULL, OK), OK), ((FULL, FULL), FULL)])
def test_smtp_has_one_reply_for_all(talk: Talk, replies: tuple[Reply, ...], said: Reply) -> None:
    text = TWO.replace("LMTP", "ESMTP").replace("LHLO", "EHLO")
    talk(
        f"""{text}
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: {said.wire.decode().strip()}
    """,
        handler=Each(*replies),
    )


def test_the_wrong_number_of_replies() -> None:
    server = ServerConnection(LMTP, asks_connect=False, asks_mail=False, asks_rcpt=False)
    server.receive_data(
        b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b>\r\n" * 3 + b"DATA\r\nx\r\n.\r\n"
    )
    assert isinstance(server.next_event(), BodyPart)
    with pytest.raises(LocalProtocolError, match="2 replies for 3 recipients"):
        server.reply(OK, FULL)
