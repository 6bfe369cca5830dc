"""Lines, the session, the least that every server does, and replies (RFC 5321 §2.3.8, §3, §4)."""

from __future__ import annotations

import pytest

from pillarbox.envelope import Message, Session
from pillarbox.handler import Reject
from pillarbox.protocol.event import NEED_CLOSE
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.session import ServerSession
from pillarbox.protocol.state import State
from pillarbox.testing import Recorder
from tests.conftest import Talk

# Lines: only CRLF ends one.


def test_an_empty_line(talk: Talk) -> None:
    talk(r"""
        S: 220 mx.test ESMTP
        C:
        S: 500 5.5.1 Command not recognized
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
    """)


@pytest.mark.parametrize(
    "octets",
    [r"NOOP\n", r"NOOP\r", r"NOOP\n\r", r"NO\rOP", r"NO\nOP", r"\nNOOP", r"\rNOOP", r"QUIT\nNOOP"],
)
def test_a_bare_cr_or_lf_in_a_command(talk: Talk, octets: str) -> None:
    talk(rf"""
        S: 220 mx.test ESMTP
        C! "{octets}\r\n"
        S: 500 5.5.2 Only CRLF ends a line
        C: NOOP
        S: 250 2.0.0 OK
    """)


@pytest.mark.parametrize("end", [r"\n", r"\r", r"\n\r", r"\x85", r"\x0b", r"\x00", r"\r\x00\n"])
def test_nothing_else_ends_a_line(talk: Talk, end: str) -> None:
    talk(rf"""
        S: 220 mx.test ESMTP
        C! "QUIT{end}"
        C: [closed]
        S: [closed]
    """)


def test_a_command_cut_off_by_the_end_is_not_run(talk: Talk) -> None:
    talk(r"""
        S: 220 mx.test ESMTP
        C! "QUIT\r"
        C: [closed]
        S: [closed]
    """)


# The session.


def test_nothing_is_said_but_the_greeting(talk: Talk) -> None:
    talk("S: 220 mx.test ESMTP")


def test_helo_answers_one_line(talk: Talk) -> None:
    talk("""
        S: 220 mx.test ESMTP
        C: HELO client.test
        S: 250 mx.test
    """)


@pytest.mark.parametrize("hello", ["EHLO", "HELO"])
def test_hello_needs_a_name(talk: Talk, hello: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: {hello}
        S: 501 5.5.4 Syntax: {hello} your.domain or {hello} [192.0.2.1]
        C: {hello} one two
        S: 501 5.5.4 Syntax: {hello} your.domain or {hello} [192.0.2.1]
        C: MAIL FROM:<>
        S: 503 5.5.1 Say EHLO first
    """)


@pytest.mark.parametrize("hello", ["EHLO", "HELO", "ehlo", "Helo"])
def test_hello_resets(talk: Talk, hello: str) -> None:
    assert not talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: {hello} client.test
        S: 250 ...
        C: DATA
        S: 503 5.5.1 DATA needs a MAIL command first
    """)


def test_a_bad_hello_changes_nothing(talk: Talk) -> None:
    (message,) = talk("""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: EHLO
        S: 501 ...
        C: DATA
        S: 354 ...
        C: .
        S: 250 2.0.0 ...
    """)
    assert message.data == b""


