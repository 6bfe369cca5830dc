"""`ServerConnection`: its events, what it wants of its driver, and every state of a session.

The dialogues by topic: test_session.py, test_paths.py, test_mail_data.py, test_chunking.py,
test_pipelining.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from pillarbox.protocol.address import Path
from pillarbox.protocol.body import BARE_NEWLINE
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    BodyAborted,
    BodyPart,
    Connect,
    Event,
    Mail,
    Need,
    Rcpt,
)
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.replies import TOO_LARGE
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.server import MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK, ServerConnection
from pillarbox.protocol.state import State
from tests.conftest import Talk
from tests.grammar import split_answers

OK = Reply(250, "2.0.0", "Fine")
NO = Reply(550, "5.7.1", "No")
LATER = Reply(451, "4.7.1", "Later")
GREETING = Reply(220, None, "mx.test ESMTP")

MAIL_AND_RCPT = b"EHLO client.test\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\n"


class Core:
    """A connection that is asked about nothing, unless a test wants to be."""

    def __init__(
        self,
        *,
        asks_connect: bool = False,
        asks_mail: bool = False,
        asks_rcpt: bool = False,
        **limits: Any,
    ) -> None:
        self.protocol = ServerConnection(
            Offer(hostname="mx.test", **limits),
            asks_connect=asks_connect,
            asks_mail=asks_mail,
            asks_rcpt=asks_rcpt,
        )
        self.next = self.protocol.next_event
        self.reply = self.protocol.reply

    def feed(self, data: bytes) -> Event | Need:
        self.protocol.receive_data(data)
        return self.next()

    def eof(self) -> Event | Need:
        self.protocol.receive_eof()
        return self.next()

    def codes(self) -> list[int]:
        return [answer.code for answer in split_answers(self.protocol.data_to_send())]


def ready(data: bytes = MAIL_AND_RCPT, **options: Any) -> Core:
    """Begin a session; what is said so far does not matter."""
    core = Core(**options)
    assert core.feed(data) is NEED_DATA
    core.codes()
    return core


def test_recipient_before_sender(talk: Talk) -> None:
    talk("""
        S: 220 mx.test ESMTP
        C: HELO client.test
        S: 250 mx.test
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 RCPT needs a MAIL command first
    """)


# Events.


def test_every_event_of_a_message() -> None:
    core = Core(asks_connect=True, asks_mail=True, asks_rcpt=True)
    assert core.next() == Connect()
    core.reply(GREETING)
    assert core.next() is NEED_DATA
    assert core.feed(b"EHLO client.test\r\nMAIL FROM:<ann@example.org> SIZE=5\r\n") == Mail(
        Path(b"ann@example.org"), size=5, parameters={"SIZE": "5"}
    )
    core.reply(SENDER_OK)
    assert core.feed(b"RCPT TO:<ben@example.org>\r\n") == Rcpt(Path(b"ben@example.org"))
    core.reply(RECIPIENT_OK)
    assert core.next() is NEED_DATA
    assert core.feed(b"DATA\r\n") is NEED_DATA
    assert core.feed(b"hi\r\n.\r\nQUIT\r\n") == BodyPart(b"hi\r\n", is_last=True)
    core.reply(MESSAGE_ACCEPTED)
    assert core.next() is NEED_CLOSE
    assert core.codes() == [220, 250, 250, 250, 354, 250, 221]


def test_what_nobody_asks_for_is_answered_inside() -> None:
    core = Core()
    assert core.protocol.state is State.HELLO
    assert core.feed(MAIL_AND_RCPT + b"DATA\r\n") is NEED_DATA
    assert core.codes() == [220, 250, 250, 250, 354]
    assert core.protocol.mail == Mail(Path(b"ann@example.org"))
    assert core.protocol.rcpts == [Rcpt(Path(b"ben@example.org"))]


# The same three commands, as programs write them and as people do: the careful parsers see the
# second line of each pair.
SPELLINGS = {
    "EHLO": (b"EHLO client.test\r\n", b"EHLO  [192.0.2.1]\r\n"),
    "HELO": (b"HELO client.test\r\n", b"helo client.test\r\n"),
    "MAIL": (b"MAIL FROM:<ann@example.org>\r\n", b"Mail from: <ann@example.org>\r\n"),
    "RCPT": (b"RCPT TO:<ben@example.org>\r\n", b"Rcpt to: <ben@example.org>\r\n"),
    "DATA": (b"DATA\r\n", b"Data \r\n"),
    "QUIT": (b"QUIT\r\n", b"Quit \r\n"),
}


@pytest.mark.parametrize("spelling", [0, 1])
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("hello", ["EHLO", "HELO"])
def test_both_paths_do_the_same(spelling: int, asks: bool, hello: str) -> None:
    core = Core(asks_mail=asks, asks_rcpt=asks)
    events: list[Event] = []
    answers = {Mail: SENDER_OK, Rcpt: RECIPIENT_OK, BodyPart: MESSAGE_ACCEPTED}
    for verb in (hello, "MAIL", "RCPT", "DATA"):
        core.protocol.receive_data(SPELLINGS[verb][spelling])
        while not isinstance(event := core.next(), Need):
            events.append(event)
            core.reply(answers[type(event)])
        assert event is NEED_DATA
    mail, rcpt = Mail(Path(b"ann@example.org")), Rcpt(Path(b"ben@example.org"))
    assert events == ([mail, rcpt] if asks else [])
    assert (core.protocol.mail, core.protocol.rcpts) == (mail, [rcpt])
    assert core.protocol.is_extended is (hello == "EHLO")
    assert core.feed(b".\r\n" + SPELLINGS["QUIT"][spelling]) == BodyPart(b"", is_last=True)
    core.reply(OK)
    assert core.next() is NEED_CLOSE
    assert core.codes() == [220, 250, 250, 250, 354, 250, 221]


LEFT_TO_THE_CAREFUL_PATH = {
    b"EHLO client.test\r\n": 250,
    b"HELO client.test\r\n": 250,
    b"MAIL FROM:<ann@example.org>\r\n": 503,
    b"RCPT TO:<%b@example.org>\r\n" % (b"a" * 65): 501,
    b"RCPT TO:<ben@%b>\r\n" % (b"d" * 100): 250,
    b"QUIT\r\n": 221,
}


@pytest.mark.parametrize(("line", "code"), LEFT_TO_THE_CAREFUL_PATH.items())
def test_what_the_fast_path_knows_but_leaves(line: bytes, code: int) -> None:
    core = ready()
    assert core.feed(line) is (NEED_CLOSE if code == 221 else NEED_DATA)
    assert core.codes() == [code]


TOO_SOON = {
    b"MAIL FROM:<ann@example.org>\r\n": 503,
    b"RCPT TO:<ben@example.org>\r\n": 503,
    b"DATA\r\n": 503,
    b"QUIT\r\n": 221,
}


@pytest.mark.parametrize(("line", "code"), TOO_SOON.items())
def test_before_ehlo(line: bytes, code: int) -> None:
    core = ready(b"")
    core.feed(line)
    assert core.codes() == [code]


def test_quit_without_a_transaction() -> None:
    core = ready(b"EHLO client.test\r\n")
    assert core.feed(b"QUIT\r\nNOOP\r\n") is NEED_CLOSE
    assert core.codes() == [221]


def test_parameters_are_seen_by_the_event() -> None:
    core = Core(asks_mail=True)
    line = "MAIL FROM:<né@b> SMTPUTF8 Size=3 BODY=8bitmime\r\n".encode()
    assert core.feed(b"EHLO client.test\r\n" + line) == Mail(
        Path("né@b".encode()),
        3,
        "8BITMIME",
        smtputf8=True,
        parameters={"SMTPUTF8": None, "SIZE": "3", "BODY": "8bitmime"},
    )


@pytest.mark.parametrize("line", [b"EHLO client.test\r\n", b"EHLO  client.test\r\n"])
def test_what_the_client_calls_itself(line: bytes) -> None:
    core = Core()
    assert (core.protocol.domain, core.protocol.is_extended) == (None, False)
    core.feed(line)
    assert (core.protocol.domain, core.protocol.is_extended) == ("client.test", True)
    core.feed(b"HELO other.test\r\n")
    assert (core.protocol.domain, core.protocol.is_extended) == ("other.test", False)


@pytest.mark.parametrize("reply", [NO, LATER])
def test_refusals_of_sender_and_recipient(reply: Reply) -> None:
    core = Core(asks_mail=True, asks_rcpt=True)
    core.feed(b"EHLO client.test\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\n")
    core.reply(reply)
    assert core.protocol.mail is None
    assert core.next() is NEED_DATA
    core.feed(b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n")
    core.reply(SENDER_OK)
    assert isinstance(core.next(), Rcpt)
    core.reply(reply)
    assert core.protocol.rcpts == []
    assert core.next() is NEED_DATA
    assert core.codes() == [220, 250, reply.code, 503, 250, reply.code, 503]


def test_refused_greeting() -> None:
    core = Core(asks_connect=True)
    core.next()
    core.reply(Reply(554, "5.7.1", "Not from there"))
    assert core.protocol.state is State.REFUSED
    assert core.feed(b"EHLO client.test\r\nNOOP\r\nBDAT 3\r\nxyzBREW\r\nQUIT\r\n") is NEED_CLOSE
    assert core.codes() == [554, 503, 503, 503, 500, 221]


def test_commands_that_change_nothing() -> None:
    core = ready()
    core.feed(b"NOOP\r\nHELP\r\nVRFY ann\r\nEXPN staff\r\nBREW\r\nNO\nOP\r\nDATA now\r\n")
    assert core.codes() == [250, 214, 252, 502, 500, 500, 501]
    assert core.protocol.state is State.RCPT


def test_rset_and_hello_end_a_transaction() -> None:
    for line in (b"RSET\r\n", b"HELO client.test\r\n"):
        core = ready()
        core.feed(line)
        assert core.codes() == [250]
        assert (core.protocol.mail, core.protocol.rcpts) == (None, [])
        assert core.protocol.state is State.READY


def test_smtputf8_for_recipients() -> None:
    recipient = "RCPT TO:<né@example.org>\r\n".encode()
    core = ready()
    core.feed(recipient)
    assert core.codes() == [553]
    core = ready(b"EHLO client.test\r\nMAIL FROM:<> SMTPUTF8\r\n", asks_rcpt=True)
    assert isinstance(core.feed(recipient), Rcpt)
    core.reply(Reply(550, "5.1.1", "né"))
    assert core.protocol.data_to_send() == "550 5.1.1 né\r\n".encode()


def test_too_many_recipients_on_both_paths() -> None:
    core = ready(max_recipients=1)
    core.feed(b"RCPT TO:<cat@example.org>\r\nRcpt to:<cat@example.org>\r\n")
    assert core.codes() == [452, 452]
    assert len(core.protocol.rcpts) == 1


def test_announced_size_and_parameters_without_ehlo() -> None:
    core = ready(b"EHLO client.test\r\n", max_message_bytes=10)
    core.feed(b"MAIL FROM:<> SIZE=11\r\nMAIL FROM:<> SIZE=10\r\nHELO client.test\r\n")
    core.feed(b"MAIL FROM:<> SIZE=10\r\n")
    assert core.codes() == [552, 250, 250, 555]


def test_a_line_that_is_too_long() -> None:
    core = ready(max_command_octets=512)
    assert core.feed(b"x" * 1000) is NEED_DATA
    assert core.protocol.buffered_octets < 512
    assert core.feed(b"DATA\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [500, 250]


# The message.


def test_a_message_in_parts() -> None:
    core = ready(whole_body_octets=3)
    assert core.feed(b"DATA\r\nfirst") == BodyPart(b"first", is_last=False)
    assert core.next() is NEED_DATA
    assert core.feed(b"second\r\n.\r\n") == BodyPart(b"second\r\n", is_last=True)
    core.reply(OK)
    assert core.next() is NEED_DATA
    assert core.codes() == [354, 250]
    assert core.protocol.state is State.READY


def test_the_reply_to_a_message_in_utf8() -> None:
    core = ready(b"EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<a@b>\r\nDATA\r\n")
    core.feed(b".\r\n")
    core.reply(Reply(550, "5.7.1", "όχι"))
    assert core.protocol.data_to_send() == "550 5.7.1 όχι\r\n".encode()


@pytest.mark.parametrize("reply", [OK, NO, LATER])
def test_an_early_answer_is_kept_until_the_end(reply: Reply) -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"DATA\r\nfirst") == BodyPart(b"first", is_last=False)
    core.codes()
    core.reply(reply)
    assert core.next() is NEED_DATA
    assert core.feed(b"QUIT\r\nsecond") is NEED_DATA
    assert core.codes() == []
    assert core.feed(b"\r\n.\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [reply.code, 250]


def test_an_early_answer_to_chunks() -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 9\r\nfirst") == BodyPart(b"first", is_last=False)
    core.reply(OK)
    assert core.feed(b"moreBDAT 4\r\nmoreBDAT 0 LAST\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [250, 250, 250, 250]
    assert core.protocol.state is State.READY


def test_an_early_refusal_of_chunks() -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 9\r\nfirst") == BodyPart(b"first", is_last=False)
    core.reply(NO)
    # RFC 3030 §2: every chunk behind a refused one is refused as well, and swallowed.
    assert core.feed(b"moreBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [550, 503, 503, 250]


def test_an_early_answer_and_a_limit() -> None:
    core = ready(whole_body_octets=0, max_message_bytes=10)
    assert core.feed(b"DATA\r\nfirst") == BodyPart(b"first", is_last=False)
    core.codes()
    core.reply(OK)
    assert core.feed(b"x" * 100) is NEED_DATA
    assert core.feed(b"\r\n.\r\n") is NEED_DATA
    assert core.codes() == [552]


BROKEN = {"too large": (b"x" * 100, TOO_LARGE), "bare LF": (b"a\nb", BARE_NEWLINE)}


@pytest.mark.parametrize(("octets", "reply"), BROKEN.values(), ids=BROKEN)
def test_a_rule_broken_midway(octets: bytes, reply: Reply) -> None:
    core = ready(whole_body_octets=0, max_message_bytes=50)
    assert core.feed(b"DATA\r\nfirst") == BodyPart(b"first", is_last=False)
    core.codes()
    assert core.feed(octets) == BodyAborted(reply)
    assert core.next() is NEED_DATA
    assert core.feed(b"QUIT\r\n") is NEED_DATA
    assert core.codes() == []
    assert core.feed(b".\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [reply.code, 250]


def test_a_cr_as_the_last_octet_of_chunks() -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 3 LAST\r\nx") == BodyPart(b"x", is_last=False)
    assert core.feed(b"y\r") == BodyAborted(BARE_NEWLINE)
    assert core.next() is NEED_DATA
    assert core.codes() == [550]


def test_chunks_in_parts() -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 5\r\nfir") == BodyPart(b"fir", is_last=False)
    assert core.feed(b"st") == BodyPart(b"st", is_last=False)
    assert core.next() is NEED_DATA
    assert core.protocol.state is State.CHUNKS
    assert core.feed(b"BDAT 3\r\nsec") == BodyPart(b"sec", is_last=False)
    assert core.feed(b"BDAT 4 LAST\r\non") == BodyPart(b"on", is_last=False)
    assert core.feed(b"d.") == BodyPart(b"d.", is_last=True)
    core.reply(OK)
    assert core.codes() == [250, 250, 250]


@pytest.mark.parametrize("line", [b"RSET\r\n", b"EHLO client.test\r\n", b"QUIT\r\n"])
def test_giving_up_between_chunks(line: bytes) -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 1\r\nx") == BodyPart(b"x", is_last=False)
    assert core.next() is NEED_DATA
    assert core.feed(line) == BodyAborted(None)
    assert core.next() is (NEED_CLOSE if line == b"QUIT\r\n" else NEED_DATA)
    assert core.codes() == [250, 221 if line == b"QUIT\r\n" else 250]


def test_giving_up_between_chunks_that_nobody_has_seen() -> None:
    core = ready(whole_body_octets=100)
    assert core.feed(b"BDAT 2\r\nxyRSET\r\n") is NEED_DATA
    assert core.codes() == [250, 250]


def test_a_refused_chunk_is_swallowed() -> None:
    core = ready(b"EHLO client.test\r\n")
    assert core.feed(b"BDAT 12 LAST\r\nQUIT\r\nQU") is NEED_DATA
    assert core.protocol.state is State.SKIP
    assert core.codes() == [503]
    assert core.feed(b"IT\r\nNOOP\r\n") is NEED_DATA
    assert core.codes() == [250]


def test_binarymime_needs_bdat() -> None:
    core = ready(b"EHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b>\r\n")
    core.feed(b"DATA\r\nBDAT 1 LAST\r\n\n")
    assert core.codes() == [503]
    core.reply(OK)
    assert core.codes() == [250]


@pytest.mark.parametrize("accepts", [False, True])
def test_bare_newlines(accepts: bool) -> None:
    core = ready(accept_bare_newlines=accepts)
    event = core.feed(b"DATA\r\na\nb\r\n.\r\n")
    assert event == (BodyPart(b"a\nb\r\n", is_last=True) if accepts else NEED_DATA)


def test_one_message_behind_the_other() -> None:
    core = ready()
    for octets in (b"a\nb", b"fine"):
        core.feed(b"DATA\r\n" + octets + b"\r\n.\r\n")
        if octets == b"fine":
            core.reply(OK)
        core.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n")
    assert core.codes() == [354, 550, 250, 250, 354, 250, 250, 250]


# The end.


@pytest.mark.parametrize("data", [b"", b"NOO", b"EHLO client.test\r\n", MAIL_AND_RCPT])
def test_eof_between_messages(data: bytes) -> None:
    core = Core()
    core.feed(data)
    assert core.eof() is NEED_CLOSE


def test_eof_before_the_greeting() -> None:
    core = Core(asks_connect=True)
    assert core.eof() == Connect()
    core.reply(GREETING)
    assert core.next() is NEED_CLOSE


def test_eof_behind_a_batch_answers_the_batch() -> None:
    core = Core()
    core.protocol.receive_data(MAIL_AND_RCPT)
    assert core.eof() is NEED_CLOSE
    assert core.codes() == [220, 250, 250, 250]


@pytest.mark.parametrize("begin", [b"DATA\r\nfirst", b"BDAT 9\r\nfirst"])
def test_eof_in_a_message(begin: bytes) -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(begin) == BodyPart(b"first", is_last=False)
    assert core.eof() == BodyAborted(None)
    assert core.next() is NEED_CLOSE


def test_eof_between_chunks() -> None:
    core = ready(whole_body_octets=0)
    assert core.feed(b"BDAT 5\r\nfirst") == BodyPart(b"first", is_last=False)
    assert core.next() is NEED_DATA
    assert core.eof() == BodyAborted(None)
    assert core.next() is NEED_CLOSE


@pytest.mark.parametrize("begin", [b"DATA\r\nfirst", b"BDAT 9\r\nfirst", b"BDAT 5\r\nfirst"])
def test_eof_in_a_message_that_nobody_has_seen(begin: bytes) -> None:
    core = ready(whole_body_octets=100)
    assert core.feed(begin) is NEED_DATA
    assert core.eof() is NEED_CLOSE


def test_eof_in_a_message_that_was_answered() -> None:
    core = ready(whole_body_octets=0)
    core.feed(b"DATA\r\nfirst")
    core.codes()
    core.reply(OK)
    assert core.eof() is NEED_CLOSE
    assert core.codes() == []


def test_eof_in_a_swallowed_chunk() -> None:
    core = ready(b"")
    assert core.feed(b"BDAT 9\r\nfirst") is NEED_DATA
    assert core.eof() is NEED_CLOSE


def test_close_while_an_answer_is_owed() -> None:
    core = Core(asks_connect=True)
    core.next()
    core.protocol.close(Reply(421, "4.3.2", "Shutting down"))
    assert core.next() is NEED_CLOSE
    assert core.codes() == [421]


EVENTS_BEFORE = {
    "Connect": (b"", Connect),
    "Mail": (b"EHLO c\r\nMAIL FROM:<>\r\n", Mail),
    "Rcpt": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n", Rcpt),
    "last part": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n", BodyPart),
    "first part": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\ntext", BodyPart),
}


@pytest.mark.parametrize(("data", "kind"), EVENTS_BEFORE.values(), ids=EVENTS_BEFORE)
def test_421_closes_whatever_it_answers(data: bytes, kind: type) -> None:
    core = Core(asks_connect=True, asks_mail=True, asks_rcpt=True, whole_body_octets=0)
    core.protocol.receive_data(data + b"NOOP\r\n")
    while True:
        event = core.next()
        assert not isinstance(event, Need)
        if isinstance(event, kind):
            break
        core.reply(GREETING if isinstance(event, Connect) else OK)
    core.reply(Reply(421, "4.3.2", "Going down"))
    assert core.next() is NEED_CLOSE
    assert core.codes()[-1:] == [421]


@pytest.mark.parametrize("errors", [1, 2, 100])
def test_too_many_errors(errors: int) -> None:
    core = ready(max_errors=errors)
    assert core.feed(b"BREW\r\n" * errors + b"NOOP\r\n") is NEED_CLOSE
    assert core.codes() == [500] * errors + [421]


def test_too_many_errors_at_a_chunk() -> None:
    core = ready(b"", max_errors=1)
    assert core.feed(b"BDAT 9\r\n") is NEED_CLOSE
    assert core.codes() == [503, 421]


def test_an_accepted_message_wipes_the_slate() -> None:
    core = ready(max_errors=2)
    core.feed(b"BREW\r\nDATA\r\n.\r\n")
    core.reply(OK)
    assert core.feed(b"BREW\r\n") is NEED_DATA
    core.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n")
    core.reply(NO)
    assert core.feed(b"BREW\r\n") is NEED_CLOSE


# The driver's duties.


def test_replies_leave_together() -> None:
    core = Core()
    core.feed(MAIL_AND_RCPT)
    assert len(split_answers(core.protocol.data_to_send())) == 4
    assert core.protocol.data_to_send() == b""


def test_many_replies_leave_in_steps() -> None:
    core = ready()
    assert core.feed(b"NOOP\r\n" * 300) is NEED_SEND
    assert core.next() is NEED_SEND
    assert len(core.codes()) == 256
    assert core.next() is NEED_DATA
    assert len(core.codes()) == 300 - 256


def test_buffered_octets() -> None:
    core = Core(asks_mail=True)
    core.feed(b"EHLO client.test\r\nMAIL FROM:<>\r\nNOOP\r\n")
    assert core.protocol.buffered_octets == len(b"NOOP\r\n")
    core.reply(OK)
    core.next()
    assert core.protocol.buffered_octets == 0


def test_next_event_before_an_answer() -> None:
    core = Core(asks_connect=True)
    core.next()
    with pytest.raises(LocalProtocolError, match=r"Connect is not answered; call reply\(\)"):
        core.next()


def test_an_answer_to_nothing() -> None:
    core = ready()
    with pytest.raises(LocalProtocolError, match=r"nothing to answer; call next_event\(\)"):
        core.reply(OK)
    core.feed(b"BDAT 4\r\ntext")
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        core.reply(OK)


def test_two_answers_to_one_message() -> None:
    core = ready(whole_body_octets=0)
    core.feed(b"DATA\r\nfirst")
    core.reply(OK)
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        core.reply(OK)


def test_an_answer_that_is_none() -> None:
    core = Core(asks_connect=True)
    core.next()
    with pytest.raises(LocalProtocolError, match="354 is no answer; take a 2xx, 4xx or 5xx reply"):
        core.reply(Reply(354, None, "Go on"))
    core.reply(GREETING)


def test_what_is_coming_in_counts_its_octets() -> None:
    core = ready()
    assert core.protocol.incoming is None
    core.feed(b"DATA\r\n12345678")
    assert core.protocol.incoming is not None
    assert core.protocol.incoming.octets == 8
    skipping = ready(b"EHLO client.test\r\nBDAT 100\r\n123")
    assert skipping.protocol.incoming is not None
    assert skipping.protocol.incoming.octets == 3


def test_lmtp_is_not_spoken_here(talk: Talk) -> None:
    talk("""
        S: 220 mx.test ESMTP
        C: LHLO client.test
        S: 500 5.5.1 This is SMTP; say EHLO
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
    """)


# Names that are tried out.


def told(core: Core, line: bytes, reply: Reply) -> list[int]:
    """Say a line that the handler answers so; give the codes."""
    core.protocol.receive_data(line)
    assert isinstance(core.next(), Mail | Rcpt)
    core.reply(reply)
    return core.codes()


@pytest.mark.parametrize("line", [b"RCPT TO:<%d@x>\r\n", b"Rcpt to: <%d@x>\r\n"])
def test_a_harvest_of_recipients_is_cut(line: bytes) -> None:
    core = ready(b"EHLO client.test\r\nMAIL FROM:<>\r\n", asks_rcpt=True)
    for number in range(99):
        assert told(core, line % number, NO) == [550]
    assert told(core, line % 99, NO) == [550, 421]
    assert core.feed(line % 100) is NEED_CLOSE


def test_a_harvest_over_many_transactions_is_cut() -> None:
    core = ready(b"EHLO client.test\r\n", asks_mail=True, asks_rcpt=True, max_errors=4)
    for last in ([550], [550, 421]):
        assert told(core, b"MAIL FROM:<a@b>\r\n", NO) == [550]
        assert told(core, b"MAIL FROM:<a@b>\r\n", SENDER_OK) == [250]
        assert told(core, b"RCPT TO:<a@b>\r\n", NO) == last
        core.feed(b"RSET\r\n")
        core.codes()
    assert core.next() is NEED_CLOSE


def test_a_mailing_with_dead_recipients_goes_through() -> None:
    core = ready(b"EHLO client.test\r\n", asks_rcpt=True)
    for _ in range(3):  # a message that is accepted begins the count anew
        core.feed(b"MAIL FROM:<>\r\n")
        for number in range(1000):
            is_dead = number % 20 == 7
            said = told(core, b"RCPT TO:<%d@x>\r\n" % number, NO if is_dead else OK)
            assert said[-1] == (550 if is_dead else 250)
        assert core.feed(b"DATA\r\nx\r\n.\r\n") == BodyPart(b"x\r\n", is_last=True)
        assert len(core.protocol.rcpts) == 950
        core.reply(OK)
        assert core.codes() == [354, 250]


def test_recipients_to_try_again_are_no_errors() -> None:
    core = ready(b"EHLO client.test\r\nMAIL FROM:<>\r\n", asks_rcpt=True, max_errors=2)
    for _ in range(50):
        assert told(core, b"RCPT TO:<a@x>\r\n", LATER) == [451]
