"""The message by DATA: where it ends, what is kept of it, how large it may be (RFC 5321 §4.5.2)."""

from __future__ import annotations

import pytest

from pillarbox.protocol.extension import Offer
from pillarbox.testing import MemoryServer
from tests.conftest import OFFER, Talk

BEGIN = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 ...
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 End data with <CR><LF>.<CR><LF>
"""
END = """
    C: NOOP
    S: 250 2.0.0 OK
    C: QUIT
    S: 221 2.0.0 Goodbye
    S: [closed]
"""


def literal(octets: bytes) -> str:
    """Write octets as a transcript has them."""
    return "".join(
        chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\x{octet:02x}"
        for octet in octets
    )


def talk_of_message(talk: Talk, octets: bytes, reply: str, offer: Offer = OFFER) -> list[bytes]:
    messages = talk(
        f'{BEGIN}\nC! "{literal(octets)}"\nS: {reply}\n{END}',
        offer=offer,
    )
    return [message.data for message in messages]


KEPT = {
    b".\r\n": b"",
    b"\r\n.\r\n": b"\r\n",
    b"text\r\n.\r\n": b"text\r\n",
    b"text\r\n\r\n.\r\n": b"text\r\n\r\n",
    b"..\r\n.\r\n": b".\r\n",
    b"...\r\n.\r\n": b"..\r\n",
    b".text\r\n.\r\n": b"text\r\n",
    b"a\r\n..b\r\n.\r\n": b"a\r\n.b\r\n",
    b"a\r\n.b\r\n.\r\n": b"a\r\nb\r\n",
    b"a.\r\n.\r\n": b"a.\r\n",
    b"From ann\r\n.\r\n": b"From ann\r\n",
    b"  \t\r\n \r\n.\r\n": b"  \t\r\n \r\n",
    b"\0\x01\x7f\x80\x85\xff\r\n.\r\n": b"\0\x01\x7f\x80\x85\xff\r\n",
    "γειά\r\n.\r\n".encode(): "γειά\r\n".encode(),
    b"QUIT\r\nRSET\r\n.\r\n": b"QUIT\r\nRSET\r\n",
    b"a\r\n.\0\r\n.\r\n": b"a\r\n\0\r\n",
    b"a\r\n. \r\n.\r\n": b"a\r\n \r\n",
    b"a\r\n\0.\r\n.\r\n": b"a\r\n\0.\r\n",
}


@pytest.mark.parametrize(("octets", "message"), KEPT.items(), ids=map(repr, KEPT))
def test_every_octet_is_kept(talk: Talk, octets: bytes, message: bytes) -> None:
    assert talk_of_message(talk, octets, "250 2.0.0 Message accepted") == [message]


# SMTP smuggling. Each of these ends a message somewhere; what follows is a second one, if the
# server is deceived. Here it is one message with a bare CR or LF, and refused.

SMUGGLED = (
    b"MAIL FROM:<admin@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n"
)
FALSE_ENDS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "LF.CR": b"\n.\r",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRLF.LFCR": b"\r\n.\n\r",
    "CRLFLF.CRLF": b"\r\n\n.\r\n",
    "LFCR.LFCR": b"\n\r.\n\r",
    "CRLF.CR NUL LF": b"\r\n.\r\0\n",
    "CR NUL LF.CR NUL LF": b"\r\0\n.\r\0\n",
    "CRLF NUL.LF": b"\r\n\0.\n",
    "NUL LF.LF": b"\0\n.\n",
    "LF.LF with spaces": b"\n. \n",
}
# Others have no bare CR or LF, and so are text.
HARMLESS_ENDS = {
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "NEL.NEL": b"\x85.\x85",
    "CRLF.NEL": b"\r\n.\x85",
    "8-bit CRLF.CRLF": b"\x8d\x8a.\x8d\x8a",
    "8-bit dot": b"\r\n\xae\r\n",
    "UTF-8 line separators": "\u2028.\u2028".encode(),
    "VT.FF": b"\x0b.\x0c",
    "full-width full stop": "\r\n．\r\n".encode(),
    "CRLF.space CRLF": b"\r\n. \r\n",
    "CRLF.tab CRLF": b"\r\n.\t\r\n",
}


@pytest.mark.parametrize("end", FALSE_ENDS.values(), ids=FALSE_ENDS)
def test_smuggling(talk: Talk, end: bytes) -> None:
    octets = b"Subject: one\r\n\r\ntext" + end + SMUGGLED
    assert talk_of_message(talk, octets, "550 5.6.11 A CR or LF that is not part of a CRLF") == []


@pytest.mark.parametrize("end", HARMLESS_ENDS.values(), ids=HARMLESS_ENDS)
def test_no_smuggling(talk: Talk, end: bytes) -> None:
    octets = b"Subject: one\r\n\r\ntext" + end + SMUGGLED
    (message,) = talk_of_message(talk, octets, "250 2.0.0 Message accepted")
    assert message.endswith(b"DATA\r\nsmuggled\r\n")


def test_a_bare_cr_before_the_true_end(talk: Talk) -> None:
    assert not talk_of_message(talk, b"text\r\r\n.\r\n", "550 5.6.11 A CR or LF ...")


@pytest.mark.parametrize("end", [*FALSE_ENDS.values(), *HARMLESS_ENDS.values()], ids=repr)
@pytest.mark.parametrize("accepts", [False, True])
def test_smuggling_in_every_segmentation(end: bytes, accepts: bool) -> None:
    """One message or none, cut at each two places around the false end."""
    before = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\ntext"
    stream = before + end + b"MAIL FROM:<e@f>\r\n.\r\nQUIT\r\n"
    near = range(len(before), len(before) + len(end) + 3)
    outcomes = {
        session(stream, sorted({first, second}), accepts=accepts)
        for first in near
        for second in near
    }
    assert len(outcomes) == 1
    (outcome,) = outcomes
    assert len(outcome) <= 1


def session(stream: bytes, places: list[int], *, accepts: bool) -> tuple[bytes, ...]:
    """Play a stream in segments; give the messages that were taken."""
    messages: list[bytes] = []
    offer = Offer(hostname="mx.test", accept_bare_newlines=accepts)
    server = MemoryServer(lambda message: messages.append(message.data), offer=offer)
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        if not server.is_closed:
            server.sendall(stream[start:end])
    assert server.is_closed
    return tuple(messages)


BARE = {
    b"a\nb\r\n.\r\n": b"a\nb\r\n",
    b"a\n.\nb\r\n.\r\n": b"a\n.\nb\r\n",
    b"\r\r\n.\r\n": b"\r\r\n",
}


@pytest.mark.parametrize(("octets", "message"), BARE.items(), ids=map(repr, BARE))
def test_bare_newlines_where_they_are_allowed(talk: Talk, octets: bytes, message: bytes) -> None:
    offer = Offer(hostname="mx.test", accept_bare_newlines=True)
    # They are kept: a bare LF never becomes a CRLF, and never ends the message.
    assert talk_of_message(talk, octets, "250 2.0.0 Message accepted", offer) == [message]


@pytest.mark.parametrize("octets", [b"", b"text", b"text\r\n", b"text\r\n.", b"text\r\n.\r", b"."])
def test_a_lost_connection_delivers_nothing(talk: Talk, octets: bytes) -> None:
    assert not talk(f'{BEGIN}\nC! "{literal(octets)}"\nC: [closed]\nS: [closed]')


# Sizes.


@pytest.mark.parametrize("octets", [998, 1000, 1001, 20_000])
def test_long_lines_are_not_cut(talk: Talk, octets: int) -> None:
    (message,) = talk(f'{BEGIN}\nC! "x" * {octets}\nC! "\\r\\n.\\r\\n"\nS: 250 2.0.0 ...\n{END}')
    assert message.data == b"x" * octets + b"\r\n"


def test_a_line_of_1000_octets_and_its_stuffed_dot(talk: Talk) -> None:
    (message,) = talk(
        f'{BEGIN}\nC! ".."\nC! "x" * 999\nC! "\\r\\n.\\r\\n"\nS: 250 2.0.0 ...\n{END}'
    )
    assert message.data == b"." + b"x" * 999 + b"\r\n"


@pytest.mark.parametrize("octets", [65_535, 65_536, 65_537])
def test_messages_around_the_size_that_is_one_part(talk: Talk, octets: int) -> None:
    (message,) = talk(
        f'{BEGIN}\nC! "x" * {octets - 2}\nC! "\\r\\n.\\r\\n"\nS: 250 2.0.0 ...\n{END}'
    )
    assert message.data == b"x" * (octets - 2) + b"\r\n"


LIMITED = Offer(hostname="mx.test", max_message_bytes=100)
TOO_LARGE = "552 5.3.4 Message too large"


@pytest.mark.parametrize(("octets", "is_taken"), [(99, True), (100, True), (101, False)])
@pytest.mark.parametrize("whole", [10, 1000])
def test_limit(talk: Talk, octets: int, is_taken: bool, whole: int) -> None:
    offer = Offer(hostname="mx.test", max_message_bytes=100, whole_body_octets=whole)
    reply = "250 2.0.0 Message accepted" if is_taken else TOO_LARGE
    taken = talk_of_message(talk, b"x" * (octets - 2) + b"\r\n.\r\n", reply, offer)
    assert len(taken) == is_taken


def test_far_too_large_and_in_step_afterwards(talk: Talk) -> None:
    assert not talk_of_message(talk, b"RSET\r\n" * 500 + b".\r\n", TOO_LARGE, LIMITED)


def test_too_large_comes_before_a_bare_newline(talk: Talk) -> None:
    assert not talk_of_message(talk, b"x\r\n" * 100 + b"\n.\r\n\r\n.\r\n", TOO_LARGE, LIMITED)


def test_stuffed_dots_do_not_count(talk: Talk) -> None:
    octets = b"..\r\n" * 33 + b".\r\n"
    assert len(talk_of_message(talk, octets, "250 2.0.0 ...", LIMITED)) == 1


def test_no_limit(talk: Talk) -> None:
    offer = Offer(hostname="mx.test", max_message_bytes=0, whole_body_octets=0)
    assert len(talk_of_message(talk, b"x\r\n" * 100 + b".\r\n", "250 2.0.0 ...", offer)) == 1


@pytest.mark.parametrize(("octets", "reply"), [(511, 250), (512, 250), (513, 500)])
def test_command_line_limit(talk: Talk, octets: int, reply: int) -> None:
    talk(
        f"""
        S: 220 mx.test ESMTP
        C! "NOOP "
        C! "x" * {octets - 7}
        C! "\\r\\n"
        S: {"250 2.0.0 OK" if reply == 250 else "500 5.5.6 Line too long"}
        {END}
        """,
        offer=Offer(hostname="mx.test", max_command_octets=512),
    )


def test_the_tail_of_an_overlong_line_is_no_command(talk: Talk) -> None:
    assert not talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C! "x" * 3000
        C: RCPT TO:<ben@example.org>
        S: 500 5.5.6 Line too long
        C: DATA
        S: 503 5.5.1 DATA needs a RCPT command that was accepted
        {END}
    """)