BEFORE_EHLO = {
    "RSET": "250 2.0.0 OK",
    "NOOP": "250 2.0.0 OK",
    "NOOP whatever": "250 2.0.0 OK",
    "HELP": "214 2.0.0 ...",
    "HELP MAIL": "214 2.0.0 ...",
    "VRFY ann": "252 2.5.0 Cannot verify, but will take mail for it",
    "VRFY <ann@example.org>": "252 2.5.0 Cannot verify, but will take mail for it",
    "EXPN staff": "502 5.5.1 Lists are not shown",
    "MAIL FROM:<ann@example.org>": "503 5.5.1 Say EHLO first",
    "RCPT TO:<ann@example.org>": "503 5.5.1 RCPT needs a MAIL command first",
    "DATA": "503 5.5.1 DATA needs a MAIL command first",
    "BDAT 0 LAST": "503 5.5.1 BDAT needs a MAIL command first",
    "RSET now": "501 5.5.4 RSET takes no argument",
    "VRFY": "501 5.5.4 Syntax: VRFY address",
    "EXPN": "501 5.5.4 Syntax: EXPN list",
    "QUIT now": "501 5.5.4 QUIT takes no argument",
    "MAIL": "503 5.5.1 Say EHLO first",
    "BREW coffee": "500 5.5.1 Command not recognized",
    "STARTTLS": "502 5.5.1 STARTTLS is not offered",
    "AUTH PLAIN": "503 5.5.1 Say EHLO first",
    "XCLIENT ADDR=192.0.2.9": "550 5.7.0 XCLIENT is not for you",
    "LHLO client.test": "500 5.5.1 This is SMTP; say EHLO",
    "NOOPS": "500 5.5.1 Command not recognized",
    "ＮＯＯＰ": "500 5.5.1 Command not recognized",
}


@pytest.mark.parametrize(("command", "reply"), BEFORE_EHLO.items())
def test_before_ehlo(talk: Talk, command: str, reply: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: {command}
        S: {reply}
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
    """)


ANY_CASE = {
    "noop": "250 2.0.0 OK",
    "nOOP": "250 2.0.0 OK",
    "Rset": "250 2.0.0 OK",
    "vrfy x": "252 2.5.0 ...",
    "hElP": "214 2.0.0 ...",
    "quit": "221 2.0.0 Goodbye",
}


@pytest.mark.parametrize(("command", "reply"), ANY_CASE.items())
def test_verbs_in_any_case(talk: Talk, command: str, reply: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: {command}
        S: {reply}
    """)


IN_A_TRANSACTION = {
    "MAIL FROM:<x@example.org>": "503 5.5.1 A transaction is open; RSET ends it",
    "NOOP": "250 2.0.0 OK",
    "VRFY ann": "252 2.5.0 ...",
    "EXPN staff": "502 5.5.1 ...",
    "HELP": "214 2.0.0 ...",
    "BREW coffee": "500 5.5.1 ...",
    "RCPT TO:<>": "501 5.1.3 Nobody is no recipient",
    "DATA now": "501 5.5.4 DATA takes no argument",
    "RSET now": "501 5.5.4 RSET takes no argument",
    "QUIT now": "501 5.5.4 QUIT takes no argument",
    "EHLO": "501 5.5.4 ...",
}


