"""Floods: whatever a client sends again and again without bringing mail, the server ends it."""

from __future__ import annotations

import pytest

from pillarbox.protocol.event import NEED_CLOSE, Auth, BodyPart, Mail, Rcpt
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import STANDARD_MECHANISMS
from pillarbox.protocol.server import MESSAGE_ACCEPTED, SENDER_OK, ServerConnection
from tests.grammar import split_answers

OFFER = Offer(
    hostname="mx.test",
    mechanisms={name: STANDARD_MECHANISMS[name] for name in ("PLAIN", "LOGIN")},
    allows_plaintext_auth=True,
    max_errors=20,
    max_idle_commands=50,
    max_recipients=10,
)
NO = Reply(550, "5.1.1", "No such mailbox")
LATER = Reply(450, "4.2.1", "Later")
BEGIN = b"EHLO client.test\r\n"
SENDER = BEGIN + b"MAIL FROM:<ann@example.org>\r\n"
RECIPIENT = SENDER + b"RCPT TO:<ben@example.org>\r\n"

# What comes first, what comes again and again, and which of the events the handler refuses.
FLOODS: dict[str, tuple[bytes, bytes, type]] = {
    "NOOP": (b"", b"NOOP\r\n", Mail),
    "RSET": (b"", b"RSET\r\n", Mail),
    "VRFY": (BEGIN, b"VRFY ann\r\n", Mail),
    "EXPN": (BEGIN, b"EXPN all\r\n", Mail),
    "HELP": (b"", b"HELP\r\n", Mail),
    "EHLO": (b"", b"EHLO client.test\r\n", Mail),
    "HELO": (b"", b"HELO client.test\r\n", Mail),
    "unknown commands": (b"", b"XYZZY\r\n", Mail),
    "empty lines": (b"", b"\r\n", Mail),
    "wrong order": (b"", b"DATA\r\n", Mail),
    "wrong syntax": (BEGIN, b"MAIL FROM:ann\r\n", Mail),
    "long lines": (BEGIN, b"NOOP " + b"x" * 5000 + b"\r\n", Mail),
    "bare newlines": (BEGIN, b"NOOP\nNOOP\r\n", Mail),
    "STARTTLS": (BEGIN, b"STARTTLS\r\n", Mail),
    "senders and no mail": (BEGIN, b"MAIL FROM:<ann@example.org>\r\nRSET\r\n", Rcpt),
    "refused senders": (BEGIN, b"MAIL FROM:<ann@example.org>\r\n", Mail),
    "refused senders, carefully": (BEGIN, b'MAIL FROM:<"ann"@example.org>\r\n', Mail),
    "guessed recipients": (SENDER, b"RCPT TO:<ben@example.org>\r\n", Rcpt),
    "guessed recipients, carefully": (SENDER, b'RCPT TO:<"ben"@example.org>\r\n', Rcpt),
    "too many recipients": (SENDER, b"RCPT TO:<ben@example.org>\r\n", Mail),
    "refused messages": (
        BEGIN,
        b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\nx\r\n.\r\n",
        BodyPart,
    ),
    "messages against a rule": (
        BEGIN,
        b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n\n\r\n.\r\n",
        Auth,
    ),
    "empty chunks": (RECIPIENT, b"BDAT 0\r\n", Auth),
    "chunks that nobody wants": (BEGIN, b"BDAT 4\r\nNOOP", Auth),
    "failed logins": (BEGIN, b"AUTH PLAIN AGFubgB4\r\n", Auth),
    "logins given up": (BEGIN, b"AUTH LOGIN\r\n*\r\n", Auth),
    "unknown mechanisms": (BEGIN, b"AUTH GUESS\r\n", Auth),
}


def flooded(
    begin: bytes, again: bytes, refused: type, times: int, refusal: Reply = NO
) -> tuple[bool, bytes]:
    """Send something again and again; tell whether the server ended it, and give what it said."""
    server = ServerConnection(OFFER, asks_connect=False)
    said = b""
    for number in range(times + 1):
        server.receive_data(again if number else begin)
        while isinstance(event := server.next_event(), Mail | Rcpt | BodyPart | Auth):
            is_refused = isinstance(event, refused) and number > 0
            if isinstance(event, Auth):
                server.answer_auth(None if is_refused else "ann")
            elif isinstance(event, BodyPart):
                server.reply(refusal if is_refused else MESSAGE_ACCEPTED)
            else:
                server.reply(refusal if is_refused else SENDER_OK)
        said += server.data_to_send()
        if event is NEED_CLOSE:
            return True, said
    return False, said


@pytest.mark.parametrize(("begin", "again", "refused"), FLOODS.values(), ids=FLOODS)
def test_flood(begin: bytes, again: bytes, refused: type) -> None:
    is_ended, said = flooded(begin, again, refused, 200)
    assert is_ended
    *answers, last = split_answers(said)
    assert last.code == 421
    assert len(answers) <= 4 * OFFER.max_idle_commands + 10


@pytest.mark.parametrize("number", [19, 20])
def test_the_least_that_is_a_flood_of_guesses(number: int) -> None:
    begin, again, refused = FLOODS["guessed recipients"]
    is_ended, said = flooded(begin, again, refused, number)
    assert is_ended is (number >= OFFER.max_errors)
    assert said.endswith(b"421 4.7.0 Too many errors\r\n" if is_ended else NO.wire)


@pytest.mark.parametrize("number", [50, 51])
def test_the_least_that_is_a_flood_of_recipients_to_try_again(number: int) -> None:
    begin, again, refused = FLOODS["guessed recipients"]
    is_ended, said = flooded(begin, again, refused, number, LATER)
    assert is_ended is (number > OFFER.max_idle_commands)
    assert said.endswith(
        b"421 4.7.0 Too many commands without a message\r\n" if is_ended else LATER.wire
    )


def test_mail_is_no_flood() -> None:
    # A list with a thousand dead addresses is sent by a program that means well.
    server = ServerConnection(OFFER, asks_connect=False)
    server.receive_data(BEGIN)
    message = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nx\r\n.\r\n"
    for _ in range(200):
        server.receive_data(message)
        is_first = True
        while isinstance(event := server.next_event(), Mail | Rcpt | BodyPart):
            server.reply(NO if isinstance(event, Rcpt) and is_first else MESSAGE_ACCEPTED)
            is_first = is_first and not isinstance(event, Rcpt)
        server.data_to_send()
        assert event is not NEED_CLOSE