@pytest.mark.parametrize("octets", [2046, 2047, 2048, 5000, 100_000])
def test_overlong_lines_in_a_row(talk: Talk, octets: int) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C! "{"x"}" * {octets + 1}
        C! "\\r\\n"
        S: 500 5.5.6 Line too long
        C! "\\r" * {octets + 1}
        C! "\\n"
        S: 500 5.5.{"2 Only CRLF ends a line" if octets < 2047 else "6 Line too long"}
        {END}
    """)


@pytest.mark.parametrize("recipients", [99, 100, 101])
def test_recipient_limit(talk: Talk, recipients: int) -> None:
    replies = "S: 250 2.1.5 Recipient OK\n" * min(recipients, 100)
    replies += "S: 452 4.5.3 Too many recipients\n" * (recipients - min(recipients, 100))
    for address in ("ben@example.org", '"ben"@example.org'):
        (message,) = talk(
            f"""
            S: 220 mx.test ESMTP
            C: EHLO client.test
            S: 250 ...
            C: MAIL FROM:<ann@example.org>
            S: 250 2.1.0 ...
            C! "RCPT TO:<{literal(address.encode())}>\\r\\n" * {recipients}
            {replies}
            C: DATA
            S: 354 ...
            C: .
            S: 250 2.0.0 ...
            {END}
            """,
            offer=Offer(hostname="mx.test", max_recipients=100),
        )
        assert message.rcpt_tos == [address] * min(recipients, 100)