@pytest.mark.parametrize(("command", "reply"), IN_A_TRANSACTION.items())
def test_what_leaves_a_transaction_open(talk: Talk, command: str, reply: str) -> None:
    (message,) = talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: {command}
        S: {reply}
        C: DATA
        S: 354 ...
        C: text
        C: .
        S: 250 2.0.0 ...
    """)
    assert (message.mail_from, message.rcpt_tos) == ("ann@example.org", ["ben@example.org"])


def test_rset_forgets(talk: Talk) -> None:
    (message,) = talk("""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: RSET
        S: 250 2.0.0 OK
        C: MAIL FROM:<cat@example.org>
        S: 250 2.1.0 ...
        C: DATA
        S: 503 5.5.1 DATA needs a RCPT command that was accepted
        C: RCPT TO:<dan@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 250 2.0.0 ...
    """)
    assert (message.mail_from, message.rcpt_tos) == ("cat@example.org", ["dan@example.org"])


def test_a_message_ends_its_transaction(talk: Talk) -> None:
    first, second = talk("""
        S: 220 mx.test ESMTP
        C: HELO client.test
        S: 250 mx.test
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: one
        C: .
        S: 250 2.0.0 ...
        C: RCPT TO:<cat@example.org>
        S: 503 5.5.1 RCPT needs a MAIL command first
        C: MAIL FROM:<>
        S: 250 2.1.0 ...
        C: RCPT TO:<cat@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: two
        C: .
        S: 250 2.0.0 ...
    """)
    assert (first.mail_from, first.rcpt_tos) == ("ann@example.org", ["ben@example.org"])
    assert (second.mail_from, second.rcpt_tos) == ("", ["cat@example.org"])
    assert second.envelope.mail.path.is_null


def test_a_recipient_given_twice_is_two(talk: Talk) -> None:
    (message,) = talk("""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 250 2.0.0 ...
    """)
    assert message.rcpt_tos == ["ben@example.org"] * 2


def test_quit_in_a_transaction(talk: Talk) -> None:
    assert not talk("""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
    """)


def test_nothing_is_heard_after_quit(talk: Talk) -> None:
    talk(r"""
        S: 220 mx.test ESMTP
        C! "QUIT\r\nNOOP\r\nNOOP\r\n"
        S: 221 2.0.0 Goodbye
        S: [closed]
    """)


# Refusing a client (§3.1).


class RefusesEverybody:
    def connect(self, _session: Session) -> None:
        raise Reject(554, "5.7.1", "No mail from there")


def test_refused_greeting(talk: Talk) -> None:
    talk(
        r"""
        S: 554 5.7.1 No mail from there
        C: EHLO client.test
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: MAIL FROM:<ann@example.org>
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: NOOP
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: BREW coffee
        S: 500 5.5.1 Command not recognized
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
        """,
        handler=RefusesEverybody,
    )


class ClosesAtOnce:
    def connect(self, _session: Session) -> Reply:
        return Reply(421, "4.3.2", "Not today")


def test_greeting_that_closes(talk: Talk) -> None:
    talk("S: 421 4.3.2 Not today\nS: [closed]", handler=ClosesAtOnce)


class GreetsInItsOwnWords:
    def connect(self, _session: Session) -> Reply:
        return Reply(220, None, "mx.test ESMTP\nBe welcome")


def test_greeting_of_the_handlers(talk: Talk) -> None:
    talk(
        """
        S: 220-mx.test ESMTP
        S: 220 Be welcome
        C: HELO client.test
        S: 250 mx.test
        """,
        handler=GreetsInItsOwnWords,
    )


# Replies.


class Refuses(Recorder):
    def __init__(self) -> None:
        super().__init__(
            {
                "twoline@example.org": Reply(550, "5.7.1", "Not you.\nNever."),
                "later@example.org": Reply(451, "4.7.1", "Come again"),
                "né@example.org": Reply(550, "5.1.1", "né"),
                "bye@example.org": Reply(421, "4.7.0", "Enough"),
                "fine@example.org": Reply(250, "2.1.5", "My pleasure"),
            }
        )


def test_replies_of_the_handler(talk: Talk) -> None:
    assert not talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<twoline@example.org>
        S: 550-5.7.1 Not you.
        S: 550 5.7.1 Never.
        C: MAIL FROM:<fine@example.org>
        S: 250 2.1.5 My pleasure
        C: RCPT TO:<later@example.org>
        S: 451 4.7.1 Come again
        C: RCPT TO:<bye@example.org>
        S: 421 4.7.0 Enough
        S: [closed]
        """,
        handler=Refuses,
    )


def test_421_to_a_sender_closes(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<bye@example.org>
        S: 421 4.7.0 Enough
        S: [closed]
        """,
        handler=Refuses,
    )


class RefusesMessages(Recorder):
    def __init__(self) -> None:
        super().__init__(reply=Reply(554, "5.7.1", "Spam"))


def test_refused_message(talk: Talk) -> None:
    assert not talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 554 5.7.1 Spam
        C: RCPT TO:<ben@example.org>
        S: 503 5.5.1 RCPT needs a MAIL command first
        """,
        handler=RefusesMessages,
    )


class ClosesAfterMessages(Recorder):
    def __init__(self) -> None:
        super().__init__(reply=Reply(421, "4.3.2", "Going down"))


@pytest.mark.parametrize("way", ["DATA\r\n.\r\n", "BDAT 0 LAST\r\n"])
def test_421_to_a_message_closes(talk: Talk, way: str) -> None:
    begin = "S: 354 ..." if way[0] == "D" else ""
    talk(
        rf"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C! {ascii(way).replace("'", '"')}
        {begin}
        S: 421 4.3.2 Going down
        S: [closed]
        """,
        handler=ClosesAfterMessages,
    )


def test_utf8_in_replies_only_after_smtputf8(talk: Talk) -> None:
    talk(
        r"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<né@example.org> SMTPUTF8
        S: 550 5.1.1 né
        C: MAIL FROM:<> SMTPUTF8
        S: 250 2.1.0 ...
        C: RCPT TO:<né@example.org>
        S: 550 5.1.1 né
        """,
        handler=Refuses,
    )


class AnswersInGreek:
    def mail(self, _session: Session, _mail: object) -> Reply:
        return Reply(550, "5.7.1", "όχι")


def test_ascii_in_replies_otherwise(talk: Talk) -> None:
    talk(
        r"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<>
        S: 550 5.7.1 \x{3CC}\x{3C7}\x{3B9}
        C: MAIL FROM:<> BODY=8BITMIME
        S: 550 5.7.1 \x{3CC}\x{3C7}\x{3B9}
        """,
        handler=AnswersInGreek,
    )


def test_a_handler_without_message_takes_no_mail(talk: Talk) -> None:
    class OnlySenders:
        def mail(self, _session: Session, _mail: object) -> None:
            pass

    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 554 5.3.2 No mail is taken here
        """,
        handler=OnlySenders,
    )


# No raw input in a reply, no word of an exception.


@pytest.mark.parametrize(
    "line",
    [
        r"\x1b[31mNOOP",
        r"<script>",
        r"EHLO \x1b[31m",
        r"EHLO <script>",
        r"HELO \x00x",
        r"MAIL FROM:<ann\x1b@example.org>",
        r"MAIL FROM:<ann@example.org\n.example>",
        r"VRFY <script>\x00",
        r"EXPN \x1b]0;title\x07",
        r"HELP <script>",
        r"NOOP <script>",
        r"RCPT TO:<<script>@example.org>",
        r"BDAT <script>",
    ],
)
def test_no_raw_input_in_a_reply(talk: Talk, line: str) -> None:
    said: list[Message] = []
    talk(
        rf"""
        S: 220 mx.test ESMTP
        C! "{line}\r\n"
        S: {reply_to(line)}
        """,
        handler=said.append,
    )


def reply_to(line: str) -> str:
    """The whole line: every octet of the reply is known, so nothing of the client's is in it."""
    if r"\n" in line:
        return "500 5.5.2 Only CRLF ends a line"
    return {
        "EHLO": "501 5.5.4 Syntax: EHLO your.domain or EHLO [192.0.2.1]",
        "HELO": "501 5.5.4 Syntax: HELO your.domain or HELO [192.0.2.1]",
        "MAIL": "503 5.5.1 Say EHLO first",
        "RCPT": "503 5.5.1 RCPT needs a MAIL command first",
        "BDAT": "503 5.5.1 BDAT needs a MAIL command first",
        "VRFY": "252 2.5.0 Cannot verify, but will take mail for it",
        "EXPN": "502 5.5.1 Lists are not shown",
        "HELP": "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT",
        "NOOP": "250 2.0.0 OK",
    }.get(line[:4], "500 5.5.1 Command not recognized")


class Fails:
    """Raises at whatever it is asked."""

    def connect(self, _session: Session) -> None:
        self.fail()

    def mail(self, _session: Session, _mail: object) -> None:
        self.fail()

    def rcpt(self, _session: Session, _rcpt: object) -> None:
        self.fail()

    def message(self, _session: Session, _envelope: object, _body: object) -> None:
        self.fail()

    def fail(self) -> None:
        raise RuntimeError("secret: /etc/passwd\r\n250 injected")


class FailsAtSenders(Fails):
    connect = None  # type: ignore[assignment]  # no such method


class FailsAtRecipients(FailsAtSenders):
    mail = None  # type: ignore[assignment]


class FailsAtMessages(FailsAtRecipients):
    rcpt = None  # type: ignore[assignment]


def test_a_handler_that_fails_at_connect(talk: Talk) -> None:
    talk(
        """
        S: 451 4.3.0 Local error; try again later
        C: NOOP
        S: 503 5.5.1 No service here; QUIT is all that is left
        """,
        handler=Fails,
    )


def test_a_handler_that_fails_at_a_sender(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 451 4.3.0 Local error; try again later
        C: RCPT TO:<ben@example.org>
        S: 503 5.5.1 RCPT needs a MAIL command first
        """,
        handler=FailsAtSenders,
    )


def test_a_handler_that_fails_at_a_recipient(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 451 4.3.0 Local error; try again later
        C: DATA
        S: 503 5.5.1 DATA needs a RCPT command that was accepted
        """,
        handler=FailsAtRecipients,
    )


def test_a_handler_that_fails_at_a_message(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 451 4.3.0 Local error; try again later
        C: DATA
        S: 503 5.5.1 DATA needs a MAIL command first
        C: NOOP
        S: 250 2.0.0 OK
        """,
        handler=FailsAtMessages,
    )


# Too many errors.


@pytest.mark.parametrize("errors", [2, 3])
def test_after_too_many_errors_the_server_closes(talk: Talk, errors: int) -> None:
    last = "S: 421 4.7.0 Too many errors\nS: [closed]" if errors == 3 else ""
    talk(
        f"""
        S: 220 mx.test ESMTP
        {"C: BREW coffee" if errors == 3 else "C: NOOP"}
        {"S: 500 5.5.1 ..." if errors == 3 else "S: 250 2.0.0 ..."}
        C: RCPT TO:<ben@example.org>
        S: 503 5.5.1 ...
        C: EHLO
        S: 501 5.5.4 ...
        {last}
        """,
        offer=Offer(hostname="mx.test", max_errors=3),
    )


def test_an_accepted_message_wipes_the_slate(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: BREW coffee
        S: 500 5.5.1 ...
        C: MAIL FROM:<>
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 250 2.0.0 ...
        C: BREW coffee
        S: 500 5.5.1 ...
        C: BREW coffee
        S: 500 5.5.1 ...
        S: 421 4.7.0 Too many errors
        S: [closed]
        """,
        offer=Offer(hostname="mx.test", max_errors=2),
    )


def test_a_bdat_that_is_one_error_too_many(talk: Talk) -> None:
    talk(
        r"""
        S: 220 mx.test ESMTP
        C: BDAT 5
        C! "QUIT"
        S: 503 5.5.1 BDAT needs a MAIL command first
        S: 421 4.7.0 Too many errors
        S: [closed]
        """,
        offer=Offer(hostname="mx.test", max_errors=1),
    )


def test_a_browser_is_sent_away(talk: Talk) -> None:
    talk("""
        S: 220 mx.test ESMTP
        C: POST / HTTP/1.1
        S: 421 4.7.0 This is a mail server, not a web server
        S: [closed]
    """)


# `ServerSession`, as far as no dialogue shows it.


def test_the_time_a_client_has() -> None:
    server = ServerConnection(Offer(hostname="mx.test", idle_timeout_seconds=7))
    assert server.timeout_seconds == 7


def test_close_says_a_last_word_once() -> None:
    server = ServerConnection(Offer(hostname="mx.test"), asks_connect=False)
    server.data_to_send()
    server.receive_data(b"NOOP\r\n")
    server.close(Reply(421, "4.4.2", "Idle"))
    server.close(Reply(421, "4.3.2", "Shutting down"))
    assert server.state is State.CLOSED
    server.receive_data(b"NOOP\r\n")
    assert server.next_event() is NEED_CLOSE
    assert server.buffered_octets == 0
    assert server.data_to_send() == b"421 4.4.2 Idle\r\n"


def test_what_waits_for_a_client_is_the_transactions_side() -> None:
    with pytest.raises(NotImplementedError):
        ServerSession(Offer(hostname="mx.test"), is_tls=False)._wait()
